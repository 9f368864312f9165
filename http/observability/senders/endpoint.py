"""`/ws/ingest`: the endpoint of senders of events."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final

from observability.access.authorization import OriginCheck, Role
from observability.clocks.clock import Clock
from observability.http11.messages import Request
from observability.ingest.gate import Gate
from observability.memory.counters import Counters
from observability.senders.sender import Sender
from observability.websocket.connection import Accepted
from observability.websocket.endpoint import WebSocketEndpoint

# Each sender may have as many unanswered bytes as one message may have.
MAX_SENDERS: Final = 256


class SenderEndpoint(WebSocketEndpoint[Sender]):
    """Accepts senders."""

    paths: ClassVar[tuple[str, ...]] = ("/ws/ingest",)
    role: ClassVar[Role] = "write"
    clients_are: ClassVar[str] = "places for senders"

    def __init__(
        self,
        gate: Gate,
        event_clock: Clock,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        *,
        origins: OriginCheck,
        heartbeat_seconds: float,
        control_frames_per_second: int = 0,
    ) -> None:
        """`control_frames_per_second` is the rate of each sender; 0 means no limit."""
        super().__init__(loop, max_clients=MAX_SENDERS, origins=origins, heartbeat_seconds=heartbeat_seconds)
        self._gate = gate
        self._event_clock = event_clock
        self._heartbeat_seconds = heartbeat_seconds
        self._control_frames_per_second = control_frames_per_second
        self._senders = counters.gauge("ingest_senders_active", "WebSocket senders of events connected now")

    def make_client(self, request: Request, accepted: Accepted) -> Sender:
        return Sender(accepted, self._gate, self._event_clock, self._heartbeat_seconds, self._control_frames_per_second)

    def on_count(self, clients: int) -> None:
        self._senders.set(clients)
