"""The endpoint `/ws/ingest`: who may send events, and how all senders are let go.

No sender here (see `ingest_client.py`) and no handshake rules (see `handshake.py`, `extensions.py`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import Final

from observability.access.authorization import chosen_subprotocol
from observability.clocks.clock import Clock
from observability.http11.messages import Request, Response
from observability.http11.refusals import Unavailable
from observability.ingest.gate import Gate
from observability.memory.counters import Counters
from observability.senders.sender import Sender
from observability.websocket.connection import hand_over
from observability.websocket.extensions import answer_fields, negotiate
from observability.websocket.handshake import check_handshake
from observability.websocket.heartbeat import Heartbeat

PATH: Final = "/ws/ingest"
# Each may have a message's worth of bytes waiting.
MAX_SENDERS: Final = 256


class IngestStream:
    """Takes upgraded connections over and keeps track of them."""

    def __init__(
        self,
        gate: Gate,
        event_clock: Clock,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        *,
        heartbeat_seconds: float,
        allowed_origins: frozenset[str],
    ) -> None:
        self._gate = gate
        self._event_clock = event_clock
        self._loop = loop
        self._heartbeat_seconds = heartbeat_seconds
        self._allowed_origins = allowed_origins
        self._numbers = count(1)
        self._connected: dict[Sender, None] = {}
        self._senders = counters.gauge("ingest_senders_active", "WebSocket senders of events connected now")
        self._empty = asyncio.Event()
        self.heartbeat = Heartbeat(self._connected, heartbeat_seconds, loop)

    def upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        """Takes the connection over; raises Refusal for a bad handshake and when all places are taken."""
        key = check_handshake(request, self._allowed_origins)
        if len(self._connected) >= MAX_SENDERS:
            raise Unavailable(f"all {MAX_SENDERS} places for senders are in use")
        deflate = negotiate(request.header(b"sec-websocket-extensions"))
        fields = answer_fields(deflate)
        subprotocol = chosen_subprotocol(request)
        if subprotocol is not None:
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        client = Sender(
            next(self._numbers),
            request.client_address,
            self._loop,
            self._gate,
            self._event_clock,
            self._heartbeat_seconds,
            self._on_end,
        )
        client.takes_deflate = deflate is not None
        self._connected[client] = None
        self._senders.set(len(self._connected))
        self._empty.clear()
        hand_over(client, transport, key, received, fields)
        return None

    async def close(self, grace_seconds: float) -> None:
        """Answers what has been taken, tells every sender that the server goes away (1001), cuts those that stay."""
        self.heartbeat.stop()
        for client in tuple(self._connected):
            client.finish()
        if self._connected:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_seconds)
        for client in tuple(self._connected):
            client.abort()
        # Transports report their end on the loop's next turn.
        await asyncio.sleep(0)

    def _on_end(self, client: Sender) -> None:
        self._connected.pop(client, None)
        self._senders.set(len(self._connected))
        if not self._connected:
            self._empty.set()
