"""Decoders in processes of their own, so that a picture that crashes one ends nothing else. Reads files.

A thread reads a file and hands its bytes to a decoder (`decoder_process.py`), which has one picture at a time: when it
dies, it is known at which. It is replaced, and the picture gets a second try, because what is killed from outside tells
nothing about a picture. One that ends two decoders, or takes more memory or time than it may, is set aside by name.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from training.dedup.decoder_process import READY
from training.dedup.decoding import Decoded, Limits, read_content
from training.dedup.skips import UnusableError
from trimtab.errors import ProgramError

if TYPE_CHECKING:
    from collections.abc import Mapping

_CODE: Final = Path(__file__).resolve().parents[2]
_TRIES: Final = 2
_START_S: Final = 60
_TO_END_S: Final = 5
_MOST_ANSWERED_BYTES: Final = 64 * 1024**2  # a square of 2048 pixels is 12 MiB
# A thread more would reserve 64 MiB more, and a decoder has no arithmetic to share out.
_ENVIRONMENT: Final = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a decoder may take for one picture: memory above what it has when it is idle, and time."""

    memory_bytes: int
    seconds: float


def bounds_of(limits: Limits) -> Bounds:
    """Return what the largest picture that is let in needs, whatever its format, and somewhat more.

    Measured (benchmarks/dedup/decoding.py): at most 35 bytes a pixel, WebP with transparency; JPEG 2000 is the slowest,
    0.3 s a megapixel on a busy core.
    """
    return Bounds(memory_bytes=48 * limits.max_pixels + 4 * limits.max_file_bytes + 256 * 1024**2, seconds=120)


class Decoders:
    """So many decoders at work side by side. They end with `close`, with this object, and with this process."""

    def __init__(self, workers: int, limits: Limits, bounds: Bounds | None = None) -> None:
        """Start them; the first picture waits until one is there."""
        self._limits = limits
        self._shared = _Shared(limits=limits, bounds=bounds or bounds_of(limits))
        for _ in range(workers):
            self._shared.idle.put(_Decoder(self._shared))
        self._pool = ThreadPoolExecutor(workers)
        self.close = weakref.finalize(self, _close, self._shared, self._pool)
        """End them all, and what they were at."""

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Return the processes that decode now."""
        with self._shared.lock:
            return tuple(process.pid for process in self._shared.processes)

    def decode(self, path: Path, sha256: str, side: int, *, whole: bool) -> Future[Decoded]:
        """Begin with a picture; the future is `decoding.decode` of it, and raises UnusableError as that does.

        Raises ProgramError, from the future, where a decoder does not start.
        """
        return self._pool.submit(_decoded, self._shared, path, sha256, side, whole=whole)

    def thumbnail(self, path: Path, sha256: str, longest: int) -> Future[bytes]:
        """Begin with a picture; the future is `decoding.thumbnail` of it. Raises likewise."""
        return self._pool.submit(_thumbnail, self._shared, path, sha256, longest)


@dataclass(slots=True, kw_only=True)
class _Shared:
    """What threads and decoders share. It does not know `Decoders`, whose end would not be noticed otherwise."""

    limits: Limits
    bounds: Bounds
    idle: SimpleQueue[_Decoder] = field(default_factory=SimpleQueue)
    processes: set[subprocess.Popen[bytes]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    closed: bool = False


class _DecoderEndedError(Exception):
    """Says how a decoder ended."""


class _Decoder:
    """One process, and the next one when it has ended. Used by one thread at a time."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._launch()
        self._is_ready = False

    def ask(self, order: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Return what the process says, and what it made. Raises UnusableError; _DecoderEndedError when it died."""
        self._await_ready()
        seconds = self._shared.bounds.seconds
        try:
            self._connection.send_bytes(json.dumps(order).encode())
            self._connection.send_bytes(content)
            if not self._connection.poll(seconds):
                self._process.kill()
                self._replace()
                raise UnusableError("took too long", f"its decoder was not done after {seconds:g} s")
            said, _, made = self._connection.recv_bytes(_MOST_ANSWERED_BYTES).partition(b"\n")
            answer: dict[str, Any] = json.loads(said)
        except (EOFError, OSError, ValueError) as error:
            raise _DecoderEndedError(self._replace()) from error
        if "reason" in answer:
            raise UnusableError(answer["reason"], answer["detail"])
        return answer, made

    def _await_ready(self) -> None:
        how = ""
        for _ in range(_TRIES):
            if self._is_ready:
                return
            try:
                self._is_ready = self._connection.poll(_START_S) and self._connection.recv_bytes() == READY
            except (EOFError, OSError):
                self._is_ready = False
            if not self._is_ready:
                how = self._replace()
        if not self._is_ready:
            raise ProgramError(
                "the process that decodes pictures does not start",
                why=f"it was tried {_TRIES} times, and {how}",
                remedy="what it said itself stands above",
            )

    def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        shared, limits = self._shared, self._shared.limits
        numbers = (theirs.fileno(), limits.max_pixels, limits.max_file_bytes, shared.bounds.memory_bytes)
        argv = (sys.executable, "-m", "training.dedup.decoder_process", *map(str, numbers))
        with theirs, shared.lock:
            if shared.closed:
                ours.close()
                raise _DecoderEndedError("no more is decoded")
            # In a session of its own: an interrupt of the terminal is for us, who let it end what it is at.
            self._process = subprocess.Popen(
                argv,
                cwd=_CODE,
                env={**os.environ, **_ENVIRONMENT},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
            shared.processes.add(self._process)
        self._connection = Connection(ours.detach())

    def _replace(self) -> str:
        """Start another process for one that does not answer any more, and return how that ended."""
        self._connection.close()
        self._is_ready = False
        try:
            code = self._process.wait(_TO_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        with self._shared.lock:
            self._shared.processes.discard(self._process)
        self._launch()
        return f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _decoded(shared: _Shared, path: Path, sha256: str, side: int, *, whole: bool) -> Decoded:
    said, made = _asked(shared, path, sha256, {"side": side, "whole": whole})
    pixels = np.frombuffer(made, np.uint8).reshape(side, side, 3)
    return Decoded(pixels=pixels, width=said["width"], height=said["height"])


def _thumbnail(shared: _Shared, path: Path, sha256: str, longest: int) -> bytes:
    return _asked(shared, path, sha256, {"longest": longest})[1]


def _asked(shared: _Shared, path: Path, sha256: str, order: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    content = read_content(path, shared.limits, sha256)
    decoder = shared.idle.get()
    how = ""
    try:
        for _ in range(_TRIES):
            try:
                return decoder.ask(order, content)
            except _DecoderEndedError as error:
                how = str(error)
    finally:
        shared.idle.put(decoder)
    raise UnusableError("crashed its decoder", f"{_TRIES} times, at last {how}")


def _close(shared: _Shared, pool: ThreadPoolExecutor) -> None:
    with shared.lock:
        shared.closed = True
        for process in shared.processes:
            process.kill()
    pool.shutdown(cancel_futures=True)
    for process in shared.processes:
        process.wait()
