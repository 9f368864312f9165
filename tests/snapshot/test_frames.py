"""The ring of frames: it keeps the last ones, ready to be sent, and they never change."""

from __future__ import annotations

import pytest

from observability.snapshot.frames import FRAMES_KEPT, HEADROOM, NO_INDEX, Frame, FrameRing


def publish(ring: FrameRing, payload: bytes = b"{}") -> Frame:
    return ring.publish(payload, NO_INDEX, 5, 6, {"summary": payload})


def test_a_ring_without_ticks_has_no_latest_frame() -> None:
    assert FrameRing("e").latest() is None


def test_sequence_numbers_count_the_ticks() -> None:
    ring = FrameRing("e")
    assert [publish(ring).seq for _ in range(3)] == [1, 2, 3]


def test_the_buffer_holds_the_payload_after_the_headroom() -> None:
    frame = publish(FrameRing("e"), b'{"a":1}')
    assert frame.buffer == bytes(HEADROOM) + b'{"a":1}'
    assert (frame.epoch, frame.ts_ns, frame.mono_ns, frame.payload) == ("e", 5, 6, b'{"a":1}')


def test_a_frame_that_has_left_the_ring_is_still_what_it_was() -> None:
    ring = FrameRing("e")
    first = publish(ring, b"first")
    for _ in range(FRAMES_KEPT):
        publish(ring, b"later")
    assert ring.find(1) is None
    assert (first.seq, first.payload, first.buffer[HEADROOM:]) == (1, b"first", b"first")
    with pytest.raises(AttributeError):
        first.payload = b"other"  # type: ignore[misc]


def test_documents_are_kept_of_the_newest_frame_alone() -> None:
    ring = FrameRing("e")
    publish(ring, b"1")
    publish(ring, b"2")
    assert (ring.documents.seq, ring.documents.by_name) == (2, {"summary": b"2"})
    assert not hasattr(ring.find(1), "documents")
