"""One subscriber of a worker whose feed has a new frame whenever it catches up, over a real connection."""

from __future__ import annotations

import gc
import json
import os
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import FrameType
from typing import Any

import pytest

from busy_stream import Stream
from fake_clock import FakeClock
from observability.clocks.clock import EventClock
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.routing.application import Application
from observability.snapshot.frames import FrameRing
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.sections import Group, Part
from observability.snapshot.serializer import Serializer
from observability.snapshot.shared_frames import FrameWriter, SharedFrames
from observability.stream.broadcast import Broadcaster
from observability.stream.lane_feed import make_lanes
from observability.stream.subscriber import Subscriber
from ws_client import PING, TEXT, RawClient, ask, receive, reset


class Symbols:
    """A section of symbols, whose lengths differ from tick to tick."""

    name = "market_data"
    fields = None
    last_input_ns: int | None = None

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.groups = (Group(None, self.parts),)
        self.is_touched = True

    def refresh(self, now_ns: int) -> None:
        self.is_touched = True
        for symbol in "ABC" if now_ns % 5 else "AC":
            part = self.parts.setdefault(symbol, Symbol(symbol))
            assert isinstance(part, Symbol)
            part.tick(now_ns)
        if not now_ns % 5:
            self.parts.pop("B", None)


class Symbol:
    """The part of one symbol."""

    def __init__(self, symbol: str) -> None:
        self.symbol = symbol
        self.version = 0

    def tick(self, seq: int) -> None:
        self.version = seq * 1000 + ord(self.symbol)

    def to_json(self) -> dict[str, Any]:
        return {"value": "x" * (self.version % 37), "version": self.version}


class RestlessFeed:
    """The feed of a worker whose hub publishes a frame between any two steps of the stream; it is copied at once."""

    def __init__(self) -> None:
        mapping = SharedMapping(3, 1)
        self.event_clock = FakeClock()
        self.lanes = make_lanes(None)
        self.broadcaster: Broadcaster
        self.frames = SharedFrames(mapping)
        self.snapshots: dict[int, dict[str, Any]] = {}
        self._symbols = Symbols()
        self._serializer = Serializer("e", [self._symbols])
        self._ring = FrameRing("e")
        self._writer = FrameWriter(mapping, "e", EventClock(FakeClock()), Counters())
        self._is_publishing = False

    def catch_up(self) -> None:
        self.publish()
        frame = self.frames.latest()
        assert frame is not None
        self.broadcaster.send_frame(frame)

    def publish(self) -> None:
        seq = self._ring.latest_seq + 1
        self._symbols.refresh(seq)
        mono_ns = self.event_clock.mono_ns()
        payload, index = self._serializer.encode(seq, seq, mono_ns, {"mine": b'"%b"' % (b"y" * (seq % 23))})
        self.snapshots[seq] = json.loads(payload.join())
        self._writer.write_frame(self._ring.publish(payload, index, seq, mono_ns, {}), SharedDocuments({}, ()))
        self.frames.refresh()

    def trace(self, code: FrameType, event: str, _argument: object) -> Any:
        """Publishes before each line of the stream."""
        if "observability/stream/" not in code.f_code.co_filename:
            return None
        if event == "line" and not self._is_publishing:
            self._is_publishing = True
            self.publish()
            self._is_publishing = False
        return self.trace


def part_of(snapshot: dict[str, Any], channels: list[str], symbols: list[str] | None) -> dict[str, Any]:
    """Returns what a view of a snapshot holds."""
    kept = {name: value for name, value in snapshot.items() if name not in ("market_data", "mine") or name in channels}
    if symbols is not None and "market_data" in kept:
        kept["market_data"] = {name: value for name, value in kept["market_data"].items() if name in symbols}
    return kept


@pytest.fixture
def stream(serve: Callable[[Application], Any]) -> Iterator[Stream]:
    stream = Stream(serve)
    yield stream
    stream.server.run(stream.endpoint.close(0.05))


@pytest.mark.parametrize("broadcast", ["auto", "picows"])
def test_a_ping_goes_with_the_next_frame_and_by_itself_if_none_comes(
    serve: Callable[[Application], Any], broadcast: str
) -> None:
    stream = Stream(serve, broadcast=broadcast)
    with RawClient(stream.server.port, "/ws") as raw:
        assert [raw.next_frame()[0] for _ in range(2)] == [TEXT, TEXT]  # type: ignore[index]
        (client,) = stream.endpoint.clients.values()
        for pings in (1, 2):
            # The first waits for a frame that does not come before the second is due.
            for _ in range(pings):
                stream.server.call(client.send_ping)
            if pings == 2:
                assert raw.next_frame() == (PING, b"")
            seq = stream.tick()
            assert raw.next_frame() == (PING, b"")
            _, payload = raw.next_frame()  # type: ignore[misc]
            assert json.loads(payload)["seq"] == seq
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


def test_clients_of_one_tick_are_greeted_each_with_its_own_members(stream: Stream) -> None:
    stream.feed.catch_up = lambda: None  # type: ignore[method-assign]
    queries = ["", "", "?symbols=%3Cown%3E,A", "?channels=trades&since=e:1", "?channels=trades&since=f:1"]
    greetings = []
    for query in queries:
        stream.state.host_clock.advance(1)  # type: ignore[attr-defined]
        with stream.client(query) as client:
            greetings.append(receive(client, "connected"))
    assert [greeting["client_id"] for greeting in greetings] == [f"e-{number}" for number in range(1, 6)]
    assert len({greeting["server_time"] for greeting in greetings}) == len(queries)
    assert [greeting["symbols"] for greeting in greetings] == [None, None, ["<own>", "A"], None, None]
    assert [greeting["channels"] for greeting in greetings[3:]] == [["trades"]] * 2
    assert [greeting.get("recovered") for greeting in greetings] == [None, None, None, True, False]
    assert {greeting["seq"] for greeting in greetings} == {1}
    stream.server.call(stream.feed.publish)
    with stream.client() as client:
        assert receive(client, "connected")["seq"] == 2


class PassingClock(FakeClock):
    """A clock on which a third of the time that frames may wait passes with each look at it."""

    def mono_ns(self) -> int:
        self.now_ns += 700_000
        return self.now_ns


def test_frames_do_not_wait_until_all_clients_have_gone_that_go_at_once(stream: Stream) -> None:
    leaving = [RawClient(stream.server.port, "/ws") for _ in range(7)]
    for client in leaving:
        client.next_frame()
    left: list[int] = []

    def go() -> None:
        """Has all of them go in one turn of the loop."""
        stream.state.host_clock = PassingClock()
        stream.feed.catch_up = lambda: left.append(len(stream.feed.broadcaster.clients))  # type: ignore[method-assign]
        for client in leaving:
            reset(client.sock)

    stream.server.call(go)
    stream.server.wait_until(lambda: not stream.feed.broadcaster.clients)
    assert left == [6, 3, 0]


@pytest.mark.parametrize("query", ["", "?channels=metrics,trades"])
def test_the_newest_frame_is_not_repeated_to_a_client_that_has_it(stream: Stream, query: str) -> None:
    # The frame that the worker reads when the client connects.
    newest = stream.feed.frames.latest_seq + 1
    with stream.client(f"{query}{'&' if query else '?'}since=e:{newest}") as client:
        assert receive(client, "connected")["recovered"] is True
        stream.tick()
        assert receive(client)["seq"] == newest + 1


def test_a_view_with_a_filter_gets_one_frame_even_if_nothing_was_missed(stream: Stream) -> None:
    newest = stream.feed.frames.latest_seq + 1
    with stream.client(f"?mode=delta&since=e:{newest}") as client:
        assert receive(client, "connected")["recovered"] is True
        assert receive(client)["seq"] == newest


@pytest.mark.parametrize(("since", "recovered"), [("e:1", True), ("e:9", False), ("f:1", False)])
def test_missed_frames_follow_if_there_are_such_frames(stream: Stream, since: str, recovered: bool) -> None:
    stream.tick()
    with stream.client(f"?since={since}") as client:
        assert receive(client, "connected")["recovered"] is recovered
        newest = stream.feed.frames.latest_seq
        assert receive(client)["seq"] == (2 if recovered else newest)


def test_missed_frames_that_are_lost_after_all_are_told_as_lag(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        stream.tick()
    find = stream.feed.frames.find
    monkeypatch.setattr(FrameRing, "find", lambda _, seq: None if seq == 3 else find(seq))
    with stream.client("?since=e:1") as client:
        assert receive(client, "connected")["recovered"] is True
        newest = stream.feed.frames.latest_seq
        assert receive(client)["seq"] == 2
        assert receive(client)["skipped"] == newest - 1 - 2
        assert receive(client)["seq"] == newest
        stream.tick()
        assert receive(client)["seq"] == newest + 1


def test_frames_that_a_client_missed_follow_beyond_the_first_of_another_hub(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = stream.feed.frames
    buffered, has_room = Subscriber.buffered_bytes, False
    monkeypatch.setattr(Subscriber, "buffered_bytes", lambda self: buffered(self) if has_room else 1)
    with stream.client("?since=e:1") as client:
        assert receive(client, "connected")["recovered"] is True
        last = frames.latest_seq
        # The next number is free.
        frames.epoch, frames.latest_seq = "f", last + 1
        stream.tick()
        has_room = True
        newest = stream.tick()
        seqs = [receive(client)["seq"] for _ in range(2, newest)]
    assert seqs == [*range(2, last + 1), last + 2, newest]


@pytest.mark.parametrize(
    ("query", "skipped"), [("?mode=full&channels=metrics&since=e:0", [1]), ("?channels=metrics", [1]), ("", [])]
)
@pytest.mark.parametrize("broadcast", ["picows", "auto"])
def test_frames_that_a_worker_reads_too_late_are_told_to_clients_that_know_lag(
    serve: Callable[[Application], Any], query: str, skipped: list[int], broadcast: str
) -> None:
    stream = Stream(serve, broadcast=broadcast)
    with ExitStack() as stack:
        stack.callback(lambda: stream.server.run(stream.endpoint.close(0.05)))
        client = stack.enter_context(stream.client(query))
        seq = receive(client, "connected")["seq"]
        while receive(client, "metrics_update")["seq"] < seq:
            pass
        stream.server.call(lambda: stream.feed.publish())  # type: ignore[union-attr]
        stream.tick()
        assert [receive(client)["skipped"] for _ in skipped] == skipped
        assert receive(client)["seq"] == seq + 2


def test_without_the_last_symbol_a_view_has_none_and_a_snapshot_follows(stream: Stream) -> None:
    with stream.client("?symbols=A&mode=delta") as client:
        receive(client, "metrics_update")
        ask(client, type="unsubscribe", symbols=["A"])
        assert receive(client, "unsubscribed")["symbols"] == []
        assert receive(client)["type"] == "metrics_update"
        ask(client, type="subscribe", symbols=None)
        assert receive(client, "subscribed")["symbols"] is None
        assert receive(client)["type"] == "metrics_update"


def test_a_view_that_stays_the_same_is_sent_no_snapshot_by_unsubscribing(stream: Stream) -> None:
    with stream.client("?channels=metrics,trades&mode=delta") as client:
        seq = receive(client, "metrics_update")["seq"]
        ask(client, type="unsubscribe", channels=["trades"])
        types = [receive(client)["type"] for _ in range(2)]
        stream.tick()
        delta = receive(client)
    assert sorted(types) == ["metrics_delta", "unsubscribed"]
    assert (delta["type"], delta["prev_seq"]) == ("metrics_delta", seq + 1)


STEPS: list[tuple[str, dict[str, Any]]] = [
    ("subscribe", {"channels": ["mine"]}),
    ("subscribe", {"symbols": ["A", "B"]}),
    ("unsubscribe", {"channels": ["market_data"]}),
    ("subscribe", {"channels": ["market_data"], "mode": "delta"}),
    ("unsubscribe", {"symbols": ["A", "B"]}),
    ("subscribe", {"symbols": ["C"], "mode": "full"}),
    ("subscribe", {"channels": ["metrics"], "symbols": None}),
    ("unsubscribe", {"channels": ["mine"]}),
]


def test_every_snapshot_is_of_its_view_with_a_refresh_between_every_two_steps(
    serve: Callable[[Application], Any],
) -> None:
    feed = RestlessFeed()
    stream = Stream(serve, feed)
    stream.server.call(lambda: sys.settrace(feed.trace))
    try:
        for query in ("?channels=market_data", "?symbols=A", "?channels=mine&mode=delta"):
            _follow(stream, feed, query)
    finally:
        stream.server.call(lambda: sys.settrace(None))
        stream.server.run(stream.endpoint.close(0.05))


def _follow(stream: Stream, feed: RestlessFeed, query: str) -> None:
    """Changes a subscription step by step, and compares each snapshot with what the hub published."""
    with stream.client(query) as client:
        view = receive(client, "connected")
        for step in range(len(STEPS) + 1):
            snapshots = 0
            while snapshots < 2:
                stream.tick()
                message = receive(client)
                if message["type"] == "metrics_update":
                    whole = feed.snapshots[message["seq"]]
                    assert message == part_of(whole, view["channels"], view["symbols"])
                    snapshots += 1
                elif message["type"] == "metrics_delta":
                    whole = feed.snapshots[message["seq"]]
                    kept = part_of(whole, view["channels"], view["symbols"])
                    assert {**kept, **message}.keys() == {*kept, "prev_seq", "removed"}
                    assert message.get("market_data", {}).items() <= kept.get("market_data", {}).items()
                    snapshots += 1
            if step < len(STEPS):
                verb, change = STEPS[step]
                ask(client, type=verb, id=step, **change)
                while (message := receive(client))["type"] != f"{verb}d":
                    if message["type"].startswith("metrics"):
                        kept = part_of(feed.snapshots[message["seq"]], view["channels"], view["symbols"])
                        assert message.keys() - {"prev_seq", "removed"} <= kept.keys()
                view = message


def test_an_idle_client_takes_at_most_eight_kilobytes(stream: Stream) -> None:
    with ExitStack() as stack:

        def allocated_with(count: int) -> int:
            """Returns the memory allocated since tracing began, with `count` clients."""
            for _ in range(count - len(stream.feed.broadcaster.clients)):
                stack.enter_context(RawClient(stream.server.port, "/ws"))
            stream.server.wait_until(lambda: len(stream.feed.broadcaster.clients) == count)
            gc.collect()
            return tracemalloc.get_traced_memory()[0]

        # The first client also fills what all clients share.
        allocated_with(1)
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        before = allocated_with(1)
        assert (allocated_with(4) - before) / 3 < 8 * 1024


@pytest.mark.parametrize("broadcast", ["picows", "auto"])
def test_a_client_with_the_descriptor_of_one_that_left_gets_its_own_frames_alone(
    serve: Callable[[Application], Any], broadcast: str
) -> None:
    stream = Stream(serve, broadcast=broadcast)
    clients = stream.feed.broadcaster.clients

    def is_closed(number: int) -> bool:
        try:
            os.fstat(number)
        except OSError:
            return True
        return False

    def descriptor() -> int:
        stream.server.wait_until(lambda: len(clients) == 1)
        (client,) = clients
        number: int = client.transport.get_extra_info("socket").fileno()
        return number

    def next_seq(client: RawClient) -> int:
        while (received := client.next_frame()) is not None:
            message = json.loads(received[1])
            if message["type"] == "metrics_update":
                return int(message["seq"])
        raise AssertionError("the server ended the connection")

    with RawClient(stream.server.port, "/ws") as gone:
        next_seq(gone)
        number = descriptor()
    stream.server.wait_until(lambda: is_closed(number))
    # Each end gets the number that the same end had before.
    with RawClient(stream.server.port, "/ws") as client:
        next_seq(client)
        assert descriptor() == number
        seqs = [stream.tick(), stream.tick()]
        assert [next_seq(client) for _ in seqs] == seqs
    stream.server.run(stream.endpoint.close(0.05))
