"""uvicorn, with the two things it leaves open: strangers who connect and send nothing, and refusals that are not JSON.

Below the application, where a request is not yet one: connections are counted, headers must arrive in time, and what is
not HTTP gets the same JSON error as everything else.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from services.serving.problems import Refusal

if TYPE_CHECKING:
    from services.serving.edge import Application
    from services.serving.settings import Settings

MAX_HEADER_BYTES = 16 * 1024
LINGER_S = 1.0

NOT_HTTP = Refusal(
    400,
    "not_http",
    "The request is not well-formed HTTP/1.1, or its headers are too large.",
    hint=f"Send a plain HTTP/1.1 request with at most {MAX_HEADER_BYTES:,} bytes of headers.",
)
TOO_MANY_CONNECTIONS = Refusal(
    503,
    "too_many_connections",
    "The service holds as many connections as it may.",
    hint="Try again in a second.",
    headers={"retry-after": "1"},
)


class BoundedProtocol(H11Protocol):
    """uvicorn's protocol, with a deadline for headers, a limit on connections, and JSON for its own refusals."""

    max_connections: int
    header_timeout_s: float

    _deadline: asyncio.TimerHandle | None = None
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            self._refuse(TOO_MANY_CONNECTIONS)
        else:
            self._await_headers()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self._deadline is None and not self._in_request():
            self._await_headers()  # the next request on a connection that was kept
        super().data_received(data)
        if self._in_request():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's one sentence says less than ours
        self._refuse(NOT_HTTP)

    def _in_request(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _await_headers(self) -> None:
        self._deadline = self.loop.call_later(self.header_timeout_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, refusal: Refusal) -> None:
        """Answer, then drop what still comes for a moment: closing at once could reset the answer away."""
        self._stop_waiting()
        self._refused = True
        if self._in_request():  # a body that turned out malformed: the application is told that its client left
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state is h11.IDLE or self.conn.our_state is h11.SEND_RESPONSE:
            self.transport.write(_response_bytes(refusal))
            self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)


def make_server(application: Application, settings: Settings) -> uvicorn.Server:
    """Return a server for the application, not yet started."""

    class Protocol(BoundedProtocol):
        max_connections = settings.max_connections
        header_timeout_s = settings.header_timeout_s

    config = uvicorn.Config(
        application,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        timeout_graceful_shutdown=settings.stop_timeout_s,
    )
    return uvicorn.Server(config)


def _response_bytes(refusal: Refusal) -> bytes:
    body = json.dumps(refusal.body()).encode()
    headers: dict[str, Any] = {
        "content-type": "application/json",
        "content-length": len(body),
        "connection": "close",
        **refusal.headers,
    }
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
