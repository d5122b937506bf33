"""Volumes as directories: what is committed, and each attempt's own view of it. Touches its root folder only.

`ROOT/VOLUME/versions/N` is a tree whose files are never written again; `ROOT/VOLUME/head` names the newest. A commit
makes the next tree of hard links to the last one's files, puts in what the attempt wrote, and moves `head`: readers see
the old tree or the new one. (A single file that is put by hand is renamed into the head.) An attempt's view is a copy,
on btrfs and XFS a clone that takes no room, so what it writes and does not commit goes with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from trimtab.emulation.modal.attempt import VolumeBusyError, VolumeEntry
from trimtab.emulation.modal.clone import clone_file, clone_tree
from trimtab.emulation.modal.trees import (
    Stamp,
    entry_of,
    files_of,
    folders_of,
    inside,
    make_way,
    open_below,
    relative,
    remove_unless_filled,
    remove_whole,
)
from trimtab.errors import UsageError
from trimtab.storage.durable import sync_directory

OPEN_FILES: Final = "there are open files preventing the operation"
"""What Modal's client looks for in the message, to add which file it is (modal/volume.py, `reload`)."""

_READING_S: Final = 10.0  # from when a client is told where a file lies until it has read it
_WRITTEN: Final[Stamp] = (0, 0, 0, 0)
_CLOCK_TICK_NS: Final = 20_000_000  # of a file's times before Linux 6.13, with room to spare


@dataclass(slots=True, kw_only=True)
class _View:
    """What one attempt sees of a Volume: its copy, how each file stood when copied, and from which committed file."""

    path: Path
    read_only: bool
    stamps: dict[str, Stamp] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


class DirectoryVolumes:
    """Keeps every Volume of one plane below a root folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._views: dict[tuple[str, str], _View] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    async def create(self, volume_id: str) -> None:
        """Make an empty Volume, unless it exists."""
        await asyncio.to_thread(self._create, volume_id)

    async def delete(self, volume_id: str) -> None:
        """Remove a Volume and all that it holds."""
        await asyncio.to_thread(shutil.rmtree, self._folder(volume_id), ignore_errors=True)

    async def tidy(self) -> None:
        """Remove the trees that newer ones have superseded, and what a killed commit left; never what is committed."""
        await asyncio.to_thread(self._tidy)

    async def attach(self, task_id: str, volume_id: str, path: Path, *, read_only: bool) -> None:
        """Lay out an attempt's view of a Volume, as last committed, at a path that does not exist yet."""
        await asyncio.to_thread(self._attach, task_id, volume_id, path, read_only=read_only)

    async def detach(self, task_id: str) -> None:
        """Forget an attempt's views, and remove them with what was not committed."""
        views = [self._views.pop(key) for key in list(self._views) if key[0] == task_id]
        for view in views:
            await asyncio.to_thread(shutil.rmtree, view.path, ignore_errors=True)

    async def commit(self, task_id: str, volume_id: str) -> None:
        """Make what an attempt wrote visible to whoever mounts or reloads from now on; last writer wins by file."""
        await asyncio.to_thread(self._commit, self._view(task_id, volume_id), volume_id)

    async def reload(self, task_id: str, volume_id: str) -> None:
        """Show an attempt what others committed. What it wrote itself is committed first, as Modal may do too.

        Raises VolumeBusyError while it has files of the Volume open.
        """
        await asyncio.to_thread(self._reload, self._view(task_id, volume_id), volume_id)

    async def entries(self, volume_id: str, path: str, *, recursive: bool) -> tuple[VolumeEntry, ...]:
        """List a folder, or the one file that `path` names. Raises FileNotFoundError."""
        return await asyncio.to_thread(self._entries, volume_id, path, recursive=recursive)

    async def open_file(self, volume_id: str, path: str) -> Path:
        """Return where the committed content of a file can be read (and not written). Raises FileNotFoundError."""
        found = inside(self._head(volume_id), path)
        if not stat.S_ISREG(found.lstat().st_mode):
            raise FileNotFoundError(f"{path} is not a file")
        return found

    async def put_file(self, volume_id: str, path: str, content: Path, mode: int) -> None:
        """Write one file whole, and commit it."""
        await asyncio.to_thread(self._put, volume_id, relative(path), content, mode & 0o777 or 0o644)

    async def remove(self, volume_id: str, path: str, *, recursive: bool) -> None:
        """Remove a file, or a folder when `recursive`, and commit it. Raises FileNotFoundError, IsADirectoryError."""

        def remove(tree: Path) -> None:
            found = inside(tree, path)
            if not stat.S_ISDIR(found.lstat().st_mode):
                found.unlink()
            elif not recursive:
                raise IsADirectoryError(f"{path} is a folder")
            elif found == tree:
                for below in tree.iterdir():
                    remove_whole(below)
            else:
                shutil.rmtree(found)

        await asyncio.to_thread(self._change, volume_id, remove)

    async def copy(self, volume_id: str, sources: tuple[str, ...], target: str, *, recursive: bool) -> None:
        """Copy within a Volume as `cp` does, and commit it. Raises FileNotFoundError."""

        def copy(tree: Path) -> None:
            into = tree / relative(target)
            if len(sources) > 1 and not into.is_dir():
                raise FileNotFoundError(f"{target} is not a folder")
            for source in sources:
                found = inside(tree, source)
                at = into / found.name if into.is_dir() else into
                if not found.is_dir():
                    clone_file(found, make_way(tree, at.relative_to(tree).as_posix()))
                elif recursive:
                    clone_tree(found, at)
                else:
                    raise IsADirectoryError(f"{source} is a folder")

        await asyncio.to_thread(self._change, volume_id, copy)

    def _create(self, volume_id: str) -> None:
        folder = self._folder(volume_id)
        with self._locked(volume_id):
            if (folder / "head").is_symlink():
                return
            (folder / "versions" / "0").mkdir(parents=True, exist_ok=True)
            (folder / "head").symlink_to("versions/0")

    def _tidy(self) -> None:
        for folder in self._root.iterdir() if self._root.is_dir() else ():
            with self._locked(folder.name):
                if (folder / "head").is_symlink():
                    _drop_superseded(folder)

    def _attach(self, task_id: str, volume_id: str, path: Path, *, read_only: bool) -> None:
        view = _View(path=path, read_only=read_only)
        with self._locked(volume_id):
            head = self._head(volume_id)
            clone_tree(head, path)
            _note_all(view, head)
        self._views[task_id, volume_id] = view

    def _commit(self, view: _View, volume_id: str) -> None:
        with self._locked(volume_id):
            self._commit_locked(view, volume_id)

    def _commit_locked(self, view: _View, volume_id: str) -> None:
        if view.read_only:
            return
        now = dict(files_of(view.path))
        written = [path for path, stamp in now.items() if view.stamps.get(path) != stamp]
        gone = [path for path in view.stamps if path not in now]
        folders = set(folders_of(view.path))
        if not written and not gone and folders == view.folders:
            return
        settled_ns = time.time_ns() - _CLOCK_TICK_NS
        with self._next_version(volume_id) as tree:
            for path in (*gone, *sorted(view.folders - folders, reverse=True)):
                remove_unless_filled(tree / path)
            for path in sorted(folders - view.folders):
                make_way(tree, f"{path}/.").mkdir(exist_ok=True)
            for path in written:
                clone_file(view.path / path, make_way(tree, path), durable=True)
            sources = {path: (tree / path).lstat().st_ino for path in written}
        # Stamped before it was copied: what changed meanwhile is seen as written the next time. A file of this very
        # instant can be written again without its times moving, so it counts as written the next time too.
        view.stamps = {path: stamp if stamp[3] < settled_ns else _WRITTEN for path, stamp in now.items()}
        view.folders = folders
        view.sources = {path: inode for path, inode in view.sources.items() if path in now} | sources

    def _reload(self, view: _View, volume_id: str) -> None:
        held = open_below(view.path)
        if held is not None:
            raise VolumeBusyError(
                OPEN_FILES, why=f"{held} is open", remedy="close it before Volume.reload(), or use a `with` block"
            )
        with self._locked(volume_id):
            self._commit_locked(view, volume_id)
            head = self._head(volume_id)
            committed = {path: stamp[0] for path, stamp in files_of(head)}
            for path in view.sources.keys() - committed.keys():
                remove_unless_filled(view.path / path)
            for path in sorted(view.folders - set(folders_of(head)), reverse=True):
                remove_unless_filled(view.path / path)
            for path in folders_of(head):
                (view.path / path).mkdir(exist_ok=True)
            for path, inode in committed.items():
                if view.sources.get(path) != inode:
                    clone_file(head / path, make_way(view.path, path))
            _note_all(view, head)

    def _entries(self, volume_id: str, path: str, *, recursive: bool) -> tuple[VolumeEntry, ...]:
        tree = self._head(volume_id)
        found = inside(tree, path)
        if not stat.S_ISDIR(found.lstat().st_mode):
            return (entry_of(tree, found),)
        below = found.rglob("*") if recursive else found.iterdir()
        return tuple(entry_of(tree, entry) for entry in sorted(below))

    def _put(self, volume_id: str, path: str, content: Path, mode: int) -> None:
        """Put a file into the head itself: a folder of thousands, put file by file, is not linked anew for each."""
        with self._locked(volume_id):
            new = self._folder(volume_id) / ".put"
            new.unlink(missing_ok=True)
            clone_file(content, new, durable=True)
            new.chmod(mode)
            new.replace(make_way(self._head(volume_id), path))

    def _change(self, volume_id: str, change: Callable[[Path], None]) -> None:
        with self._locked(volume_id), self._next_version(volume_id) as tree:
            change(tree)

    @contextmanager
    def _next_version(self, volume_id: str) -> Iterator[Path]:
        """Give a tree like the head to change; it becomes the head when nothing is raised. Replace files, never write
        into them: they are the older tree's too."""
        head = self._head(volume_id)
        folder = self._folder(volume_id)
        tree = folder / "versions" / str(int(head.name) + 1)
        shutil.rmtree(tree, ignore_errors=True)  # what a killed commit left
        try:
            shutil.copytree(head, tree, symlinks=True, copy_function=_link)
            yield tree
            sync_directory(tree)
        except BaseException:
            shutil.rmtree(tree, ignore_errors=True)
            raise
        pointer = folder / ".head"
        pointer.unlink(missing_ok=True)
        pointer.symlink_to(f"versions/{tree.name}")
        pointer.replace(folder / "head")
        sync_directory(folder)
        # Those before stay a while for whoever reads a file of them right now; views are copies and need none.
        os.utime(head)  # it is old from now on
        _drop_superseded(folder)

    def _view(self, task_id: str, volume_id: str) -> _View:
        view = self._views.get((task_id, volume_id))
        if view is None:
            raise UsageError(
                f"{task_id} has no Volume {volume_id}",
                why="the function does not mount it",
                remedy="name it in the function's volumes={...}",
            )
        return view

    def _head(self, volume_id: str) -> Path:
        folder = self._folder(volume_id)
        return folder / (folder / "head").readlink()

    def _folder(self, volume_id: str) -> Path:
        if not volume_id or "/" in volume_id or volume_id.startswith("."):
            raise UsageError(f"{volume_id!r} names no Volume", why="it is no id", remedy="use the id that was given")
        return self._root / volume_id

    @contextmanager
    def _locked(self, volume_id: str) -> Iterator[None]:
        with self._guard:
            lock = self._locks.setdefault(volume_id, threading.Lock())
        with lock:
            yield


def _drop_superseded(folder: Path) -> None:
    """Remove the trees of a Volume that are not its head, but for those that may be being read."""
    head = (folder / "head").readlink().name
    with suppress(OSError):
        for tree in (folder / "versions").iterdir():
            if tree.name != head and time.time() - tree.stat().st_mtime > _READING_S:
                shutil.rmtree(tree)


def _link(source: str, target: str) -> None:
    os.link(source, target, follow_symlinks=False)


def _note_all(view: _View, head: Path) -> None:
    view.stamps = dict(files_of(view.path))
    view.folders = set(folders_of(view.path))
    view.sources = {path: stamp[0] for path, stamp in files_of(head)}
