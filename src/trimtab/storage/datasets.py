"""A data set in a bucket: files under a prefix and, written last, one manifest that says what belongs to it.

Object stores have no rename, so the manifest commits: who reads goes by it and never by a listing. Pushing sends what
changed only, and removes nothing. The payload sees a data set as a directory (the bucket's mount, or `caches`).

    s3://BUCKET/PREFIX/MANIFEST.json
    s3://BUCKET/PREFIX/train/0/0001.png ...
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from trimtab.errors import UsageError
from trimtab.storage.fetching import Damaged, check_object, retried
from trimtab.storage.folders import MANIFEST, MAX_MANIFEST_BYTES, decode_manifest, encode_manifest, files_below
from trimtab.storage.manifests import FileEntry, digest, sha256_of
from trimtab.storage.objects import Place, Progress, explained, in_parallel
from trimtab.storage.transfer import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

_ONE_PART_BYTES: Final = 8 * 1024**2  # up to here read once and sent whole; above in parts, by boto3's own transfer


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a data set consists of, and the digest over it."""

    files: tuple[FileEntry, ...]
    sha256: str
    written: datetime

    @property
    def size_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(entry.size_bytes for entry in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push did. `unlisted` are keys below the prefix that do not belong to the data set; a mount shows them."""

    sha256: str
    files: int
    size_bytes: int
    sent_files: int
    sent_bytes: int
    unlisted: tuple[str, ...]


def push(
    client: S3Client, directory: Path, place: Place, *, progress: Callable[[Progress], None] = lambda _: None
) -> Pushed:
    """Send a directory's files that the bucket does not have yet, then the manifest. Names with a leading dot stay.

    Interrupted, the same push goes on: what arrived is recognised by the checksum that it carries. Raises UsageError
    for a directory that is no data set, ProgramError when the bucket refuses.
    """
    try:
        paths = files_below(directory)
        with explained("writing to", place):
            return _push(client, place, paths, progress)
    except OSError as error:
        raise UsageError(
            f"{error.filename or directory} cannot be read", why=error.strerror or str(error), remedy="make it readable"
        ) from error


def _push(
    client: S3Client, place: Place, paths: dict[str, tuple[Path, int]], progress: Callable[[Progress], None]
) -> Pushed:
    known, listed = read_manifest(client, place), _listed(client, place)
    trusted = set(known.files) if known else set()
    entries: list[FileEntry] = []
    todo: list[FileEntry] = []

    def compare(unread: FileEntry) -> int:
        entry = replace(unread, sha256=sha256_of(paths[unread.path][0]))
        entries.append(entry)
        remote = listed.get(entry.path)
        if remote is None or remote.size_bytes != entry.size_bytes:
            todo.append(entry)
        elif not (known and remote.written <= known.written and entry in trusted):
            # Not vouched for by the manifest, or younger than it: ask the object itself.
            head = client.head_object(Bucket=place.bucket, Key=place.prefix + entry.path)
            if head["Metadata"].get("sha256") != entry.sha256:
                todo.append(entry)
        return 1

    def send(entry: FileEntry) -> int:
        _send(client, place, paths[entry.path][0], entry)
        return 1

    unread = [FileEntry(path=name, size_bytes=size, sha256="") for name, (_, size) in paths.items()]
    in_parallel(client, unread, compare)
    in_parallel(client, sorted(todo), send, progress, files=len(todo))
    files = tuple(sorted(entries))
    if known is None or known.files != files:
        client.put_object(Bucket=place.bucket, Key=place.prefix + MANIFEST, Body=encode_manifest(files))
    return Pushed(
        sha256=digest(files),
        files=len(files),
        size_bytes=sum(entry.size_bytes for entry in files),
        sent_files=len(todo),
        sent_bytes=sum(entry.size_bytes for entry in todo),
        unlisted=tuple(sorted(set(listed) - set(paths) - {MANIFEST})),
    )


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
        listed = _listed(client, place)
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


def required_manifest(client: S3Client, place: Place) -> Manifest:
    """Return a data set's manifest. Raises UsageError where none was completed."""
    manifest = read_manifest(client, place)
    if manifest is None:
        raise UsageError(
            f"{place} has no complete data set",
            why="there is no manifest, which a push writes last",
            remedy="push it, or push it again: `trimtab data push`",
        )
    return manifest


def read_manifest(client: S3Client, place: Place) -> Manifest | None:
    """Return a data set's manifest, or None where none was completed. Raises UsageError when it cannot be trusted."""
    from botocore.exceptions import ClientError

    with explained("reading from", place):
        try:
            answer = client.get_object(Bucket=place.bucket, Key=place.prefix + MANIFEST)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        content = answer["Body"].read(MAX_MANIFEST_BYTES + 1)
    try:
        files = decode_manifest(content)
        return Manifest(files=files, sha256=digest(files), written=answer["LastModified"])
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{place}{MANIFEST} is not a manifest to be trusted", why=str(error), remedy="push the data set again"
        ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listed:
    size_bytes: int
    written: datetime


def _listed(client: S3Client, place: Place) -> dict[str, _Listed]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
    return {
        item["Key"].removeprefix(place.prefix): _Listed(size_bytes=item["Size"], written=item["LastModified"])
        for page in pages
        for item in page.get("Contents", ())
    }


def _send(client: S3Client, place: Place, path: Path, entry: FileEntry) -> None:
    key = place.prefix + entry.path
    if entry.size_bytes <= _ONE_PART_BYTES:
        content = path.read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        client.put_object(Bucket=place.bucket, Key=key, Body=content, Metadata={"sha256": sha256})
    else:
        with path.open("rb") as stream:
            client.upload_fileobj(stream, place.bucket, key, ExtraArgs={"Metadata": {"sha256": entry.sha256}})
        sha256 = sha256_of(path)
    if sha256 != entry.sha256:
        raise UsageError(f"{path} changed while it was sent", why="something writes it", remedy="push again at rest")
