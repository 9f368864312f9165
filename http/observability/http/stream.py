"""The metrics stream: one client of it, and the endpoint they all share.

No framing here (see `websocket.py`), no fan-out (see `broadcast.py`), no joining of views (see `views.py`).
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import Any, Final

import msgspec
from picows import WSMsgType

from observability.core.clock import Clock
from observability.core.frames import FRAMES_KEPT, HEADROOM, Frame, FrameRing
from observability.core.snapshot import SnapshotIndex, encode_json
from observability.core.timestamps import format_iso_ms
from observability.http.broadcast import Broadcaster
from observability.http.handshake import check_handshake
from observability.http.lanes import Lane, LaneReader
from observability.http.messages import Request, Response
from observability.http.refusals import Unavailable
from observability.http.subscriptions import (
    DEFAULT,
    ClientMessage,
    StreamQuery,
    Subscription,
    SubscriptionError,
    parse_text_form,
    parse_url,
    subscribed,
    unsubscribed,
)
from observability.http.views import Message, View, Views
from observability.http.websocket import Client, CloseCode, hand_over, limit_unsent

logger = logging.getLogger(__name__)

PATHS: Final = ("/ws/metrics", "/ws")
RETRY_AFTER_SECONDS: Final = 5
MAX_VIEWS: Final = 256
# A client that keeps sending what is not understood is not one of ours.
MAX_ERRORS: Final = 10
# About two frames, and never less than TCP can send in one go.
MIN_UNSENT_BYTES: Final = 16 * 1024


class StreamClient(Client):
    """One client of the stream: its subscription, and how far it has been served."""

    def __init__(
        self,
        stream: MetricsStream,
        number: int,
        peer: str,
        loop: asyncio.AbstractEventLoop,
        query: StreamQuery,
        subscription: Subscription,
    ) -> None:
        super().__init__(number, peer, loop)
        self.subscription = subscription
        self.view: View | None = None
        self.frames_skipped = 0
        self.errors = 0
        """Messages of this client that were not understood."""
        self._stream = stream
        self._query = query
        # Clients of the first API know no `lag`: it goes to those who have asked for something.
        self._knows_lag = subscription != DEFAULT or query.since is not None
        self._last_seq = 0
        self._skipped_now = 0
        self._replay_seq: int | None = None
        self._lanes: dict[str, LaneReader] = {}

    # -- the tick

    def skip_frame(self) -> None:
        """The client has not taken what was sent before: it gets a newer frame instead of this one."""
        self.frames_skipped += 1
        self._skipped_now += 1
        if self._lanes:
            self.send_lanes()

    def send_frame(self, frame: Frame) -> None:
        """Sends the client's view of the newest frame."""
        # hot: once per client per tick (benchmarks/bench_fanout.py)
        if self._lanes:
            self.send_lanes()
        view = self.view
        if view is None or self.is_closing:
            return
        if self._replay_seq is not None:
            self._replay()
            return
        if self._skipped_now:
            self._tell_lag()
        is_next = self._last_seq == frame.seq - 1
        message = view.delta(frame) if view.key.is_delta and is_next else view.full(frame)
        self._last_seq = frame.seq
        self.send_message(message)

    def send_message(self, message: Message) -> None:
        """Sends one shared message."""
        self.send_shared(WSMsgType.TEXT, message.buffer, HEADROOM)

    def _tell_lag(self) -> None:
        skipped, self._skipped_now = self._skipped_now, 0
        if self._knows_lag:
            self.send_text(encode_json({"type": "lag", "skipped": skipped, "timestamp": self._stream.timestamp()}))

    def _replay(self) -> None:
        """Sends frames that were missed while away, as long as the client takes them."""
        frames = self._stream.frames
        seq = self._replay_seq
        while seq is not None and not self.buffered_bytes():
            frame = frames.find(seq)
            if frame is None:
                # The client reads slower than the ring forgets; from here on it is as any slow reader.
                self._skipped_now += frames.latest_seq - seq
                seq = None
                break
            self.send_shared(WSMsgType.TEXT, frame.buffer, HEADROOM)
            self._last_seq = seq
            seq = seq + 1 if seq < frames.latest_seq else None
        self._replay_seq = seq

    # -- lanes

    def send_lanes(self) -> None:
        """Sends what the lanes hold for this client until its buffer fills; one that lags too far is closed."""
        for reader in self._lanes.values():
            while not self.is_closing and not self.buffered_bytes():
                message = None if reader.has_lost else reader.next_message()
                if message is None:
                    break
                self.send_text(message)
            if reader.has_lost or reader.backlog > self._stream.max_backlog:
                logger.info("websocket %s: %s behind in lane %s, closing", self.peer, reader.backlog, reader.lane.name)
                self.close(CloseCode.TRY_AGAIN_LATER, "too slow for a lossless channel")
                return

    def on_drained(self) -> None:
        # The lanes go first; the metrics wait for the next tick, whose frame is newer.
        self.send_lanes()

    # -- callbacks

    def on_open(self) -> None:
        stream = self._stream
        frame = stream.latest_frame()
        limit_unsent(self.transport, max(MIN_UNSENT_BYTES, 2 * len(frame.buffer)))
        if not self._enter_view():
            self.close(CloseCode.TRY_AGAIN_LATER, "too many different subscriptions are in use")
            return
        self._replay_seq = stream.resumable_seq(self._query.since, self.subscription)
        self.send_text(encode_json(self._greeting()))
        self._enter_lanes(dict.fromkeys(self.subscription.lanes, self._query.lane_since))
        if self._replay_seq is not None:
            self._replay()
        elif self.view is not None:
            self.send_message(self.view.full(frame))
            self._last_seq = frame.seq
        self.send_lanes()
        stream.broadcaster.add(self)

    def on_message(self, message: bytes, is_text: bool) -> None:
        if not is_text:
            self.close(CloseCode.UNSUPPORTED_DATA, "expected text")
        elif message == b"ping":
            self.send_text(b"pong")
        else:
            try:
                self._answer(self._stream.decode(message))
            except SubscriptionError as error:
                self._refuse(error.code, str(error))

    def on_closed(self) -> None:
        if self.view is not None:
            self._stream.views.leave(self.view)
            self.view = None
        for reader in self._lanes.values():
            reader.close()
        self._lanes.clear()
        self._stream.on_closed(self)

    # -- requests

    def _answer(self, message: ClientMessage) -> None:
        if message.type in ("ping", "health"):
            self._send({"type": "pong", "id": message.id, "timestamp": self._stream.timestamp()})
        elif message.type == "subscribe":
            self._change(message, subscribed(self.subscription, message, self._stream.views.channels))
        elif message.type == "unsubscribe":
            self._change(message, unsubscribed(self.subscription, message, self._stream.views.channels))
        else:
            raise SubscriptionError("unknown_type", f"no message type {message.type!r} is known here")

    def _change(self, message: ClientMessage, wanted: Subscription) -> None:
        before = self.subscription
        self._knows_lag = True
        self.subscription = wanted
        if not self._enter_view():
            self.subscription = before
            raise SubscriptionError("too_many_views", "too many different subscriptions are in use; ask again later")
        self._replay_seq = None
        since = message.lane_since or {}
        if wanted.symbols != before.symbols:
            self._leave_lanes(before.lanes)
        self._leave_lanes(before.lanes - wanted.lanes)
        self._enter_lanes({name: since.get(name) for name in wanted.lanes if name not in self._lanes})
        self._send(
            {
                "type": f"{message.type}d",
                "id": message.id,
                "timestamp": self._stream.timestamp(),
                **wanted.describe(self._stream.views.channels),
                "lanes": self._lane_states(),
            }
        )
        if self.view is not None and message.type == "subscribe":
            frame = self._stream.latest_frame()
            self.send_message(self.view.full(frame))
            self._last_seq = frame.seq
        self.send_lanes()

    def _enter_view(self) -> bool:
        """Moves to the view of the subscription; returns whether there was room for it."""
        key, views = self.subscription.view_key, self._stream.views
        entered = None if key is None else views.enter(key)
        if key is not None and entered is None:
            return False
        if self.view is not None:
            views.leave(self.view)
        self.view = entered
        return True

    def _enter_lanes(self, since: dict[str, int | None]) -> None:
        for name, seq in since.items():
            self._lanes[name] = LaneReader.open(self._stream.lanes[name], self.subscription.symbols, seq)

    def _leave_lanes(self, names: frozenset[str]) -> None:
        for name in names:
            reader = self._lanes.pop(name, None)
            if reader is not None:
                reader.close()

    def _lane_states(self) -> dict[str, dict[str, int]]:
        """Per lane the newest sequence number, and the oldest that can still be replayed."""
        return {
            name: {"seq": reader.lane.seq, "oldest_seq": reader.lane.oldest_seq} for name, reader in self._lanes.items()
        }

    def _greeting(self) -> dict[str, Any]:
        stream = self._stream
        greeting = {
            "type": "connected",
            "timestamp": stream.timestamp(),
            "client_id": f"{stream.frames.epoch}-{self.number}",
            "epoch": stream.frames.epoch,
            "seq": stream.frames.latest_seq,
            "update_frequency_hz": stream.update_frequency_hz,
            "server_time": format_iso_ms(stream.host_clock.time_ns()),
            "heartbeat_interval": stream.heartbeat_seconds,
            **self.subscription.describe(stream.views.channels),
        }
        if self._query.since is not None:
            greeting["recovered"] = self._replay_seq is not None or stream.is_current(self._query.since)
        return greeting

    def _send(self, document: dict[str, Any]) -> None:
        self.send_text(encode_json(document))

    def _refuse(self, code: str, message: str) -> None:
        self.errors += 1
        self._send({"type": "error", "code": code, "message": message, "timestamp": self._stream.timestamp()})
        if self.errors >= MAX_ERRORS:
            logger.info("websocket %s: %d messages not understood, closing", self.peer, self.errors)
            self.close(CloseCode.POLICY_VIOLATION, "too many messages not understood")


class MetricsStream:
    """The endpoint: who connects, and what its clients share."""

    def __init__(
        self,
        frames: FrameRing,
        index: SnapshotIndex,
        lanes: dict[str, Lane],
        broadcaster: Broadcaster,
        event_clock: Clock,
        host_clock: Clock,
        *,
        interval_seconds: float,
        heartbeat_seconds: float,
        max_connections: int,
        max_backlog: int,
        allowed_origins: frozenset[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.frames = frames
        self.views = Views(index, MAX_VIEWS)
        self.lanes = lanes
        self.broadcaster = broadcaster
        self.host_clock = host_clock
        self.update_frequency_hz = round(1 / interval_seconds, 3)
        self.heartbeat_seconds = heartbeat_seconds
        self.max_backlog = max_backlog
        """Live messages of a lane that may wait for one client."""
        self._event_clock = event_clock
        self._max_connections = max_connections
        self._allowed_origins = allowed_origins
        self._loop = loop
        self._numbers = count(1)
        self._connected: set[StreamClient] = set()
        self._empty = asyncio.Event()
        self._decode = msgspec.json.Decoder(ClientMessage).decode

    def upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        """Takes the connection over; raises Refusal for a bad handshake and when all places are taken."""
        key = check_handshake(request, self._allowed_origins)
        query, subscription = parse_url(request, self.views.channels)
        if len(self._connected) >= self._max_connections:
            raise Unavailable(f"all {self._max_connections} WebSocket connections are in use", RETRY_AFTER_SECONDS)
        client = StreamClient(self, next(self._numbers), request.peer, self._loop, query, subscription)
        self._connected.add(client)
        self._empty.clear()
        hand_over(client, transport, key, received)
        return None

    def on_closed(self, client: StreamClient) -> None:
        self._connected.discard(client)
        if not self._connected:
            self._empty.set()
        self.broadcaster.discard(client)

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

    def decode(self, message: bytes) -> ClientMessage:
        """Returns a client's message; raises SubscriptionError for what is not one."""
        text_form = parse_text_form(message.decode())
        if text_form is not None:
            return text_form
        try:
            return self._decode(message)
        except msgspec.DecodeError as error:
            raise SubscriptionError("bad_message", f"expected ping, or a JSON object with a type: {error}") from None

    def latest_frame(self) -> Frame:
        frame = self.frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        return frame

    def timestamp(self) -> str:
        return format_iso_ms(self._event_clock.time_ns())

    def resumable_seq(self, since: str | None, subscription: Subscription) -> int | None:
        """Returns the first missed frame if all since then are still there, for a client of the whole snapshot."""
        if since is None or replace(subscription, lanes=frozenset()) != DEFAULT:
            return None
        epoch, _, seq = since.partition(":")
        first = int(seq) + 1
        latest = self.frames.latest_seq
        return first if epoch == self.frames.epoch and latest - FRAMES_KEPT < first <= latest else None

    def is_current(self, since: str) -> bool:
        """Whether `since` names the newest frame: nothing was missed."""
        return since == f"{self.frames.epoch}:{self.frames.latest_seq}"
