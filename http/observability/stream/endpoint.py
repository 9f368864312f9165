"""The endpoint of the metrics stream: who may connect, and how all of them are let go.

No client here (see `stream_client.py`) and no handshake rules (see `handshake.py`, `extensions.py`).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import count
from typing import Final

from observability.access.authorization import chosen_subprotocol
from observability.access.limits import ClientCount, ProcessClientCount
from observability.http11.messages import Request, Response
from observability.http11.refusals import Unavailable
from observability.stream.state import StreamState
from observability.stream.subscriber import Subscriber
from observability.stream.subscriptions import parse_url
from observability.websocket.connection import CloseCode, hand_over
from observability.websocket.deflate import DeflateMemory
from observability.websocket.extensions import answer_fields, negotiate
from observability.websocket.handshake import check_handshake

PATHS: Final = ("/ws/metrics", "/ws")


class MetricsStream:
    """Takes upgraded connections over and keeps track of them."""

    def __init__(
        self,
        state: StreamState,
        loop: asyncio.AbstractEventLoop,
        *,
        max_connections: int,
        allowed_origins: frozenset[str],
        client_count: ClientCount | None = None,
    ) -> None:
        """`client_count` counts beyond this process, if the limit holds for several."""
        self._state = state
        self._max_connections = max_connections
        self._allowed_origins = allowed_origins
        self._client_count = ProcessClientCount() if client_count is None else client_count
        self._loop = loop
        self._numbers = count(1)
        self._connected: set[Subscriber] = set()
        self._empty = asyncio.Event()

    @property
    def lane_backlog(self) -> int:
        """Messages of the lanes that wait for clients, all of them together."""
        return sum(client.lane_backlog for client in self._connected)

    def upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        """Takes the connection over; raises Refusal for a bad handshake and when all places are taken."""
        key = check_handshake(request, self._allowed_origins)
        query, subscription = parse_url(request, self._state.views.channels)
        deflate = negotiate(request.header(b"sec-websocket-extensions"))
        memory = None if deflate is None else DeflateMemory(takeover=deflate.server_takeover)
        fields = answer_fields(deflate)
        subprotocol = chosen_subprotocol(request)
        if subprotocol is not None:
            fields.append(("Sec-WebSocket-Protocol", subprotocol))
        if self._client_count.set(len(self._connected) + 1) > self._max_connections:
            self._client_count.set(len(self._connected))
            raise Unavailable(f"all {self._max_connections} WebSocket connections are in use")
        number, address = next(self._numbers), request.client_address
        client = Subscriber(self._state, number, address, self._loop, query, subscription, memory, self._on_end)
        self._connected.add(client)
        self._empty.clear()
        hand_over(client, transport, key, received, fields)
        return None

    async def close(self, grace_seconds: float) -> None:
        """Tells every client that the server goes away (1001), waits for them, and cuts those that stay."""
        for client in tuple(self._connected):
            client.close(CloseCode.GOING_AWAY, "server shutdown")
        if self._connected:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_seconds)
        for client in tuple(self._connected):
            client.abort()
        # Transports report their end on the loop's next turn.
        await asyncio.sleep(0)

    def _on_end(self, client: Subscriber) -> None:
        self._connected.discard(client)
        self._client_count.set(len(self._connected))
        if not self._connected:
            self._empty.set()
