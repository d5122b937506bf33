"""A service that behaves, or misbehaves, as MODE says. Runs inside a container; the standard library only."""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODE = os.environ["MODE"]
HEALTH = {"unhealthy": (200, "unhealthy"), "starting": (503, "starting")}.get(MODE, (200, "healthy"))
GULLS = 3 if MODE == "wrong" else 1


class Handler(BaseHTTPRequestHandler):
    """Answers /health with the mode's health, and every POST with the mode's number of gulls."""

    def do_GET(self) -> None:
        status, word = HEALTH
        self.answer(status, {"status": word, "release": MODE})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if MODE == "refusing":
            self.answer(422, {"error": "I do not like this picture"})
        else:
            self.answer(200, {"detections": [{"label": "gull"}] * GULLS})

    def answer(self, status: int, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a test looks for the one line that is said at the start."""


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a container's first process is deaf to it otherwise
sys.stderr.write(f"this is the last line of {MODE}\n")
if MODE == "crashing":
    sys.exit("no model under /models")
ADDRESS = ("0.0.0.0", int(os.environ["PORT"]))  # noqa: S104 - inside a container, whose port is mapped to loopback
ThreadingHTTPServer(ADDRESS, Handler).serve_forever()
