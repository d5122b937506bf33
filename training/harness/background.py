"""One piece of work at a time beside the learning: writing a checkpoint, copying it to a bucket."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Background:
    """Does one thing at a time in a thread. What it meets is raised in whoever looks after it, once."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Say whether something is being done."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, work: Callable[[], None]) -> None:
        """Begin the work, once what was begun before is done. Raises what that met."""
        self.wait()
        # A daemon: where the process has to end, an unfinished save is what a killed one would be, and loses nothing.
        self._thread = threading.Thread(target=self._do, args=(work,), name=self._name, daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Raise what the work met, when it is done."""
        if not self.is_busy:
            self.wait()

    def wait(self) -> None:
        """Wait for the end of the work. Raises what it met."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _do(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  # it is raised in the thread that learns
            self._error = error
