"""FastAPI and uvicorn as the API document describes them: a manager sends the snapshot as JSON to one client after the
other, and each of them, as each request, has it encoded anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from observability.bench.peers.ticks import HEALTH, from_command_line


def main() -> None:
    port, ticks = from_command_line()
    clients: set[WebSocket] = set()

    async def broadcast() -> None:
        for client in list(clients):
            try:
                await client.send_json(ticks.snapshot)
            except (RuntimeError, WebSocketDisconnect):
                clients.discard(client)

    async def stream(websocket: WebSocket) -> None:
        await websocket.accept()
        clients.add(websocket)
        with suppress(WebSocketDisconnect):
            while True:
                await websocket.receive_text()
        clients.discard(websocket)

    async def current() -> dict[str, Any]:
        return ticks.snapshot

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
