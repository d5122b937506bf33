"""Many things at once, by threads that die with the process: an interrupt waits for none of them.

concurrent.futures joins its threads even at the interpreter's exit, so that one that waits for a dead server would keep
a person's Ctrl-C waiting, too. Touches nothing by itself.
"""

from __future__ import annotations

from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Item = TypeVar("Item")


def take_turns(items: Iterable[Item], work: Callable[[Item], object], *, threads: int) -> None:
    """Do the work for every item, by so many threads; the first failure ends the rest, and is raised when they ended.

    Items are taken one by one. An interrupt of the waiting thread is raised at once.
    """
    left, lock, is_over = iter(items), Lock(), Event()
    ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def go_on() -> None:
        try:
            while not is_over.is_set():
                with lock:
                    item = next(left, _END)
                if item is _END:
                    break
                work(item)  # type: ignore[arg-type]  # it is not the end
        except BaseException as error:  # noqa: BLE001  # raised by who waits
            is_over.set()
            ended.put(error)
        else:
            ended.put(None)

    for number in range(threads):
        Thread(target=go_on, name=f"turn {number}", daemon=True).start()
    try:
        errors = [error for _ in range(threads) if (error := ended.get()) is not None]
    finally:
        is_over.set()
    if errors:
        raise errors[0]


_END = object()
