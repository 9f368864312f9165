"""A client of the stream that reads it as server-sent events: a browser's EventSource, or any HTTP client."""

from __future__ import annotations

import asyncio
import random
from typing import Any, ClassVar, Final

import msgspec
from picows import WSMsgType

from observability.http11.parser import MAX_DROPPED_BYTES
from observability.snapshot.frames import HEADROOM, Frame
from observability.stream.event_stream import HEARTBEAT, EventFraming, Position, encode_event, event_id
from observability.stream.state import StreamState
from observability.stream.subscriber import Subscriber
from observability.stream.subscriptions import StreamQuery, Subscription
from observability.stream.views import Message
from observability.websocket.close_codes import NO_STATUS
from observability.websocket.connection import Accepted
from observability.websocket.inbound import FrameConsumer, Inbound

# How long a browser waits before it reconnects; each is told another time, so that they do not all come at once.
MIN_RETRY_MS: Final = 500
MAX_RETRY_MS: Final = 1500


class EventSubscriber(Subscriber):
    """A subscriber whose messages are events, and that sends nothing. Its subscription is that of its URL."""

    takes_events: ClassVar[bool] = True
    ping: ClassVar[bytes] = HEARTBEAT

    __slots__ = ("_back",)

    def __init__(
        self,
        stream: StreamState,
        accepted: Accepted,
        query: StreamQuery,
        subscription: Subscription,
        back: Position | None,
    ) -> None:
        """`back` is where the client's last connection ended, if it comes back."""
        super().__init__(
            stream, accepted, query if back is None else msgspec.structs.replace(query, since=back.since), subscription
        )
        self._back = back
        self._accepts_lag = True
        # A client has no other way to say goodbye than to end the connection.
        self.close_code = NO_STATUS

    def make_framing(self, transport: asyncio.Transport) -> Any:
        return EventFraming(transport, self._lane_id)

    def make_inbound(self, transport: asyncio.Transport, received: bytes) -> Inbound:
        return UnreadInbound(self, transport, self.loop, b"")

    def on_open(self, answer: bytes) -> None:
        super().on_open(answer + b"retry: %d\n\n" % random.randint(MIN_RETRY_MS, MAX_RETRY_MS))

    def lane_since(self, name: str) -> int | None:
        back = self._back
        seq = None if back is None else back.lanes.get(name)
        if back is None or seq is None:
            return super().lane_since(name)
        lane = self._stream.feed.lanes[name]
        has_restarted = back.epoch != self._stream.frames.epoch
        # A server without a store counts from 1 after a restart: all that it has is new.
        return 0 if seq > lane.seq or (has_restarted and lane.archive is None) else seq

    def send_message(self, message: Message) -> None:
        if self._lanes:
            self._send_snapshot(message.payload, message.seq)
        else:
            self.send_shared(WSMsgType.TEXT, message.event, HEADROOM)

    def send_first(self, answer: bytes, greeting: bytes, snapshot: Message | None) -> None:
        self.transport.write(answer)
        self.send_text(greeting)
        if snapshot is not None:
            self.send_message(snapshot)

    def send_kept(self, frame: Frame) -> None:
        self._send_snapshot(frame.payload, frame.seq)

    def send_ping(self) -> None:
        # A peer that has taken everything is there.
        if not self.buffered_bytes():
            self.silent_heartbeats = 0
        super().send_ping()

    def on_drained(self) -> None:
        self.silent_heartbeats = 0
        super().on_drained()

    def close(self, code: int, reason: str = "") -> None:
        """Sends `close` and ends the response: the peer has no Close to answer with."""
        super().close(code, reason)
        self.end()

    def _send_snapshot(self, payload: bytes, seq: int) -> None:
        self.transport.write(encode_event(payload, self._id_at(seq)))

    def _lane_id(self) -> bytes:
        """Returns the id of a message that is no snapshot."""
        return self._id_at(self.last_seq) if self._lanes else b""

    def _id_at(self, seq: int) -> bytes:
        lanes = {name: reader.last_seq for name, reader in self._lanes.items()}
        return event_id(self._stream.frames.epoch, seq, lanes)


class UnreadInbound(Inbound):
    """Drops what a peer sends after its request, and ends a connection that sends too much."""

    __slots__ = ("_dropped_bytes",)

    def __init__(
        self, consumer: FrameConsumer, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, received: bytes
    ) -> None:
        super().__init__(consumer, transport, loop, received)
        self._dropped_bytes = 0

    def start(self) -> None:
        """There is nothing to read."""

    def resume(self) -> None:
        """There is nothing to read."""

    def data_received(self, data: bytes) -> None:
        self._dropped_bytes += len(data)
        if self._dropped_bytes > MAX_DROPPED_BYTES:
            self._transport.abort()
