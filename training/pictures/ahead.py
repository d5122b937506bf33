"""Reads ahead: many small files behind a network, each of which takes a while to come, however small. Starts threads.

What is read is handed on in the order that it was asked for, so that nobody can tell which thread was faster.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, wait
from functools import partial
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

IN_FLIGHT: Final = 16

Given = TypeVar("Given")
Made = TypeVar("Made")


def read_ahead(
    read: Callable[[Given], Made], items: Iterable[Given], *, in_flight: int = IN_FLIGHT
) -> Generator[Future[Made], None, None]:
    """Yield for each item, in order, what holds what was read of it: its `result()` is that, or raises as `read` did.

    At most `in_flight` items are being read, or read and not yet taken: that bounds memory. Close the generator
    (`contextlib.closing`) where it may be left early: nothing more is begun then, and no thread stays.
    """
    rest = iter(items)
    waiting: deque[Future[Made]] = deque()
    todo: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def begin(item: Given) -> None:
        future: Future[Made] = Future()
        waiting.append(future)
        todo.put(partial(_fulfil, future, partial(read, item)))

    try:
        for item in islice(rest, in_flight):
            begin(item)
            # A daemon, and none of a pool, which Python would join when it exits: a read may wait for a dead network.
            Thread(target=_work, args=(todo,), name="read-ahead", daemon=True).start()
        while waiting:
            wait((waiting[0],))
            for item in islice(rest, 1):
                begin(item)
            yield waiting.popleft()
    finally:
        for future in waiting:
            future.cancel()
        for _ in range(in_flight):
            todo.put(None)


def _work(todo: SimpleQueue[Callable[[], None] | None]) -> None:
    while task := todo.get():
        task()
        del task  # with what it has read: the next one may be long in coming


def _fulfil(future: Future[Made], read: Callable[[], Made]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(read())
    except BaseException as error:  # noqa: BLE001  # it is raised in the thread that takes it
        future.set_exception(error)
