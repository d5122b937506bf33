"""A bucket's objects as files, with the manners of Mountpoint for Amazon S3, which Modal mounts buckets with.

Written once, from the beginning to the end, and visible when closed; no append, no rename, no link, no mode. What a
look showed may be a second old. Source: https://github.com/awslabs/mountpoint-s3/blob/main/doc/SEMANTICS.md, read for
Modal's page https://modal.com/docs/guide/cloud-bucket-mounts. Overwriting (with O_TRUNC) and removing are let through.
"""

from __future__ import annotations

import errno
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Final

from trimtab.emulation.modal.fuse import Attributes
from trimtab.errors import TrimtabError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_WINDOW_BYTES: Final = 8 * 1024 * 1024
_SPOOL_BYTES: Final = 8 * 1024 * 1024
_DENIED: Final = frozenset({"403", "AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_ABSENT: Final = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchBucket"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What was seen at a path, and when. The entity tag is None for a folder."""

    attributes: Attributes
    etag: str | None
    seen_s: float


@dataclass(slots=True, kw_only=True)
class _Reading:
    key: str
    size_bytes: int
    etag: str
    start: int = 0
    window: bytes = b""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(slots=True, kw_only=True)
class _Writing:
    path: str
    content: IO[bytes]
    size_bytes: int = 0
    is_finished: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)


class BucketFiles:
    """The objects below a prefix. The client is asked for on first use, so that a refused role is an answer too."""

    stale_s: float = 1.0

    def __init__(self, connect: Callable[[], S3Client], *, bucket: str, prefix: str) -> None:
        """`connect` returns a client with the mount's rights, or raises TrimtabError when the role is refused."""
        self._connect = connect
        self._bucket = bucket
        self._prefix = prefix
        self._client: S3Client | None = None
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._listed: dict[str, threading.Lock] = {}
        self._handles: dict[int, _Reading | _Writing] = {}
        self._next_handle = 1
        self._is_readable = False
        self._new_folders: set[str] = set()  # a bucket has none: they last until something lies in them

    def look_up(self, path: str) -> Attributes:
        """Return what lies at a path: an object, or a folder when keys go on behind it."""
        writing = self._writer_of(path)
        if writing is not None:
            return Attributes(is_dir=False, size_bytes=writing.size_bytes, modified_s=time.time())
        return self._seen(path).attributes

    def list(self, path: str) -> tuple[tuple[str, bool], ...]:
        """Return (name, is a folder) for all that lies in a folder."""
        names = self._list(path)
        self._listed.setdefault(path, threading.Lock())
        folder = f"{path}/" if path else ""
        for new in self._new_folders:
            if new.startswith(folder) and "/" not in new[len(folder) :]:
                names[new[len(folder) :]] = True
        names.pop("", None)  # the marker object that some tools make for a folder
        return tuple(sorted((name, is_dir) for name, is_dir in names.items() if name not in (".", "..")))

    def _list(self, path: str) -> dict[str, bool]:
        start = self._key(path) + "/" if path else self._prefix
        names: dict[str, bool] = {}
        self._require_readable()
        with self._answers():
            pages = self._s3().get_paginator("list_objects_v2")
            for page in pages.paginate(Bucket=self._bucket, Prefix=start, Delimiter="/"):
                for below in page.get("CommonPrefixes", ()):
                    name = below["Prefix"][len(start) : -1]
                    names[name] = True
                    self._remember(f"{path}/{name}" if path else name, Attributes(is_dir=True), None)
                for item in page.get("Contents", ()):
                    name = item["Key"][len(start) :]
                    if names.setdefault(name, False) is False:
                        attributes = Attributes(
                            is_dir=False, size_bytes=item["Size"], modified_s=item["LastModified"].timestamp()
                        )
                        self._remember(f"{path}/{name}" if path else name, attributes, item["ETag"])
        return names

    def open(self, path: str, flags: int, *, create: bool) -> int:
        """Open to read, or to write a whole new content."""
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return self._open_to_read(path)
        if flags & os.O_APPEND:
            raise OSError(errno.EPERM, "objects cannot be appended to")
        if flags & os.O_ACCMODE == os.O_RDWR and not create and not flags & os.O_TRUNC:
            raise OSError(errno.EPERM, "objects cannot be changed in place")
        if not create and not flags & os.O_TRUNC:
            raise OSError(errno.EPERM, "an object is written whole: open it with O_TRUNC")
        if self._writer_of(path) is not None:
            raise OSError(errno.EPERM, "it is being written already")
        return self._add(_Writing(path=path, content=tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES)))

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Return at most `size` bytes, from a window that is fetched ahead."""
        reading = self._handles[handle]
        if not isinstance(reading, _Reading):
            raise OSError(errno.EBADF, "it is being written")
        with reading.lock:
            end = min(offset + size, reading.size_bytes)
            if offset >= end:
                return b""
            if offset < reading.start or end > reading.start + len(reading.window):
                reading.start = offset
                reading.window = self._fetch(reading, offset, min(offset + _WINDOW_BYTES, reading.size_bytes))
            return reading.window[offset - reading.start : end - reading.start]

    def write(self, handle: int, offset: int, data: bytes) -> int:
        """Append to what was written so far; anywhere else is refused."""
        writing = self._handles[handle]
        if not isinstance(writing, _Writing):
            raise OSError(errno.EBADF, "it was opened to read")
        with writing.lock:
            if writing.is_finished:
                raise OSError(errno.EIO, "it was uploaded already")
            if offset != writing.size_bytes:
                raise OSError(errno.EINVAL, "objects are written from the beginning to the end")
            writing.content.write(data)
            writing.size_bytes += len(data)
        return len(data)

    def flush(self, handle: int) -> None:
        """Upload what was written: from here on others see it."""
        writing = self._handles[handle]
        if not isinstance(writing, _Writing):
            return
        with writing.lock:
            if writing.is_finished:
                return
            writing.is_finished = True
            writing.content.seek(0)
            with self._answers():
                self._s3().upload_fileobj(writing.content, self._bucket, self._key(writing.path))
        self._known.pop(writing.path, None)
        with self._lock:
            self._new_folders -= {writing.path.rsplit("/", depth)[0] for depth in range(1, writing.path.count("/") + 1)}

    def release(self, handle: int) -> None:
        """Forget a handle."""
        with self._lock:
            closed = self._handles.pop(handle, None)
        if isinstance(closed, _Writing):
            closed.content.close()

    def make_folder(self, path: str) -> None:
        """Make a folder that lasts as long as this mount, or as something lies in it."""
        self._s3()
        with self._lock:
            self._new_folders.add(path)

    def remove(self, path: str, *, is_dir: bool) -> None:
        """Remove an object, or a folder that was made here and is empty."""
        if not is_dir:
            with self._answers():
                self._s3().delete_object(Bucket=self._bucket, Key=self._key(path))
            self._known.pop(path, None)
            return
        if path not in self._new_folders or self.list(path):
            raise OSError(errno.ENOTEMPTY, "objects lie in it")
        with self._lock:
            self._new_folders.discard(path)

    def resize(self, path: str, size: int) -> None:
        """Refuse, but for what is being written and is that long already."""
        writing = self._writer_of(path)
        if writing is None or writing.size_bytes != size:
            raise OSError(errno.EPERM, "objects are replaced, not cut")

    def _require_readable(self) -> None:
        """Raise PermissionError when the role may not read below the prefix.

        On AWS the listing itself is refused, by its policy's condition on `s3:prefix`. The embedded AWS does not
        evaluate conditions, so this asks for an object that is not there: 404 from who may read, 403 otherwise.
        """
        if not self._is_readable:
            with suppress(FileNotFoundError), self._answers():
                self._s3().head_object(Bucket=self._bucket, Key=f"{self._prefix}.trimtab-may-i-read")
            self._is_readable = True

    def _open_to_read(self, path: str) -> int:
        if self._writer_of(path) is not None:
            raise OSError(errno.EPERM, "it is being written, and visible once it is closed")
        known = self._seen(path)
        if known.etag is None:
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        return self._add(_Reading(key=self._key(path), size_bytes=known.attributes.size_bytes, etag=known.etag))

    def _seen(self, path: str) -> _Known:
        """Return what lies at a path, as it was at most `stale_s` ago.

        Where its folder was listed before, that is listed anew: whoever goes through a folder of many small objects
        then asks about each a thousand at a time. Of many who ask at once one lists, and the others see what it saw.
        """
        known = self._fresh(path)
        folder = path.rpartition("/")[0]
        if known is None and folder in self._listed:
            with self._listed[folder]:
                known = self._fresh(path)
                if known is None:
                    self._list(folder)
                    known = self._fresh(path)
        return known or self._find(path)

    def _fresh(self, path: str) -> _Known | None:
        known = self._known.get(path)
        return known if known is not None and time.monotonic() - known.seen_s < self.stale_s else None

    def _find(self, path: str) -> _Known:
        client = self._s3()
        with suppress(FileNotFoundError), self._answers():
            head = client.head_object(Bucket=self._bucket, Key=self._key(path))
            attributes = Attributes(
                is_dir=False, size_bytes=head["ContentLength"], modified_s=head["LastModified"].timestamp()
            )
            return self._remember(path, attributes, head["ETag"])
        if path not in self._new_folders:
            with self._answers():
                below = client.list_objects_v2(Bucket=self._bucket, Prefix=self._key(path) + "/", MaxKeys=1)
            if not below.get("KeyCount"):
                raise FileNotFoundError(errno.ENOENT, "no such object", path)
        return self._remember(path, Attributes(is_dir=True), None)

    def _fetch(self, reading: _Reading, start: int, end: int) -> bytes:
        with self._answers():
            answer = self._s3().get_object(
                Bucket=self._bucket, Key=reading.key, Range=f"bytes={start}-{end - 1}", IfMatch=reading.etag
            )
            return answer["Body"].read()

    def _add(self, opened: _Reading | _Writing) -> int:
        with self._lock:
            handle, self._next_handle = self._next_handle, self._next_handle + 1
            self._handles[handle] = opened
        return handle

    def _writer_of(self, path: str) -> _Writing | None:
        with self._lock:
            for opened in self._handles.values():
                if isinstance(opened, _Writing) and opened.path == path and not opened.is_finished:
                    return opened
        return None

    def _remember(self, path: str, attributes: Attributes, etag: str | None) -> _Known:
        known = _Known(attributes=attributes, etag=etag, seen_s=time.monotonic())
        self._known[path] = known
        return known

    def _key(self, path: str) -> str:
        return self._prefix + path

    def _s3(self) -> S3Client:
        with self._lock:
            if self._client is None:
                try:
                    self._client = self._connect()
                except TrimtabError as error:
                    raise PermissionError(errno.EACCES, f"{error.what}: {error.why}") from error
            return self._client

    @contextmanager
    def _answers(self) -> Iterator[None]:
        """Turn what S3 refuses into what the system calls it."""
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            number = errno.EACCES if code in _DENIED else errno.ENOENT if code in _ABSENT else errno.EIO
            raise OSError(number, str(error)) from error
        except S3UploadFailedError as error:
            raise OSError(errno.EACCES if "AccessDenied" in str(error) else errno.EIO, str(error)) from error
        except BotoCoreError as error:
            raise OSError(errno.EIO, str(error)) from error
