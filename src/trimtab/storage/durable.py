"""Files that are there whole or not at all, and directories with one writer: what the stores are built on.

Touches only the paths it is given. On POSIX a rename within a directory is atomic, and durable once that is synced.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, NoReturn

from trimtab.errors import BudgetError, ProgramError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_DISK_IS_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
# Some network and FUSE file systems have no locks; there the platform must give a run one container at a time.
_NO_LOCKS_HERE: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF, errno.EINVAL})


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(directory: Path) -> None:
    """Make everything on a directory's file system durable: one call for thousands of files that were just written."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(descriptor) != 0:
            raise OSError(ctypes.get_errno(), "the file system was not synced", str(directory))
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory and its parents, each made durable in the one above. Nothing happens where it is there."""
    if directory.is_dir():
        return
    make_directory(directory.parent)
    with write_errors(f"the directory {directory} was not made"):
        if directory.exists() and not directory.is_dir():  # another thread may have made it meanwhile
            raise NotADirectoryError(errno.ENOTDIR, "it is a file", str(directory))
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file by new content so that readers and crashes see the old one or the new one, never a half.

    One writer a path at a time: the temporary name is fixed, so what a killed writer left is overwritten by the next.
    Raises BudgetError when the disk is full, ProgramError when the system refuses otherwise.
    """
    stream_whole(path, lambda stream: stream.write(content))


def stream_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file by what is written into a stream, as `write_whole` does. What `write` raises is passed on."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
        sync_directory(path.parent)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise_write_error(error, f"{path} was not written; what was there before is untouched")


def raise_write_error(error: OSError, what: str) -> NoReturn:
    """Raise what a refused write means to a person: BudgetError for a full disk, ProgramError otherwise."""
    why = error.strerror or str(error)
    if error.errno in _DISK_IS_FULL:
        remedy = "free space on that disk (`trimtab disk report` shows what takes it), then give the same command again"
        raise BudgetError(what, why=why, remedy=remedy) from error
    raise ProgramError(what, why=why, remedy="mend the cause, then give the same command again") from error


@contextmanager
def write_errors(what: str) -> Iterator[None]:
    """Raise what a refused write means to a person, as `raise_write_error` does."""
    try:
        yield
    except OSError as error:
        raise_write_error(error, what)


@contextmanager
def sole_writer(directory: Path) -> Iterator[None]:
    """Hold a directory's writer lock. The system lets go of it when the process dies, however it dies.

    Raises UsageError when another process holds it, ProgramError when the directory cannot be opened.
    """
    with write_errors(f"{directory} was not opened; nothing was changed"):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"{directory} is being written by another process",
                why="two writers would overwrite each other",
                remedy="wait for it to end, or end it",
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise
        yield
    finally:
        os.close(descriptor)


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """Give an empty directory to fill, which takes its name when the block ends well; otherwise nothing is there.

    Raises BudgetError when the disk is full, UsageError when another process writes beside it.
    """
    make_directory(directory.parent)
    temporary = directory.with_name(f".{directory.name}.part")
    with sole_writer(directory.parent):
        shutil.rmtree(temporary, ignore_errors=True)  # what a killed one left; no other writes here now
        with filled_directory(temporary, directory, f"{directory} was not written") as made:
            yield made


@contextmanager
def filled_directory(temporary: Path, directory: Path, what: str) -> Iterator[Path]:
    """Make `temporary`, give it to be filled, and let it take its name; on any failure it is gone.

    For who is the one writer there. `what` is said where the disk refuses.
    """
    try:
        with write_errors(what):
            temporary.mkdir()
            yield temporary
            sync_directory(temporary)
            temporary.rename(directory)
            sync_directory(directory.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
