"""A data set in a bucket: files under a prefix and, written last, one manifest that says what belongs to it.

Object stores have no rename, so the manifest commits: who reads goes by it and never by a listing. Pushing sends what
changed only, and removes nothing. The payload sees a data set as a directory (the bucket's mount, or `caches`), so keys
are plain names and are overwritten: one push at a time holds the place, by `leases`.

    s3://BUCKET/PREFIX/MANIFEST.json
    s3://BUCKET/PREFIX/train/0/0001.png ...
"""

from __future__ import annotations

import hashlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from trimtab.errors import DriftError, UsageError
from trimtab.storage.fetching import Damaged, check_object, retried
from trimtab.storage.folders import MANIFEST, decode_manifest, encode_manifest, files_below
from trimtab.storage.leases import LEASE, NOT_MET, Lease, who
from trimtab.storage.manifests import MAX_MANIFEST_BYTES, FileEntry, digest, sha256_of
from trimtab.storage.objects import Place, Progress, explained, in_parallel
from trimtab.storage.transfer import ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
    client: S3Client,
    directory: Path,
    place: Place,
    *,
    check: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Pushed:
    """Send a directory's files that the bucket does not have yet, then the manifest. Names with a leading dot stay.

    Interrupted, the same push goes on: what arrived is recognised by the checksum that it carries; with `check` it is
    read, too, and sent again where a byte of it is wrong. Raises UsageError for a directory that is no data set or a
    place where another push is under way, DriftError when another was published meanwhile all the same, ProgramError
    when the bucket refuses.
    """
    try:
        paths = files_below(directory)
        with explained("writing to", place):
            entries = _entries_of(client, paths)
            with Lease(client=client, place=place) as lease:
                return _push(client, place, paths, entries, lease, check=check, progress=progress)
    except OSError as error:
        raise UsageError(
            f"{error.filename or directory} cannot be read", why=error.strerror or str(error), remedy="make it readable"
        ) from error


def _entries_of(client: S3Client, paths: Mapping[str, tuple[Path, int]]) -> tuple[FileEntry, ...]:
    """Return the entry of each file, sorted. Reads every byte, by many threads."""
    entries: list[FileEntry] = []

    def read(unread: FileEntry) -> int:
        entries.append(replace(unread, sha256=sha256_of(paths[unread.path][0])))
        return 1

    in_parallel(client, [FileEntry(path=name, size_bytes=size, sha256="") for name, (_, size) in paths.items()], read)
    return tuple(sorted(entries))


def _push(
    client: S3Client,
    place: Place,
    paths: Mapping[str, tuple[Path, int]],
    entries: tuple[FileEntry, ...],
    lease: Lease,
    *,
    check: bool,
    progress: Callable[[Progress], None],
) -> Pushed:
    there = _fetched_manifest(client, place)
    try:
        known = there.manifest(place) if there else None
    except UsageError:  # broken: this push is what is to be done about it
        known = None
    listed = list_objects(client, place)
    todo = _differing(client, place, entries, known, listed, check=check)

    def send(entry: FileEntry) -> int:
        lease.check()
        _send(client, place, paths[entry.path][0], entry)
        return 1

    in_parallel(client, todo, send, progress, files=len(todo))
    lease.check()
    if known is None or known.files != entries:
        _publish(client, place, entries, there)
    return Pushed(
        sha256=digest(entries),
        files=len(entries),
        size_bytes=sum(entry.size_bytes for entry in entries),
        sent_files=len(todo),
        sent_bytes=sum(entry.size_bytes for entry in todo),
        unlisted=tuple(sorted(listed.keys() - set(paths) - {MANIFEST})),
    )


def _differing(
    client: S3Client,
    place: Place,
    entries: Sequence[FileEntry],
    known: Manifest | None,
    listed: Mapping[str, Listed],
    *,
    check: bool,
) -> Sequence[FileEntry]:
    """Return the files that the bucket does not have as they are here."""
    trusted = frozenset(known.files) if known else frozenset()
    differing: list[FileEntry] = []
    with closing(ObjectReader(client, place)) as reader:

        def compare(entry: FileEntry) -> int:
            remote = listed.get(entry.path)
            if remote is None or remote.size_bytes != entry.size_bytes:
                differing.append(entry)
            elif check:
                try:
                    retried(lambda: check_object(reader, entry))
                except Damaged:
                    differing.append(entry)
            elif not (known and remote.written <= known.written and entry in trusted):
                # Not vouched for by the manifest, or younger than it: ask the object itself.
                head = client.head_object(Bucket=place.bucket, Key=place.prefix + entry.path)
                if head["Metadata"].get("sha256") != entry.sha256:
                    differing.append(entry)
            return 1

        in_parallel(client, entries, compare)
    return sorted(differing)


def _publish(client: S3Client, place: Place, entries: tuple[FileEntry, ...], before: _Fetched | None) -> None:
    """Write the manifest in place of the one that was there before. Raises DriftError when that is another by now."""
    from botocore.exceptions import ClientError

    content = encode_manifest(entries)
    condition = {"IfMatch": before.etag} if before else {"IfNoneMatch": "*"}
    try:
        client.put_object(
            Bucket=place.bucket,
            Key=place.prefix + MANIFEST,
            Body=content,
            Metadata={"pushed-by": who()},
            **condition,  # type: ignore[arg-type]  # it is one of two
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in NOT_MET:
            raise
        other = _fetched_manifest(client, place)
        if other is not None and other.content == content:  # a request that was sent twice, its first answer lost
            return
        raise DriftError(
            f"{place} was published by another push while this one was under way",
            why=f"its manifest is by {other.by}, of {other.written.isoformat(timespec='seconds')}"
            if other
            else "its manifest was removed",
            remedy="push the one that is meant again: only what differs travels, and what was mixed is mended;"
            " `trimtab data verify` names what is not as the manifest says",
        ) from error


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
    there = _fetched_manifest(client, place)
    return None if there is None else there.manifest(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fetched:
    """A manifest as it lies there, not yet trusted."""

    content: bytes
    etag: str
    written: datetime
    by: str

    def manifest(self, place: Place) -> Manifest:
        """Return what it says. Raises UsageError when it cannot be trusted."""
        try:
            files = decode_manifest(self.content)
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{place}{MANIFEST} is not a manifest to be trusted", why=str(error), remedy="push the data set again"
            ) from error
        return Manifest(files=files, sha256=digest(files), written=self.written)


def _fetched_manifest(client: S3Client, place: Place) -> _Fetched | None:
    from botocore.exceptions import ClientError

    with explained("reading from", place):
        try:
            answer = client.get_object(Bucket=place.bucket, Key=place.prefix + MANIFEST)
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return _Fetched(
            content=answer["Body"].read(MAX_MANIFEST_BYTES + 1),
            etag=answer["ETag"],
            written=answer["LastModified"],
            by=answer["Metadata"].get("pushed-by", "somebody"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing tells of it."""

    size_bytes: int
    written: datetime


def list_objects(client: S3Client, place: Place) -> dict[str, Listed]:
    """Return the objects of a place by their path below it; not the lease of a push."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=place.bucket, Prefix=place.prefix)
    return {
        item["Key"].removeprefix(place.prefix): Listed(size_bytes=item["Size"], written=item["LastModified"])
        for page in pages
        for item in page.get("Contents", ())
        if item["Key"] != place.prefix + LEASE
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
