"""The inbound side of a connection: headers as the RFC has them, and bounded work in each turn of the loop."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import cast

import pytest

from observability.clocks.slices import SLICE_NS
from observability.websocket.close_codes import CloseCode
from observability.websocket.inbound import (
    FRAMES_PER_TURN,
    RATE_PAUSE_SECONDS,
    SKIP_PAUSE_SECONDS,
    SKIPPED_FRAMES_PER_TURN,
    Fault,
    FrameHeader,
    Inbound,
    parse_header,
)
from ws_client import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, frame

PINGS = frame(PING, b"p")


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a turn could end by its time, before its number of frames."""
    monkeypatch.setattr(time, "monotonic_ns", lambda: 0)


class Loop:
    """A loop whose scheduled calls a test runs one by one."""

    def __init__(self) -> None:
        self.due: deque[tuple[float, Callable[[], None]]] = deque()

    def call_soon(self, callback: Callable[[], None]) -> object:
        return self.call_later(0.0, callback)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> object:
        self.due.append((seconds, callback))
        return callback

    def run_one(self) -> float:
        """Runs the next call; returns for how long it was put off."""
        seconds, callback = self.due.popleft()
        callback()
        return seconds


class Transport(asyncio.Transport):
    """Remembers whether reading is paused."""

    is_reading = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        assert self.is_reading
        self.is_reading = False

    def resume_reading(self) -> None:
        assert not self.is_reading
        self.is_reading = True


class Connection:
    """Consumes frames as a connection does, and stands for its picows protocol too."""

    def __init__(self) -> None:
        self.is_closing = False
        self.has_ended = False
        self.may_read = True
        self.silent_heartbeats = 0
        self.tokens = 1 << 30
        self.headers: list[FrameHeader] = []
        self.controls: list[tuple[int, bytes]] = []
        self.closed_with: list[int] = []
        self.passed_on = bytearray()
        self.on_frame: Callable[[], None] = lambda: None
        self._buffer = bytearray(1000)

    # -- the connection

    def may_take(self, header: FrameHeader) -> bool:
        if not self.tokens:
            return False
        self.tokens -= 1
        return True

    def begin_frame(self, header: FrameHeader) -> None:
        self.headers.append(header)
        self.on_frame()

    def on_control_frame(self, header: FrameHeader, payload: bytes) -> None:
        self.controls.append((header.opcode, payload))
        self.on_frame()
        if header.opcode == CLOSE:
            self.is_closing = True
            self.end()

    def close(self, code: int, reason: str = "") -> None:
        self.closed_with.append(code)
        self.is_closing = True

    def end(self) -> None:
        self.has_ended = True

    def on_bytes(self) -> None:
        self.silent_heartbeats = 0

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def on_lost(self) -> None: ...

    # -- picows

    def make_unmasker(self) -> Connection:
        return self

    def get_buffer(self, _size: int) -> memoryview:
        return memoryview(self._buffer)

    def buffer_updated(self, size: int) -> None:
        self.passed_on += self._buffer[:size]


class Peer:
    """A peer, and the inbound side that reads it."""

    def __init__(self, received: bytes = b"") -> None:
        self.connection = Connection()
        self.loop = Loop()
        self.transport = Transport()
        self.inbound = Inbound(self.connection, self.transport, cast(asyncio.AbstractEventLoop, self.loop), received)
        self.inbound.start()

    def send(self, data: bytes) -> None:
        assert self.transport.is_reading
        self.inbound.data_received(data)

    @property
    def taken(self) -> int:
        return len(self.connection.controls) + len(self.connection.headers)


@pytest.mark.parametrize(
    ("data", "header"),
    [
        (frame(TEXT, b"x" * 125), (TEXT, True, 0, 125, 6)),
        (frame(BINARY, b"x" * 126, fin=False), (BINARY, False, 0, 126, 8)),
        (frame(CONTINUATION, b"x" * 65535, rsv=5), (CONTINUATION, True, 5, 65535, 8)),
        (frame(BINARY, b"x" * 65536), (BINARY, True, 0, 65536, 14)),
        (frame(PONG, b"x" * 125, rsv=4), (PONG, True, 4, 125, 6)),
    ],
)
def test_a_header_is_read_once_it_is_whole(data: bytes, header: tuple[int, bool, int, int, int]) -> None:
    for size in range(header[4] - 4):
        assert parse_header(b"xyz" + data[:size], 3) is None
    assert parse_header(b"xyz" + data, 3) == header


@pytest.mark.parametrize(
    "data",
    [
        frame(3), frame(7), frame(11), frame(15), frame(TEXT, b"a", masked=False), frame(PING, fin=False),
        frame(CLOSE, b"x" * 126), b"\x82\xfe\x00\x7d\0\0\0\0", b"\x82\xff\0\0\0\0\0\0\xff\xff\0\0\0\0",
        b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0",
    ],
)  # fmt: skip
def test_a_header_that_the_rfc_forbids_is_a_fault(data: bytes) -> None:
    with pytest.raises(Fault) as fault:
        parse_header(data, 0)
    assert fault.value.code == CloseCode.PROTOCOL_ERROR


def test_a_turn_takes_a_few_frames_and_reading_pauses_until_the_last() -> None:
    peer = Peer()
    peer.send(PINGS * (3 * FRAMES_PER_TURN - 1) + PINGS[:5])
    for turn in (1, 2):
        assert (peer.taken, peer.transport.is_reading) == (turn * FRAMES_PER_TURN, False)
        assert peer.loop.run_one() == 0.0
    assert (peer.taken, peer.transport.is_reading, len(peer.loop.due)) == (3 * FRAMES_PER_TURN - 1, True, 0)
    peer.send(PINGS[5:])
    assert peer.connection.controls == [(PING, b"p")] * (3 * FRAMES_PER_TURN)


def test_a_turn_ends_after_a_slice_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    peer, now_ns = Peer(), [0]
    monkeypatch.setattr(time, "monotonic_ns", lambda: now_ns[0])

    def work() -> None:
        now_ns[0] += SLICE_NS // 2

    peer.connection.on_frame = work
    peer.send(PINGS * 4)
    assert peer.taken == 2
    peer.loop.run_one()
    assert peer.taken == 4


def test_one_pong_per_ping_is_free_of_the_peers_rate() -> None:
    peer = Peer()
    peer.connection.tokens = 1
    peer.connection.silent_heartbeats = 1
    for _ in range(2):
        peer.send(frame(PONG))
    assert peer.connection.controls == [(PONG, b"")] and not peer.connection.tokens
    peer.connection.silent_heartbeats = 1
    peer.send(frame(PONG))
    assert peer.transport.is_reading and not peer.loop.due


def test_what_looks_like_a_pong_within_a_message_is_of_the_message() -> None:
    peer = Peer()
    message = frame(BINARY, frame(PONG))
    peer.send(message[:-6])
    peer.connection.silent_heartbeats = 1
    peer.send(message[-6:])
    assert peer.connection.passed_on == message


def test_a_frame_beyond_the_peers_rate_waits_and_is_taken_once() -> None:
    peer = Peer()
    peer.connection.tokens = 2
    peer.send(PINGS * 3 + frame(TEXT, b"x"))
    assert (peer.taken, peer.transport.is_reading) == (2, False)
    assert peer.loop.run_one() == RATE_PAUSE_SECONDS
    assert peer.taken == 2
    peer.connection.tokens = 1
    assert peer.loop.run_one() == RATE_PAUSE_SECONDS
    assert (peer.taken, peer.transport.is_reading) == (3, False)
    peer.connection.tokens = 1
    peer.loop.run_one()
    assert (peer.taken, peer.transport.is_reading, len(peer.loop.due)) == (4, True, 0)


def test_nothing_is_read_while_the_connection_may_not() -> None:
    peer = Peer()

    def hold() -> None:
        peer.connection.may_read = False

    peer.connection.on_frame = hold
    peer.send(PINGS * 2)
    assert (peer.taken, peer.transport.is_reading, len(peer.loop.due)) == (1, False, 0)
    peer.connection.may_read = True
    peer.inbound.resume()
    assert (peer.taken, peer.transport.is_reading) == (2, False)


def test_picows_gets_the_bytes_of_one_frame_and_none_of_the_next() -> None:
    first, second = frame(BINARY, bytes(range(256)) * 10, key=b"abcd"), frame(TEXT, b"next")
    for cut in (1, 3, 7, 9, 1500, len(first) - 1, len(first)):
        peer, seen = Peer(), list[bytes]()
        peer.connection.on_frame = lambda peer=peer, seen=seen: seen.append(bytes(peer.connection.passed_on))  # type: ignore[misc]
        for part in (first[:cut], first[cut:] + second[:-1], second[-1:]):
            peer.send(part)
            # On a busy machine the turn may have been over before the part was.
            while peer.loop.due:
                peer.loop.run_one()
        assert seen == [b"", first]
        assert peer.connection.passed_on == first + second


@pytest.mark.parametrize("behind", [frame(CLOSE, b"\x03\xe9"), frame(7), PINGS, frame(TEXT, b"x"), b"\0" * 70_000])
def test_nothing_behind_a_close_is_looked_at(behind: bytes) -> None:
    peer = Peer()
    peer.send(frame(CLOSE, b"\x03\xe8") + behind)
    peer.loop.run_one()
    peer.send(behind)
    assert (peer.connection.controls, peer.connection.closed_with) == ([(CLOSE, b"\x03\xe8")], [])
    assert peer.connection.headers == []


def test_a_header_that_cannot_be_read_ends_the_connection() -> None:
    peer = Peer()
    peer.send(frame(7) + PINGS)
    assert (peer.connection.closed_with, peer.connection.has_ended) == ([CloseCode.PROTOCOL_ERROR], True)
    assert peer.connection.controls == []


def test_after_our_close_frames_are_skipped_until_the_peers() -> None:
    peer = Peer()
    peer.connection.is_closing = True
    peer.send(b"".join([PINGS, frame(TEXT, b"x" * 300)] * SKIPPED_FRAMES_PER_TURN))
    pauses = [peer.loop.run_one() for _ in range(2)]
    assert pauses == [SKIP_PAUSE_SECONDS] * 2
    for _ in range(10):
        if peer.loop.due:
            peer.loop.run_one()
    assert not peer.connection.has_ended
    peer.send(frame(TEXT, b"x")[:3])
    peer.loop.run_one()
    peer.send(frame(TEXT, b"x")[3:] + frame(CLOSE))
    assert peer.connection.has_ended
    assert (peer.connection.controls, peer.connection.headers) == ([], [])


def test_a_frame_that_has_begun_is_skipped_to_its_end_when_we_close() -> None:
    peer = Peer()
    large = frame(BINARY, frame(CLOSE) * 100)
    peer.send(large[:50])
    peer.connection.is_closing = True
    peer.send(large[50:])
    assert not peer.connection.has_ended
    peer.loop.run_one()
    peer.send(frame(CLOSE))
    assert peer.connection.has_ended


def test_what_came_with_the_handshake_waits_for_the_start() -> None:
    peer = Peer(received=PINGS * 2)
    assert peer.connection.controls == [(PING, b"p")] * 2
