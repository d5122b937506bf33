"""Run a program on a terminal of its own, and return everything that it showed there."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Mapping
from contextlib import suppress


def shown_on_terminal(argv: tuple[str, ...], *, env: Mapping[str, str], typed: str = "") -> str:
    """Return what a program wrote while its three standard streams were a terminal, and this was typed there."""
    ours, theirs = pty.openpty()
    chunks: list[bytes] = []
    with subprocess.Popen(argv, stdin=theirs, stdout=theirs, stderr=theirs, env=dict(env)) as process:
        os.close(theirs)
        os.write(ours, typed.encode())
        with suppress(OSError):  # Linux ends a terminal that nobody holds any more with EIO
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        process.wait(timeout=30)
    os.close(ours)
    return b"".join(chunks).decode()
