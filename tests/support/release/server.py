"""A service that behaves, or misbehaves, as MODE says. Runs inside a container; the standard library only."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ["MODE"]
HEALTH = {"unhealthy": (200, "unhealthy"), "starting": (503, "starting")}.get(MODE, (200, "healthy"))
GULLS = 3 if MODE == "wrong" else 1
SLOW_S = 2


class Handler(BaseHTTPRequestHandler):
    """Answers /health with the mode's health, and every POST with the mode's number of gulls."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet

    def parse_request(self) -> bool:
        with Server.lock:
            Server.running += 1
        return super().parse_request()

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(SLOW_S)
        status, word = HEALTH
        self.answer(status, {"status": word, "release": MODE, "limits": os.environ.get("MAX_RESULTS")})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if MODE == "refusing":
            self.answer(422, {"error": "I do not like this picture"})
        else:
            self.answer(200, {"detections": [{"label": "gull"}] * GULLS, "release": MODE})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        with Server.lock:
            Server.running -= 1

    def log_message(self, *_: object) -> None:
        """Say nothing: a test looks for the one line that is said at the start."""


class Server(ThreadingHTTPServer):
    """Counts the requests that run, so that it can end after them and not with them."""

    request_queue_size = 128
    running = 0
    lock = threading.Lock()


def stop(*_: object) -> None:
    """End as a service does on SIGTERM: once what runs is answered, whoever keeps a connection open."""
    threading.Thread(target=_end).start()


def _end() -> None:
    while Server.running:
        time.sleep(0.02)
    os._exit(0)


signal.signal(signal.SIGTERM, stop)  # a container's first process is deaf to it otherwise
sys.stderr.write(f"this is the last line of {MODE}\n")
if MODE == "crashing":
    sys.exit("no model under /models")
ADDRESS = ("0.0.0.0", int(os.environ["PORT"]))  # noqa: S104 - inside a container, on a network without a way out
Server(ADDRESS, Handler).serve_forever()
