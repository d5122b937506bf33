"""How much a folder takes, and where tools keep what they can fetch again. Reads the file system only."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def folder_bytes(folder: Path) -> int:
    """Return the bytes that a folder takes on its disk: blocks, each file once however often it is linked.

    Links are not followed and other mounts not entered; what vanishes or may not be read meanwhile counts nothing.
    """
    try:
        device = folder.stat(follow_symlinks=False).st_dev
    except OSError:
        return 0
    total, linked = 0, set()
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device:
                        continue
                    if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                        if status.st_ino in linked:
                            continue
                        linked.add(status.st_ino)
                    total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
        except OSError:
            continue
    return total


def mount_point(folder: Path) -> Path:
    """Return where the file system that holds a folder is mounted."""
    folder = folder.resolve()
    while folder.parent != folder and folder.parent.stat().st_dev == folder.stat().st_dev:
        folder = folder.parent
    return folder


def tool_caches(environment: Mapping[str, str], home: Path) -> dict[str, Path]:
    """Return where pip, uv and npm keep what they fetched, as their settings or their manuals say."""
    caches = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    return {
        "pip cache": Path(environment.get("PIP_CACHE_DIR") or caches / "pip"),
        "uv cache": Path(environment.get("UV_CACHE_DIR") or caches / "uv"),
        "npm cache": Path(environment.get("npm_config_cache") or home / ".npm"),
    }
