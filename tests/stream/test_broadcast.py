"""The broadcast: chunks of clients, skipped frames, and what is reported of a frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, cast

from fake_clock import FakeClock
from observability.memory.counters import Counters
from observability.snapshot.frames import Frame
from observability.stream.broadcast import CHUNK_CLIENTS, Broadcaster


class Loop:
    """A loop that runs the next callback when a test says so."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], None]] = deque()

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._due.append(callback)

    def run_one(self) -> None:
        self._due.popleft()()

    @property
    def is_idle(self) -> bool:
        return not self._due


class Client:
    """A client that records what is sent to it."""

    def __init__(self, unread: int = 0) -> None:
        self.unread = unread
        self.sent: list[int] = []
        self.skipped = 0

    def buffered_bytes(self) -> int:
        return self.unread

    def send_frame(self, frame: Frame) -> None:
        self.sent.append(frame.seq)

    def skip_frame(self) -> None:
        self.skipped += 1

    def send_text(self, data: bytes) -> None: ...


class Broadcast:
    """A broadcaster and its clients."""

    def __init__(self, *clients: Client) -> None:
        self.loop = Loop()
        self.clock = FakeClock(0)
        self.broadcaster = Broadcaster(Counters(), self.clock, cast(Any, self.loop))
        self.reported: list[tuple[int, int]] = []
        self.broadcaster.add_sent_listener(lambda frame, duration_ns: self.reported.append((frame.seq, duration_ns)))
        for client in clients:
            self.broadcaster.add(client)

    def send(self, seq: int) -> None:
        self.broadcaster.send_frame(Frame.of("e", seq, 0, self.clock.now_ns, b"{}"))


def test_clients_of_one_chunk_get_a_frame_at_once() -> None:
    clients = [Client() for _ in range(CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    assert [client.sent for client in clients] == [[1]] * CHUNK_CLIENTS
    assert broadcast.loop.is_idle
    assert broadcast.broadcaster.messages_sent == CHUNK_CLIENTS


def test_the_loop_runs_between_two_chunks() -> None:
    clients = [Client() for _ in range(CHUNK_CLIENTS + 1)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    assert [len(client.sent) for client in clients] == [1] * CHUNK_CLIENTS + [0]
    broadcast.loop.run_one()
    assert clients[-1].sent == [1]
    assert broadcast.loop.is_idle


def test_a_client_with_unread_bytes_is_skipped_and_counted() -> None:
    slow, fast = Client(unread=1), Client()
    broadcast = Broadcast(slow, fast)
    broadcast.send(1)
    slow.unread = 0
    broadcast.send(2)
    assert (slow.sent, slow.skipped) == ([2], 1)
    assert (fast.sent, fast.skipped) == ([1, 2], 0)
    assert (broadcast.broadcaster.frames_skipped, broadcast.broadcaster.messages_sent) == (1, 3)


def test_clients_that_still_wait_when_the_next_frame_comes_get_only_that_one() -> None:
    clients = [Client() for _ in range(2 * CHUNK_CLIENTS)]
    early, late = clients[0], clients[-1]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    broadcast.send(2)
    assert (early.sent, late.sent, late.skipped) == ([1], [], 1)
    while not broadcast.loop.is_idle:
        broadcast.loop.run_one()
    assert (early.sent, late.sent) == ([1, 2], [2])
    assert broadcast.broadcaster.frames_skipped == CHUNK_CLIENTS


def test_a_frame_is_reported_once_with_the_time_until_its_last_client() -> None:
    broadcast = Broadcast(*(Client() for _ in range(CHUNK_CLIENTS + 1)))
    broadcast.send(1)
    assert broadcast.reported == []
    broadcast.clock.now_ns += 5
    broadcast.loop.run_one()
    assert broadcast.reported == [(1, 5)]


def test_a_client_that_was_discarded_gets_no_frame() -> None:
    client = Client()
    broadcast = Broadcast(client)
    broadcast.broadcaster.discard(client)
    broadcast.send(1)
    assert client.sent == []
