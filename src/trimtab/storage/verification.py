"""Whether a data set in a bucket is what its manifest says, byte for byte or by names and sizes. Reads only."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trimtab.storage.datasets import list_objects, required_manifest
from trimtab.storage.fetching import Damaged, check_object, retried
from trimtab.storage.folders import MANIFEST
from trimtab.storage.objects import Place, Progress, explained, in_parallel
from trimtab.storage.transfer import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from trimtab.storage.manifests import FileEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a data set holds, and everything that is wrong with it, by file."""

    sha256: str
    files: int
    size_bytes: int
    problems: tuple[str, ...]
    unlisted: tuple[str, ...]


def verify(
    client: S3Client,
    place: Place,
    *,
    contents: bool = True,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Verified:
    """Compare a data set in the bucket with its manifest: names and sizes by one listing, then every byte.

    Without `contents` no object is read. Raises UsageError where there is no complete data set.
    """
    manifest = required_manifest(client, place)
    problems: dict[str, str] = {}
    with explained("verifying", place), closing(ObjectReader(client, place)) as reader:
        listed = list_objects(client, place)
        for entry in manifest.files:
            there = listed.get(entry.path)
            if there is None:
                problems[entry.path] = "is missing"
            elif there.size_bytes != entry.size_bytes:
                problems[entry.path] = f"has {there.size_bytes} bytes, not {entry.size_bytes}"

        def read(entry: FileEntry) -> int:
            try:
                retried(lambda: check_object(reader, entry))
            except Damaged as error:
                problems[error.path] = error.why
            return 1

        if contents:
            suspects = [entry for entry in manifest.files if entry.path not in problems]
            in_parallel(client, suspects, read, progress, files=len(suspects))
    return Verified(
        sha256=manifest.sha256,
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        problems=tuple(f"{path} {why}" for path, why in sorted(problems.items())),
        unlisted=tuple(sorted(listed.keys() - {entry.path for entry in manifest.files} - {MANIFEST})),
    )
