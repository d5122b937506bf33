"""Where steps run: in the calling thread, or several side by side, each in a thread that an interrupt reaches."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self, TypeVar

T = TypeVar("T")


class Workers(Protocol):
    """Takes calls; what ends the `with` block by an exception also ends the calls that still run."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Return once no call runs any more."""

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Run a call, now or soon."""


def workers(jobs: int) -> Workers:
    """Return what runs as many calls at the same time; one runs where it is submitted, and raises there."""
    return _Inline() if jobs == 1 else _SideBySide(jobs)


class _Inline:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, call: Callable[[], T]) -> Future[T]:
        done: Future[T] = Future()
        done.set_result(call())
        return done


class _SideBySide:
    """Python delivers an interrupt to the main thread only; this hands it on, so that what runs in the others tidies
    up as it would in the main one.
    """

    def __init__(self, jobs: int) -> None:
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="step")
        self._running: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for thread in tuple(self._running):
                _interrupt(thread)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def submit(self, call: Callable[[], T]) -> Future[T]:
        return self._pool.submit(self._run, call)

    def _run(self, call: Callable[[], T]) -> T:
        thread = threading.get_ident()
        self._running.add(thread)
        try:
            return call()
        finally:
            self._running.discard(thread)


def _interrupt(thread: int) -> None:
    """Raise KeyboardInterrupt in a thread, at its next step in Python (C API: PyThreadState_SetAsyncExc)."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt))
