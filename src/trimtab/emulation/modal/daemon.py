"""The background program of the embedded Modal: its control plane on 127.0.0.1.

Started by `trimtab.emulation.modal.control` as `python -m trimtab.emulation.modal.daemon STATE_DIR`. It holds
STATE_DIR/plane.lock for as long as it lives, which is the proof that it lives. Writes STATE_DIR only, and what the
runner writes. Ends itself, and every attempt with it, on SIGTERM and when STATE_DIR is removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import logging
import os
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from grpclib.config import Configuration
from grpclib.server import Server
from h2.connection import H2Connection

from trimtab.emulation.modal.execution import choose
from trimtab.emulation.modal.plane import Plane
from trimtab.emulation.modal.server import Service
from trimtab.emulation.modal.settings import PlaneSettings
from trimtab.emulation.modal.web import Web
from trimtab.errors import TrimtabError
from trimtab.process import Secret

_LOOPBACK: Final = "127.0.0.1"
_WATCH_S: Final = 2.0
_LOCK_WAIT_S: Final = 5.0
_WINDOW_BYTES: Final = 64 * 1024 * 1024  # as the client's own: a window that is smaller slows big messages down


# h2 remembers 65,536 ended streams of a connection; an attempt's lasts as long as the attempt, two streams a call.
H2Connection.MAX_CLOSED_STREAMS = 256
# grpclib lets go of an ended connection and its last hundred calls when ten more have come; here, when one more has.
Server.__gc_interval__ = 1


def main(state_dir: Path) -> int:
    """Start the plane as a daemon; return when it answers (0), or with its log on standard error (its exit code)."""
    state_dir = state_dir.absolute()
    log = state_dir / "plane.log"
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        _detach(log)
        try:
            asyncio.run(_serve(state_dir, writer))
        except TrimtabError as error:
            sys.stderr.write(f"{error}\n")
            os.write(writer, str(error.exit_code).encode())
        return 0
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    if said == b"ready":
        return 0
    sys.stderr.write("".join(log.read_text(errors="replace").splitlines(keepends=True)[-20:]))
    return int(said or b"4")


def _detach(log: Path) -> None:
    os.setsid()
    os.chdir("/")
    for name in [name for name in os.environ if name.startswith(("AWS_", "MODAL_"))]:
        del os.environ[name]  # a person's profile or token would change what attempts see
    null = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)


async def _serve(state_dir: Path, ready: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    lock = _take_lock(state_dir / "plane.lock")
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
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await plane.open()
    record = {
        "pid": os.getpid(),
        "port": grpc_port,
        "web_port": web_port,
        "runner": plane.execution.name,
        "environment": settings.environment,
        "started_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    _write(state_dir / "plane.json", record)
    os.write(ready, b"ready")
    os.close(ready)
    while not stop.is_set() and _is_ours(state_dir / "plane.lock", lock):
        plane.stop_silent_apps()
        try:
            await asyncio.wait_for(stop.wait(), _WATCH_S)
        except TimeoutError:
            continue
    await plane.close()
    server.close()
    await runner.cleanup()


def _port(server: Any) -> int:
    return int(server.sockets[0].getsockname()[1])


def _token(path: Path) -> tuple[str, Secret]:
    """Return the token of this state folder; it is made once, for its owner's eyes only."""
    if not path.exists():
        _write(path, {"token_id": f"ak-{secrets.token_hex(11)}", "token_secret": f"as-{secrets.token_urlsafe(32)}"})
    document = json.loads(path.read_text())
    return document["token_id"], Secret(document["token_secret"])


def _take_lock(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_S  # whoever asks for our status holds the lock for an instant
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return descriptor


def _is_ours(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file)
    temporary.replace(path)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
