"""Data sets on this machine: the local equivalent of a bucket's read-only mount, filled from a manifest.

Each version of a data set is a directory named by its digest: filled under another name, every file verified, made
read-only, and published by one rename. What is there already is not fetched again, what is wrong is, and what we did
not make is never removed. Touches the cache's directory only.

    CACHE/CACHE.json                marks the directory as ours
    CACHE/DIGEST/                   a published data set
    CACHE/DIGEST.json               size, time and checksum of each of its files as they were verified
    CACHE/.partial-DIGEST/          one being filled
    CACHE/DIGEST.pieces             which pieces of its large files are there
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trimtab.errors import BudgetError, UsageError
from trimtab.storage.datasets import Manifest, required_manifest
from trimtab.storage.durable import (
    make_directory,
    raise_write_error,
    sole_writer,
    sync_directory,
    sync_file_system,
    write_whole,
)
from trimtab.storage.fetching import fetch, read_journal
from trimtab.storage.manifests import FileEntry, sha256_of
from trimtab.storage.objects import Place, Progress, in_parallel
from trimtab.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

_MARKER: Final = "CACHE.json"
_MARK: Final = b'{"format": "trimtab-cache/1"}\n'
_OURS: Final = re.compile(r"(\.partial-)?[0-9a-f]{64}|\.?[0-9a-f]{64}\.(json|pieces)(\.part)?|\.?CACHE\.json(\.part)?")

_Stamps = dict[str, tuple[int, int, str]]  # path -> size in bytes, time of change in ns, SHA-256


@dataclass(frozen=True, slots=True, kw_only=True)
class Materialised:
    """Where a data set now lies, read-only, and what had to be fetched for it."""

    path: Path
    sha256: str
    files: int
    size_bytes: int
    fetched_files: int
    fetched_bytes: int


def materialise(
    client: S3Client, place: Place, cache: Path, *, progress: Callable[[Progress], None] = lambda _: None
) -> Materialised:
    """Bring a data set of a bucket into the cache, whole and verified, and return where it is.

    Killed or cut off, the same call goes on where it was. Raises UsageError when there is no complete data set or the
    cache holds what is not ours, BudgetError when it does not fit on the disk, ProgramError when the bucket refuses.
    """
    manifest = required_manifest(client, place)
    make_directory(cache)
    with sole_writer(cache):
        try:
            _claim(cache)
            fetched = _publish(client, place, manifest, cache, progress)
        except OSError as error:
            raise_write_error(error, f"{place} was not brought to {cache}; what was fetched is kept")
    return Materialised(
        path=cache / manifest.sha256,
        sha256=manifest.sha256,
        files=len(manifest.files),
        size_bytes=manifest.size_bytes,
        fetched_files=len(fetched),
        fetched_bytes=sum(entry.size_bytes for entry in fetched),
    )


def _claim(cache: Path) -> None:
    marker = cache / _MARKER
    if not marker.exists():
        if foreign := [path.name for path in sorted(cache.iterdir()) if not _OURS.fullmatch(path.name)]:
            raise UsageError(
                f"{cache} is not a cache of data sets",
                why=f"it has no {_MARKER}, but it has {', '.join(foreign[:3])}",
                remedy="give a new directory; nothing there was touched",
            )
        write_whole(marker, _MARK)
    if marker.read_bytes() != _MARK:
        raise UsageError(
            f"{cache} is another program's or another version's cache",
            why=f"its {_MARKER} is not ours",
            remedy="give a new directory; nothing there was touched",
        )


def _publish(
    client: S3Client, place: Place, manifest: Manifest, cache: Path, progress: Callable[[Progress], None]
) -> Sequence[FileEntry]:
    """Make CACHE/DIGEST be exactly the manifest's files, unless it is; return those that were fetched."""
    final, partial = cache / manifest.sha256, cache / f".partial-{manifest.sha256}"
    index = cache / f"{manifest.sha256}.json"
    verified = _read_index(index)
    if final.is_dir():
        if _stamps(final, manifest) == verified:
            return ()
        final.rename(partial)  # no longer what was verified: out of sight until it is again
    partial.mkdir(exist_ok=True)
    _set_writable(partial, writable=True)
    pieces = cache / f"{manifest.sha256}.pieces"
    missing = _missing(client, manifest, partial, verified, begun=frozenset(read_journal(pieces)))
    for folder in sorted({path.parent for path in (partial / entry.path for entry in missing)}):
        folder.mkdir(parents=True, exist_ok=True)
    wanted = _without_links(cache, partial, missing)
    _check_space(cache, partial, wanted)
    fetch(client, place, wanted, partial, journal=pieces, progress=progress)
    sync_file_system(cache)
    write_whole(index, json.dumps(_stamps(partial, manifest), ensure_ascii=False).encode())
    _set_writable(partial, writable=False)
    partial.rename(final)
    sync_directory(cache)
    return wanted


def _missing(
    client: S3Client, manifest: Manifest, partial: Path, verified: _Stamps, *, begun: frozenset[str]
) -> Sequence[FileEntry]:
    """Return what is not there as it must be; what is there and wrong is gone then, but for large files `begun`."""
    present = _stamps(partial, manifest)
    missing = [entry for entry in manifest.files if entry.path not in present or entry.path in begun]
    suspects = [
        entry
        for entry in manifest.files
        if entry.path in present and entry.path not in begun and present[entry.path] != verified.get(entry.path)
    ]

    def look(entry: FileEntry) -> int:
        path = partial / entry.path
        if sha256_of(path) != entry.sha256:
            path.unlink()
            missing.append(entry)
        return 1

    in_parallel(client, suspects, look)
    return sorted(missing)


def _without_links(cache: Path, partial: Path, missing: Sequence[FileEntry]) -> Sequence[FileEntry]:
    """Return what must be fetched: what another version has, unchanged, becomes one file with two names."""
    elsewhere = dict(_elsewhere(cache)) if missing else {}
    wanted = []
    for entry in missing:
        try:
            (partial / entry.path).hardlink_to(elsewhere[entry.sha256])
        except (KeyError, OSError):  # not there, begun in pieces, or a file system without links
            wanted.append(entry)
    return wanted


def _stamps(directory: Path, manifest: Manifest) -> _Stamps:
    """Return the stamp of each file there. Raises UsageError for one that does not belong to the data set."""
    checksums = {entry.path: entry.sha256 for entry in manifest.files}
    stamps: _Stamps = {}
    for path, status in _walk(directory, ""):
        if path not in checksums or not stat.S_ISREG(status.st_mode):
            raise UsageError(
                f"{directory / path} does not belong to the data set",
                why="we did not make it, so we neither read nor remove it",
                remedy="move it away, then give the same command again",
            )
        stamps[path] = (status.st_size, status.st_mtime_ns, checksums[path])
    return stamps


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as found:
        for item in found:
            if item.is_dir(follow_symlinks=False):
                yield from _walk(directory / item.name, f"{prefix}{item.name}/")
            else:
                yield prefix + item.name, item.stat(follow_symlinks=False)


def _read_index(index: Path) -> _Stamps:
    try:
        return {
            path: (size, changed, sha256) for path, (size, changed, sha256) in json.loads(index.read_bytes()).items()
        }
    except (FileNotFoundError, ValueError, AttributeError, TypeError):
        return {}


def _elsewhere(cache: Path) -> Iterator[tuple[str, Path]]:
    """Yield, by checksum, the published files that are as they were verified."""
    for index in cache.glob("*.json"):
        for path, (size, changed, sha256) in _read_index(index).items() if index.name != _MARKER else ():
            file = cache / index.stem / path
            if file.is_file() and (file.stat().st_size, file.stat().st_mtime_ns) == (size, changed):
                yield sha256, file


def _check_space(cache: Path, partial: Path, wanted: Sequence[FileEntry]) -> None:
    needed, free = sum(_lacking_bytes(partial, entry) for entry in wanted), shutil.disk_usage(cache).free
    if needed > free:
        raise BudgetError(
            f"the data set does not fit in {cache}",
            why=f"{format_size(needed)} are to be fetched, {format_size(free)} are free",
            remedy="free space (`trimtab disk free`), or give a cache on another disk",
        )


def _lacking_bytes(partial: Path, entry: FileEntry) -> int:
    try:
        return max(0, entry.size_bytes - (partial / entry.path).stat().st_blocks * 512)
    except FileNotFoundError:
        return entry.size_bytes


def _set_writable(directory: Path, *, writable: bool) -> None:
    for root, _, _ in os.walk(directory):
        os.chmod(root, 0o755 if writable else 0o555)  # noqa: PTH101  # os.walk gives strings
