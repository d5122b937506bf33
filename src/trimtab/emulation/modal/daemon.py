"""The background program of the embedded Modal: its control plane on 127.0.0.1.

Started by `trimtab.emulation.modal.control` as `python -m trimtab.emulation.modal.daemon STATE_DIR`; its life is
`background.py`'s. Writes STATE_DIR only, and what the runner writes. Ends itself, and every attempt with it, on
SIGTERM, when STATE_DIR is removed, and when its state can be written no more.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from grpclib.config import Configuration
from grpclib.server import Server
from h2.connection import H2Connection

from trimtab.emulation.background import WATCH_S, HeldLock, go_on_in_background, read_document, write_document
from trimtab.emulation.modal.control import write_environment
from trimtab.emulation.modal.execution import choose
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.server import Service
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.emulation.modal.web import Web
from trimtab.process import Secret

_LOOPBACK: Final = "127.0.0.1"
_WINDOW_BYTES: Final = 64 * 1024 * 1024  # as the client's own: a window that is smaller slows big messages down


# h2 remembers 65,536 ended streams of a connection; an attempt's lasts as long as the attempt, two streams a call.
H2Connection.MAX_CLOSED_STREAMS = 256
# grpclib lets go of an ended connection and its last hundred calls when ten more have come; here, when one more has.
Server.__gc_interval__ = 1


def main(state_dir: Path) -> int:
    """Start the plane as a daemon; return when it answers (0), or with its log on standard error (its exit code)."""
    state_dir = state_dir.absolute()
    return go_on_in_background(
        lambda ready: asyncio.run(_serve(state_dir, ready)), log=state_dir / "plane.log", without=("AWS_", "MODAL_")
    )


async def _serve(state_dir: Path, ready: Callable[[], None]) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    lock = HeldLock(state_dir / "plane.lock")
    settings = PlaneSettings.read(state_dir / "settings.json")
    token = _token(state_dir / "token.json")
    plane = Plane(state_dir, settings, await choose(state_dir, settings))
    runner = web.AppRunner(Web(plane, token).application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, _LOOPBACK, 0)
    await site.start()
    config = Configuration(http2_connection_window_size=_WINDOW_BYTES, http2_stream_window_size=_WINDOW_BYTES)
    server = Server([Service(plane, token)], config=config)
    await server.start(_LOOPBACK, 0)
    grpc_port = _port(server._server)
    web_port = _port(site._server)
    plane.server_url, plane.web_url = f"http://{_LOOPBACK}:{grpc_port}", f"http://{_LOOPBACK}:{web_port}"
    plane.ports = (grpc_port, web_port)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, plane.ending.set)
    await plane.open()
    record = {
        "pid": os.getpid(),
        "port": grpc_port,
        "web_port": web_port,
        "runner": plane.execution.name,
        "environment": settings.environment,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    write_document(state_dir / "plane.json", record)
    write_environment(state_dir)
    ready()
    while not plane.ending.is_set() and lock.is_ours():
        plane.stop_silent_apps()
        plane.prune_daily()
        with suppress(TimeoutError):
            await asyncio.wait_for(plane.ending.wait(), WATCH_S)
    await plane.close()
    server.close()
    await runner.cleanup()
    if plane.failure is not None:
        raise plane.failure  # the last words of the log


def _port(server: Any) -> int:
    return int(server.sockets[0].getsockname()[1])


def _token(path: Path) -> tuple[str, Secret]:
    """Return the token of this state folder; it is made once, for its owner's eyes only."""
    document = read_document(path, remedy=f"remove {path}: the next start makes a new token, for new shells to take")
    if document is None:
        document = {"token_id": f"ak-{secrets.token_hex(11)}", "token_secret": f"as-{secrets.token_urlsafe(32)}"}
        write_document(path, document)
    return document["token_id"], Secret(document["token_secret"])


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
