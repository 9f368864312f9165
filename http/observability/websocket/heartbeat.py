"""The heartbeat of WebSocket clients: pings them, and closes those that have stopped answering."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from observability.websocket.close_codes import CloseCode
from observability.websocket.connection import WebSocketConnection

logger = logging.getLogger(__name__)

# Clients are pinged in this many groups, spread over the interval, so that pings never leave in one burst.
PING_GROUPS: Final = 16
# The loop runs after so many pings, which take half a millisecond or less.
PINGS_PER_TURN: Final = 32
SILENT_HEARTBEATS_ALLOWED: Final = 2


class ClientPinger:
    """Pings every client once per interval, and closes with 1001 a client that has sent nothing for two intervals.

    The clients, by their numbers, are a ring of groups; each has its turn once per interval:

        0: 16 32 48 ...    1: 1 17 33 ...    ...    15: 15 31 47 ...
    """

    def __init__(self, interval_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._groups: list[dict[WebSocketConnection, None]] = [{} for _ in range(PING_GROUPS)]
        self._pause_seconds = interval_seconds / PING_GROUPS
        self._loop = loop
        self._group = 0
        self._clients = 0
        # Of the group: clients that have not been pinged yet.
        self._due: list[WebSocketConnection] = []
        self._next: asyncio.Handle | None = None

    def add(self, client: WebSocketConnection) -> None:
        """Pings a client from now on."""
        self._groups[client.number % PING_GROUPS][client] = None
        self._clients += 1
        if self._next is None:
            self._wait()

    def discard(self, client: WebSocketConnection) -> None:
        if self._groups[client.number % PING_GROUPS].pop(client, self) is None:
            self._clients -= 1

    def stop(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None

    def _wait(self) -> None:
        self._next = self._loop.call_later(self._pause_seconds, self._ping_group)

    def _ping_group(self) -> None:
        self._due = list(self._groups[self._group])
        self._group = (self._group + 1) % PING_GROUPS
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
            self._wait()


def _ping(client: WebSocketConnection) -> None:
    client.silent_heartbeats += 1
    if client.silent_heartbeats > SILENT_HEARTBEATS_ALLOWED:
        logger.info(
            "websocket %s: no sign of life for two heartbeats, closing", client.peer, extra={"ids": client.log_ids()}
        )
        client.close(CloseCode.GOING_AWAY, "no sign of life")
    else:
        client.send_ping()
