"""The ring of frames: it keeps the last ones, ready to be sent."""

from __future__ import annotations

from observability.snapshot.frames import FRAMES_KEPT, HEADROOM, FrameRing
from observability.snapshot.index import SnapshotIndex


def test_a_ring_without_ticks_has_no_latest_frame() -> None:
    assert FrameRing("e", SnapshotIndex([])).latest() is None


def test_sequence_numbers_count_the_ticks() -> None:
    ring = FrameRing("e", SnapshotIndex([]))
    assert [ring.publish(b"{}", 0, 0, {}).seq for _ in range(3)] == [1, 2, 3]


def test_the_buffer_holds_the_payload_after_the_headroom() -> None:
    frame = FrameRing("e", SnapshotIndex([])).publish(b'{"a":1}', 5, 6, {"summary": b"{}"})
    assert frame.buffer == bytes(HEADROOM) + b'{"a":1}'
    assert (frame.ts_ns, frame.mono_ns, frame.payload, frame.documents) == (5, 6, b'{"a":1}', {"summary": b"{}"})


def test_a_reused_frame_holds_a_payload_of_another_length() -> None:
    ring = FrameRing("e", SnapshotIndex([]))
    for n in range(FRAMES_KEPT + 1):
        ring.publish(b"x" * (100 - n), 0, 0, {})
    latest = ring.latest()
    assert latest is not None
    assert latest.seq == FRAMES_KEPT + 1
    assert latest.buffer[HEADROOM:] == b"x" * (100 - FRAMES_KEPT)
