"""FastAPI and uvicorn with the snapshot encoded once per tick, by orjson: every client and request gets that string."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import uvicorn
from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

from observability.bench.peers.ticks import HEALTH, from_command_line


def main() -> None:
    port, ticks = from_command_line()
    clients: set[WebSocket] = set()
    encoded = orjson.dumps(ticks.snapshot)

    async def broadcast() -> None:
        nonlocal encoded
        encoded = orjson.dumps(ticks.snapshot)
        text = encoded.decode()
        for client in list(clients):
            try:
                await client.send_text(text)
            except (RuntimeError, WebSocketDisconnect):
                clients.discard(client)

    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        clients.add(websocket)
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()
        clients.discard(websocket)

    async def current() -> Response:
        return Response(encoded, media_type="application/json")

    async def health() -> dict[str, str]:
        return HEALTH

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(ticks.run(broadcast))
        yield
        task.cancel()

    app = FastAPI(lifespan=lifespan)
    app.add_api_route("/api/metrics/current", current)
    app.add_api_route("/health", health)
    app.add_api_websocket_route("/ws/metrics", stream)
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", log_level="error", access_log=False)


if __name__ == "__main__":
    main()
