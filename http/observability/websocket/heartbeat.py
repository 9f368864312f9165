"""The heartbeat of WebSocket clients: pings them, and closes those that have stopped answering."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from observability.websocket.close_codes import CloseCode
from observability.websocket.connection import WebSocketConnection

logger = logging.getLogger(__name__)

# Clients are pinged in this many groups, spread over the interval, so that pings never leave in one burst.
PING_GROUPS: Final = 16
SILENT_HEARTBEATS_ALLOWED: Final = 2


class ClientPinger:
    """Pings every client once per interval, and closes with 1001 a client that has sent nothing for two intervals."""

    def __init__(
        self, clients: Collection[WebSocketConnection], interval_seconds: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._clients = clients
        self._pause_seconds = interval_seconds / PING_GROUPS
        self._loop = loop
        self._group = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(self._pause_seconds, self._ping_group)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ping_group(self) -> None:
        for client in tuple(self._clients):
            if client.number % PING_GROUPS != self._group:
                continue
            client.silent_heartbeats += 1
            if client.silent_heartbeats > SILENT_HEARTBEATS_ALLOWED:
                logger.info("websocket %s: no sign of life for two heartbeats, closing", client.peer)
                client.close(CloseCode.GOING_AWAY, "no sign of life")
            else:
                client.send_ping()
        self._group = (self._group + 1) % PING_GROUPS
        self.start()
