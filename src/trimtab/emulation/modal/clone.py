"""Copies that share their blocks where the file system can (btrfs, XFS), and are plain copies elsewhere."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path
from typing import Final

_FICLONE: Final = 0x40049409  # linux/fs.h


def clone_file(source: Path, target: Path, *, durable: bool = False) -> None:
    """Copy a file or a symbolic link to a path that does not exist, with its mode and times."""
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return
    descriptor = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as reader, target.open("xb") as writer:
        try:
            fcntl.ioctl(writer, _FICLONE, reader.fileno())
        except OSError:
            shutil.copyfileobj(reader, writer, 1024 * 1024)
        if durable:
            writer.flush()
            os.fsync(writer.fileno())
    shutil.copystat(source, target)


def clone_tree(source: Path, target: Path) -> None:
    """Copy a tree of files, folders and symbolic links, over what the target holds already."""

    def clone(one: str, other: str) -> None:
        Path(other).unlink(missing_ok=True)
        clone_file(Path(one), Path(other))

    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, copy_function=clone)
