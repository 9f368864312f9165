"""Shared compression, checked by independent inflaters: zlib's and the `websockets` package's, one per connection."""

from __future__ import annotations

import random
import sys
import zlib

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from observability.memory.counters import Counters
from observability.snapshot.frames import HEADROOM
from observability.websocket.deflate import (
    STEP_MAX_BYTES,
    DeflateCounters,
    DeflatedMessage,
    DeflateMemory,
    SharedDeflater,
    contained,
    stepped,
)

TAIL = b"\x00\x00\xff\xff"
SYMBOLS = ["AAPL", "AMZN", "GOOG", "INTC", "MSFT", "ES", "NQ", "CL"]
# Around the window, zlib's lookahead, its output buffer (16 KB), and the limit of a stored block (64 KB).
SIZES = [0, 1, 5, 1000, 16_383, 16_384, 32_505, 32_506, 32_507, 32_767, 32_768, 32_769, 65_535, 65_536, 200_000]


def snapshot(seq: int, rng: random.Random, symbols: int = 8) -> bytes:
    """Returns a message like those of a view: different for every `seq`, and mostly like the previous one."""
    data = {
        name: {"bid": 100 + seq // 7 % 5, "ask": rng.randint(101, 104), "volume": seq} for name in SYMBOLS[:symbols]
    }
    return orjson.dumps({"type": "metrics_update", "seq": seq, "market_data": data})


def noise(size: int, seed: int) -> bytes:
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int) -> bytes:
    rng = random.Random(seed)
    words = [b"%x," % rng.getrandbits(32) for _ in range(50)]
    return b"".join(rng.choices(words, k=size // 2 + 1))[:size]


class InflatingClient:
    """One client: two inflaters that see everything it is sent, and the server's memory of it."""

    def __init__(self, *, takeover: bool) -> None:
        self.takeover = takeover
        self.memory = DeflateMemory(takeover=takeover)
        self._zlib = zlib.decompressobj(-15)
        self._websockets = PerMessageDeflate(not takeover, True, 15, 15)

    def receive(self, message: DeflatedMessage) -> bytes:
        return self.inflate(bytes(self.memory.frame_for(message)[HEADROOM:]))

    def inflate(self, data: bytes) -> bytes:
        if not self.takeover:
            self._zlib = zlib.decompressobj(-15)
        payload = self._zlib.decompress(data + TAIL)
        frame = self._websockets.decode(Frame(Opcode.TEXT, data, rsv1=True))
        assert frame.data == payload
        assert not self._zlib.eof
        return payload

    def receive_uncompressed(self, payload: bytes) -> bytes:
        return bytes(self._websockets.decode(Frame(Opcode.TEXT, payload)).data)


def deflater() -> tuple[SharedDeflater, DeflateCounters]:
    counts = DeflateCounters(Counters())
    return SharedDeflater(counts), counts


def done(counts: DeflateCounters) -> tuple[int, int]:
    """Returns the number of contained and of stepped compressions."""
    return counts.contained.value, counts.stepped.value


@pytest.mark.parametrize("make", [noise, text])
@pytest.mark.parametrize("size", SIZES)
def test_every_client_can_decompress_a_contained_message(size: int, make: object) -> None:
    payload = noise(size, 1) if make is noise else text(size, 1)
    assert zlib.decompressobj(-15).decompress(contained(payload) + TAIL) == payload


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("previous_size", SIZES)
def test_a_stepped_message_is_decompressed_after_the_previous_one(previous_size: int, size: int) -> None:
    source = text(max(SIZES), 2)
    previous, payload = source[:previous_size], source[:size]
    inflater = zlib.decompressobj(-15)
    assert inflater.decompress(contained(previous) + TAIL) == previous
    assert inflater.decompress(stepped(payload, previous) + TAIL) == payload


def test_a_stepped_message_is_much_smaller_than_a_contained_one() -> None:
    rng = random.Random(3)
    previous, payload = snapshot(1, rng), snapshot(2, rng)
    assert len(stepped(payload, previous)) * 2 < len(contained(payload))


def test_an_empty_message_is_one_zero_byte() -> None:
    assert contained(b"") == b"\x00"
    assert stepped(b"", b"previous") == b"\x00"


@pytest.mark.parametrize("size", SIZES)
def test_no_message_ends_the_stream(size: int) -> None:
    inflater = zlib.decompressobj(-15)
    for data in (contained(noise(size, 4)), contained(text(size, 4)), stepped(text(size, 5), text(size, 4))):
        inflater.decompress(data + TAIL)
        assert not inflater.eof


def test_a_client_that_joins_gets_one_contained_frame_then_stepped_ones() -> None:
    shared, _ = deflater()
    shared.next_message(b"before")
    joined = DeflateMemory(takeover=True)
    first, second, third = (shared.next_message(b"message %d" % n) for n in range(3))
    assert joined.frame_for(first) is first.contained_frame()
    assert joined.frame_for(second) is second.stepped_frame()
    assert joined.frame_for(third) is third.stepped_frame()


def test_the_first_message_of_a_view_is_contained() -> None:
    shared, counts = deflater()
    DeflateMemory(takeover=True).frame_for(shared.next_message(b"first"))
    assert done(counts) == (1, 0)


def test_a_client_that_was_skipped_gets_a_contained_frame() -> None:
    shared, _ = deflater()
    client = DeflateMemory(takeover=True)
    first, second, third = (shared.next_message(b"message %d" % n) for n in range(3))
    client.frame_for(first)
    assert client.frame_for(third) is third.contained_frame()
    del second


def test_a_client_that_changes_views_gets_a_contained_frame_both_ways() -> None:
    one, counts = deflater()
    other = SharedDeflater(counts)
    client = DeflateMemory(takeover=True)
    client.frame_for(one.next_message(b"the same"))
    other.next_message(b"the same")
    there, back = other.next_message(b"there"), one.next_message(b"back")
    assert client.frame_for(there) is there.contained_frame()
    assert client.frame_for(back) is back.contained_frame()


def test_a_repeated_message_is_contained_and_keeps_the_client_in_step() -> None:
    shared, _ = deflater()
    client = InflatingClient(takeover=True)
    first, second = shared.next_message(b"first"), shared.next_message(b"second")
    assert [client.receive(message) for message in (first, first, second)] == [b"first", b"first", b"second"]
    third = shared.next_message(b"third")
    assert client.memory.frame_for(third) is third.stepped_frame()


def test_without_context_takeover_every_frame_is_contained() -> None:
    shared, counts = deflater()
    client = DeflateMemory(takeover=False)
    for n in range(5):
        message = shared.next_message(b"message %d" % n)
        assert client.frame_for(message) is message.contained_frame()
    assert done(counts) == (5, 0)


def test_each_tick_is_compressed_once_for_all_clients_in_step() -> None:
    shared, counts = deflater()
    clients = [DeflateMemory(takeover=True) for _ in range(100)]
    for tick in range(10):
        message = shared.next_message(b"tick %d" % tick)
        frames = {id(client.frame_for(message)) for client in clients}
        assert len(frames) == 1
    assert done(counts) == (1, 9)


def test_all_clients_out_of_step_share_one_contained_compression() -> None:
    shared, counts = deflater()
    steady = [DeflateMemory(takeover=True) for _ in range(10)]
    plain = [DeflateMemory(takeover=False) for _ in range(10)]
    for tick in range(10):
        message = shared.next_message(b"tick %d" % tick)
        for client in (*steady, *plain, *(DeflateMemory(takeover=True) for _ in range(10))):
            client.frame_for(message)
    assert done(counts) == (10, 9)


def test_a_message_that_no_client_gets_is_not_compressed() -> None:
    shared, counts = deflater()
    for n in range(5):
        shared.next_message(b"message %d" % n)
    assert done(counts) == (0, 0)


def test_no_message_is_stepped_after_one_longer_than_the_window() -> None:
    shared, counts = deflater()
    client = InflatingClient(takeover=True)
    sizes = [STEP_MAX_BYTES + 1, STEP_MAX_BYTES, STEP_MAX_BYTES + 1, 100, 100]
    for size in sizes:
        payload = text(size, 6)
        assert client.receive(shared.next_message(payload)) == payload
    assert done(counts) == (3, 2)


def test_messages_that_do_not_compress_arrive_unchanged() -> None:
    shared, _ = deflater()
    client = InflatingClient(takeover=True)
    for seed in range(5):
        payload = noise(20_000, seed)
        assert client.receive(shared.next_message(payload)) == payload


def test_a_frame_leaves_room_for_its_header() -> None:
    shared, _ = deflater()
    first, second = shared.next_message(b"first"), shared.next_message(b"second")
    assert first.contained_frame() == bytes(HEADROOM) + contained(b"first")
    assert second.stepped_frame() == bytes(HEADROOM) + stepped(b"second", b"first")


def test_only_the_newest_payload_is_kept() -> None:
    shared, _ = deflater()
    client = DeflateMemory(takeover=True)
    payloads = [snapshot(n, random.Random(n)) for n in range(4)]
    before = [sys.getrefcount(payload) for payload in payloads]
    for n in range(4):
        client.frame_for(shared.next_message(payloads[n]))
    after = [sys.getrefcount(payload) for payload in payloads]
    assert [count - free for count, free in zip(after, before, strict=True)] == [0, 0, 0, 1]


def test_a_message_releases_the_previous_one_once_it_is_stepped() -> None:
    shared, _ = deflater()
    payload = snapshot(1, random.Random(1))
    free = sys.getrefcount(payload)
    shared.next_message(payload)
    message = shared.next_message(b"the next")
    assert sys.getrefcount(payload) == free + 1
    message.stepped_frame()
    assert sys.getrefcount(payload) == free


class Ticks(RuleBasedStateMachine):
    """Two views, and clients that join, leave, lag and change views: whatever arrives is what was sent."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = DeflateCounters(Counters())
        self.views = [SharedDeflater(self.counts), SharedDeflater(self.counts)]
        self.peers: list[tuple[InflatingClient, int]] = []
        self.latest: list[tuple[DeflatedMessage, bytes] | None] = [None, None]
        self.ticks = 0

    @rule(takeover=st.booleans(), view=st.integers(0, 1), gets_latest=st.booleans())
    def join(self, takeover: bool, view: int, gets_latest: bool) -> None:
        if len(self.peers) < 8:
            self.peers.append((InflatingClient(takeover=takeover), view))
            if gets_latest:
                self.send_latest_again(len(self.peers) - 1)

    @rule(which=st.integers(0, 7))
    def leave(self, which: int) -> None:
        if self.peers:
            del self.peers[which % len(self.peers)]

    @rule(which=st.integers(0, 7))
    def change_view(self, which: int) -> None:
        if self.peers:
            peer, view = self.peers[which % len(self.peers)]
            self.peers[which % len(self.peers)] = peer, 1 - view

    @rule(which=st.integers(0, 7), payload=st.sampled_from([b"", b"pong", b'{"type":"subscribed","id":1}']))
    def send_uncompressed(self, which: int, payload: bytes) -> None:
        if self.peers:
            assert self.peers[which % len(self.peers)][0].receive_uncompressed(payload) == payload

    @rule(which=st.integers(0, 7))
    def send_latest_again(self, which: int) -> None:
        if self.peers:
            peer, view = self.peers[which % len(self.peers)]
            latest = self.latest[view]
            if latest is not None:
                assert peer.receive(latest[0]) == latest[1]

    @rule(view=st.integers(0, 1), skipped=st.integers(0, 255), shape=st.integers(0, 19), seed=st.integers(0, 9))
    def tick(self, view: int, skipped: int, shape: int, seed: int) -> None:
        self.ticks += 1
        rng = random.Random(seed)
        if shape == 0:
            payload = b""
        elif shape == 1:
            payload = text(rng.choice(SIZES[6:12]), seed)
        else:
            payload = snapshot(self.ticks, rng, shape % 8)
        message = self.views[view].next_message(payload)
        self.latest[view] = message, payload
        for n, (peer, its_view) in enumerate(self.peers):
            if its_view == view and not skipped >> n & 1:
                assert peer.receive(message) == payload

    @invariant()
    def at_most_one_of_each_kind_was_made_per_tick(self) -> None:
        assert self.counts.contained.value <= self.ticks
        assert self.counts.stepped.value <= self.ticks


TestTicks = Ticks.TestCase
TestTicks.settings = settings(stateful_step_count=50)


def test_thousands_of_ticks_arrive_at_clients_that_come_and_go() -> None:
    rng = random.Random(7)
    counts = DeflateCounters(Counters())
    views = [SharedDeflater(counts) for _ in range(3)]
    peers = [(InflatingClient(takeover=n % 3 != 0), n % 3) for n in range(9)]
    contained_before = received = 0
    for seq in range(4000):
        for n, (peer, view) in enumerate(peers):
            happening = rng.random()
            if happening < 0.01:
                peers[n] = InflatingClient(takeover=peer.takeover), view
            elif happening < 0.02:
                peers[n] = peer, rng.randrange(3)
            elif happening < 0.05:
                assert peer.receive_uncompressed(b"pong") == b"pong"
        for view, shared in enumerate(views):
            payload = snapshot(seq, rng, 2 + view)
            message = shared.next_message(payload)
            for peer, its_view in peers:
                if its_view == view and rng.random() < 0.9:
                    assert peer.receive(message) == payload
                    received += 1
        assert counts.contained.value <= contained_before + 3
        contained_before = counts.contained.value
    assert received > 30_000
    assert 8_000 < counts.stepped.value <= 12_000
