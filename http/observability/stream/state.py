"""What all subscribers of a worker share: the feed, the views, the broadcast, clocks and settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, format_iso_ms
from observability.encoding import encode_json
from observability.memory.counters import Counters
from observability.snapshot.frames import FRAMES_KEPT, Frame, FrameSource
from observability.stream.broadcast import Receiver
from observability.stream.lanes import Lane
from observability.stream.painted import PaintedFrames
from observability.stream.subscriptions import DEFAULT, Subscription
from observability.stream.views import Views
from observability.websocket.close_codes import DisconnectCounters
from observability.websocket.deflate import DeflateCounters

# A ping may wait for the next frame where there are at least so many in the time between two pings.
_FRAMES_PER_PING: Final = 10
# How long the loop may be busy with clients that go before frames are looked after again.
_PACE_NS: Final = 2 * NS_PER_MS
# Stands in a greeting for what is the client's own.
_OWN: Final = "<own>"


class Feed(Protocol):
    """What the stream needs from the hub."""

    @property
    def frames(self) -> FrameSource: ...

    @property
    def lanes(self) -> Mapping[str, Lane]:
        """The lanes by channel."""

    @property
    def event_clock(self) -> Clock: ...

    @property
    def catch_up(self) -> Callable[[], None]:
        """Reads what the hub has published by now, and broadcasts it. A client that comes from another worker may have
        seen more than this worker has read."""


class LaneSubscriber(Protocol):
    """A subscriber of at least one lane."""

    @property
    def lane_backlog(self) -> int:
        """Entries of its lanes that have not been sent to it."""


class Broadcast(Protocol):
    """What sends the frames to the subscribers."""

    clients_behind: int
    """Subscribers that have not read everything sent to them."""

    @property
    def clients(self) -> Iterable[Receiver]: ...

    def add(self, client: Receiver) -> None:
        """Adds a subscriber that has got the newest frame, or has it due."""

    def discard(self, client: Receiver) -> None: ...

    def leave_cohort(self, client: Receiver) -> None:
        """Sends to a subscriber on its own from now on."""

    def ping(self, client: Receiver) -> bool:
        """Sends a ping to a subscriber with the next frame. Returns False if it has to be sent by itself."""

    def catch_up(self) -> None:
        """Sends more of the frame that is being sent."""


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """The settings of the stream."""

    interval_seconds: float
    """The time between two ticks."""
    heartbeat_seconds: float
    max_backlog: int
    """How many unsent entries of one lane a subscriber may have."""
    messages_per_second: int
    """How many messages a client may send per second; 0 means no limit."""
    slot: int | None = None
    """The worker's number among those that share a port."""


class StreamState:
    """The state that the subscribers of one worker share."""

    def __init__(
        self, feed: Feed, settings: StreamSettings, broadcaster: Broadcast, host_clock: Clock, counters: Counters
    ) -> None:
        self.feed = feed
        self.frames = feed.frames
        self.settings = settings
        self.views = Views(feed.frames, DeflateCounters(counters))
        self.broadcaster = broadcaster
        self.disconnects = DisconnectCounters(counters)
        self.painted = PaintedFrames(feed.frames, counters, host_clock)
        self.host_clock = host_clock
        self.lane_subscribers: set[LaneSubscriber] = set()
        self.pings_with_frames = settings.interval_seconds * _FRAMES_PER_PING <= settings.heartbeat_seconds
        """Whether a ping may wait for the next frame."""
        self.stale_message: bytes | None = None
        """The message that new subscribers get while the data is stale."""
        self._pace_ns = 0
        # What greetings have in common on one tick, by subscription, which is None for that of most clients: what comes
        # before, between and behind the members that are each client's own.
        self._greetings: dict[tuple[Subscription | None, bool | None], list[bytes]] = {}
        self._greetings_frame: Frame | None = None

    def keep_pace(self) -> None:
        """Sends the frame that is due. Called for each client that goes: of however many at once, the loop ends all
        before it comes to its timers and to the next chunk of a frame."""
        # hot: once per client that goes (observability bench --only storm)
        if self.host_clock.mono_ns() >= self._pace_ns:
            self.feed.catch_up()
            self.broadcaster.catch_up()
            self._pace_ns = self.host_clock.mono_ns() + _PACE_NS

    def latest_frame(self) -> Frame:
        frame = self.frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        return frame

    def set_stale(self, message: bytes | None) -> None:
        """Sends the message that the data is stale to every subscriber, now or when it connects; None ends this."""
        self.stale_message = message
        if message is not None:
            for client in tuple(self.broadcaster.clients):
                client.send_text(message)

    def client_id(self, number: int) -> str:
        """Returns an id that no other client has within this epoch, on whichever worker."""
        slot = self.settings.slot
        worker = "" if slot is None else f"{slot}-"
        return f"{self.frames.epoch}-{worker}{number}"

    def greeting(self, number: int, subscription: Subscription, *, is_recovered: bool | None) -> bytes:
        """Returns the first message to a client; `is_recovered` is None for one that does not come back."""
        # hot: once per handshake (observability bench --only storm)
        frame = self.latest_frame()
        if frame is not self._greetings_frame:
            self._greetings.clear()
            self._greetings_frame = frame
        # The hash of a subscription is made in Python.
        key = (None if subscription is DEFAULT else subscription, is_recovered)
        parts = self._greetings.get(key)
        if parts is None:
            parts = self._greetings[key] = self._greeting_parts(subscription, is_recovered)
        first, second, third, last = parts
        timestamp, client_id = self.timestamp().encode(), self.client_id(number).encode()
        host_time = format_iso_ms(self.host_clock.time_ns()).encode()
        return b"%b%b%b%b%b%b%b" % (first, timestamp, second, client_id, third, host_time, last)

    def _greeting_parts(self, subscription: Subscription, is_recovered: bool | None) -> list[bytes]:
        settings, views = self.settings, self.views
        greeting = {
            "type": "connected",
            "timestamp": _OWN,
            "client_id": _OWN,
            "epoch": self.frames.epoch,
            "seq": self.frames.latest_seq,
            "update_frequency_hz": round(1 / settings.interval_seconds, 3),
            "server_time": _OWN,
            "heartbeat_interval": settings.heartbeat_seconds,
            **self.describe(subscription),
            "groups": views.groups,
        }
        if is_recovered is not None:
            greeting["recovered"] = is_recovered
        # A client may put the placeholder into the names of its symbols, which come behind.
        return encode_json(greeting).split(_OWN.encode(), 3)

    def describe(self, subscription: Subscription) -> dict[str, Any]:
        """Returns the members of `connected` and `subscribed` that say what a client gets."""
        return subscription.describe(self.views.channels)

    def timestamp(self) -> str:
        return format_iso_ms(self.feed.event_clock.time_ns())

    def is_resumable(self, subscription: Subscription) -> bool:
        """Returns whether missed frames are replayed to such a client: to one that wants whole snapshots."""
        return replace(subscription, lanes=frozenset()) == DEFAULT

    def next_seq(self, since: str | None, subscription: Subscription) -> int | None:
        """Returns the frame that follows `since`, which may be the next one that the hub makes. None if a client of
        this subscription has missed frames that are not kept, or that are not replayed to it."""
        if since is None:
            return None
        epoch, _, seq = since.partition(":")
        following, latest = int(seq) + 1, self.frames.latest_seq
        first = latest - FRAMES_KEPT + 1 if self.is_resumable(subscription) else latest + 1
        return following if epoch == self.frames.epoch and first <= following <= latest + 1 else None
