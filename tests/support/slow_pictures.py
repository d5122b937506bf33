"""A sound picture that keeps its decoder at work for seconds, and what kills a decoder that is at it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import psutil


def in_digits(side: int = 4000) -> bytes:
    """Return a picture that Pillow reads digit by digit, in Python."""
    return b"P2\n%d %d\n255\n" % (side, side) + b"7 " * side**2


def wait_until(is_so: Callable[[], bool], within_s: float = 60) -> None:
    """Return once it is so."""
    ends = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < ends, "it did not come to pass"
        time.sleep(0.02)


def is_alive(number: int) -> bool:
    """Tell whether a process is there and has not ended."""
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def at_work(numbers: Iterable[int]) -> psutil.Process | None:
    """Return a process that has taken so much of a processor that it must be decoding: to start takes 0.2 s."""
    for number in numbers:
        try:
            process = psutil.Process(number)
            if process.status() != psutil.STATUS_ZOMBIE and sum(process.cpu_times()[:2]) > 0.6:
                return process
        except psutil.NoSuchProcess:
            continue
    return None


def kill_at_work(numbers: Callable[[], Iterable[int]]) -> None:
    """Wait until one of some decoders is at work on such a picture, and kill it."""
    wait_until(lambda: at_work(numbers()) is not None)
    process = at_work(numbers())
    assert process is not None
    process.kill()
    wait_until(lambda: not is_alive(process.pid))
