"""Frames in the mapping: a worker has the frame that the hub published, an older one, or none; never a torn one."""

from __future__ import annotations

from observability.clocks.clock import EventClock, HostClock
from observability.memory import layout
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.snapshot.frames import FRAMES_KEPT, HEADROOM, Frame, FrameRing
from observability.snapshot.serializer import Serializer
from observability.snapshot.shared_frames import FrameWriter, SharedEventClock, SharedFrames


class Hub:
    """Publishes frames as the hub does."""

    def __init__(self, mapping: SharedMapping, epoch: str = "a1", shown: int = 0) -> None:
        self.serializer = Serializer(epoch, [])
        self.ring = FrameRing(epoch, self.serializer.index, shown)
        self.event_clock = EventClock(HostClock())
        self.counters = Counters()
        self._writer = FrameWriter(mapping, epoch, self.serializer.index, self.event_clock, self.counters)

    def tick(self, documents: dict[str, bytes] | None = None) -> Frame:
        seq = self.ring.latest_seq + 1
        payload = self.serializer.encode(seq, seq * 100, seq * 10, {"mine": b'{"n":%d}' % seq})
        frame = self.ring.publish(payload, seq * 100, seq * 10, documents or {})
        self._writer.write_frame(frame)
        return frame


def make_mapping() -> SharedMapping:
    return SharedMapping(3, 1)


def test_a_worker_copies_the_frame_that_the_hub_published() -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    assert frames.latest() is None
    published = hub.tick({"summary": b'{"x":1}'})
    frame = frames.refresh()
    assert frame is not None
    assert frame is frames.latest()
    assert (frame.seq, frame.ts_ns, frame.mono_ns, frames.epoch) == (1, 100, 10, "a1")
    assert frame.payload == published.payload
    assert frame.buffer == bytes(HEADROOM) + published.payload
    assert frame.documents == {"summary": b'{"x":1}'}
    member = frame.index.custom["mine"]
    assert frame.payload[member.offset : member.offset + member.length] == b'"mine":{"n":1}'


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


def test_a_frame_that_is_too_large_is_skipped_and_counted() -> None:
    mapping = make_mapping()
    hub, frames = Hub(mapping), SharedFrames(mapping)
    hub.tick()
    hub.tick({"huge": bytes(layout.DETAIL_BASE_BYTES * 2)})
    assert hub.counters.total("frames_too_large_total") == 1
    assert frames.refresh() is not None
    assert frames.latest_seq == 1
    hub.tick()
    frames.refresh()
    assert frames.latest_seq == 3


def test_a_workers_event_clock_follows_the_replay_or_the_host() -> None:
    mapping = make_mapping()
    hub, clock = Hub(mapping), SharedEventClock(mapping, HostClock())
    hub.tick()
    assert clock.time_ns() > 10**18
    hub.event_clock.advance(1)
    hub.tick()
    assert clock.time_ns() == 200
