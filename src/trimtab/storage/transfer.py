"""Objects out of a bucket, thousands a second: plain signed GET requests on connections that stay open.

A call of boto3 costs over a millisecond of processor for what all operations of AWS have in common (finding the
endpoint, validating, events, parsing). Reading an object needs none of it: one request line, one signature, and an
answer of known length. Whatever is not such an answer (a redirect, a refusal, a server in trouble, a body without its
length), and every request where a proxy stands between, goes through the client, which knows all that.

How a request is signed: https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import ssl
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from trimtab.storage.objects import Place

CHUNK_BYTES: Final = 1024**2
_HEAD_BYTES: Final = 64 * 1024
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_STAYS: Final = re.compile(rb"HTTP/1\.1 (?![\s\S]*\r\nconnection:[ \t]*close)", re.IGNORECASE)
_EMPTY_SHA256: Final = hashlib.sha256().hexdigest()
_PROBE: Final = "k"


class ObjectReader:
    """Reads the objects below one prefix, for many threads at once; `close` ends its connections."""

    def __init__(self, client: S3Client, place: Place) -> None:
        from botocore import UNSIGNED

        self._client, self._place = client, place
        self._idle: list[_Connection] = []  # taken and given back by one operation each, which no thread divides
        # Where the client's endpoint rules put a key of this bucket (by path or by host), asked for once.
        address = client.generate_presigned_url("get_object", Params={"Bucket": place.bucket, "Key": _PROBE})
        named = urlsplit(address)
        self._host, self._path = named.netloc, named.path.removesuffix(_PROBE)
        self._where = (named.hostname or "", named.port or (443 if named.scheme == "https" else 80))
        self._config = client.meta.config
        signature = self._config.signature_version  # type: ignore[attr-defined]  # the stubs lack it
        # None of these has a public name; a test reads through each, so that another botocore cannot break it unseen.
        session = client._endpoint.http_session  # type: ignore[attr-defined]
        self._is_plain = signature in ("s3v4", UNSIGNED) and not session._proxy_config.proxy_url_for(address)
        self._credentials = client._get_credentials() if signature is not UNSIGNED else None  # type: ignore[attr-defined]
        self._tls = _context(session._verify) if named.scheme == "https" else None

    @contextmanager
    def open(self, path: str, *, start: int = 0, stop: int | None = None) -> Iterator[Iterator[bytes | memoryview]]:
        """Give the bytes of an object from `start` up to `stop`, in pieces of at most 1 MiB, each valid until the next.

        Raises what the client raises; a connection that breaks is a BotoCoreError as well.
        """
        key = self._place.prefix + path
        span = None if stop is None else f"bytes={start}-{stop - 1}"
        if self._is_plain and (connection := self._asked(key, span)) is not None:
            try:
                yield connection.body()
            finally:
                self._keep(connection)
            return
        more = {"Range": span} if span else {}
        body = self._client.get_object(Bucket=self._place.bucket, Key=key, **more)["Body"]  # type: ignore[arg-type]
        try:
            yield body.iter_chunks(CHUNK_BYTES)
        finally:
            body.close()

    def close(self) -> None:
        """End the connections that wait for another request."""
        while self._idle:
            self._idle.pop().close()

    def _asked(self, key: str, span: str | None) -> _Connection | None:
        """Return a connection at the beginning of the object's bytes, or None when the answer is not a plain one."""
        from botocore.exceptions import ConnectionError as Unreachable

        try:
            connection = self._idle.pop()
        except IndexError:
            try:
                connection = _Connection(self._where, self._tls, self._config)
            except OSError as error:
                raise Unreachable(error=error) from error
        if connection.ask(self._request(key, span)) == (206 if span else 200):
            return connection
        connection.close()
        return None

    def _keep(self, connection: _Connection) -> None:
        if connection.is_reusable:
            self._idle.append(connection)
        else:
            connection.close()

    def _request(self, key: str, span: str | None) -> bytes:
        path = self._path + quote(key, safe="/~")
        headers = {"host": self._host}
        if span:
            headers["range"] = span
        if self._credentials is not None:
            now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
            keys = self._credentials.get_frozen_credentials()
            headers |= {"x-amz-content-sha256": _EMPTY_SHA256, "x-amz-date": now}
            if keys.token:
                headers["x-amz-security-token"] = keys.token
            scope = f"{now[:8]}/{self._client.meta.region_name}/s3/aws4_request"
            listed = ";".join(headers)
            lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
            canonical = f"GET\n{path}\n\n{lines}\n{listed}\n{_EMPTY_SHA256}"
            text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
            signature = hmac.digest(_signing_key(keys.secret_key, scope), text.encode(), "sha256").hex()
            headers["authorization"] = (
                f"AWS4-HMAC-SHA256 Credential={keys.access_key}/{scope}, SignedHeaders={listed}, Signature={signature}"
            )
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode()


class _Connection:
    """One connection that is asked, and read to the end of the answer, again and again."""

    def __init__(self, where: tuple[str, int], tls: ssl.SSLContext | None, config: object) -> None:
        connected = socket.create_connection(where, timeout=config.connect_timeout)  # type: ignore[attr-defined]
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connected.settimeout(config.read_timeout)  # type: ignore[attr-defined]  # the stubs lack botocore's Config
        self._socket = connected if tls is None else tls.wrap_socket(connected, server_hostname=where[0])
        self._buffer = memoryview(bytearray(CHUNK_BYTES))
        self._host = where[0]
        self._first, self._left, self._stays = slice(0, 0), 0, False

    def ask(self, request: bytes) -> int:
        """Send a request and read the answer's head; return its status, or 0 for one whose body has no known length."""
        from botocore.exceptions import ConnectionClosedError

        try:
            self._socket.sendall(request)
            have = 0
            while (end := self._buffer.obj.find(_HEAD_END, 0, have)) < 0:  # type: ignore[attr-defined]  # a bytearray
                count = self._socket.recv_into(self._buffer[have:_HEAD_BYTES])
                if not count:
                    raise ConnectionResetError("the connection was closed, or the answer's head is too long")
                have += count
        except OSError as error:
            self.close()
            raise ConnectionClosedError(endpoint_url=self._host, error=error) from error
        head = bytes(self._buffer[: end + 2])
        lengths = _LENGTH.findall(head)
        body = end + len(_HEAD_END)
        if len(lengths) != 1 or have - body > int(lengths[0]) or not head[9:12].isdigit():
            return 0
        self._first, self._left, self._stays = slice(body, have), int(lengths[0]), _STAYS.match(head) is not None
        return int(head[9:12])

    def body(self) -> Iterator[memoryview]:
        """Give the answer's body; each piece is valid until the next is asked for."""
        from botocore.exceptions import ResponseStreamingError

        count = self._first.stop - self._first.start
        if count:
            self._left -= count
            yield self._buffer[self._first]
        while self._left:
            try:
                count = self._socket.recv_into(self._buffer[: min(self._left, CHUNK_BYTES)])
                if not count:
                    raise ConnectionResetError(f"the connection was closed {self._left} bytes before the end")
            except OSError as error:
                raise ResponseStreamingError(error=error) from error
            self._left -= count
            yield self._buffer[:count]

    @property
    def is_reusable(self) -> bool:
        """Whether the answer was read to its end, and the server keeps the connection."""
        return self._stays and self._left == 0

    def close(self) -> None:
        """Close it."""
        with suppress(OSError):  # it may have broken, which has been told
            self._socket.close()


def _context(verify: bool | str) -> ssl.SSLContext:  # noqa: FBT001 - botocore's own setting: false, true, or a bundle
    from botocore.httpsession import get_cert_path

    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else get_cert_path(True))  # noqa: FBT003
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


@lru_cache(maxsize=4)
def _signing_key(secret: str, scope: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for word in scope.split("/"):
        key = hmac.digest(key, word.encode(), "sha256")
    return key
