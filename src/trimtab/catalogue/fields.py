"""The scalar types of trimtab.yaml: each parses, validates and describes itself for editors. Pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from trimtab.units import MIB, parse_duration, parse_size

_BUCKET_LENGTH: Final = range(3, 57)  # 63 by AWS's rule, less room for the stack's suffix
_PREFIX_LENGTH: Final = 200  # a lifecycle rule is named by its prefix, in 255 characters; a key has 1024
_LEAST_CONTAINER_BYTES: Final = 6 * MIB  # the engine refuses less, and takes 0 for "no limit"


def _parse_with(parse: Any, wanted: str) -> Any:
    def convert(value: object) -> object:
        if not isinstance(value, str):
            raise ValueError(f"must be {wanted}")  # noqa: TRY004 - pydantic reports ValueError as a problem of the field
        return parse(value)

    return convert


def _check_prefix(value: str) -> str:
    if not value.endswith("/"):
        raise ValueError(f"must end in '/' ({value + '/'!r}): a prefix without it also matches its namesakes")
    if value.startswith("/") or "//" in value or any(part in (".", "..") for part in value.split("/")):
        raise ValueError("must be a plain prefix such as 'datasets/birds/', without '.', '..', '//' or a leading '/'")
    if not re.fullmatch(r"[A-Za-z0-9!_.()/-]+", value):
        raise ValueError("may hold letters, digits and !_.()-/ only")
    if len(value) > _PREFIX_LENGTH:
        raise ValueError(f"must have at most {_PREFIX_LENGTH} characters: its rules and its keys need room")
    return value


def _check_bucket(value: str) -> str:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    if len(value) not in _BUCKET_LENGTH:
        raise ValueError(f"must have 3 to {_BUCKET_LENGTH.stop - 1} characters (63, less room for the stack's name)")
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", value):
        raise ValueError("must be lower-case letters, digits and inner hyphens (dots break TLS for S3 host names)")
    if value.startswith(("xn--", "sthree-", "amzn-s3-demo-")) or value.endswith(("-s3alias", "--ol-s3", "--x-s3")):
        raise ValueError("begins or ends with a part that AWS reserves")
    return value


def _check_relative_path(value: str) -> str:
    path = PurePosixPath(value)
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise ValueError("must be a path inside the project, relative to trimtab.yaml")
    return value


def _check_container_memory(size_bytes: int) -> int:
    if size_bytes < _LEAST_CONTAINER_BYTES:
        raise ValueError("must be at least 6MiB, which is the least that a container can have")
    return size_bytes


def _check_session(seconds: float) -> float:
    if not 3600 <= seconds <= 12 * 3600:
        raise ValueError("must be 1h to 12h: IAM knows no other session")
    return seconds


def _text(pattern: str) -> StringConstraints:
    return StringConstraints(pattern=pattern)


Size = Annotated[
    int,
    BeforeValidator(_parse_with(parse_size, "a size with its unit, such as 20GiB or 220MB")),
    WithJsonSchema(
        {"type": "string", "pattern": r"^\d{1,15}(\.\d{1,6})?\s*(B|[KMGT]iB|[kMGT]B)$", "examples": ["20GiB"]}
    ),
]
Duration = Annotated[
    float,
    BeforeValidator(_parse_with(parse_duration, "a duration with its unit, such as 10min or 24h")),
    WithJsonSchema({"type": "string", "pattern": r"^\d{1,15}(\.\d{1,6})?\s*(ms|s|min|h|d)$", "examples": ["10min"]}),
]
SessionDuration = Annotated[Duration, AfterValidator(_check_session)]
ContainerMemory = Annotated[Size, AfterValidator(_check_container_memory)]
Name = Annotated[str, _text(r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
VariantName = Annotated[str, _text(r"^(cpu|gpu|torch)$")]
BucketName = Annotated[
    str,
    AfterValidator(_check_bucket),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": _BUCKET_LENGTH.start,
            "maxLength": _BUCKET_LENGTH.stop - 1,
            "pattern": r"^(?!xn--|sthree-|amzn-s3-demo-)(?!.*(-s3alias|--ol-s3|--x-s3)$)[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        }
    ),
]
Prefix = Annotated[
    str,
    AfterValidator(_check_prefix),
    WithJsonSchema(
        {
            "type": "string",
            "maxLength": _PREFIX_LENGTH,
            "pattern": r"^((?!\.\.?/)[A-Za-z0-9!_.()-]+/)+$",
            "examples": ["datasets/birds/"],
        }
    ),
]
ProjectPath = Annotated[
    str,
    AfterValidator(_check_relative_path),
    WithJsonSchema({"type": "string", "pattern": r"^(?!/)(?!(\.(/+|$))*$)(?!(.*/)?\.\.(/|$))"}),
]
Region = Annotated[str, _text(r"^[a-z]{2}(-[a-z]+)+-\d$")]
ModalAppName = Annotated[str, _text(r"^[A-Za-z0-9._-]{1,64}$")]  # longer or other characters: no OIDC token is issued
ModalWorkspaceId = Annotated[str, _text(r"^ac-[A-Za-z0-9]{6,40}$")]
ModuleName = Annotated[str, _text(r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*$")]
ImageReference = Annotated[
    str, _text(r"^([a-z0-9.-]+:\d{2,5}/)?[a-z0-9][a-z0-9./_-]*(:[\w.-]{1,128})?(@sha256:[0-9a-f]{64})?$")
]
RegistryAddress = Annotated[  # a name without a dot or a port would be a folder in the engine's default registry
    str, _text(r"^((localhost|[a-z0-9-]+(\.[a-z0-9-]+)+)(:\d{2,5})?|[a-z0-9-]+:\d{2,5})(/[a-z0-9][a-z0-9._-]*)*$")
]
OtherBucketName = Annotated[str, _text(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]  # made elsewhere, so older names too
KmsKeyArn = Annotated[
    str,
    _text(
        r"^arn:aws(-[a-z]+)*:kms:[a-z0-9-]+:\d{12}:(key/(mrk-[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}))$"
    ),
]  # an alias may be pointed at another key behind our back
GithubRepository = Annotated[str, _text(r"^[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})/[A-Za-z0-9._-]{1,100}$")]
GithubId = Annotated[int, Field(ge=1)]
GitName = Annotated[str, _text(r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,200}$")]  # no wildcard can slip into a trust policy
OidcProviderArn = Annotated[str, _text(r"^arn:aws(-[a-z]+)*:iam::\d{12}:oidc-provider/[A-Za-z0-9./_-]{1,200}$")]
AlertAddress = Annotated[str, _text(r"^[^@\s]{1,64}@[A-Za-z0-9.-]{1,180}\.[A-Za-z]{2,}$")]
