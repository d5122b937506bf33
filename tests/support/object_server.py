"""A bucket on loopback that is fast enough for thousands of objects, counts what it is asked, and can be damaged.

Keeps objects in memory; knows PUT and DELETE with conditions, GET with ranges, HEAD and ListObjectsV2 by path. It
checks no signature: moto does.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

BUCKET = "bucket"
_PAGE = 1000


class ObjectServer(ThreadingHTTPServer):
    """The server: its objects by key, and how often each operation was asked for."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}
        self.written: dict[str, float] = {}
        self.asked: Counter[str] = Counter()
        self.cut_after: dict[str, int] = {}  # key -> the connection breaks after so many bytes of it, once
        self.refuse_once: set[str] = set()  # keys that are answered with 503, once
        self.answers_lost: set[str] = set()  # keys that are written, but nobody is told, once
        self.answers = threading.Event()  # cleared, it takes requests and is silent
        self.answers.set()
        self.lock = threading.Lock()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def put(self, key: str, content: bytes, metadata: dict[str, str] | None = None) -> None:
        self.objects[key], self.metadata[key], self.written[key] = content, metadata or {}, time.time()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed."""


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Run one."""
    with ObjectServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.answers.set()
            server.shutdown()
            thread.join()


def client_of(endpoint: str, *, attempts: int = 1) -> S3Client:
    """Return a client of such a server, which asks so many times."""
    client: S3Client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="operator",
        aws_secret_access_key="secret",  # noqa: S106 - it is checked by nobody
        config=Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": attempts},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    return client


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ObjectServer
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's own name
        pass

    def do_GET(self) -> None:
        where = urlsplit(self.path)
        query = parse_qs(where.query)
        key = unquote(where.path).removeprefix(f"/{BUCKET}").removeprefix("/")
        if "list-type" in query:
            self._count("list")
            self._answer(200, self._listing(query), {"Content-Type": "application/xml"})
            return
        self._count("get")
        content = self.server.objects.get(key)
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>it is not there</Message></Error>")
            return
        if key in self.server.refuse_once:
            self.server.refuse_once.discard(key)
            self._answer(503, b"<Error><Code>SlowDown</Code><Message>not so fast</Message></Error>")
            return
        headers, status = self._head(key, content), 200
        if span := self.headers.get("Range"):
            first, _, last = span.removeprefix("bytes=").partition("-")
            content, status = content[int(first) : int(last) + 1], 206
        self._answer(status, content, headers, cut=self.server.cut_after.pop(key, None))

    def do_HEAD(self) -> None:
        self._count("head")
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")
        content = self.server.objects.get(key)
        self._answer(404 if content is None else 200, content or b"", self._head(key, content or b""), is_head=True)

    def do_PUT(self) -> None:
        self._count("put")
        content = self.rfile.read(size := int(self.headers.get("Content-Length", "0")))
        if len(content) != size:  # who sent it was killed
            self.close_connection = True
            return
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")
        meta = {name[11:]: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}
        with self.server.lock:
            if is_met := self._condition_is_met(key):
                self.server.put(key, content, meta)
        if key in self.server.answers_lost:
            self.server.answers_lost.discard(key)
            self.close_connection = True
            return
        self._answer_change(200, {"ETag": _etag(content)}, is_met=is_met)

    def do_DELETE(self) -> None:
        self._count("delete")
        key = unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")
        with self.server.lock:
            if is_met := self._condition_is_met(key):
                self.server.objects.pop(key, None)
        self._answer_change(204, {}, is_met=is_met)

    def _condition_is_met(self, key: str) -> bool:
        there = self.server.objects.get(key)
        if wanted := self.headers.get("If-Match"):
            return there is not None and wanted == _etag(there)
        return there is None or "If-None-Match" not in self.headers

    def _answer_change(self, status: int, headers: dict[str, str], *, is_met: bool) -> None:
        if is_met:
            self._answer(status, b"", headers)
        else:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code><Message>it is another</Message></Error>")

    def _head(self, key: str, content: bytes) -> dict[str, str]:
        meta = {f"x-amz-meta-{name}": value for name, value in self.server.metadata.get(key, {}).items()}
        written = formatdate(self.server.written.get(key, 0), usegmt=True)
        return {"Last-Modified": written, "ETag": _etag(content), **meta}

    def _listing(self, query: dict[str, list[str]]) -> bytes:
        prefix, after = query.get("prefix", [""])[0], query.get("continuation-token", [""])[0]
        with self.server.lock:
            keys = sorted(key for key in self.server.objects if key.startswith(prefix) and key > after)
        page, more = keys[:_PAGE], len(keys) > _PAGE
        contents = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size>"
            f"<ETag>{hashlib.md5(key.encode()).hexdigest()}</ETag>"  # noqa: S324 - it stands for one
            f"<LastModified>{time.strftime('%Y-%m-%dT%H:%M:%S.000Z', time.gmtime(self.server.written[key]))}"
            "</LastModified></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        cut = f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}"
        return f"<ListBucketResult><Name>{BUCKET}</Name>{cut}{contents}</ListBucketResult>".encode()

    def _answer(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        *,
        is_head: bool = False,
        cut: int | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self._headers_buffer: list[bytes]  # the base class's own: head and body leave in one packet
        self._headers_buffer.append(b"\r\n" if is_head else b"\r\n" + content[:cut])
        self.flush_headers()
        if cut is not None:
            self.close_connection = True

    def _count(self, operation: str) -> None:
        self.server.answers.wait()
        with self.server.lock:
            self.server.asked[operation] += 1


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content).hexdigest()}"'  # noqa: S324 - it is what S3 gives
