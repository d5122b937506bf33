"""The weights of a service: what its manifest pins, and fetching them from the bucket by checksum.

Reads services/NAME/models.toml (data, not code); writes model files whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError, UsageError
from trimtab.units import format_size

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK_BYTES: Final = 1024 * 1024


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


def is_whole(path: Path, weights: Weights) -> bool:
    """Tell whether a file is the one that is pinned, by its size and its sha256."""
    try:
        if path.stat().st_size != weights.size_bytes:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == weights.sha256
    except FileNotFoundError:
        return False


def fetch_weights(
    wanted: tuple[Weights, ...], client: S3Client, bucket: str, folder: Path, *, say: Callable[[str], None]
) -> None:
    """Bring the weights from the bucket into a folder; what is already there and right is not fetched again.

    Raises ProgramError when the bucket lacks one, or holds another file under its key: nothing of it is kept.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    folder.mkdir(parents=True, exist_ok=True)
    for weights in wanted:
        target = folder / weights.file
        if is_whole(target, weights):
            continue
        say(f"{weights.file} ({format_size(weights.size_bytes)}) from s3://{bucket}/{weights.key}")
        try:
            _fetch_one(client, bucket, weights, target)
        except (BotoCoreError, ClientError) as error:
            raise ProgramError(
                f"s3://{bucket}/{weights.key} could not be read",
                why=str(error),
                remedy="run the same command again: the models are then published first",
            ) from error


def _fetch_one(client: S3Client, bucket: str, weights: Weights, target: Path) -> None:
    body = client.get_object(Bucket=bucket, Key=weights.key)["Body"]
    digest = hashlib.sha256()
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.") as file:
        received = 0
        while received <= weights.size_bytes and (chunk := body.read(_CHUNK_BYTES)):
            digest.update(chunk)
            file.write(chunk)
            received += len(chunk)
        if digest.hexdigest() != weights.sha256:
            raise ProgramError(
                f"s3://{bucket}/{weights.key} is not the model that the manifest pins",
                why=f"sha256 {digest.hexdigest()} where {weights.sha256} is expected",
                remedy="publish the right file under that key, or mend the manifest",
            )
        file.flush()
        os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        staged = target.with_name(f"{target.name}.new")
        staged.unlink(missing_ok=True)
        staged.hardlink_to(file.name)
        staged.replace(target)
