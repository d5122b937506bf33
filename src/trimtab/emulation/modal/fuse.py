"""The kernel's FUSE protocol, spoken on /dev/fuse: enough of it for a bucket. Needs root, and no library.

A `FileSystem` answers by raising OSError or by returning plain values; this module packs them. Several threads read
requests, so a file system's methods are called at once from several threads.
Source: include/uapi/linux/fuse.h, protocol 7.31.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from trimtab.emulation.modal.mounts import NO_DEVICES, NO_SUID, READ_ONLY, mount

_THREADS: Final = 8
_MAX_WRITE: Final = 128 * 1024
_BUFFER: Final = _MAX_WRITE + 4096 + 4096
_ATOMIC_O_TRUNC: Final = 1 << 3  # open() tells of O_TRUNC, instead of a truncation before it
_ASYNC_READ: Final = 1
_BIG_WRITES: Final = 1 << 5

_IN: Final = struct.Struct("<IIQQIIIHH")
_OUT: Final = struct.Struct("<IiQ")
_ATTR: Final = struct.Struct("<QQQQQQIIIIIIIIII")
_ENTRY: Final = struct.Struct("<QQQQII")
_TIMES: Final = struct.Struct("<QII")
_OPENED: Final = struct.Struct("<QII")
_SET_SIZE, _SET_MODE, _SET_OWNER = 1 << 3, 1 << 0, (1 << 1) | (1 << 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What stat() shows of a file or folder."""

    is_dir: bool
    size_bytes: int = 0
    modified_s: float = 0.0


class FileSystem(Protocol):
    """What is mounted. Paths are relative to the mount, "" is its root; whatever fails raises OSError."""

    stale_s: float
    """How long the kernel may keep what it was told."""

    def look_up(self, path: str) -> Attributes:
        """Return what lies at a path."""

    def list(self, path: str) -> tuple[tuple[str, bool], ...]:
        """Return (name, is a folder) for all that lies in a folder."""

    def open(self, path: str, flags: int, *, create: bool) -> int:
        """Open a file and return a handle."""

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Return at most `size` bytes; fewer only at the end."""

    def write(self, handle: int, offset: int, data: bytes) -> int:
        """Write, and return how much."""

    def flush(self, handle: int) -> None:
        """Finish what was written: a close() waits for this, and fails as it does."""

    def release(self, handle: int) -> None:
        """Forget a handle."""

    def make_folder(self, path: str) -> None:
        """Make a folder."""

    def remove(self, path: str, *, is_dir: bool) -> None:
        """Remove a file or an empty folder."""

    def resize(self, path: str, size: int) -> None:
        """Cut a file, or make it longer."""


class Session:
    """One mounted file system."""

    def __init__(self, system: FileSystem, target: Path, *, read_only: bool) -> None:
        """Mount it. Raises OSError when there is no /dev/fuse or no right to mount."""
        self._system = system
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Lock()
        self._paths = {1: ""}
        self._nodes = {"": 1}
        self._folders: dict[int, tuple[tuple[str, bool], ...]] = {}
        self._next_folder = 1
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        flags = NO_SUID | NO_DEVICES | (READ_ONLY if read_only else 0)
        mount("trimtab-bucket", target, "fuse.trimtab", flags, options)

    def serve(self) -> None:
        """Answer until the file system is unmounted."""
        threads = [threading.Thread(target=self._answer_all, daemon=True) for _ in range(_THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _answer_all(self) -> None:
        while True:
            try:
                request = os.read(self._device, _BUFFER)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return  # ENODEV: unmounted
            _, opcode, unique, node, *_ = _IN.unpack_from(request)
            handler = _HANDLERS.get(opcode)
            if handler is None and opcode in _UNANSWERED:
                continue
            reply, number = b"", 0
            try:
                if handler is None:
                    number = errno.ENOSYS
                else:
                    reply = handler(self, self._paths.get(node, ""), request[_IN.size :])
            except OSError as error:
                number = error.errno or errno.EIO
            except Exception:  # noqa: BLE001 - a bug here must not leave a process waiting for ever
                number = errno.EIO
            with suppress(OSError):  # the asking process may have been killed
                os.write(self._device, _OUT.pack(_OUT.size + len(reply), -number, unique) + reply)

    def _init(self, _path: str, body: bytes) -> bytes:
        _, _, read_ahead, offered = struct.unpack_from("<IIII", body)
        wanted = offered & (_ASYNC_READ | _ATOMIC_O_TRUNC | _BIG_WRITES)
        answer = struct.pack("<IIIIHHII", 7, 31, read_ahead, wanted, 16, 12, _MAX_WRITE, 1)
        return answer.ljust(64, b"\0")

    def _look_up(self, path: str, body: bytes) -> bytes:
        return self._entry(_below(path, body))

    def _entry(self, path: str) -> bytes:
        attributes = self._system.look_up(path)
        with self._lock:
            node = self._nodes.setdefault(path, len(self._nodes) + 1)
            self._paths[node] = path
        seconds, nanoseconds = self._valid()
        head = _ENTRY.pack(node, 0, seconds, seconds, nanoseconds, nanoseconds)
        return head + _packed(node, attributes)

    def _attributes(self, path: str, _body: bytes) -> bytes:
        attributes = Attributes(is_dir=True) if path == "" else self._system.look_up(path)
        return _TIMES.pack(*self._valid(), 0) + _packed(self._nodes[path], attributes)

    def _set_attributes(self, path: str, body: bytes) -> bytes:
        valid, _, _, size = struct.unpack_from("<IIQQ", body)
        if valid & (_SET_MODE | _SET_OWNER):
            raise PermissionError(errno.EPERM, "objects have neither mode nor owner")
        if valid & _SET_SIZE:
            self._system.resize(path, size)
        return self._attributes(path, body)  # times: taken and forgotten, an object has the one of its upload

    def _open(self, path: str, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        return _OPENED.pack(self._system.open(path, flags, create=False), 0, 0)

    def _create(self, path: str, body: bytes) -> bytes:
        (flags,) = struct.unpack_from("<I", body)
        path = _below(path, body[16:])
        handle = self._system.open(path, flags, create=True)
        return self._entry(path) + _OPENED.pack(handle, 0, 0)

    def _read(self, _path: str, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return self._system.read(handle, offset, size)

    def _write(self, _path: str, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        return struct.pack("<II", self._system.write(handle, offset, body[40 : 40 + size]), 0)

    def _flush(self, _path: str, body: bytes) -> bytes:
        self._system.flush(struct.unpack_from("<Q", body)[0])
        return b""

    def _release(self, _path: str, body: bytes) -> bytes:
        self._system.release(struct.unpack_from("<Q", body)[0])
        return b""

    def _open_folder(self, path: str, _body: bytes) -> bytes:
        listed = ((".", True), ("..", True), *self._system.list(path))
        with self._lock:
            handle, self._next_folder = self._next_folder, self._next_folder + 1
            self._folders[handle] = listed
        return _OPENED.pack(handle, 0, 0)

    def _read_folder(self, _path: str, body: bytes) -> bytes:
        handle, offset, size = struct.unpack_from("<QQI", body)
        reply = bytearray()
        for index, (name, is_dir) in enumerate(self._folders[handle][offset:], start=offset + 1):
            raw = os.fsencode(name)
            kind = (stat.S_IFDIR if is_dir else stat.S_IFREG) >> 12
            entry = struct.pack("<QQII", 1, index, len(raw), kind) + raw
            entry = entry.ljust((len(entry) + 7) // 8 * 8, b"\0")
            if len(reply) + len(entry) > size:
                break
            reply += entry
        return bytes(reply)

    def _release_folder(self, _path: str, body: bytes) -> bytes:
        with self._lock:
            self._folders.pop(struct.unpack_from("<Q", body)[0], None)
        return b""

    def _make_folder(self, path: str, body: bytes) -> bytes:
        path = _below(path, body[8:])
        self._system.make_folder(path)
        return self._entry(path)

    def _unlink(self, path: str, body: bytes) -> bytes:
        self._system.remove(_below(path, body), is_dir=False)
        return b""

    def _remove_folder(self, path: str, body: bytes) -> bytes:
        self._system.remove(_below(path, body), is_dir=True)
        return b""

    def _statistics(self, _path: str, _body: bytes) -> bytes:
        many = 1 << 40  # a bucket has no end
        return struct.pack("<QQQQQIIII", many, many, many, many, many, 4096, 255, 4096, 0).ljust(80, b"\0")

    def _valid(self) -> tuple[int, int]:
        return int(self._system.stale_s), int(self._system.stale_s % 1 * 1e9)


_UNANSWERED: Final = {2, 36, 42}  # FORGET, INTERRUPT, BATCH_FORGET
_HANDLERS: Final = {
    1: Session._look_up,
    3: Session._attributes,
    4: Session._set_attributes,
    9: Session._make_folder,
    10: Session._unlink,
    11: Session._remove_folder,
    14: Session._open,
    15: Session._read,
    16: Session._write,
    17: Session._statistics,
    18: Session._release,
    20: Session._flush,
    25: Session._flush,
    26: Session._init,
    27: Session._open_folder,
    28: Session._read_folder,
    29: Session._release_folder,
    35: Session._create,
}
"""By the kernel's numbers. What is not here is answered ENOSYS: rename, link, symbolic link, extended attributes."""


def _below(folder: str, body: bytes) -> str:
    name = os.fsdecode(body[: body.index(b"\0")])
    return f"{folder}/{name}" if folder else name


def _packed(node: int, attributes: Attributes) -> bytes:
    mode = stat.S_IFDIR | 0o755 if attributes.is_dir else stat.S_IFREG | 0o644
    seconds, blocks = int(attributes.modified_s), (attributes.size_bytes + 511) // 512
    times = (seconds, seconds, seconds, 0, 0, 0)
    links = 2 if attributes.is_dir else 1
    return _ATTR.pack(node, attributes.size_bytes, blocks, *times, mode, links, 0, 0, 0, 4096, 0)
