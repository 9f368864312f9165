"""picows on uvloop: the same library as ours sends the snapshot in a bare loop, and the server does nothing else."""

from __future__ import annotations

import orjson
import uvloop
from picows import WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

from observability.bench.peers.ticks import from_command_line

# In front of a message, for the header that picows writes there.
HEADROOM = 14

clients: dict[WSTransport, None] = {}


class Client(WSListener):
    """A client that is in the loop while it is connected."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        clients[transport] = None

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        clients.pop(transport, None)


def accept(request: WSUpgradeRequest) -> Client:
    return Client()


async def main() -> None:
    port, ticks = from_command_line()

    async def send() -> None:
        data = orjson.dumps(ticks.snapshot)
        message = bytearray(HEADROOM) + data
        for transport in clients:
            transport.send_reuse_external_bytearray(WSMsgType.TEXT, message, HEADROOM)

    server = await ws_create_server(accept, "127.0.0.1", port, backlog=4096)
    async with server:
        await ticks.run(send)


if __name__ == "__main__":
    uvloop.run(main())
