"""Frames in the mapping: a worker has the frame that the hub published, an older one, or none; never a torn one."""

from __future__ import annotations

import pytest

from observability.clocks.clock import EventClock, HostClock
from observability.memory import layout
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.snapshot.frames import FRAMES_KEPT, HEADROOM, Frame, FrameRing
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.serializer import Serializer
from observability.snapshot.shared_frames import FrameWriter, SharedEventClock, SharedFrames


class Hub:
    """Publishes frames as the hub does."""

    def __init__(self, mapping: SharedMapping, epoch: str = "a1", shown: int = 0) -> None:
        self.serializer = Serializer(epoch, [])
        self.ring = FrameRing(epoch, shown)
        self.event_clock = EventClock(HostClock())
        self.counters = Counters()
        self.writer = FrameWriter(mapping, epoch, self.event_clock, self.counters, read_by_workers={"needed"})

    def tick(self, documents: dict[str, bytes] | None = None, custom: bytes = b"{}") -> Frame:
        seq = self.ring.latest_seq + 1
        payload, index = self.serializer.encode(seq, seq * 100, seq * 10, {"mine": custom})
        frame = self.ring.publish(payload, index, seq * 100, seq * 10, documents or {})
        self.writer.write_frame(frame, SharedDocuments(dict(self.ring.documents.by_name), ()))
        return frame


def make_mapping() -> SharedMapping:
    return SharedMapping(3, 1)


def test_a_worker_copies_the_frame_that_the_hub_published() -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    assert frames.latest() is None
    published = hub.tick({"summary": b'{"x":1}'}, b'{"n":1}')
    frame = frames.refresh()
    assert frame is not None
    assert frame is frames.latest()
    assert (frame.seq, frame.ts_ns, frame.mono_ns, frames.epoch) == (1, 100, 10, "a1")
    assert frame.payload == published.payload
    assert frame.buffer == bytes(HEADROOM) + published.payload
    assert (frames.documents.epoch, frames.documents.seq) == ("a1", 1)
    assert frames.documents.by_name == {"summary": b'{"x":1}'}
    assert frame.payload[frame.index.part(frame.index.shape.first_part)] == b'"mine":{"n":1}'


def test_without_a_new_frame_there_is_nothing_to_refresh() -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    hub.tick()
    assert frames.refresh() is not None
    assert frames.refresh() is None


def test_a_new_worker_finds_the_frames_that_are_still_kept() -> None:
    mapping = make_mapping()
    hub = Hub(mapping)
    payloads = {seq: hub.tick().payload for seq in range(1, FRAMES_KEPT + 11)}
    frames = SharedFrames(mapping)
    frames.refresh()
    kept = range(11, FRAMES_KEPT + 11)
    assert all((frame := frames.find(seq)) is not None and frame.payload == payloads[seq] for seq in kept)
    assert frames.find(10) is None
    assert frames.find(FRAMES_KEPT + 11) is None


def test_the_next_hub_continues_the_ring_under_another_epoch() -> None:
    mapping = make_mapping()
    frames = SharedFrames(mapping)
    Hub(mapping, "a1").tick()
    frames.refresh()
    Hub(mapping, "b2", shown=mapping.frames().cursor + 1).tick()
    frames.refresh()
    assert (frames.epoch, frames.latest_seq) == ("b2", 3)


def test_a_frame_that_is_too_large_is_skipped_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    hub.tick()
    for _ in range(2):
        hub.tick(custom=b'"%b"' % bytes(layout.FRAME_BASE_BYTES * 2))
    assert hub.counters.total("frames_too_large_total") == 2
    assert hub.writer.trouble is not None and "a snapshot of 2,097," in hub.writer.trouble
    (record,) = caplog.records
    assert record.getMessage().startswith(hub.writer.trouble)
    assert frames.refresh() is not None
    assert (frames.latest_seq, frames.documents.seq) == (1, 3)
    hub.tick()
    frames.refresh()
    assert (frames.latest_seq, hub.writer.trouble) == (4, None)


@pytest.mark.parametrize("size", [layout.DOCUMENT_BASE_BYTES * 2, layout.DOCUMENT_BASE_BYTES * 40])
def test_a_document_that_is_too_large_is_left_out_and_the_frame_is_not(
    size: int, caplog: pytest.LogCaptureFixture
) -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    for seq in range(1, 4):
        hub.tick({"huge": bytes(size), "small": b"1"})
        assert frames.refresh() is not None
        assert (frames.latest_seq, frames.documents.seq) == (seq, seq)
        assert frames.documents.by_name == {"huge": None, "small": b"1"}
    assert hub.counters.total("documents_too_large_total") == 3
    assert hub.writer.trouble is None
    (record,) = caplog.records
    assert record.getMessage().startswith(f"document huge of {size:,} bytes does not fit")
    hub.tick({"huge": b"2"})
    frames.refresh()
    assert frames.documents.by_name == {"huge": b"2"}


def test_documents_are_left_out_from_the_largest_on_but_never_one_that_workers_read() -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    half = layout.DOCUMENT_BASE_BYTES // 2
    hub.tick({"a": bytes(half - 1000), "b": bytes(half), "needed": bytes(half + 1)})
    frames.refresh()
    assert {name: body is not None for name, body in frames.documents.by_name.items()} == {
        "a": True, "b": False, "needed": True,
    }  # fmt: skip


def test_a_workers_event_clock_follows_the_replay_or_the_host() -> None:
    mapping = make_mapping()
    hub, clock = Hub(mapping), SharedEventClock(mapping, HostClock())
    hub.tick()
    assert clock.time_ns() > 10**18
    hub.event_clock.advance(1)
    hub.tick()
    assert clock.time_ns() == 200
