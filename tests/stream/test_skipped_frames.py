"""What clients are told of frames that they skip: whatever a worker and a client are late with, the numbers add up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.sync.client import ClientConnection

from busy_stream import BusyFeed, Stream
from observability.routing.application import Application
from observability.snapshot.serializer import Serializer
from observability.stream import broadcast
from observability.stream.subscriber import Subscriber
from ws_client import receive

# On its own because of lanes; in a cohort; on its own because of deltas; with frames due that it missed.
QUERIES = ("?channels=metrics,trades", "?channels=metrics", "?channels=metrics&mode=delta", "?channels=metrics&since=")
CLIENTS = st.integers(0, len(QUERIES) - 1)
STEPS = st.one_of(
    st.just(("tick",)),
    st.just(("late",)),
    st.just(("hub",)),
    st.tuples(st.sampled_from(["unread", "read", "leave", "subscribe", "unsubscribe"]), CLIENTS),
)


# The subscribers that have not read what was sent to them; None stands for all.
UNREAD: set[Subscriber | None] = set()


class Desk:
    """A worker that sends one client at a time, and clients that can be made slow."""

    def __init__(self, stream: Stream, opened: ExitStack) -> None:
        feed = stream.feed
        assert isinstance(feed, BusyFeed)
        self._feed, self._stream = feed, stream
        self._has_new_hub = False
        self.published: set[int] = set()
        UNREAD.add(None)
        for _ in range(5):
            stream.server.call(self._late)
        oldest = feed.frames.latest_seq - 3
        self.held: list[int | None] = [None, None, None, oldest]
        """By client, the frame that it says it has."""
        self.clients: list[ClientConnection] = []
        self.subscribers: list[Subscriber] = []
        for query in QUERIES:
            query += f"{feed.frames.epoch}:{oldest}" if query.endswith("since=") else ""
            self.clients.append(opened.enter_context(stream.client(query)))
            stream.server.wait_until(lambda: len(feed.broadcaster.clients) == len(self.clients))
            (new,) = feed.broadcaster.clients.keys() - set(self.subscribers)
            assert isinstance(new, Subscriber)
            self.subscribers.append(new)
        UNREAD.clear()
        self.published |= set(range(oldest, feed.frames.latest_seq + 1))

    def run(self, steps: list[tuple[Any, ...]]) -> None:
        """Does some steps in one turn of the loop."""
        self._stream.server.call(lambda: [getattr(self, f"_{name}")(*which) for name, *which in steps])

    def finish(self) -> int:
        """Lets every client have its newest frame, and returns the number of that."""
        for number in range(len(QUERIES)):
            self.run([("read", number), ("subscribe", number)])
        for _ in range(3):
            self.run([("tick",)])
            self._stream.server.wait_until(lambda: not self._feed.broadcaster._is_sending)
        return self._feed.frames.latest_seq

    def _tick(self) -> None:
        BusyFeed.catch_up(self._feed)
        self.published.add(self._feed.frames.latest_seq)

    def _late(self) -> None:
        """The worker reads the second of two frames alone."""
        self.published.add(self._feed.publish().seq)
        self._tick()

    def _hub(self) -> None:
        """Another hub begins; of its first number and the last one of the hub before it, the next is free."""
        frames = self._feed.frames
        if not self._has_new_hub:
            self._has_new_hub = True
            frames.epoch, frames.latest_seq = "f" if frames.epoch == "e" else "e", frames.latest_seq + 1
            self._feed.serializer = Serializer(frames.epoch, [])
            self._tick()

    def _unread(self, number: int) -> None:
        UNREAD.add(self.subscribers[number])

    def _read(self, number: int) -> None:
        UNREAD.discard(self.subscribers[number])

    def _leave(self, number: int) -> None:
        """As a transport says that it has bytes unsent."""
        self._feed.broadcaster.leave_cohort(self.subscribers[number])

    def _subscribe(self, number: int) -> None:
        self._ask(number, "subscribe")

    def _unsubscribe(self, number: int) -> None:
        self._ask(number, "unsubscribe")

    def _ask(self, number: int, verb: str) -> None:
        wanted = {"channels": ["metrics"]} if verb == "subscribe" else {}
        self.subscribers[number].on_message(json.dumps({"type": verb, **wanted}).encode(), True)


def faults(client: ClientConnection, held: int | None, published: set[int], last: int) -> list[str]:
    """Reads a client that has the frame `held` up to the frame `last`. Returns where it was told to have skipped others
    than those that it has not got."""
    found: list[str] = []
    told, has_asked = 0, False
    while held != last:
        message = receive(client)
        kind = message["type"]
        if kind == "lag":
            told += message["skipped"]
        elif kind in ("subscribed", "unsubscribed"):
            has_asked = True
            if kind == "unsubscribed":
                held, told = None, 0
        elif kind.startswith("metrics"):
            seq = message["seq"]
            if held is not None:
                missing = [each for each in published if held < each < seq]
                if len(missing) != told or (seq <= held and not (seq == held and has_asked)):
                    found.append(f"{seq} after {held} without {missing}, told of {told}")
            elif told:
                found.append(f"{seq} is the first, and it was told of {told}")
            held, told, has_asked = seq, 0, False
    return found


@pytest.fixture
def stream(serve: Callable[[Application], Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[Stream]:
    monkeypatch.setattr(broadcast, "CHUNK_CLIENTS", 1)
    buffered = Subscriber.buffered_bytes
    monkeypatch.setattr(Subscriber, "buffered_bytes", lambda self: 1 if UNREAD & {None, self} else buffered(self))
    stream = Stream(serve)
    # Frames come when a test says so.
    stream.feed.catch_up = lambda: None
    yield stream
    UNREAD.clear()
    stream.server.run(stream.endpoint.close(0.05))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(STEPS, min_size=1, max_size=6), max_size=6))
def test_clients_are_told_of_exactly_the_frames_that_they_skip(stream: Stream, script: list[list[Any]]) -> None:
    with ExitStack() as opened:
        desk = Desk(stream, opened)
        for steps in script:
            desk.run(steps)
        last = desk.finish()
        found = [faults(*each, desk.published, last) for each in zip(desk.clients, desk.held, strict=True)]
        assert found == [[]] * len(QUERIES)
    stream.server.wait_until(lambda: not stream.feed.broadcaster.clients)
