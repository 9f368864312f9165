"""The ring: many sends with one system call, and what becomes of those that fail or are cut short."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from observability.stream.batches.block import MAX_BATCH
from observability.stream.batches.io_uring import SendBlock, SendRing
from tcp_pair import TcpPair

HEADER = b"\x81\x7e\x08\x00"
PAYLOAD = bytes(range(256)) * 8


@pytest.fixture
def ring() -> Iterator[SendRing]:
    try:
        ring = SendRing(1000)
    except OSError as error:
        pytest.skip(f"the kernel gives no io_uring: {error}")
    yield ring
    ring.close()


@pytest.fixture
def pairs() -> Iterator[list[TcpPair]]:
    pairs: list[TcpPair] = []
    yield pairs
    for pair in pairs:
        pair.close()


def block_of(ring: SendRing, pairs: list[TcpPair], count: int) -> SendBlock:
    block = SendBlock()
    for _ in range(count):
        pairs.append(TcpPair())
        place = ring.register(pairs[-1].sender.fileno())
        assert place is not None
        block.append(place)
    return block


def test_every_socket_of_a_block_gets_the_frame(ring: SendRing, pairs: list[TcpPair]) -> None:
    block = block_of(ring, pairs, 150)
    for number in range(5):  # the ring's slots wrap around
        payload = PAYLOAD + b"%d" % number
        block.set_frame(HEADER, bytearray(b"before") + payload, 6)
        assert [*ring.submit(block, 0, 100), *ring.submit(block, 100, 150)] == []
        for pair in pairs:
            assert pair.read(len(HEADER) + len(payload)) == HEADER + payload


def test_a_frame_may_outgrow_the_buffer(ring: SendRing, pairs: list[TcpPair]) -> None:
    block = block_of(ring, pairs, 2)
    for size in (10, 20_000, 100, 60_000):
        payload = os.urandom(size)
        block.set_frame(HEADER, payload)
        assert ring.submit(block, 0, 2) == []
        assert [pair.read(4 + size) for pair in pairs] == [HEADER + payload] * 2


def test_a_socket_that_takes_part_of_a_frame_is_reported_with_what_it_took(
    ring: SendRing, pairs: list[TcpPair]
) -> None:
    block = block_of(ring, pairs, 3)
    payload = os.urandom(50_000)
    block.set_frame(HEADER, payload)
    total = len(HEADER) + len(payload)
    sent = 0
    failed: list[tuple[int, int]] = []
    while not failed:
        failed = list(ring.submit(block, 0, 3))
        for pair in (pairs[0], pairs[2]):
            assert pair.read(total) == HEADER + payload
        sent += 1
    (index, taken) = failed[0]
    assert (len(failed), index) == (1, 1)
    assert 0 < taken < total or taken == -errno.EAGAIN
    rest = block.unsent(index, max(taken, 0))
    received = pairs[1].read((sent - 1) * total + max(taken, 0))
    assert (received + rest)[-total:] == HEADER + payload
    assert len(received) + len(rest) == sent * total


def test_a_socket_whose_peer_has_reset_is_reported(ring: SendRing, pairs: list[TcpPair]) -> None:
    block = block_of(ring, pairs, 2)
    block.set_frame(HEADER, PAYLOAD)
    pairs[0].reader.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    pairs[0].reader.close()
    (failed,) = ring.submit(block, 0, 2)
    assert failed[0] == 0 and failed[1] in (-errno.ECONNRESET, -errno.EPIPE)
    assert pairs[1].read(len(HEADER) + len(PAYLOAD)) == HEADER + PAYLOAD


def test_a_socket_that_got_the_number_of_a_closed_one_gets_none_of_its_bytes(
    ring: SendRing, pairs: list[TcpPair]
) -> None:
    block = block_of(ring, pairs, 1)
    block.set_frame(HEADER, PAYLOAD)
    number = pairs[0].sender.fileno()
    stranger = TcpPair()
    pairs.append(stranger)
    os.dup2(stranger.sender.fileno(), number)
    ring.submit(block, 0, 1)
    assert stranger.has_nothing_to_read()


def test_a_void_send_sends_nothing_and_gives_back_its_place(ring: SendRing, pairs: list[TcpPair]) -> None:
    block = block_of(ring, pairs, 3)
    place = block.void(1)
    assert place is not None
    ring.unregister(place)
    block.set_frame(HEADER, PAYLOAD)
    assert ring.submit(block, 0, 3) == []
    assert pairs[1].has_nothing_to_read()
    assert ring.register(pairs[1].sender.fileno()) == place


def test_the_last_socket_takes_the_index_of_a_removed_one(ring: SendRing, pairs: list[TcpPair]) -> None:
    block = block_of(ring, pairs, 4)
    block.remove(1)
    block.set_frame(HEADER, PAYLOAD)
    assert len(block) == 3 and ring.submit(block, 1, 2) == []
    assert pairs[3].read(len(HEADER) + len(PAYLOAD)) == HEADER + PAYLOAD
    assert all(pair.has_nothing_to_read() for pair in pairs[:3])


def test_a_full_table_takes_no_socket(pairs: list[TcpPair]) -> None:
    try:
        ring = SendRing(2)
    except OSError as error:
        pytest.skip(f"the kernel gives no io_uring: {error}")
    block_of(ring, pairs, 2)
    pairs.append(TcpPair())
    assert ring.register(pairs[2].sender.fileno()) is None
    ring.close()


def test_a_batch_has_room_for_as_many_as_it_says(ring: SendRing, pairs: list[TcpPair]) -> None:
    block = block_of(ring, pairs, 1)
    for _ in range(MAX_BATCH - 1):
        place = ring.register(pairs[0].sender.fileno())
        assert place is not None
        block.append(place)
    block.set_frame(HEADER, b"x")
    for _ in range(3):
        assert ring.submit(block, 0, MAX_BATCH) == []
        assert pairs[0].read(5 * MAX_BATCH) == (HEADER + b"x") * MAX_BATCH
