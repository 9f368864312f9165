"""What all clients of the metrics stream share: frames, views, lanes, clocks and settings.

No clients here (see `stream_client.py`, `stream.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import format_iso_ms
from observability.memory.counters import Counters
from observability.snapshot.frames import FRAMES_KEPT, Frame, FrameSource
from observability.stream.broadcast import Broadcaster
from observability.stream.lanes import Lane
from observability.stream.subscriptions import DEFAULT, Subscription
from observability.stream.views import Views
from observability.websocket.close_codes import DisconnectCounters
from observability.websocket.deflate import DeflateCounters

MAX_VIEWS: Final = 256


class StreamState:
    """One per worker."""

    def __init__(
        self,
        frames: FrameSource,
        lanes: Mapping[str, Lane],
        broadcaster: Broadcaster,
        event_clock: Clock,
        host_clock: Clock,
        counters: Counters,
        *,
        interval_seconds: float,
        heartbeat_seconds: float,
        max_backlog: int,
        messages_per_second: int,
        slot: int | None = None,
        catch_up: Callable[[], None] | None = None,
    ) -> None:
        self.frames = frames
        self.views = Views(frames, MAX_VIEWS, DeflateCounters(counters))
        self.lanes = lanes
        """By channel."""
        self.broadcaster = broadcaster
        self.disconnects = DisconnectCounters(counters)
        self.host_clock = host_clock
        self.update_frequency_hz = round(1 / interval_seconds, 3)
        self.heartbeat_seconds = heartbeat_seconds
        self.max_backlog = max_backlog
        """Live entries of a lane that may wait for one client."""
        self.messages_per_second = messages_per_second
        """What one client may send; 0 is no limit."""
        self.stale_message: bytes | None = None
        """What clients are told while the data is stale."""
        self._event_clock = event_clock
        self._slot = slot
        self._catch_up = catch_up

    def latest_frame(self) -> Frame:
        frame = self.frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        return frame

    def tell_stale(self, message: bytes | None) -> None:
        """Tells every client, and those that come, that the data is stale; None: it no longer is."""
        self.stale_message = message
        if message is not None:
            for client in tuple(self.broadcaster.clients):
                client.send_text(message)

    def catch_up(self) -> None:
        """Makes sure that nothing is missing here that a client may have got from another worker."""
        if self._catch_up is not None:
            self._catch_up()

    def client_id(self, number: int) -> str:
        """Returns a name for a client that no other one of this epoch has, whichever worker it is connected to."""
        worker = "" if self._slot is None else f"{self._slot}-"
        return f"{self.frames.epoch}-{worker}{number}"

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
