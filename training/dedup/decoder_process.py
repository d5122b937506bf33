"""One decoder, alone in a process: a picture's bytes in, pixels or a thumbnail out, until the other end closes.

Started by `decoders.py`, which talks to it over a socket. It opens no file and writes none; the system ends it when it
takes more memory than it may, when there is none left, or when the process that started it has died.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import AvifImagePlugin

from training.dedup.decoding import Limits, decode, thumbnail
from training.dedup.skips import UnusableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READY: Final = b"ready"
_SET_DEATH_SIGNAL: Final = 1  # PR_SET_PDEATHSIG, prctl(2)


def serve(connection: Connection, limits: Limits) -> None:
    """Answer orders one by one until the other end closes."""
    while True:
        try:
            order, content = json.loads(connection.recv_bytes()), connection.recv_bytes()
            connection.send_bytes(_answer(order, content, limits))
        except (EOFError, ConnectionError):
            return


def _answer(order: Mapping[str, Any], content: bytes, limits: Limits) -> bytes:
    """Return a line of JSON, and below it the bytes that were asked for."""
    said: dict[str, Any] = {}
    made = b""
    try:
        if longest := order.get("longest"):
            made = thumbnail(content, limits, longest)
        else:
            decoded = decode(content, limits, order["side"], whole=order["whole"])
            said, made = {"width": decoded.width, "height": decoded.height}, decoded.pixels.tobytes()
    except UnusableError as error:
        said = {"reason": error.reason, "detail": error.detail}
    return json.dumps(said).encode() + b"\n" + made


def _be_bounded(memory_bytes: int) -> None:
    """Let this process take so many bytes more than it has now, die with its parent, and leave no core behind."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    # Where the machine itself runs out of memory, a decoder is what it can do without.
    with suppress(OSError):  # a sandbox need not have it
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def main(arguments: Sequence[str]) -> int:
    """Serve on a descriptor: DESCRIPTOR MAX_PIXELS MAX_FILE_BYTES MEMORY_BYTES."""
    descriptor, max_pixels, max_file_bytes, memory_bytes = map(int, arguments)
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # as many decoders as cores; each thread would reserve memory of its own
    _be_bounded(memory_bytes)
    with Connection(descriptor) as connection:
        connection.send_bytes(READY)
        serve(connection, Limits(max_pixels=max_pixels, max_file_bytes=max_file_bytes))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
