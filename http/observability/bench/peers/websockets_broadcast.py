"""The websockets package on uvloop: `broadcast()` sends one encoded snapshot to all connections. No documents."""

from __future__ import annotations

import orjson
import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

from observability.bench.peers.ticks import from_command_line


async def main() -> None:
    port, ticks = from_command_line()
    clients: set[ServerConnection] = set()

    async def stream(connection: ServerConnection) -> None:
        clients.add(connection)
        try:
            await connection.wait_closed()
        finally:
            clients.discard(connection)

    async def send() -> None:
        broadcast(clients, orjson.dumps(ticks.snapshot).decode())

    async with serve(stream, "127.0.0.1", port, backlog=4096):
        await ticks.run(send)


if __name__ == "__main__":
    uvloop.run(main())
