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
# The loop runs after so many pings, which take a millisecond or less.
PINGS_PER_TURN: Final = 64
SILENT_HEARTBEATS_ALLOWED: Final = 2


class ClientPinger:
    """Pings every client once per interval, and closes with 1001 a client that has sent nothing for two intervals.
    Start it for each new client: it stops once there are none."""

    def __init__(
        self, clients: Collection[WebSocketConnection], interval_seconds: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._clients = clients
        self._pause_seconds = interval_seconds / PING_GROUPS
        self._loop = loop
        self._group = 0
        # Of the group: clients that have not been pinged yet.
        self._due: list[WebSocketConnection] = []
        self._next: asyncio.Handle | None = None

    def start(self) -> None:
        if self._next is None:
            self._next = self._loop.call_later(self._pause_seconds, self._ping_group)

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _ping_group(self) -> None:
        group, self._group = self._group, (self._group + 1) % PING_GROUPS
        self._due = [client for client in self._clients if client.number % PING_GROUPS == group]
        self._ping_some()

    def _ping_some(self) -> None:
        due = self._due
        for _ in range(min(PINGS_PER_TURN, len(due))):
            _ping(due.pop())
        if due:
            self._next = self._loop.call_soon(self._ping_some)
            return
        self._next = None
        if self._clients:
            self.start()


def _ping(client: WebSocketConnection) -> None:
    client.silent_heartbeats += 1
    if client.silent_heartbeats > SILENT_HEARTBEATS_ALLOWED:
        logger.info(
            "websocket %s: no sign of life for two heartbeats, closing", client.peer, extra={"ids": client.log_ids()}
        )
        client.close(CloseCode.GOING_AWAY, "no sign of life")
    else:
        client.send_ping()
