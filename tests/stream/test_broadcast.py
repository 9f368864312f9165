"""The broadcast: chunks of clients, skipped frames, and what is reported of a frame."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any, cast

import pytest

from fake_clock import FakeClock
from observability.clocks.timestamps import NS_PER_S
from observability.memory.counters import Counters
from observability.snapshot.frames import HEADROOM, Frame
from observability.stream.broadcast import CALM_FRAMES, Broadcaster, ChunkSize
from observability.stream.cohort import CALM_CHUNK_CLIENTS, CHUNK_CLIENTS, CohortKey
from observability.stream.views import EVERYTHING, View
from observability.websocket.deflate import DeflateCounters


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
        self.last_seq = 0

    def cohort_key(self) -> CohortKey | None:
        """It is never in a cohort."""
        return None

    def buffered_bytes(self) -> int:
        return self.unread

    def send_frame(self, frame: Frame) -> None:
        self.sent.append(frame.seq)

    def skip_frames(self, count: int = 1, newest_seq: int = 0) -> None:
        self.skipped += count

    def send_text(self, data: bytes) -> None: ...


VIEW = View(EVERYTHING, DeflateCounters(Counters()))


class CohortClient(Client):
    """A client that has only frames due. It notes the moment at which it is sent one in `order`."""

    deflate = None

    def __init__(self, order: list[CohortClient] | None = None, *, accepts_lag: bool = False) -> None:
        super().__init__()
        self.order = [] if order is None else order
        self.sending: Callable[[], None] = lambda: None
        self.told: list[tuple[int, int]] = []
        """How many frames it was told that it has skipped, after how many that it got."""
        self.key = CohortKey(VIEW, is_compressed=False, keeps_context=False, accepts_lag=accepts_lag, is_plain=False)

    def cohort_key(self) -> CohortKey | None:
        return None if self.skipped else self.key

    def send_shared(self, _kind: object, buffer: bytearray, *_: object) -> None:
        message = json.loads(buffer[HEADROOM:])
        if isinstance(message, dict):
            self.told.append((message["skipped"], len(self.sent)))
            return
        self.sent.append(message)
        self.order.append(self)
        self.sending()

    def send_frame(self, frame: Frame) -> None:
        self.skipped = 0
        super().send_frame(frame)


class Broadcast:
    """A broadcaster and its clients."""

    def __init__(self, *clients: Client) -> None:
        self.loop = Loop()
        self.clock = FakeClock(0)
        self.broadcaster = Broadcaster(Counters(), self.clock, cast(Any, self.loop), cpu_ns=self.clock.mono_ns)
        self.reported: list[tuple[int, int]] = []
        self.broadcaster.add_sent_listener(lambda frame, duration_ns: self.reported.append((frame.seq, duration_ns)))
        for client in clients:
            self.broadcaster.add(client)

    def finish(self) -> None:
        while not self.loop.is_idle:
            self.loop.run_one()

    def send(self, seq: int) -> None:
        self.broadcaster.send_frame(Frame("epoch", seq, 0, self.clock.now_ns, b"%d" % seq))


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
    (waiting,) = (client for client in clients if not client.sent)
    broadcast.loop.run_one()
    assert waiting.sent == [1]
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
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    early, late = (next(client for client in clients if client.sent == sent) for sent in ([1], []))
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


def test_a_cohort_is_sent_a_frame_in_chunks_with_the_loop_in_between() -> None:
    order: list[CohortClient] = []
    broadcast = Broadcast(*(CohortClient(order) for _ in range(3 * CHUNK_CLIENTS)))
    broadcast.send(1)
    sent = [len(order)]
    while not broadcast.loop.is_idle:
        broadcast.loop.run_one()
        sent.append(len(order))
    assert sent == [CHUNK_CLIENTS, 2 * CHUNK_CLIENTS, 3 * CHUNK_CLIENTS]
    assert len(set(order)) == 3 * CHUNK_CLIENTS
    assert broadcast.broadcaster.messages_sent == 3 * CHUNK_CLIENTS


def test_a_frame_may_be_sent_in_other_chunks_than_the_one_before() -> None:
    order: list[CohortClient] = []
    broadcast = Broadcast(*(CohortClient(order) for _ in range(300)))
    sent = []
    for seq, chunk in ((1, 200), (2, 100), (3, 300)):
        broadcast.broadcaster.send_frame(Frame("epoch", seq, 0, 0, b"%d" % seq), chunk)
        sent.append(len(order))
    broadcast.finish()
    assert sent == [200, 200, 200] and broadcast.loop.is_idle
    assert len(order) == 500 and all(member.sent[-1] == 3 for member in order)


def test_chunks_are_larger_once_nobody_has_asked_for_anything_for_some_frames() -> None:
    size = ChunkSize()
    calm = [size.of_frame(0) for _ in range(CALM_FRAMES)]
    assert calm == [CHUNK_CLIENTS] * (CALM_FRAMES - 1) + [CALM_CHUNK_CLIENTS]
    asked = [size.of_frame(1) for _ in range(CALM_FRAMES + 1)]
    assert asked == [CHUNK_CLIENTS] * CALM_FRAMES + [CALM_CHUNK_CLIENTS]


def test_small_cohorts_share_a_chunk() -> None:
    order: list[CohortClient] = []
    clients = [CohortClient(order, accepts_lag=number % 2 == 0) for number in range(CHUNK_CLIENTS + 2)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    assert len(order) == CHUNK_CLIENTS
    broadcast.finish()
    assert set(order) == set(clients)


def test_no_client_of_a_cohort_is_always_the_last() -> None:
    order: list[CohortClient] = []
    broadcast = Broadcast(*(CohortClient(order) for _ in range(200)))
    last = set()
    for seq in range(1, 101):
        broadcast.send(seq)
        broadcast.finish()
        last.add(order[-1])
    assert len(last) > 50


def test_no_cohort_is_always_the_last() -> None:
    order: list[CohortClient] = []
    clients = [CohortClient(order, accepts_lag=accepts_lag) for accepts_lag in (False, True)]
    broadcast = Broadcast(*clients)
    for seq in (1, 2):
        broadcast.send(seq)
    first, second = clients
    assert order in ([first, second, second, first], [second, first, first, second])


def test_no_client_on_its_own_is_always_the_last() -> None:
    order: list[Client] = []

    class Alone(Client):
        def send_frame(self, frame: Frame) -> None:
            order.append(self)

    last = set()
    broadcast = Broadcast(*(Alone() for _ in range(20)))
    for seq in range(1, 41):
        broadcast.send(seq)
        last.add(order[-1])
    assert len(last) > 10


def test_a_client_on_its_own_is_before_those_of_cohorts_as_often_as_behind_them() -> None:
    alone, member = Client(), CohortClient()
    orders = set()
    broadcast = Broadcast(alone, member)
    member.sending = lambda: orders.add((len(alone.sent), len(member.sent)))
    for seq in range(1, 5):
        broadcast.send(seq)
    assert orders == {(0, 1), (2, 2), (2, 3), (4, 4)}


def test_more_of_a_frame_is_sent_before_the_turn_that_would_once_asked_for() -> None:
    clients = [Client() for _ in range(3 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    for sent in (2, 3, 3):
        broadcast.broadcaster.catch_up()
        assert broadcast.broadcaster.messages_sent == sent * CHUNK_CLIENTS
    assert [seq for seq, _ in broadcast.reported] == [1]


def test_each_frame_has_one_turn_of_the_loop_though_more_was_asked_for() -> None:
    broadcast = Broadcast(*(Client() for _ in range(5 * CHUNK_CLIENTS)))
    for seq in (1, 2):
        broadcast.send(seq)
        for _ in range(2 + seq):
            broadcast.broadcaster.catch_up()
    # The turn that the first frame asked for is that of the second one, too.
    broadcast.loop.run_one()
    assert broadcast.broadcaster.messages_sent == (4 + 5) * CHUNK_CLIENTS
    assert broadcast.loop.is_idle


def test_a_client_that_falls_behind_before_its_chunk_skips_the_frame_and_is_counted() -> None:
    clients = [CohortClient() for _ in range(2 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    slow = next(client for client in clients if not client.sent)
    slow.unread = 1
    broadcast.broadcaster.leave_cohort(slow)
    broadcast.finish()
    assert (slow.sent, slow.skipped) == ([], 1)
    assert broadcast.broadcaster.frames_skipped == 1
    slow.unread = 0
    for seq in (2, 3):
        broadcast.send(seq)
        broadcast.finish()
    assert slow.sent == [2, 3]


def test_a_client_that_leaves_its_cohort_behind_its_chunk_is_not_sent_the_frame_again() -> None:
    clients = [CohortClient() for _ in range(2 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    done = next(client for client in clients if client.sent)
    broadcast.broadcaster.leave_cohort(done)
    broadcast.finish()
    assert (done.sent, done.skipped) == ([1], 0)


def test_a_client_that_has_got_the_frame_on_its_own_is_not_sent_it_again() -> None:
    clients = [CohortClient() for _ in range(2 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    changed = next(client for client in clients if not client.sent)
    broadcast.broadcaster.leave_cohort(changed)
    changed.last_seq = 1
    broadcast.finish()
    assert changed.sent == []


def test_members_that_still_wait_when_the_next_frame_comes_get_only_that_one() -> None:
    clients = [CohortClient(accepts_lag=number % 2 == 0) for number in range(2 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    sent_first = [client for client in clients if client.sent]
    broadcast.send(2)
    broadcast.finish()
    broadcast.send(3)
    broadcast.finish()
    assert 0 < len(sent_first) < len(clients)
    for client in clients:
        assert client.sent == ([1, 2, 3] if client in sent_first else [2, 3])
        assert client.told == ([] if client in sent_first or not client.key.accepts_lag else [(1, 0)])
    assert broadcast.broadcaster.frames_skipped == len(clients) - len(sent_first)


@pytest.mark.parametrize(
    "kinds",
    [
        [CohortClient] * 4,
        [CohortClient, partial(CohortClient, accepts_lag=True)] * 2,
        [CohortClient, Client] * 2,
    ],
)
def test_every_client_gets_every_other_frame_if_half_of_them_can_be_sent_it(kinds: list[Callable[[], Client]]) -> None:
    broadcast = Broadcast(*(make() for make in kinds * CHUNK_CLIENTS))
    for seq in range(1, 31):
        broadcast.send(seq)
        while broadcast.broadcaster.messages_sent < 2 * CHUNK_CLIENTS * seq:
            broadcast.loop.run_one()
    assert not broadcast.loop.is_idle
    for client in broadcast.broadcaster.clients:
        sent = [0, *cast(Client, client).sent, 31]
        assert max(later - earlier for earlier, later in pairwise(sent)) <= 2


def with_slow_clients(count: int, each_ns: int = 10_000) -> tuple[Broadcast, list[CohortClient]]:
    """Returns a broadcast to clients of which each takes some time, and the order in which they are sent frames."""
    order: list[CohortClient] = []
    clients = [CohortClient(order) for _ in range(count)]
    broadcast = Broadcast(*clients)

    def spend() -> None:
        broadcast.clock.now_ns += each_ns

    for client in clients:
        client.sending = spend
    return broadcast, order


def test_a_frame_gets_three_times_the_time_that_the_loop_spends_on_a_crowd() -> None:
    broadcast, order = with_slow_clients(9 * CHUNK_CLIENTS)
    broadcast.send(1)
    assert len(order) == CHUNK_CLIENTS
    broadcast.clock.now_ns += 10_000 * CHUNK_CLIENTS
    broadcast.loop.run_one()
    assert len(order) == (1 + 3) * CHUNK_CLIENTS
    broadcast.loop.run_one()
    assert len(order) == (1 + 3 + 1) * CHUNK_CLIENTS


def test_a_frame_gets_one_chunk_per_turn_beside_a_few_requests() -> None:
    broadcast, order = with_slow_clients(4 * CHUNK_CLIENTS, each_ns=1000)
    broadcast.send(1)
    for chunks in (2, 3, 4):
        broadcast.clock.now_ns += 400_000
        broadcast.loop.run_one()
        assert len(order) == chunks * CHUNK_CLIENTS


def test_a_frame_gives_the_loop_a_turn_however_busy_that_has_been() -> None:
    broadcast, order = with_slow_clients(200 * CHUNK_CLIENTS)
    broadcast.send(1)
    broadcast.clock.now_ns += 3600 * NS_PER_S
    broadcast.loop.run_one()
    assert CHUNK_CLIENTS < len(order) < 100 * CHUNK_CLIENTS
    broadcast.finish()
    assert len(order) == 200 * CHUNK_CLIENTS


def test_a_member_that_was_discarded_gets_no_frame_and_leaves_no_cohort_behind() -> None:
    first, second = CohortClient(), CohortClient()
    broadcast = Broadcast(first, second)
    broadcast.send(1)
    broadcast.broadcaster.discard(first)
    broadcast.send(2)
    broadcast.broadcaster.discard(second)
    broadcast.send(3)
    assert (first.sent, second.sent) == ([1], [1, 2])
    assert broadcast.loop.is_idle


def test_frames_that_this_worker_was_too_late_to_read_are_skipped_for_everyone() -> None:
    alone, told, old = Client(), CohortClient(accepts_lag=True), CohortClient()
    broadcast = Broadcast(alone, told, old)
    for seq in (1, 4):
        broadcast.send(seq)
        broadcast.finish()
    assert (alone.skipped, alone.sent, told.sent, old.sent) == (2, [1, 4], [1, 4], [1, 4])
    assert (told.skipped, old.skipped) == (0, 0)
    assert broadcast.broadcaster.frames_skipped == 6


def test_a_member_that_accepts_lag_is_told_of_frames_that_this_worker_missed() -> None:
    client = CohortClient(accepts_lag=True)
    broadcast = Broadcast(client)
    for seq in (1, 4, 5):
        broadcast.send(seq)
    assert (client.sent, client.told) == ([1, 4, 5], [(2, 1)])


def test_members_of_a_late_server_are_told_by_the_sends_of_their_cohort() -> None:
    clients = [CohortClient(accepts_lag=True) for _ in range(4 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    # One chunk of each frame is sent; the sixth is sent whole.
    for seq in range(1, 7):
        broadcast.send(seq)
        if seq % 2:
            broadcast.loop.run_one()
    assert all(cohort is not None for cohort in broadcast.broadcaster.clients.values())
    broadcast.finish()
    for client in clients:
        assert client.sent[-1] == 6 and len(client.sent) + sum(skipped for skipped, _ in client.told) == 6
    assert len({tuple(client.told) for client in clients}) > 1
    told = [list(client.told) for client in clients]
    broadcast.send(7)
    broadcast.finish()
    assert [client.told for client in clients] == told


def test_a_member_that_leaves_before_it_was_told_has_what_it_skipped_due() -> None:
    clients = [CohortClient(accepts_lag=True) for _ in range(2 * CHUNK_CLIENTS)]
    broadcast = Broadcast(*clients)
    broadcast.send(1)
    late = next(client for client in clients if not client.sent)
    broadcast.send(2)
    broadcast.broadcaster.leave_cohort(late)
    assert late.skipped == 1
    broadcast.finish()
    assert (late.sent, late.told) == ([2], [])


def test_the_first_frame_of_another_epoch_skips_nothing() -> None:
    client = Client()
    broadcast = Broadcast(client)
    broadcast.send(1)
    broadcast.broadcaster.send_frame(Frame("next", 3, 0, 0, b"3"))
    assert (client.sent, client.skipped) == ([1, 3], 0)


def test_frames_missed_as_another_hub_began_are_skipped_for_everyone() -> None:
    client = Client()
    broadcast = Broadcast(client)
    broadcast.send(1)
    # It began with 3.
    broadcast.broadcaster.send_frame(Frame("next", 6, 0, 0, b"6"))
    assert (client.sent, client.skipped) == ([1, 6], 3)
