"""The plane's loopback ports inside of a network namespace that has no network. Needs root.

A socket belongs to the namespace in which it was opened. So a thread of ours steps in, opens listeners on 127.0.0.1
there, and steps out; what they are told is passed on to the same ports here. Nothing else is reachable from inside.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from typing import Final

from trimtab.emulation.modal.mounts import enter

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET
_CHUNK_BYTES: Final = 256 * 1024


class Loopback:
    """Listeners inside, passed on to here."""

    def __init__(self, *, pid: int, ports: tuple[int, ...]) -> None:
        """`pid` is a process inside."""
        self._pid, self._ports = pid, ports
        self._servers: list[asyncio.Server] = []
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. Raises PermissionError without root, FileNotFoundError when the process has ended."""
        for listener, port in zip(await asyncio.to_thread(self._listeners), self._ports, strict=True):
            self._servers.append(
                await asyncio.start_server(
                    lambda reader, writer, port=port: self._pass_on(reader, writer, port),  # type: ignore[misc]
                    sock=listener,
                )
            )

    async def close(self) -> None:
        """Listen no longer, and end what is being passed on."""
        for server in self._servers:
            server.close()
        for task in self._passing:
            task.cancel()

    def _listeners(self) -> list[socket.socket]:
        inside = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY)
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            enter(inside, _NEW_NETWORK)
            try:
                return [socket.create_server(("127.0.0.1", port)) for port in self._ports]
            finally:
                enter(here, _NEW_NETWORK)
        finally:
            os.close(inside)
            os.close(here)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        for one, other in ((reader, to_writer), (to_reader, writer)):
            task = asyncio.create_task(_pump(one, other))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    writer.close()
