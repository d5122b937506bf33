"""A tree of files: paths inside it, making way in it, and what of it was written to. Touches the trees it is given."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from trimtab.emulation.modal.attempt import VolumeEntry
from trimtab.errors import UsageError

Stamp = tuple[int, int, int, int]
"""What tells whether a file was written to: its inode, its size, and the times of its content and its inode."""


def relative(path: str) -> str:
    """Return a path of a Volume as one below its root, "" the root itself. Raises UsageError for one that leads out."""
    parts = [part for part in PurePosixPath("/", path).parts[1:] if part != "."]
    if ".." in parts or "\0" in path:
        raise UsageError(f"{path!r} leads out of the Volume", why="it holds `..`", remedy="name a path below its root")
    return "/".join(parts)


def inside(tree: Path, path: str) -> Path:
    """Return a path of a tree that exists, and to which no symbolic link leads: it could lead anywhere."""
    found = tree
    for part in PurePosixPath(relative(path)).parts:
        if found.is_symlink():
            raise FileNotFoundError(f"{path} lies behind a symbolic link")
        found = found / part
    found.lstat()
    return found


def make_way(tree: Path, path: str) -> Path:
    """Return where a file may be written: its folders made, what stands in its way removed."""
    target = tree / path
    for folder in (*reversed(target.relative_to(tree).parents[:-1]),):
        at = tree / folder
        if at.is_symlink() or (at.exists() and not at.is_dir()):
            at.unlink()
        at.mkdir(exist_ok=True)
    if target != tree:
        remove_whole(target)
    return target


def remove_whole(path: Path) -> None:
    """Remove a file, a link, or a folder with all that it holds."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_unless_filled(path: Path) -> None:
    """Remove what an attempt removed: a folder only when nobody else put something into it."""
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def files_of(tree: Path) -> Iterator[tuple[str, Stamp]]:
    """Yield each file and symbolic link, with what tells whether it was written to. Sockets are no content."""
    for path, status in _walk(tree, ""):
        if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode):
            yield path, (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def folders_of(tree: Path) -> Iterator[str]:
    """Yield each folder, those above first."""
    return (path for path, status in _walk(tree, "") if stat.S_ISDIR(status.st_mode))


def entry_of(tree: Path, path: Path) -> VolumeEntry:
    """Return what is told of a file or folder of a tree."""
    status = path.lstat()
    return VolumeEntry(
        path=path.relative_to(tree).as_posix(),
        is_dir=stat.S_ISDIR(status.st_mode),
        size_bytes=0 if stat.S_ISDIR(status.st_mode) else status.st_size,
        modified_s=status.st_mtime,
    )


def open_below(view: Path) -> str | None:
    """Return a file or folder of a view that some process has open or works in, or None."""
    ours = {(status.st_dev, status.st_ino): path for path, status in _walk(view, "")}
    root = view.stat()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            for descriptor in (process / "cwd", *(process / "fd").iterdir()):
                with suppress(OSError):
                    status = descriptor.stat()
                    if (status.st_dev, status.st_ino) in ours:
                        return ours[status.st_dev, status.st_ino]
                    if os.path.samestat(status, root):
                        return "its root"
    return None


def _walk(tree: Path, below: str) -> Iterator[tuple[str, os.stat_result]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(tree / below) as found:
        for entry in found:
            with suppress(FileNotFoundError):  # an attempt goes on writing and removing while it is read
                status = entry.stat(follow_symlinks=False)
                path = f"{below}{entry.name}"
                yield path, status
                if stat.S_ISDIR(status.st_mode):
                    yield from _walk(tree, f"{path}/")
