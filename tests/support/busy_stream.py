"""A server with nothing but the stream, whose feed has a new frame whenever it catches up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from websockets.sync.client import ClientConnection

from fake_clock import FakeClock
from observability.access.authorization import OriginCheck
from observability.memory.counters import Counters
from observability.routing.application import Application
from observability.routing.router import Router
from observability.snapshot.frames import Frame, FrameRing
from observability.snapshot.serializer import Serializer
from observability.stream.broadcast import Broadcaster, open_batches
from observability.stream.endpoint import StreamEndpoint
from observability.stream.lane_feed import make_lanes
from observability.stream.state import StreamSettings, StreamState
from ws_client import connect


class BusyFeed:
    """A feed in which a frame arrives each time the worker catches up."""

    def __init__(self) -> None:
        self.event_clock = FakeClock()
        self.lanes = make_lanes(None)
        self.broadcaster: Broadcaster
        self.serializer = Serializer("e", [])
        self.frames = FrameRing("e")

    def catch_up(self) -> None:
        self.broadcaster.send_frame(self.publish())

    def publish(self) -> Frame:
        """Makes a frame that the worker does not send."""
        seq = self.frames.latest_seq + 1
        payload, index = self.serializer.encode(seq, seq, seq, {})
        return self.frames.publish(payload, index, seq, self.event_clock.mono_ns(), {})


class Stream:
    """A server with nothing but the stream."""

    def __init__(
        self,
        serve: Callable[[Application], Any],
        feed: Any = None,
        broadcast: str = "picows",
    ) -> None:
        self._broadcast = broadcast
        router = Router()
        router.add_websocket("/ws", StreamEndpoint.role)
        application = Application(router)
        self.server = serve(application)
        self.feed: Any = BusyFeed() if feed is None else feed
        self.endpoint: StreamEndpoint = self.server.call(self._make_endpoint)
        application.upgrade = self.endpoint.upgrade
        self.tick()

    def _make_endpoint(self) -> StreamEndpoint:
        clock, counters, loop = FakeClock(), Counters(), self.server.loop
        self.feed.broadcaster = Broadcaster(counters, clock, loop, open_batches(self._broadcast, 10))
        settings = StreamSettings(interval_seconds=0.1, heartbeat_seconds=15, max_backlog=10, messages_per_second=0)
        self.state = StreamState(self.feed, settings, self.feed.broadcaster, clock, counters)
        return StreamEndpoint(self.state, loop, max_clients=10, origins=OriginCheck(), past=cast(Any, None))

    def tick(self) -> int:
        """Returns the number of a new frame."""
        self.server.call(self.feed.catch_up)
        return self.feed.frames.latest_seq

    @contextmanager
    def client(self, query: str = "") -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.server.port}/ws{query}") as connection:
            yield connection
