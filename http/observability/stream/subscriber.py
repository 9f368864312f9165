"""One client of the stream: its subscription, what has been sent to it, and what is due."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, ClassVar, Final

from picows import WSMsgType

from observability.access.addresses import limited_as
from observability.encoding import encode_json
from observability.errors import HubUnavailable
from observability.snapshot.frames import HEADROOM, Frame
from observability.stream.cohort import CohortKey, frame_header
from observability.stream.lanes import LaneReader
from observability.stream.state import StreamState
from observability.stream.subscriptions import (
    NO_QUERY,
    ClientMessage,
    StreamQuery,
    Subscription,
    SubscriptionError,
    parse_message,
    subscribed,
    unsubscribed,
)
from observability.stream.views import Message, View
from observability.websocket.close_codes import CloseCode
from observability.websocket.connection import Accepted, WebSocketConnection, limit_unsent
from observability.websocket.deflate import DeflateMemory

logger = logging.getLogger(__name__)

# The limit on unsent bytes is two frames, but at least what TCP may send in one segment.
MIN_UNSENT_BYTES: Final = 16 * 1024


class Subscriber(WebSocketConnection):
    """One client of the stream."""

    takes_events: ClassVar[bool] = False
    """Whether it is sent events of `event_stream.py`, and not WebSocket frames."""

    __slots__ = (
        "_accepts_lag",
        "_address",
        "_fetches",
        "_is_behind",
        "_lanes",
        "_missed_epoch",
        "_missed_seq",
        "_painted_ns",
        "_query",
        "_skipped",
        "_skipped_seq",
        "_stream",
        "deflate",
        "last_seq",
        "subscription",
        "view",
    )

    def __init__(
        self,
        stream: StreamState,
        accepted: Accepted,
        query: StreamQuery,
        subscription: Subscription,
    ) -> None:
        super().__init__(accepted, stream.settings.messages_per_second)
        self.subscription = subscription
        self.view: View | None = None
        self.last_seq = 0
        """The frame that was sent to this client on its own last."""
        self._stream = stream
        self._query = query
        self._address = limited_as(accepted.peer)
        deflate = accepted.deflate
        self.deflate = None if deflate is None else DeflateMemory(takeover=deflate.server_takeover)
        # Clients of the first API do not know `lag`. A client that has asked for something knows it.
        self._accepts_lag = query is not NO_QUERY and query != NO_QUERY
        self._skipped = 0
        self._skipped_seq = 0
        # The next one of the frames that it missed before it reconnected, and the epoch of the one before that.
        self._missed_seq: int | None = None
        self._missed_epoch = ""
        self._painted_ns: int | None = None
        self._lanes: dict[str, LaneReader] = {}
        self._fetches: set[asyncio.Task[None]] | None = None
        self._is_behind = False

    @property
    def lane_backlog(self) -> int:
        """Entries of the lanes that have not been sent to this client."""
        return sum(reader.backlog for reader in self._lanes.values())

    def log_ids(self) -> dict[str, Any]:
        """Returns what the log calls this connection by, with the id that the client knows."""
        return {**super().log_ids(), "client": self._stream.client_id(self.number)}

    # -- the tick

    def skip_frames(self, count: int = 1, newest_seq: int = 0) -> None:
        """Counts frames that are not sent: the client has not read what was sent before, or this worker was late.
        `newest_seq` is the newest frame, if that is one of them."""
        # A client that still catches up gets them with the others it has missed, and one without a view gets none.
        if self._missed_seq is None and self.view is not None:
            self._skipped += count
            self._skipped_seq = newest_seq
        if self._lanes:
            self.send_lanes()

    def cohort_key(self) -> CohortKey | None:
        """Returns the key of the cohort that could send the next frame; None if more than a frame is due."""
        view = self.view
        if view is None or view.key.is_delta or self.is_closing:
            return None
        if self._lanes or self._skipped or self._missed_seq is not None:
            return None
        deflate = self.deflate
        return CohortKey(
            view,
            is_compressed=deflate is not None,
            keeps_context=deflate is not None and deflate.keeps_context,
            accepts_lag=self._accepts_lag,
            is_plain=not self.is_tls,
            takes_events=self.takes_events,
        )

    def send_frame(self, frame: Frame) -> None:
        """Sends the client's view of the newest frame, and what is due before it: lanes, missed frames, `lag`."""
        if self._lanes:
            self.send_lanes()
        view = self.view
        if view is None or self.is_closing:
            return
        if self._missed_seq is not None:
            self._send_missed()
            return
        if self._skipped:
            self._send_lag()
        is_next = self.last_seq == frame.seq - 1
        self.send_message(view.delta(frame) if view.key.is_delta and is_next else view.full(frame))
        self.last_seq = frame.seq

    def send_message(self, message: Message) -> None:
        """Sends one shared message, compressed if that was negotiated."""
        deflate = self.deflate
        if deflate is None:
            self.send_shared(WSMsgType.TEXT, message.buffer, HEADROOM)
        else:
            # fin and rsv1
            self.send_shared(WSMsgType.TEXT, deflate.frame_for(message.deflated), HEADROOM, True, True)

    def send_first(self, answer: bytes, greeting: bytes, snapshot: Message | None) -> None:
        """Sends the answer to the handshake, the greeting and the first snapshot, if one is due, by one system call."""
        # hot: once per handshake (observability bench --only storm)
        pieces: list[bytes | memoryview] = [answer, frame_header(len(greeting), False), greeting]
        if snapshot is not None:
            deflate = self.deflate
            buffer = snapshot.buffer if deflate is None else deflate.frame_for(snapshot.deflated)
            payload = memoryview(buffer)[HEADROOM:]
            pieces += (frame_header(len(payload), deflate is not None), payload)
        self.transport.write(b"".join(pieces))

    def send_kept(self, frame: Frame) -> None:
        """Sends a whole snapshot that the client has missed."""
        self.send_shared(WSMsgType.TEXT, frame.buffer, HEADROOM)

    def _send_lag(self) -> None:
        skipped, self._skipped = self._skipped, 0
        if self._accepts_lag:
            self.send_text(encode_json({"type": "lag", "skipped": skipped, "timestamp": self._stream.timestamp()}))

    def _send_missed(self) -> None:
        """Sends frames that the client missed before it reconnected, until its buffer fills."""
        frames = self._stream.frames
        seq = self._missed_seq
        while seq is not None and not self.buffered_bytes():
            frame = frames.find(seq)
            if frame is None:
                # The number before the first frame of another hub is free.
                following = frames.find(seq + 1)
                if following is not None and following.epoch != self._missed_epoch:
                    frame = following
            if frame is None:
                # The client reads more slowly than frames leave the ring: it has lagged like any slow reader.
                self._missed_seq = seq
                self._send_newest()
                return
            self.send_kept(frame)
            self.last_seq, self._missed_epoch = frame.seq, frame.epoch
            seq = frame.seq + 1 if frame.seq < frames.latest_seq else None
        self._missed_seq = seq

    def _send_newest(self) -> None:
        """Sends the view of the newest snapshot, in place of all that is still due before it."""
        view, frame = self.view, self._stream.latest_frame()
        assert view is not None
        if self._missed_seq is not None:
            self._skipped += frame.seq - self._missed_seq - (frame.epoch != self._missed_epoch)
            self._missed_seq = None
        elif self._skipped and self._skipped_seq == frame.seq:
            # It was skipped, and comes after all.
            self._skipped -= 1
        if self._skipped:
            self._send_lag()
        self.send_message(view.full(frame))
        self.last_seq = frame.seq

    # -- lanes

    def send_lanes(self) -> None:
        """Sends entries of the lanes until the buffer fills. A client that lags too far is closed."""
        for reader in self._lanes.values():
            while not self.is_closing and not self.buffered_bytes():
                message = None if reader.has_lost else reader.next_message()
                if message is None:
                    break
                self.send_text(message)
            if reader.wants_page and not reader.is_fetching:
                self._fetch_page(reader)
            if reader.has_lost or reader.backlog > self._stream.settings.max_backlog:
                lane, backlog = reader.lane.name, reader.backlog
                logger.info(
                    "websocket %s: %d entries behind in lane %s, closing", self.peer, backlog, lane,
                    extra={"ids": self.log_ids()},
                )  # fmt: skip
                self.close(CloseCode.TRY_AGAIN_LATER, "too slow for a lossless channel")
                return

    def _fetch_page(self, reader: LaneReader) -> None:
        task = self.loop.create_task(reader.fetch(), name=f"lane {reader.lane.name}")
        if self._fetches is None:
            self._fetches = set()
        self._fetches.add(task)
        task.add_done_callback(self._on_page)

    def _on_page(self, fetch: asyncio.Task[None]) -> None:
        assert self._fetches is not None
        self._fetches.discard(fetch)
        error = None if fetch.cancelled() else fetch.exception()
        if isinstance(error, HubUnavailable):
            # It is asked again with the first frame of the next one.
            return
        if error is not None:
            logger.warning(
                "websocket %s: the store cannot be read, closing: %s", self.peer, error, extra={"ids": self.log_ids()}
            )
            self.close(CloseCode.TRY_AGAIN_LATER, "the store cannot be read")
        elif not self.is_closing:
            self.send_lanes()

    def pause_writing(self) -> None:
        if not self._is_behind:
            self._is_behind = True
            self._stream.broadcaster.clients_behind += 1
        self._stream.broadcaster.leave_cohort(self)

    def resume_writing(self) -> None:
        self._catch_up()
        super().resume_writing()

    def _catch_up(self) -> None:
        if self._is_behind:
            self._is_behind = False
            self._stream.broadcaster.clients_behind -= 1

    def send_ping(self) -> None:
        stream = self._stream
        if not stream.pings_with_frames or not stream.broadcaster.ping(self):
            super().send_ping()

    def on_closing(self) -> None:
        self._stream.broadcaster.discard(self)
        self._change_view(None)

    def on_drained(self) -> None:
        # The next frame is newer than any that could be sent now, so only the lanes are sent.
        self.send_lanes()

    # -- callbacks

    def on_open(self, answer: bytes) -> None:
        stream = self._stream
        # This may broadcast a new frame, so it comes before the frame that this client gets first.
        stream.feed.catch_up()
        limit_unsent(self.transport, max(MIN_UNSENT_BYTES, 2 * len(stream.latest_frame().buffer)))
        try:
            self._change_view(self._view_of(self.subscription))
        except SubscriptionError as error:
            super().on_open(answer)
            self.close(CloseCode.TRY_AGAIN_LATER, str(error))
            return
        next_seq = stream.next_seq(self._query.since, self.subscription)
        if self.subscription.lanes:
            self._enter_lanes({name: self.lane_since(name) for name in self.subscription.lanes})
        is_recovered = None if self._query.since is None else next_seq is not None
        greeting = stream.greeting(self.number, self.subscription, is_recovered=is_recovered)
        if next_seq is not None and stream.is_resumable(self.subscription):
            self.send_first(answer, greeting, None)
            self.last_seq = next_seq - 1
            if next_seq <= stream.frames.latest_seq:
                self._missed_seq, self._missed_epoch = next_seq, stream.frames.epoch
                self._send_missed()
        elif self.view is not None:
            frame = stream.latest_frame()
            self.send_first(answer, greeting, self.view.full(frame))
            self.last_seq = frame.seq
        else:
            self.send_first(answer, greeting, None)
        if stream.stale_message is not None:
            self.send_text(stream.stale_message)
        self.send_lanes()
        stream.broadcaster.add(self)

    def lane_since(self, name: str) -> int | None:
        """Returns the entry of a lane that the client has got last; None if it asks for later ones only."""
        return self._query.lane_since

    def on_message(self, message: bytes, is_text: bool) -> None:
        if not is_text:
            self.close(CloseCode.UNSUPPORTED_DATA, "expected text")
        elif self.is_over_rate:
            limit = self._stream.settings.messages_per_second
            self._refuse("rate_limited", f"expected at most {limit} frames a second")
        elif message == b"ping":
            self.send_text(b"pong")
        else:
            try:
                self._answer(self.parse(message))
            except SubscriptionError as error:
                self._refuse(error.code, str(error))

    def on_closed(self) -> None:
        self._lanes.clear()
        self._stream.lane_subscribers.discard(self)
        self._stream.disconnects.add(self.close_code, self.closed_by)
        for fetch in self._fetches or ():
            fetch.cancel()
        self._catch_up()
        self._stream.keep_pace()

    # -- requests

    def parse(self, message: bytes) -> ClientMessage:
        """Returns a message of the client. Raises SubscriptionError."""
        return parse_message(message)

    def _answer(self, message: ClientMessage) -> None:
        if message.type in ("ping", "health"):
            self._send({"type": "pong", "id": message.id, "timestamp": self._stream.timestamp()})
        elif message.type == "subscribe":
            self._change(message, subscribed(self.subscription, message, self._stream.views.channels))
        elif message.type == "unsubscribe":
            self._change(message, unsubscribed(self.subscription, message, self._stream.views.channels))
        elif message.type == "painted":
            self._send(self._stream.painted.take(message, self._painted_ns))
            self._painted_ns = self._stream.host_clock.mono_ns()
        else:
            raise SubscriptionError("unknown_type", f"no message type {message.type!r} is known here")

    def _change(self, message: ClientMessage, wanted: Subscription) -> None:
        # This may broadcast a new frame, which still goes to the old view and may end a client that lags too far.
        self._stream.feed.catch_up()
        if self.is_closing:
            return
        view, before = self._view_of(wanted), self.subscription
        self._accepts_lag = True
        # What is in force changes: the cohort's next message would be the wrong one.
        self._stream.broadcaster.leave_cohort(self)
        self.subscription = wanted
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
                **self._stream.describe(wanted),
                "lanes": self._lane_states(),
            }
        )
        # Only now, so that no frame of the new view precedes the message that announces it.
        has_changed = view is not self.view
        self._change_view(view)
        if view is None:
            self._missed_seq, self._skipped = None, 0
        elif has_changed or message.type == "subscribe":
            self._send_newest()
        self.send_lanes()

    def _view_of(self, subscription: Subscription) -> View | None:
        """Enters the view of a subscription and returns it; None if it has no metrics. Raises SubscriptionError."""
        key = subscription.view_key
        if key is None:
            return None
        view = self._stream.views.enter(key, self._address)
        if view is None:
            raise SubscriptionError("too_many_views", "too many different subscriptions are in use; ask again later")
        return view

    def _change_view(self, entered: View | None) -> None:
        """Leaves the view for the one that has been entered, which may be the same again."""
        left, self.view = self.view, entered
        if left is not None:
            self._stream.views.leave(left)

    def _enter_lanes(self, since: dict[str, int | None]) -> None:
        if since:
            self._stream.lane_subscribers.add(self)
        for name, seq in since.items():
            self._lanes[name] = LaneReader(self._stream.feed.lanes[name], self.subscription.symbols, seq)

    def _leave_lanes(self, names: frozenset[str]) -> None:
        for name in names:
            self._lanes.pop(name, None)
        if not self._lanes:
            self._stream.lane_subscribers.discard(self)

    def _lane_states(self) -> dict[str, dict[str, int | bool]]:
        """Returns the newest and the oldest sequence number that each lane's ring holds, and whether older entries, and
        the numbering, are in a store."""
        return {
            name: {
                "seq": reader.newest_seq,
                "oldest_seq": reader.lane.oldest_seq,
                "stored": reader.lane.archive is not None,
            }
            for name, reader in self._lanes.items()
        }

    def _send(self, document: dict[str, Any]) -> None:
        self.send_text(encode_json(document))

    def _refuse(self, code: str, message: str) -> None:
        self._send({"type": "error", "code": code, "message": message, "timestamp": self._stream.timestamp()})
        self.count_refused()
