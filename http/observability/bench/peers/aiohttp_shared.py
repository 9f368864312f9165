"""aiohttp on uvloop, with the snapshot encoded once per tick: every client and request gets that string."""

from __future__ import annotations

from contextlib import suppress

import orjson
import uvloop
from aiohttp import web

from observability.bench.peers.ticks import HEALTH, from_command_line


async def main() -> None:
    port, ticks = from_command_line()
    clients: set[web.WebSocketResponse] = set()
    encoded = orjson.dumps(ticks.snapshot)

    async def send() -> None:
        nonlocal encoded
        encoded = orjson.dumps(ticks.snapshot)
        text = encoded.decode()
        for client in list(clients):
            with suppress(ConnectionError):
                await client.send_str(text)

    async def stream(request: web.Request) -> web.WebSocketResponse:
        response = web.WebSocketResponse()
        await response.prepare(request)
        clients.add(response)
        try:
            async for _ in response:
                pass
        finally:
            clients.discard(response)
        return response

    async def current(request: web.Request) -> web.Response:
        return web.Response(body=encoded, content_type="application/json")

    async def health(request: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(HEALTH), content_type="application/json")

    app = web.Application()
    app.router.add_get("/api/metrics/current", current)
    app.router.add_get("/health", health)
    app.router.add_get("/ws/metrics", stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=4096).start()
    await ticks.run(send)


if __name__ == "__main__":
    uvloop.run(main())
