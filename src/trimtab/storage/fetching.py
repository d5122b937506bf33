"""Fetching the files of a data set into a directory: many at once, large ones in pieces, every byte checked.

Called by `caches`. A large file is laid out at its full size and filled by pieces from many connections; a journal
says which are there, so that a killed fetch loses pieces and not files. Its checksum follows behind the pieces while
they are still in memory. What is not what the manifest says is named, all of it, when the rest is there.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trimtab.errors import ProgramError
from trimtab.storage.durable import write_whole
from trimtab.storage.objects import Place, Progress, explained, in_parallel
from trimtab.storage.transfer import CHUNK_BYTES, ObjectReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from trimtab.storage.manifests import FileEntry

PIECE_BYTES: Final = 16 * 1024**2
LARGE_BYTES: Final = 4 * PIECE_BYTES  # from here on a file comes in pieces; a smaller one is soon there in one
_WAITS_S: Final = (0.1, 0.5)  # before a file or piece is tried again; botocore retries only what fails before its bytes
_NAMED: Final = 10  # so many damaged objects are named; the rest is counted


class Damaged(Exception):  # noqa: N818  # no failure of ours: the object's state, told with all others at the end
    """An object is not what the manifest says."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path} {why}")
        self.path, self.why = path, why


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    entry: FileEntry
    index: int
    start: int
    stop: int

    @property
    def size_bytes(self) -> int:
        return self.stop - self.start


def fetch(
    client: S3Client,
    place: Place,
    entries: Sequence[FileEntry],
    directory: Path,
    *,
    journal: Path,
    progress: Callable[[Progress], None],
) -> None:
    """Fetch files, whose folders are there, into a directory. Killed, the next call goes on by the journal's pieces.

    Raises ProgramError when the bucket refuses, or naming every object that is not what its entry says; the others
    are there then.
    """
    known = read_journal(journal)
    large = {
        entry.path: _Large(directory / entry.path, entry, known.get(entry.path, frozenset()))
        for entry in entries
        if entry.size_bytes >= LARGE_BYTES
    }
    lines = [f"{index} {path}\n" for path, file in large.items() for index in sorted(file.there)]
    damaged: dict[str, Damaged] = {}
    if large:
        write_whole(journal, "".join(lines).encode())

    def work(piece: _Piece) -> int:
        try:
            if (file := large.get(piece.entry.path)) is None:
                fetch_whole(reader, directory / piece.entry.path, piece.entry)
                return 1
            return file.take(reader, piece, written)
        except Damaged as error:
            damaged[error.path] = error
            return 0

    with (
        explained("reading from", place),
        closing(ObjectReader(client, place)) as reader,
        _appending(journal if large else None) as written,
    ):
        pieces = [
            piece
            for entry in entries
            for piece in _pieces(entry)
            if entry.path not in large or piece.index not in large[entry.path].there
        ]
        in_parallel(client, pieces, work, progress, files=len(entries))
    journal.unlink(missing_ok=True)
    if damaged:
        raise damage_error(place, tuple(damaged.values()))


def read_journal(journal: Path) -> Mapping[str, frozenset[int]]:
    """Return the pieces of each large file that an earlier fetch says it wrote; the checksum has the last word."""
    found: dict[str, set[int]] = {}
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        index, _, path = line.partition(" ")
        if index.isdecimal():
            found.setdefault(path, set()).add(int(index))
    return {path: frozenset(indices) for path, indices in found.items()}


def damage_error(place: Place, damaged: Sequence[Damaged]) -> ProgramError:
    """Return the error that names what is not as the manifest says."""
    named = sorted(damaged, key=lambda error: error.path)
    more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    what = f"{place}{named[0].path} is" if len(named) == 1 else f"{len(named)} objects of {place} are"
    return ProgramError(
        f"{what} not what the manifest says",
        why="; ".join(str(error) for error in named[:_NAMED]) + f"{more}: a push is under way, or something else wrote",
        remedy="push the data set again, then give the same command again; the rest is kept",
    )


def fetch_whole(reader: ObjectReader, path: Path, entry: FileEntry) -> None:
    """Fetch one file in one go. Raises Damaged; then it is not there."""

    def once() -> None:
        path.unlink(missing_ok=True)
        with path.open("xb") as stream:
            check_object(reader, entry, stream.write)
            os.fchmod(stream.fileno(), 0o444)

    try:
        retried(once)
    except Damaged:
        path.unlink()
        raise


def retried(work: Callable[[], None]) -> None:
    """Do something that reads over a connection, some times more where it breaks."""
    from botocore.exceptions import BotoCoreError

    for wait_s in _WAITS_S:
        try:
            return work()
        except BotoCoreError:
            time.sleep(wait_s)
    return work()


def check_object(
    reader: ObjectReader, entry: FileEntry, take: Callable[[bytes | memoryview], object] = lambda _: None
) -> None:
    """Read an object through to the end of what its entry says. Raises Damaged with what is wrong with it."""
    content, size = hashlib.sha256(), 0
    with _found(entry), reader.open(entry.path) as chunks:
        for chunk in chunks:
            content.update(chunk)
            take(chunk)
            size += len(chunk)
            if size > entry.size_bytes:
                break
    if size != entry.size_bytes:
        has = f"more than {entry.size_bytes}" if size > entry.size_bytes else f"{size}"
        raise Damaged(entry.path, f"has {has} bytes, not {entry.size_bytes}")
    if content.hexdigest() != entry.sha256:
        raise Damaged(entry.path, "has another checksum")


class _Large:
    """One large file that is filled by many threads, and the checksum that follows behind them."""

    def __init__(self, path: Path, entry: FileEntry, known: frozenset[int]) -> None:
        self._path, self._entry = path, entry
        self._pieces = tuple(_pieces(entry))
        try:
            is_laid_out = path.lstat().st_size == entry.size_bytes
        except FileNotFoundError:
            is_laid_out = False
        if is_laid_out:
            path.chmod(0o644)
        else:
            path.unlink(missing_ok=True)
            with path.open("xb") as stream:
                stream.truncate(entry.size_bytes)
        # The last one always comes again: whoever brings it finds the checksum to be finished.
        self.there = known & frozenset(range(len(self._pieces) - 1)) if is_laid_out else frozenset()
        self._done = set(self.there)
        self._lock = threading.Lock()
        self._content, self._hashed, self._is_hashing = hashlib.sha256(), 0, False

    def take(self, reader: ObjectReader, piece: _Piece, written: Callable[[_Piece], None]) -> int:
        """Fetch a piece; return 1 when the file is complete and right with it. Raises Damaged."""
        retried(lambda: self._fetch(reader, piece))
        written(piece)
        if not self._follow(piece.index):
            return 0
        if self._content.hexdigest() != self._entry.sha256:
            # A piece of before a power cut may never have reached the disk: once more from the beginning, in one go.
            self._path.unlink()
            fetch_whole(reader, self._path, self._entry)
        self._path.chmod(0o444)
        return 1

    def _fetch(self, reader: ObjectReader, piece: _Piece) -> None:
        position = piece.start
        with self._path.open("r+b", buffering=0) as stream:
            with _found(self._entry), reader.open(self._entry.path, start=piece.start, stop=piece.stop) as chunks:
                for chunk in chunks:
                    _write_at(stream.fileno(), chunk[: piece.stop - position], position)
                    position += len(chunk)
            if position != piece.stop:
                raise Damaged(self._entry.path, f"ends at byte {position}, not {self._entry.size_bytes}")
            os.fdatasync(stream.fileno())  # on its way to the disk while others fetch: nothing piles up for the end

    def _follow(self, index: int) -> bool:
        """Add to the checksum what can be added, unless another thread does; tell whether that was the end of it."""
        with self._lock:
            self._done.add(index)
            if self._is_hashing:
                return False
            self._is_hashing = True
        with self._path.open("rb", buffering=0) as stream:
            while True:
                with self._lock:
                    if self._hashed not in self._done:
                        self._is_hashing = False
                        return self._hashed == len(self._pieces)
                    piece = self._pieces[self._hashed]
                    self._hashed += 1
                stream.seek(piece.start)
                for _ in range(piece.start, piece.stop, CHUNK_BYTES):
                    self._content.update(stream.read(min(CHUNK_BYTES, piece.stop - stream.tell())))


def _pieces(entry: FileEntry) -> Iterator[_Piece]:
    step = PIECE_BYTES if entry.size_bytes >= LARGE_BYTES else max(entry.size_bytes, 1)
    for index, start in enumerate(range(0, max(entry.size_bytes, 1), step)):
        yield _Piece(entry=entry, index=index, start=start, stop=min(start + step, entry.size_bytes))


def _write_at(descriptor: int, content: bytes | memoryview, position: int) -> None:
    view = memoryview(content)
    while view:  # a disk that fills up takes a part, and says so only when the rest is tried
        count = os.pwrite(descriptor, view, position)
        view, position = view[count:], position + count


@contextmanager
def _appending(journal: Path | None) -> Iterator[Callable[[_Piece], None]]:
    """Give what notes a piece in the journal: one write of one line, which no other thread's can divide."""
    if journal is None:
        yield lambda _: None
        return
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        yield lambda piece: _append(descriptor, f"{piece.index} {piece.entry.path}\n".encode())
    finally:
        os.close(descriptor)


def _append(descriptor: int, line: bytes) -> None:
    os.write(descriptor, line)


@contextmanager
def _found(entry: FileEntry) -> Iterator[None]:
    """Say Damaged where the bucket says that there is no such object."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
            raise Damaged(entry.path, "is missing") from error
        raise
