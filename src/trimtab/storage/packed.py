"""The files of a data set for who only wants to read them: an ordinary folder, or one that is packed in shards.

The training payload imports this module: paths only, no cloud. Writes only where it packs or unpacks to.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, Protocol

from trimtab.errors import ProgramError
from trimtab.storage.durable import make_directory, raise_write_error, write_whole
from trimtab.storage.folders import files_below
from trimtab.storage.shards import FOLDER, INDEX, Member, Shard, encode_index, plan_shards, read_index, write_shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from trimtab.storage.manifests import FileEntry

_CHUNK_BYTES: Final = 1024**2


class Files(Protocol):
    """The files of a data set, wherever and however they lie."""

    def paths(self) -> tuple[str, ...]:
        """Return the path of each file below the root, sorted."""

    def size_bytes(self, path: str) -> int:
        """Return a file's size."""

    def read(self, path: str) -> bytes:
        """Return a file's content."""


def open_files(root: Path) -> Files:
    """Return the files of a data set: packed ones where there is an index, else those of the folder itself."""
    shards = read_index(root)
    return FolderFiles(root) if shards is None else PackedFiles(root, shards)


class FolderFiles:
    """The files of an ordinary folder."""

    def __init__(self, root: Path) -> None:
        self._found = files_below(root, is_mount=True)

    def paths(self) -> tuple[str, ...]:
        """Return the path of each file below the root, sorted."""
        return tuple(sorted(self._found))

    def size_bytes(self, path: str) -> int:
        """Return a file's size."""
        return self._found[path][1]

    def read(self, path: str) -> bytes:
        """Return a file's content."""
        return self._found[path][0].read_bytes()


class PackedFiles:
    """The files of a packed data set, each read from its shard and checked. For any number of threads."""

    def __init__(self, root: Path, shards: Sequence[Shard]) -> None:
        self._root = root
        self._members: Mapping[str, tuple[str, Member]] = {
            member.entry.path: (shard.name, member) for shard in shards for member in shard.members
        }

    def paths(self) -> tuple[str, ...]:
        """Return the path of each file below the root, sorted."""
        return tuple(sorted(self._members))

    def size_bytes(self, path: str) -> int:
        """Return a file's size."""
        return self._members[path][1].entry.size_bytes

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises ProgramError naming the file when it is not what was packed."""
        name, member = self._members[path]
        shard = self._root / FOLDER / name
        try:
            descriptor = os.open(shard, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise _damaged(shard, f"{path} is missing with it") from error
        try:
            content = os.pread(descriptor, member.entry.size_bytes, member.offset)
        finally:
            os.close(descriptor)
        if hashlib.sha256(content).hexdigest() != member.entry.sha256:
            raise _damaged(shard, f"{path} in it is not what was packed")
        return content


def unpack(root: Path, to: Path) -> None:
    """Lay the files of a packed data set out in a directory; those that are there with their size are left."""
    files = open_files(root)
    for path in files.paths():
        target = to / path
        if not target.is_file() or target.stat().st_size != files.size_bytes(path):
            make_directory(target.parent)
            write_whole(target, files.read(path))


def pack(
    directory: Path, root: Path, entries: Iterable[FileEntry], *, commit: Callable[[], None] = lambda: None
) -> tuple[Shard, ...]:
    """Pack a folder's files for reading from `root` (a Volume). Killed, the next call goes on; nothing is removed.

    `entries` say what the files are (a manifest's, or `entries_of`). Raises UsageError for one that is not.
    """
    shards = plan_shards(entries)
    folder = root / FOLDER
    make_directory(folder)
    for shard in shards:
        target = folder / shard.name
        if target.is_file() and target.stat().st_size == shard.size_bytes:
            continue
        temporary = folder / f".{shard.name}.part"
        try:
            with temporary.open("wb") as stream:
                write_shard(shard, stream, lambda entry: chunks_of(directory / entry.path))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(target)
        except OSError as error:
            raise_write_error(error, f"{target} was not written; the shards before it are kept")
    commit()
    write_whole(root / INDEX, encode_index(shards))
    commit()
    return shards


def chunks_of(path: Path) -> Iterator[bytes]:
    """Yield a file's content in pieces of 1 MiB."""
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk


def _damaged(shard: Path, why: str) -> ProgramError:
    return ProgramError(
        f"{shard} is damaged", why=why, remedy="`trimtab data verify` names all; `push --check` mends them"
    )
