"""What happens around every request, outside the routes: the log line, the metrics, the headers, the rest of the body.

Pure ASGI, so that it sees the body's messages as they are; knows nothing of pictures.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from services.serving.metrics import Metrics

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

SAFE_HEADERS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
UNKNOWN_ROUTE = "unknown"  # one label for all of them: strangers must not be able to make metrics grow
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

log = logging.getLogger(__name__)


class Edge:
    """Wrap an application; `discard_s` bounds how long the rest of a refused body is read and thrown away."""

    def __init__(self, application: Application, *, metrics: Metrics, discard_s: float) -> None:
        self._application = application
        self._metrics = metrics
        self._discard_s = discard_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        started = time.perf_counter()
        exchange = _Exchange(scope, receive, send, discard_s=self._discard_s)
        try:
            await self._application(scope, exchange.receive, exchange.send)
        finally:
            self._record(scope, exchange, time.perf_counter() - started)

    def _record(self, scope: Scope, exchange: _Exchange, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", UNKNOWN_ROUTE)
        method = scope["method"] if scope["method"] in KNOWN_METHODS else "OTHER"
        self._metrics.requests.labels(method, route, str(exchange.status)).inc()
        self._metrics.request_seconds.labels(route).observe(seconds)
        fields = {
            "method": method,
            "route": route,
            "status": exchange.status,
            "milliseconds": round(seconds * 1000, 1),
            "received_bytes": exchange.received_bytes,
        }
        log.info("request", extra={"fields": fields})


class _Exchange:
    """One request and its answer.

    An answer that comes before the whole body did (a refusal) closes the connection. Closing with unread bytes makes
    the kernel send a reset, which can destroy the answer before the client reads it: so the answer is sent, the rest is
    read and dropped for a while, and only then the connection ends.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, discard_s: float) -> None:
        self._receive = receive
        self._send = send
        self._discard_s = discard_s
        headers = dict(scope["headers"])
        self._body_ended = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        self.status = 499  # what a client that went away got; nginx' number for it
        self.received_bytes = 0

    async def receive(self) -> Message:
        message = await self._receive()
        self.received_bytes += len(message.get("body", b""))
        self._body_ended = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *SAFE_HEADERS]
            if not self._body_ended:
                message["headers"].append((b"connection", b"close"))
        elif not message.get("more_body", False) and not self._body_ended:
            await self._send({**message, "more_body": True})
            await self._discard_body()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)

    async def _discard_body(self) -> None:
        try:
            async with asyncio.timeout(self._discard_s):
                while not self._body_ended:
                    await self.receive()
        except TimeoutError:
            return
