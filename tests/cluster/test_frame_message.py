"""A frame as a message: what comes out of it is what went in, or nothing."""

from __future__ import annotations

import zlib

import pytest

from observability.cluster.frame_message import EPOCH, SEQ, SHA256, FrameMessage, pack_frame, unpack_frame
from observability.errors import SourceError

FRAME = FrameMessage(
    "1f", 7, 1, 0, 2, 3, (b'{"seq":7}', b"shape", b"numbers", b"removed"), {"a": b"{}", "b": None}, ("b",)
)


def test_a_frame_is_unpacked_as_it_was_packed() -> None:
    headers, body = pack_frame(FRAME)
    assert unpack_frame(headers, body) == FRAME
    assert (headers[EPOCH], headers[SEQ]) == ("1f", "7")


def test_a_frame_with_another_snapshot_than_its_hash_says_is_refused() -> None:
    headers, _ = pack_frame(FRAME)
    _, other = pack_frame(
        FrameMessage(*[getattr(FRAME, name) for name in FRAME.__struct_fields__[:6]], (b"{}",) * 4, {}, ())
    )
    with pytest.raises(SourceError, match="frame 7 is not the one that was published"):
        unpack_frame(headers, other)


def test_a_frame_without_a_hash_is_refused() -> None:
    headers, body = pack_frame(FRAME)
    del headers[SHA256]
    for given in (headers, None):
        with pytest.raises(SourceError, match="its SHA-256 differs"):
            unpack_frame(given, body)


@pytest.mark.parametrize("cut", [0, 1, 10])
def test_half_a_message_is_refused(cut: int) -> None:
    headers, body = pack_frame(FRAME)
    with pytest.raises(SourceError, match="cannot be read"):
        unpack_frame(headers, body[:cut])


def test_a_message_that_is_no_frame_is_refused() -> None:
    headers, _ = pack_frame(FRAME)
    with pytest.raises(SourceError, match="cannot be read"):
        unpack_frame(headers, zlib.compress(b"nonsense"))
