"""The metrics stream: what a WebSocket client is told when it connects, and what it may ask.

No framing here (see `websocket.py`) and no fan-out (see `broadcast.py`).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import count
from typing import Any, Final

import msgspec
from picows import WSMsgType

from observability.core.clock import Clock
from observability.core.frames import HEADROOM, FrameRing
from observability.core.snapshot import encode_json
from observability.core.timestamps import format_iso_ms
from observability.http.broadcast import Broadcaster
from observability.http.handshake import check_handshake
from observability.http.messages import Request, Response
from observability.http.refusals import Unavailable
from observability.http.websocket import Client, CloseCode, hand_over, limit_unsent

logger = logging.getLogger(__name__)

PATHS: Final = ("/ws/metrics", "/ws")
CHANNELS: Final = ("metrics",)
RETRY_AFTER_SECONDS: Final = 5
# A client that keeps sending what is not understood is not one of ours.
MAX_ERRORS: Final = 10
# About two frames, and never less than TCP can send in one go.
MIN_UNSENT_BYTES: Final = 16 * 1024


class ClientMessage(msgspec.Struct, frozen=True):
    """What a client sends as JSON. The seed's dashboard asks for `health` where others `ping`."""

    type: str
    id: int | str | None = None


class MetricsStream:
    """The endpoint of the metrics stream; every client gets the same frames."""

    def __init__(
        self,
        frames: FrameRing,
        broadcaster: Broadcaster,
        event_clock: Clock,
        host_clock: Clock,
        *,
        interval_seconds: float,
        heartbeat_seconds: float,
        max_connections: int,
        allowed_origins: frozenset[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._frames = frames
        self._broadcaster = broadcaster
        self._event_clock = event_clock
        self._host_clock = host_clock
        self._interval_seconds = interval_seconds
        self._heartbeat_seconds = heartbeat_seconds
        self._max_connections = max_connections
        self._allowed_origins = allowed_origins
        self._loop = loop
        self._numbers = count(1)
        self._connected: set[Client] = set()
        self._empty = asyncio.Event()
        self._decode = msgspec.json.Decoder(ClientMessage).decode

    def upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        """Takes the connection over; raises Refusal for a bad handshake and when all places are taken."""
        key = check_handshake(request, self._allowed_origins)
        if len(self._connected) >= self._max_connections:
            raise Unavailable(f"all {self._max_connections} WebSocket connections are in use", RETRY_AFTER_SECONDS)
        client = Client(self, next(self._numbers), request.peer, self._loop)
        self._connected.add(client)
        self._empty.clear()
        hand_over(client, transport, key, received)
        return None

    def on_open(self, client: Client) -> None:
        frame = self._frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        limit_unsent(client.transport, max(MIN_UNSENT_BYTES, 2 * len(frame.buffer)))
        client.send_text(encode_json(self._greeting(client)))
        client.send_shared(WSMsgType.TEXT, frame.buffer, HEADROOM)
        self._broadcaster.add(client)

    def on_text(self, client: Client, text: str) -> None:
        if text == "ping":
            client.send_text(b"pong")
            return
        try:
            message = self._decode(text)
        except msgspec.DecodeError:
            self._refuse(client, "bad_message", "expected ping, or a JSON object with a type")
            return
        if message.type in ("ping", "health"):
            client.send_text(encode_json({"type": "pong", "id": message.id, "timestamp": self._timestamp()}))
        else:
            self._refuse(client, "unknown_type", f"no message type {message.type[:40]!r} is known here")

    def on_close(self, client: Client) -> None:
        self._connected.discard(client)
        if not self._connected:
            self._empty.set()
        self._broadcaster.discard(client)

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

    def _greeting(self, client: Client) -> dict[str, Any]:
        return {
            "type": "connected",
            "timestamp": self._timestamp(),
            "client_id": f"{self._frames.epoch}-{client.number}",
            "epoch": self._frames.epoch,
            "seq": self._frames.latest_seq,
            "update_frequency_hz": round(1 / self._interval_seconds, 3),
            "server_time": format_iso_ms(self._host_clock.time_ns()),
            "channels": CHANNELS,
            "heartbeat_interval": self._heartbeat_seconds,
        }

    def _refuse(self, client: Client, code: str, message: str) -> None:
        client.errors += 1
        client.send_text(
            encode_json({"type": "error", "code": code, "message": message, "timestamp": self._timestamp()})
        )
        if client.errors >= MAX_ERRORS:
            logger.info("websocket %s: %d messages not understood, closing", client.peer, client.errors)
            client.close(CloseCode.POLICY_VIOLATION, "too many messages not understood")

    def _timestamp(self) -> str:
        return format_iso_ms(self._event_clock.time_ns())
