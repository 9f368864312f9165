"""granian by its own interface, RSGI: one process, the snapshot encoded once per tick."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import uvloop
from granian.constants import Interfaces
from granian.server.embed import Server

from observability.bench.peers.ticks import HEALTH, from_command_line

JSON = [("content-type", "application/json")]


async def main() -> None:
    port, ticks = from_command_line()
    clients: dict[Any, None] = {}
    encoded = orjson.dumps(ticks.snapshot)
    health = orjson.dumps(HEALTH)

    async def send() -> None:
        nonlocal encoded
        encoded = orjson.dumps(ticks.snapshot)
        text = encoded.decode()
        for transport in list(clients):
            try:
                await transport.send_str(text)
            except Exception:  # whatever a closed connection raises here: it is gone
                clients.pop(transport, None)

    async def app(scope: Any, protocol: Any) -> None:
        if scope.proto == "ws":
            transport = await protocol.accept()
            clients[transport] = None
            while True:
                message = await transport.receive()
                if message.kind == 0:  # closed
                    break
            clients.pop(transport, None)
            protocol.close()
        elif scope.path == "/api/metrics/current":
            protocol.response_bytes(200, JSON, encoded)
        elif scope.path == "/health":
            protocol.response_bytes(200, JSON, health)
        else:
            protocol.response_empty(404, [])

    server = Server(app, address="127.0.0.1", port=port, interface=Interfaces.RSGI, backlog=4096, log_enabled=False)
    await asyncio.gather(server.serve(), ticks.run(send))


if __name__ == "__main__":
    uvloop.run(main())
