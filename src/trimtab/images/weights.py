"""The weights of a service: what its manifest pins, and reading them from the bucket by checksum.

Reads services/NAME/models.toml (data, not code). Writes nothing: models go straight to where they are served from.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError, UsageError
from trimtab.units import MIB

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK_BYTES: Final = MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One model file: its name, its key in the bucket, its size, and the checksum that proves it."""

    file: str
    key: str
    size_bytes: int
    sha256: str


def manifest_path(root: Path, service: str) -> Path:
    """Return where a service's manifest lies."""
    return root / "services" / service / "models.toml"


def read_weights(root: Path, service: str) -> tuple[Weights, ...]:
    """Return what services/NAME/models.toml pins. Raises UsageError when it cannot be read."""
    path = manifest_path(root, service)
    try:
        models = tomllib.loads(path.read_text(encoding="utf-8"))["models"].values()
        return tuple(
            Weights(file=Path(m["file"]).name, key=m["key"], size_bytes=int(m["bytes"]), sha256=m["sha256"])
            for m in models
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"the models of service {service} are not known",
            why=f"{path}: {error!r}",
            remedy="write its models.toml as docs/services.md says",
        ) from error


def model_chunks(weights: Weights, client: S3Client, bucket: str) -> Iterator[bytes]:
    """Yield a model from the bucket, a piece at a time, with never a byte more than is pinned.

    Raises ProgramError when the bucket does not give it, and after its last byte when it is another file.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    digest, left_bytes = hashlib.sha256(), weights.size_bytes
    try:
        body = client.get_object(Bucket=bucket, Key=weights.key)["Body"]
        while chunk := body.read(_CHUNK_BYTES):
            digest.update(chunk)
            if len(chunk) > left_bytes:
                break
            left_bytes -= len(chunk)
            yield chunk
    except (BotoCoreError, ClientError) as error:
        raise ProgramError(
            f"s3://{bucket}/{weights.key} could not be read",
            why=str(error),
            remedy="run the same command again: the models are then published first",
        ) from error
    if digest.hexdigest() != weights.sha256:
        raise ProgramError(
            f"s3://{bucket}/{weights.key} is not the model that the manifest pins",
            why=f"sha256 {digest.hexdigest()} where {weights.sha256} is expected",
            remedy="publish the right file under that key, or mend the manifest",
        )
