"""Ended connections to the embedded Modal: nothing of them stays in the plane's memory."""

from __future__ import annotations

import asyncio

from grpclib.server import Server

import trimtab.emulation.modal.daemon as _daemon  # noqa: F401 - sets how soon grpclib lets go


async def _kept_after(connections: int) -> int:
    server = Server([])
    await server.start("127.0.0.1", 0)
    try:
        port = server._server.sockets[0].getsockname()[1]
        for _ in range(connections):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.01)  # the server hears of the end in a turn of its own
        return len(server._handlers)
    finally:
        server.close()
        await server.wait_closed()


def test_at_most_the_newest_two_connections_are_remembered_when_all_have_ended() -> None:
    assert asyncio.run(_kept_after(9)) <= 2
