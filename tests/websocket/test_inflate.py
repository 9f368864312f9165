"""The decompression of messages: whole, limited, and without context."""

from __future__ import annotations

import random
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode

from observability.websocket.deflate import contained
from observability.websocket.inflate import MAX_FINAL_BLOCKS, TooBig, Undecodable, inflate

MAX_BYTES = 64 * 1024
TAIL = b"\x00\x00\xff\xff"
# RFC 1951 section 3.2.6: an empty block with BFINAL = 1 and fixed codes.
EMPTY_FINAL = b"\x03\x00"


def raw(payload: bytes, flush: int, level: int = 6, dictionary: bytes = b"") -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, zdict=dictionary)
    return compressor.compress(payload) + compressor.flush(flush)


MESSAGES: list[tuple[str, str, bytes]] = [
    ("7.2.3.1 one block", "f2 48 cd c9 c9 07 00", b"Hello"),
    ("7.2.3.1 two fragments joined", "f2 48 cd" + "c9 c9 07 00", b"Hello"),
    ("7.2.3.3 no compression", "00 05 00 fa ff 48 65 6c 6c 6f 00", b"Hello"),
    ("7.2.3.4 BFINAL = 1", "f3 48 cd c9 c9 07 00 00", b"Hello"),
    ("7.2.3.5 two blocks", "f2 48 05 00 00 00 ff ff ca c9 c9 07 00", b"Hello"),
    ("7.2.3.6 empty", "00", b""),
    ("empty, as zlib flushes it", "02 00", b""),
    ("BFINAL = 1 and nothing after it", "f3 48 cd c9 c9 07 00", b"Hello"),
    ("empty with BFINAL = 1", "03 00", b""),
    ("empty with BFINAL = 1, and padding", "03 00 00", b""),
    ("stored with BFINAL = 1", "01 05 00 fa ff 48 65 6c 6c 6f 00", b"Hello"),
    ("ending in an empty stored block with BFINAL = 1", "f2 48 cd c9 c9 07 00 00 00 ff ff 01", b"Hello"),
    ("BFINAL = 1 in the middle", "f3 48 cd c9 c9 07 00" + "f2 48 cd c9 c9 07 00", b"HelloHello"),
]

BROKEN: list[tuple[str, str]] = [
    ("nothing at all", ""),
    ("reserved block type", "07"),
    ("reserved block type after a good block", "f2 48 cd c9 c9 07 00 00 00 ff ff 07"),
    ("garbage after the final block", "f3 48 cd c9 c9 07 00 de ad be ef"),
    ("one byte of garbage after the final block", "f3 48 cd c9 c9 07 00 ff"),
    ("half of the tail after the final block", "f3 48 cd c9 c9 07 00 00 00"),
    ("stored lengths that disagree", "00 05 00 fa fe 48 65 6c 6c 6f 00"),
    ("stored block cut short", "00 05 00 fa ff 48 65"),
    ("stored block whose last byte would come from the tail", "00 05 00 fa ff 48 65 6c 6c"),
    ("stored block whose last four bytes would come from the tail", "00 05 00 fa ff 48"),
    ("stored block longer than the message", "00 ff ff 00 00 48 65"),
    ("no codes", "04 00"),
    ("final block cut short", "03"),
    ("final block cut short in its last byte", "f3 48 cd c9 c9 07"),
    ("text", "48 65 6c 6c 6f"),
    ("7.2.3.2 refers to the previous message", "f2 00 11 00 00"),
]  # fmt: skip


@pytest.mark.parametrize(("data", "message"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES])
def test_a_message_is_decompressed(data: str, message: bytes) -> None:
    assert inflate(bytes.fromhex(data), MAX_BYTES) == message


@pytest.mark.parametrize("data", [case[1] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_a_broken_message_is_refused(data: str) -> None:
    with pytest.raises(Undecodable) as caught:
        inflate(bytes.fromhex(data), MAX_BYTES)
    assert caught.value.close_code == 1007


@pytest.mark.parametrize("payload", [b"one word and one more " * 20, b"".join(b"%d," % (n * n) for n in range(500))])
@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
@pytest.mark.parametrize("level", [1, 9])
def test_a_message_cut_short_anywhere_is_refused(level: int, flush: int, payload: bytes) -> None:
    data = raw(payload, flush, level).removesuffix(TAIL)
    assert inflate(data, MAX_BYTES) == payload
    for end in range(len(data)):
        with pytest.raises(Undecodable):
            inflate(data[:end], MAX_BYTES)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH])
@pytest.mark.parametrize("size", [1, 1000, 32_768, 65_535, 65_536])
def test_every_size_and_flush_is_decompressed(size: int, flush: int, level: int) -> None:
    payload = random.Random(size).randbytes(size // 2) + b"ab" * (size - size // 2)
    payload = payload[:size]
    data = raw(payload, flush, level).removesuffix(TAIL)
    assert inflate(data, MAX_BYTES) == payload


def test_a_block_after_a_final_one_may_refer_to_earlier_blocks() -> None:
    payload = random.Random(2).randbytes(1000)
    behind = raw(payload, zlib.Z_SYNC_FLUSH, dictionary=payload)[: -len(TAIL)]
    assert len(behind) < 100
    assert inflate(raw(payload, zlib.Z_FINISH) + behind, MAX_BYTES) == payload * 2


def test_a_message_may_be_as_large_as_the_limit_and_no_larger() -> None:
    assert inflate(contained(b"a" * 1000), 1000) == b"a" * 1000
    with pytest.raises(TooBig) as caught:
        inflate(contained(b"a" * 1001), 1000)
    assert caught.value.close_code == 1009


def test_a_bomb_is_refused_without_being_decompressed_whole() -> None:
    # 1 GB: decompressing it would take seconds and as much memory.
    mebibyte = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = mebibyte.compress(bytes(1 << 20)) + mebibyte.flush(zlib.Z_FULL_FLUSH)
    with pytest.raises(TooBig):
        inflate(first * 1024, MAX_BYTES)


def test_a_bomb_in_several_final_blocks_is_refused() -> None:
    piece = raw(b"a" * 40_000, zlib.Z_FINISH)
    assert len(inflate(piece, MAX_BYTES)) == 40_000
    with pytest.raises(TooBig):
        inflate(piece * 2, MAX_BYTES)


def test_a_message_has_a_limited_number_of_final_blocks() -> None:
    assert inflate(EMPTY_FINAL * MAX_FINAL_BLOCKS + b"\x00", MAX_BYTES) == b""
    with pytest.raises(TooBig):
        inflate(EMPTY_FINAL * (MAX_FINAL_BLOCKS + 1) + b"\x00", MAX_BYTES)


def test_a_message_cannot_refer_to_the_previous_one() -> None:
    first, second = b"the very same words", b"the very same words again"
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    one = compressor.compress(first) + compressor.flush(zlib.Z_SYNC_FLUSH)
    two = compressor.compress(second) + compressor.flush(zlib.Z_SYNC_FLUSH)
    assert inflate(one[: -len(TAIL)], MAX_BYTES) == first
    with pytest.raises(Undecodable):
        inflate(two[: -len(TAIL)], MAX_BYTES)


@given(st.binary(max_size=3000), st.sampled_from([True, False]))
def test_messages_compressed_by_the_websockets_package_are_inflated(payload: bytes, is_text: bool) -> None:
    client = PerMessageDeflate(False, True, 15, 12)
    frame = client.encode(Frame(Opcode.TEXT if is_text else Opcode.BINARY, payload))
    assert frame.rsv1
    assert inflate(bytes(frame.data), MAX_BYTES) == payload


@given(st.binary(max_size=200), st.integers(0, 400))
def test_no_bytes_raise_anything_but_a_refusal_or_exceed_the_limit(data: bytes, max_bytes: int) -> None:
    with suppress(Undecodable, TooBig):
        assert len(inflate(data, max_bytes)) <= max_bytes
