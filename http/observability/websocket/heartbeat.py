"""Pings WebSocket clients, and closes those that show no sign of life."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final, Protocol

from observability.websocket.connection import CloseCode

logger = logging.getLogger(__name__)

# Heartbeats are spread over this many parts of the interval, so that pings never come as one burst.
HEARTBEAT_SLICES: Final = 16
SILENT_HEARTBEATS_ALLOWED: Final = 2


class Peer(Protocol):
    """A client that is to show signs of life."""

    number: int
    peer: str
    silent_heartbeats: int

    def send_ping(self) -> None: ...

    def close(self, code: int, reason: str = "") -> None: ...


class Heartbeat:
    """Pings every client once per interval; one that showed no sign of life for two of them is closed with 1001."""

    def __init__(self, clients: Collection[Peer], interval_seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        self._clients = clients
        self._pause_seconds = interval_seconds / HEARTBEAT_SLICES
        self._loop = loop
        self._slice = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(self._pause_seconds, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        for client in tuple(self._clients):
            if client.number % HEARTBEAT_SLICES != self._slice:
                continue
            client.silent_heartbeats += 1
            if client.silent_heartbeats > SILENT_HEARTBEATS_ALLOWED:
                logger.info("websocket %s: no sign of life for two heartbeats, closing", client.peer)
                client.close(CloseCode.GOING_AWAY, "no sign of life")
            else:
                client.send_ping()
        self._slice = (self._slice + 1) % HEARTBEAT_SLICES
        self.start()
