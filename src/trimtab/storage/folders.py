"""A data set as a folder: which files of a directory belong to it, and its manifest's text. Reads names and sizes.

Used by pushing to a bucket, packing for a Volume and, without any cloud, by the payload.
"""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING, Final

from trimtab.errors import UsageError
from trimtab.storage.manifests import (
    MAX_FILES,
    FileEntry,
    digest,
    load_manifest,
    parse_entries,
    path_problems,
    sha256_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

MANIFEST: Final = "MANIFEST.json"
_FORMAT: Final = "trimtab-dataset/1"


def files_below(directory: Path, *, is_mount: bool = False) -> dict[str, tuple[Path, int]]:
    """Return each file of a directory by its path below it, with where it lies and its size in bytes.

    Names with a leading dot are left out, and the manifest where the directory is a bucket's mount. Raises UsageError
    for a directory that is no data set.
    """
    found = dict(_walk(directory, ""))
    if is_mount:
        found.pop(MANIFEST, None)
    problems = list(path_problems(list(found)))
    if MANIFEST in found:
        problems.append(f"{MANIFEST!r} is the manifest's own name")
    if not found:
        problems.append("it has no files" if directory.is_dir() else "there is no such directory")
    if len(found) > MAX_FILES:
        problems.append(f"it has {len(found)} files; {MAX_FILES} are the limit")
    if problems:
        raise UsageError(
            f"{directory} cannot be a data set",
            why="; ".join(problems[:5]),
            remedy="rename or move what is named",
        )
    return found


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, tuple[Path, int]]]:
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.name.startswith("."):
            continue
        status = path.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(path, f"{prefix}{path.name}/")
        elif stat.S_ISREG(status.st_mode):
            yield prefix + path.name, (path, status.st_size)
        else:
            raise UsageError(
                f"{path} cannot be in a data set",
                why="it is no plain file (a link?)",
                remedy="put the file itself there",
            )


def entries_of(found: Mapping[str, tuple[Path, int]]) -> tuple[FileEntry, ...]:
    """Return the entry of each file, sorted. Reads every byte."""
    return tuple(
        sorted(FileEntry(path=name, size_bytes=size, sha256=sha256_of(path)) for name, (path, size) in found.items())
    )


def decode_manifest(content: bytes) -> tuple[FileEntry, ...]:
    """Return the files of a manifest. Raises ValueError, or RecursionError, where it is not to be trusted."""
    raw = load_manifest(content, _FORMAT)
    files = parse_entries(raw.get("files"))
    if MANIFEST in (entry.path for entry in files) or digest(files) != raw.get("sha256"):
        raise ValueError("its digest is not that of its files")
    return files


def encode_manifest(files: tuple[FileEntry, ...]) -> bytes:
    """Return the text of a manifest."""
    content = {"format": _FORMAT, "sha256": digest(files), "files": [entry.as_json() for entry in files]}
    return json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
