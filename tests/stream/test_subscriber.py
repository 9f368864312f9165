"""One subscriber of a worker whose feed has a new frame whenever it catches up, over a real connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from fake_clock import FakeClock
from observability.access.authorization import OriginCheck
from observability.memory.counters import Counters
from observability.routing.application import Application
from observability.routing.router import Router
from observability.snapshot.frames import FrameRing
from observability.snapshot.serializer import Serializer
from observability.stream.broadcast import Broadcaster
from observability.stream.endpoint import StreamEndpoint
from observability.stream.lane_feed import make_lanes
from observability.stream.state import StreamSettings, StreamState
from ws_client import ask, receive


class BusyFeed:
    """A feed in which a frame arrives each time the worker catches up."""

    def __init__(self) -> None:
        self.event_clock = FakeClock()
        self.lanes = make_lanes(None)
        self.broadcaster: Broadcaster
        self._serializer = Serializer("e", [])
        self.frames = FrameRing("e")

    def catch_up(self) -> None:
        seq = self.frames.latest_seq + 1
        payload, index = self._serializer.encode(seq, seq, seq, {})
        self.broadcaster.send_frame(self.frames.publish(payload, index, seq, seq, {}))


class Stream:
    """A server with nothing but the stream."""

    def __init__(self, serve: Callable[[Application], Any]) -> None:
        router = Router()
        router.add_websocket("/ws", StreamEndpoint.role)
        application = Application(router)
        self.server = serve(application)
        self.feed = BusyFeed()
        self.endpoint: StreamEndpoint = self.server.call(self._make_endpoint)
        application.upgrade = self.endpoint.upgrade
        self.tick()

    def _make_endpoint(self) -> StreamEndpoint:
        clock, counters, loop = FakeClock(), Counters(), self.server.loop
        self.feed.broadcaster = Broadcaster(counters, clock, loop)
        settings = StreamSettings(interval_seconds=0.1, heartbeat_seconds=15, max_backlog=10, messages_per_second=0)
        state = StreamState(self.feed, settings, self.feed.broadcaster, clock, counters)
        return StreamEndpoint(state, loop, max_clients=10, origins=OriginCheck())

    def tick(self) -> int:
        """Returns the number of a new frame."""
        self.server.call(self.feed.catch_up)
        return self.feed.frames.latest_seq

    @contextmanager
    def client(self, query: str = "") -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.server.port}/ws{query}") as connection:
            yield connection


@pytest.fixture
def stream(serve: Callable[[Application], Any]) -> Iterator[Stream]:
    stream = Stream(serve)
    yield stream
    stream.server.run(stream.endpoint.close(0.05))


@pytest.mark.parametrize("query", ["", "?channels=metrics,trades", "?since=e:1"])
def test_frames_that_arrive_while_a_client_connects_are_not_skipped(stream: Stream, query: str) -> None:
    with stream.client(query) as client:
        first = receive(client, "metrics_update")["seq"]
        stream.tick()
        assert receive(client, "metrics_update")["seq"] == first + 1


def test_frames_that_arrive_while_a_subscription_changes_are_not_skipped(stream: Stream) -> None:
    with stream.client() as client:
        seqs = [receive(client, "metrics_update")["seq"]]
        ask(client, type="subscribe", channels=["trades"])
        stream.server.wait_until(lambda: stream.feed.frames.latest_seq > seqs[0])
        last = stream.tick()
        while seqs[-1] < last:
            seqs.append(receive(client, "metrics_update")["seq"])
    assert sorted(set(seqs)) == list(range(seqs[0], last + 1))
