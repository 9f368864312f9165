"""Frames as the bodies of records, and back: a frame is deflated with the one before it as the dictionary.

    body    length of the payload, length of the tail; blocks of the payload, then blocks of the tail, each with its
            compressed length in front
    tail    the index of the snapshot: lengths of its parts below; numbers; removed keys; the shape if it has changed

    frame before   |........|========|========|........|........|       each block of 16 KB has the 32 KB around the
    frame          |        |  block |        |        |                same place as its dictionary

zlib's window has 32 KB, so a stream over frames of 600 KB would never see the frame before. Of the tick on which a part
last changed, a recording keeps whether it was this one, which is all that a delta needs.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from itertools import accumulate
from operator import add, sub
from typing import Final

import msgspec

from observability.snapshot.frames import Frame
from observability.snapshot.index import PART_NUMBERS, Removed, Shape, SnapshotIndex

# 1.3 to 2 % of the payload; level 1 takes as long and saves less, level 6 twice as long (benchmarks/bench_recorder.py).
_LEVEL: Final = 3
_BLOCK: Final = 16 * 1024
_WINDOW: Final = 32 * 1024
_LEAD: Final = (_WINDOW - _BLOCK) // 2
# Of a payload, and of its tail. Of 100,000 symbols a snapshot has 60 MB.
MAX_FRAME_BYTES: Final = 128_000_000

_LENGTHS: Final = struct.Struct("<II")
_TAIL: Final = struct.Struct("<IIII")

# What bodies raise that no recorder has written.
_UNDECODABLE: Final = (zlib.error, struct.error, msgspec.DecodeError, TypeError, ArithmeticError)

_encode = msgspec.msgpack.encode
_decode_shape = msgspec.msgpack.Decoder(Shape).decode
_decode_removed = msgspec.msgpack.Decoder(Removed).decode


class FrameEncoder:
    """Encodes the frames of one epoch one after the other."""

    def __init__(self) -> None:
        self._payload = b""
        self._tail = b""
        self._shape: Shape | None = None
        self._encoded_shape = b""

    def encode(self, frame: Frame, *, is_full: bool) -> bytes:
        """Returns the body of a frame; a full one does not depend on the frame before."""
        # hot: once per tick, in the recorder's thread (benchmarks/bench_recorder.py)
        index, payload = frame.index, frame.payload
        shape = b""
        if index.shape is not self._shape:
            self._shape, self._encoded_shape = index.shape, _encode(index.shape)
            shape = self._encoded_shape
        elif is_full:
            shape = self._encoded_shape
        tail = _encode_tail(index, frame.seq, shape)
        if is_full:
            self._payload = self._tail = b""
        body = _LENGTHS.pack(len(payload), len(tail)) + _deflate(payload, self._payload) + _deflate(tail, self._tail)
        self._payload, self._tail = payload, tail
        return body


class FrameDecoder:
    """Decodes bodies in the order in which they were encoded, from a full one on."""

    def __init__(self, epoch: str) -> None:
        self._epoch = epoch
        self._payload = b""
        self._tail = b""
        self._encoded_shape = b""
        self._shape = Shape((), ())

    def copy(self) -> FrameDecoder:
        """Returns a decoder of what follows the frame that this one has decoded last."""
        copy = FrameDecoder(self._epoch)
        copy._payload, copy._tail = self._payload, self._tail
        copy._encoded_shape, copy._shape = self._encoded_shape, self._shape
        return copy

    def decode(self, body: memoryview, *, is_full: bool) -> None:
        """Decodes the next body. Raises ValueError for one that does not follow the last."""
        if is_full:
            self._payload = self._tail = b""
        try:
            payload_bytes, tail_bytes = _LENGTHS.unpack_from(body)
            if max(payload_bytes, tail_bytes) > MAX_FRAME_BYTES:
                raise ValueError(f"a frame cannot be decoded: it would have more than {MAX_FRAME_BYTES:,} bytes")
            payload, at = _inflate(body, _LENGTHS.size, payload_bytes, self._payload)
            tail, _ = _inflate(body, at, tail_bytes, self._tail)
            shape_bytes = _TAIL.unpack_from(tail)[0]
            if shape_bytes:
                shape = tail[-shape_bytes:]
                if shape != self._encoded_shape:
                    self._encoded_shape, self._shape = shape, _decode_shape(shape)
        except _UNDECODABLE as error:
            raise ValueError(f"a frame cannot be decoded: {error}") from None
        self._payload, self._tail = payload, tail

    def frame(self, seq: int, ts_ns: int) -> Frame:
        """Returns the frame that was decoded last. Raises ValueError if it has no index that fits it."""
        try:
            index = _decode_tail(self._tail, seq, self._shape)
        except _UNDECODABLE as error:
            raise ValueError(f"the index of a frame cannot be decoded: {error}") from None
        return Frame(self._epoch, seq, ts_ns, 0, self._payload, index)


def _deflate(data: bytes, before: bytes) -> bytes:
    pieces: list[bytes] = []
    for at in range(0, len(data), _BLOCK):
        start = max(0, at - _LEAD)
        dictionary = before[start : start + _WINDOW]
        packer = zlib.compressobj(_LEVEL, zdict=dictionary) if dictionary else zlib.compressobj(_LEVEL)
        block = packer.compress(data[at : at + _BLOCK]) + packer.flush()
        pieces += (len(block).to_bytes(4, "little"), block)
    return b"".join(pieces)


def _inflate(body: memoryview, at: int, size: int, before: bytes) -> tuple[bytes, int]:
    """Returns `size` bytes from the blocks that begin at `at`, and where these end."""
    pieces = []
    for offset in range(0, size, _BLOCK):
        start = max(0, offset - _LEAD)
        length = int.from_bytes(body[at : at + 4], "little")
        # The format of zlib has a checksum of the dictionary, and one of the result.
        unpacker = zlib.decompressobj(zdict=before[start : start + _WINDOW])
        pieces.append(unpacker.decompress(body[at + 4 : at + 4 + length], _BLOCK))
        if len(pieces[-1]) != min(_BLOCK, size - offset):
            raise ValueError("a frame cannot be decoded: a block is not whole")
        at += 4 + length
    return b"".join(pieces), at


def _encode_tail(index: SnapshotIndex, seq: int, shape: bytes) -> bytes:
    numbers, first = index.numbers, index.shape.first_part
    offsets, lengths = numbers[first::PART_NUMBERS], numbers[first + 1 :: PART_NUMBERS]
    # Between two parts there is mostly a comma: what lies between them stays the same when their lengths change.
    gaps = array("i", map(sub, offsets, (0, *map(add, offsets, lengths))))
    changed = bytes(map(seq.__eq__, numbers[first + 2 :: PART_NUMBERS]))
    removed = _encode(index.removed) if index.removed else b""
    return b"".join(
        (
            _TAIL.pack(len(shape), len(removed), first, len(changed)),
            array("i", numbers[:first]).tobytes(),
            gaps.tobytes(),
            array("i", lengths).tobytes(),
            changed,
            removed,
            shape,
        )
    )


def _decode_tail(tail: bytes, seq: int, shape: Shape) -> SnapshotIndex:
    _, removed_bytes, first, parts = _TAIL.unpack_from(tail)
    at = _TAIL.size
    if first != shape.first_part or parts != shape.parts:
        raise ValueError("the index of a frame cannot be decoded: its numbers are not those of its shape")
    with memoryview(tail) as view:
        heads, gaps, lengths = (
            view[start : start + 4 * count].cast("i").tolist()
            for start, count in ((at, first), (at + 4 * first, parts), (at + 4 * (first + parts), parts))
        )
    at += 4 * (first + 2 * parts)
    numbers = array("q", heads) + array("q", bytes(8 * PART_NUMBERS * parts))
    numbers[first::PART_NUMBERS] = array("q", accumulate(map(add, gaps, (0, *lengths[:-1])))) if parts else array("q")
    numbers[first + 1 :: PART_NUMBERS] = array("q", lengths)
    numbers[first + 2 :: PART_NUMBERS] = array("q", [seq if each else 0 for each in tail[at : at + parts]])
    removed = tail[at + parts : at + parts + removed_bytes]
    return SnapshotIndex(shape, numbers, _decode_removed(removed) if removed else ())
