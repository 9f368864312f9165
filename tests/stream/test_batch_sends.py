"""Sends by one system call for many members: what becomes of those that fail or are cut short, with each engine."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Any, cast

import pytest

from observability.snapshot.frames import HEADROOM
from observability.stream.batches.aio import WriteContext
from observability.stream.batches.io_uring import SendRing
from observability.stream.cohort import Batches, BatchSends, frame_header
from tcp_pair import TcpPair

PAYLOAD = bytes(range(256)) * 8
FRAME = b"\x81\x7e\x08\x00" + PAYLOAD
PING = b"\x89\x00"


class Member:
    """A member over a real connection. Its transport keeps what it is given."""

    def __init__(self, pair: TcpPair) -> None:
        self.pair = pair
        self.written: list[bytes] = []
        self.transport = self

    def get_extra_info(self, name: str) -> socket.socket:
        assert name == "socket"
        return self.pair.sender

    def write(self, data: bytes) -> None:
        self.written.append(data)


class Scene:
    """Members, and the sends that were prepared for them."""

    def __init__(self, batches: Batches, count: int) -> None:
        self.members = [Member(TcpPair()) for _ in range(count)]
        self.sends = BatchSends(batches, frame_header, takes_pings=True)
        for member in self.members:
            assert self.sends.append(cast(Any, member))
        self.set_payload(PAYLOAD)

    def set_payload(self, payload: bytes) -> None:
        self.sends.set_message(bytearray(HEADROOM) + payload, False)

    def send(self) -> list[int]:
        return self.sends.send(0, len(self.members))

    def close(self) -> None:
        for member in self.members:
            member.pair.close()


@pytest.fixture(params=["io_uring", "AIO"])
def batches(request: pytest.FixtureRequest) -> Iterator[Batches]:
    try:
        batches = SendRing(1000) if request.param == "io_uring" else WriteContext()
    except OSError as error:
        pytest.skip(f"the kernel gives no {request.param}: {error}")
    yield batches
    batches.close()


@pytest.fixture
def scene(batches: Batches) -> Iterator[Scene]:
    scene = Scene(batches, 3)
    yield scene
    scene.close()


def test_every_member_gets_the_frame(scene: Scene) -> None:
    assert scene.send() == []
    assert [member.pair.read(len(FRAME)) for member in scene.members] == [FRAME] * 3


def test_a_compressed_frame_has_its_bit_set(scene: Scene) -> None:
    scene.sends.set_message(bytearray(HEADROOM) + b"deflated", True)
    assert scene.send() == []
    assert scene.members[0].pair.read(10) == b"\xc1\x08deflated"


def test_a_message_before_the_frame_goes_with_it(scene: Scene) -> None:
    scene.sends.set_message(bytearray(HEADROOM) + b"deflated", True, b"before")
    assert scene.send() == []
    assert [member.pair.read(18) for member in scene.members] == [b"\x81\x06before\xc1\x08deflated"] * 3


def test_a_ping_goes_in_front_of_the_frame_of_those_that_it_is_due_to(scene: Scene) -> None:
    scene.sends.set_pings([0, 2])
    assert scene.send() == []
    assert [scene.members[index].pair.read(2 + len(FRAME)) for index in (0, 2)] == [PING + FRAME] * 2
    assert scene.members[1].pair.read(len(FRAME)) == FRAME
    scene.sends.set_pings([1])
    assert scene.send() == []
    assert scene.members[1].pair.read(2 + len(FRAME)) == PING + FRAME
    assert [scene.members[index].pair.read(len(FRAME)) for index in (0, 2)] == [FRAME] * 2
    scene.sends.set_pings([])
    assert scene.send() == []
    assert [member.pair.read(len(FRAME)) for member in scene.members] == [FRAME] * 3
    assert all(member.pair.has_nothing_to_read() for member in scene.members)


def test_a_ping_goes_with_the_frame_however_that_and_its_members_have_grown(batches: Batches) -> None:
    scene = Scene(batches, 63)
    scene.sends.set_pings([62])
    payload = os.urandom(40_000)
    frame = b"\x81\x7e\x9c\x40" + payload
    scene.set_payload(payload)
    for _ in range(4):
        scene.members.append(Member(TcpPair()))
        assert scene.sends.append(cast(Any, scene.members[-1]))
    assert scene.sends.send(61, 67) == []
    assert [member.pair.read(40_004) for member in scene.members[63:]] == [frame] * 4
    assert scene.members[61].pair.read(40_004) == frame
    assert scene.members[62].pair.read(2 + 40_004) == PING + frame
    scene.sends.set_message(bytearray(HEADROOM) + b"deflated", True, b"before")
    assert scene.sends.send(62, 63) == []
    assert scene.members[62].pair.read(20) == PING + b"\x81\x06before\xc1\x08deflated"
    scene.close()


def test_a_frame_that_lacks_as_many_bytes_as_its_ping_has_is_cut_short() -> None:
    try:
        context = WriteContext()
    except OSError as error:
        pytest.skip(f"the kernel gives no AIO: {error}")
    # A socket cannot be made to take a number of bytes exactly.
    reader, writer = os.pipe2(os.O_NONBLOCK)
    size = fcntl(writer, F_SETPIPE_SZ, 4096)
    block = context.make_block(PING)
    block.append(context.register(writer))
    block.set_frame(b"", bytes(size - 2) + b"ab")
    block.set_prefaced([0])
    assert context.submit(block, 0, 1) == [(0, size)]
    assert block.unsent(0, size) == b"ab"
    for fd in (reader, writer):
        os.close(fd)
    context.close()


def test_the_transport_gets_the_rest_of_a_ping_and_its_frame(scene: Scene) -> None:
    full = scene.members[1]
    with suppress(BlockingIOError):
        while full.pair.sender.send(bytes(100_000)):
            pass
    scene.sends.set_pings([1])
    assert scene.send() == [1] and full.written == [PING + FRAME]
    assert [scene.members[index].pair.read(len(FRAME)) for index in (0, 2)] == [FRAME] * 2


def test_the_transport_gets_the_bytes_that_a_socket_does_not_take(scene: Scene) -> None:
    full = scene.members[1]
    full.pair.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    payload = os.urandom(1 << 24)
    scene.set_payload(payload)
    assert 1 in scene.send()
    (rest,) = full.written
    size = 10 + len(payload) - len(rest)
    assert size and full.pair.read(size) + rest == b"\x81\x7f" + len(payload).to_bytes(8, "big") + payload


def test_the_transport_gets_a_frame_of_which_a_socket_takes_nothing(scene: Scene) -> None:
    full = scene.members[1]
    with suppress(BlockingIOError):
        while full.pair.sender.send(bytes(100_000)):
            pass
    assert scene.send() == [1] and full.written == [FRAME]


def test_a_member_whose_peer_has_reset_leaves_the_frame_to_its_transport(scene: Scene) -> None:
    gone = scene.members[0]
    gone.pair.reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    gone.pair.reader.close()
    assert scene.send() == [0] and gone.written == [FRAME]
    assert [member.pair.read(len(FRAME)) for member in scene.members[1:]] == [FRAME] * 2


def test_a_void_send_writes_to_no_socket(scene: Scene) -> None:
    left = scene.members[1]
    number = left.pair.sender.fileno()
    scene.sends.void(1)
    stranger = TcpPair()
    os.dup2(stranger.sender.fileno(), number)
    assert scene.send() == []
    assert stranger.has_nothing_to_read() and left.written == []
    stranger.close()


def test_the_last_member_takes_the_index_of_a_removed_one(scene: Scene) -> None:
    scene.sends.remove(0)
    assert scene.sends.send(0, 1) == []
    assert scene.members[2].pair.read(len(FRAME)) == FRAME
    assert all(member.pair.has_nothing_to_read() for member in scene.members[:2])


def test_aio_leaves_the_frame_of_a_number_that_is_closed_to_the_transport() -> None:
    try:
        context = WriteContext()
    except OSError as error:
        pytest.skip(f"the kernel gives no AIO: {error}")
    scene = Scene(context, 3)
    os.close(scene.members[1].pair.sender.detach())
    assert scene.send() == [1] and scene.members[1].written == [FRAME]
    assert [scene.members[index].pair.read(len(FRAME)) for index in (0, 2)] == [FRAME] * 2
    scene.close()
    context.close()


def test_a_batch_reaches_those_behind_members_that_have_left(batches: Batches) -> None:
    count = 250
    scene = Scene(batches, count)
    for index in (0, 1, 7, count - 1):
        scene.sends.void(index)
    assert scene.send() == []
    reached = [index for index, member in enumerate(scene.members) if not member.pair.has_nothing_to_read()]
    assert reached == [index for index in range(count) if index not in (0, 1, 7, count - 1)]
    scene.close()


def test_members_keep_their_sends_as_more_come_than_the_block_had_room_for(batches: Batches) -> None:
    scene = Scene(batches, 70)
    assert scene.send() == []
    assert all(member.pair.read(len(FRAME)) == FRAME for member in scene.members)
    assert scene.sends.send(68, 70) == []
    assert [member.pair.has_nothing_to_read() for member in scene.members] == [True] * 68 + [False] * 2
    scene.close()
