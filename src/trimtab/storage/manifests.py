"""Which files make up a whole: path, size and checksum of each, and one digest over all of them.

Used by checkpoints, data sets and the training's own reading of its pictures, so that the three mean the same thing by
the same digest. Reads files; writes none.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

MAX_PATH_BYTES: Final = 1024  # an S3 key's limit
MAX_SEGMENT_BYTES: Final = 255  # a file name's limit on ext4, xfs and APFS
MAX_FILES: Final = 1_000_000
MAX_MANIFEST_BYTES: Final = 256 * 1024**2
_MAX_VALUES: Final = 8 * MAX_FILES  # of JSON: a file has at most six, and a path may have a comma
_SHA256_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class FileEntry:
    """One file of a whole: its path relative to the root with `/` between segments, its size and its SHA-256."""

    path: str
    size_bytes: int
    sha256: str

    def as_json(self) -> dict[str, Any]:
        """Return the entry as it stands in a manifest."""
        return {"path": self.path, "size_bytes": self.size_bytes, "sha256": self.sha256}


def load_manifest(content: bytes, form: str) -> dict[str, Any]:
    """Return a decoded manifest of a form (`format`), not yet parsed. Raises ValueError, or RecursionError.

    One that would take more memory than MAX_FILES files do is not decoded: it need not be ours.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        raise ValueError(f"it has more than {MAX_MANIFEST_BYTES} bytes")
    if sum(content.count(mark) for mark in (b"[", b"{", b",")) > _MAX_VALUES:
        raise ValueError(f"it has more than {_MAX_VALUES} values")
    raw = json.loads(content)
    if not isinstance(raw, dict) or raw.get("format") != form:
        raise ValueError(f"its format is not {form}")
    if raw.get("files") == []:
        raise ValueError("it lists no files")
    if isinstance(raw.get("files"), list) and len(raw["files"]) > MAX_FILES:
        raise ValueError(f"it lists {len(raw['files'])} files; {MAX_FILES} are the limit")
    return raw


def parse_entries(raw: object) -> tuple[FileEntry, ...]:
    """Return the entries of a decoded manifest, sorted by path. Raises ValueError saying what is wrong with them."""
    if not isinstance(raw, list):
        raise ValueError("`files` is not a list")  # noqa: TRY004  # every malformed manifest is the same kind of error
    entries = tuple(sorted(_parse_entry(item) for item in raw))
    if problems := path_problems([entry.path for entry in entries]):
        raise ValueError("; ".join(problems[:5]))
    return entries


def _parse_entry(item: object) -> FileEntry:
    match item:
        case {"path": str(path), "size_bytes": int(size_bytes), "sha256": str(sha256)} if (
            size_bytes >= 0 and len(sha256) == _SHA256_DIGITS and not set(sha256) - set("0123456789abcdef")
        ):
            return FileEntry(path=path, size_bytes=size_bytes, sha256=sha256)
    raise ValueError(f"{str(item)[:120]!r} is not a path, a size in bytes and a SHA-256")


def digest(entries: Iterable[FileEntry]) -> str:
    """Return one SHA-256 over the sorted entries: equal exactly when paths, sizes and contents are."""
    whole = hashlib.sha256()
    for entry in sorted(entries):
        whole.update(f"{entry.sha256}  {entry.size_bytes}  {entry.path}\n".encode())
    return whole.hexdigest()


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def path_problems(paths: Sequence[str]) -> tuple[str, ...]:
    """Return why these paths cannot be laid out below one directory on any common file system; empty when they can."""
    problems = [f"{path!r} {problem}" for path in paths if (problem := _path_problem(path))]
    spelled: dict[str, str] = {}  # the folded form of each file and directory -> as it was first spelled
    files: set[str] = set()
    for path in paths:
        segments = path.split("/")
        for depth in range(1, len(segments) + 1):
            part = "/".join(segments[:depth])
            folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", part).casefold())
            if (first := spelled.setdefault(folded, part)) != part:
                problems.append(f"{part!r} and {first!r} differ only in case or in the form of an accent")
        if path in files:
            problems.append(f"{path!r} is there twice")
        files.add(path)
    parents = {path[:cut] for path in files for cut, character in enumerate(path) if character == "/"}
    problems += [f"{path!r} is a file and a directory at once" for path in sorted(files & parents)]
    return tuple(dict.fromkeys(problems))


def _path_problem(path: str) -> str | None:
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "has a control character"  # first: a lone surrogate (Cs) cannot even be encoded below
    segments = path.split("/")
    problems = {
        "has a backslash": "\\" in path,
        "is absolute": path.startswith("/"),
        "has an empty, `.` or `..` segment": any(segment in ("", ".", "..") for segment in segments),
        f"is longer than {MAX_PATH_BYTES} bytes": len(path.encode()) > MAX_PATH_BYTES,
        f"has a segment longer than {MAX_SEGMENT_BYTES} bytes": max(map(len, path.encode().split(b"/")))
        > MAX_SEGMENT_BYTES,
    }
    return next((problem for problem, is_so in problems.items() if is_so), None)
