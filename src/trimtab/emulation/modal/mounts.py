"""The system calls that mount and unmount, which Python has no functions for. Needs root."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path
from typing import Final

READ_ONLY: Final = 1
NO_SUID: Final = 2
NO_DEVICES: Final = 4
REMOUNT: Final = 32
BIND: Final = 4096
RECURSIVE: Final = 16384
PRIVATE: Final = 1 << 18
_DETACH: Final = 2  # umount2: gone from the tree now, closed when its last user is
_SET_PARENT_DEATH_SIGNAL: Final = 1
_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}  # asm/unistd.h: the C library has no function for it

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str | None, flags: int, options: str | None = None) -> None:
    """Mount. Raises OSError, PermissionError without the right to."""
    done = _libc.mount(
        source.encode(),
        os.fsencode(target),
        kind.encode() if kind else None,
        ctypes.c_ulong(flags),
        options.encode() if options else None,
    )
    if done != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def unmount(target: Path) -> None:
    """Take a mount away, also one that is in use or whose server died. Raises OSError."""
    if _libc.umount2(os.fsencode(target), _DETACH) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def unshare(flags: int) -> None:
    """Give this process namespaces of its own. Raises OSError."""
    if _libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def enter(descriptor: int, kind: int) -> None:
    """Put this thread into another process's namespace, named by an open /proc/PID/ns file. Raises OSError."""
    if _libc.setns(descriptor, kind) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def change_root(root: Path) -> None:
    """Make a mounted folder this process's root, and let go of the one before. Raises OSError."""
    os.chdir(root)
    if _libc.syscall(_PIVOT_ROOT[os.uname().machine], b".", b".") != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(root))
    unmount(Path())
    os.chdir("/")


def die_with_parent() -> None:
    """Let the kernel kill this process when the one that forked it ends. Raises OSError."""
    if _libc.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
