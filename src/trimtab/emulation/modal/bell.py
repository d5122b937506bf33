"""Waiting for something of a name to change: the plane's long polls. Pure asyncio."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Bell:
    """Wakes who waits for a name. Keeps nothing about names for which nobody waits."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    def ring(self, name: str) -> None:
        """Wake all who wait for a name now."""
        for future in self._waiting.pop(name, ()):
            if not future.done():
                future.set_result(None)

    async def wait(self, name: str, timeout_s: float) -> None:
        """Return when the name rings, or after a time. Look first, then wait: between the two nothing else runs."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(name, set())
        waiting.add(future)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(max(timeout_s, 0)):
                    await future
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(name) is waiting:
                del self._waiting[name]
