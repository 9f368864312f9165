"""Frames in the mapping: the hub writes each frame once, and every worker copies the newest.

    frames   META: epoch, event time, monotonic time, 0     payload
    details  META: the same                                 shape and numbers of the index, documents
             written before the frame of the same number, so that a worker that sees a frame finds its details

`memory/layout.py` draws the two rings of records.
"""

from __future__ import annotations

import logging

import msgspec

from observability.clocks.clock import Clock, EventClock
from observability.memory.counters import Counters
from observability.memory.layout import MAX_ATTEMPTS
from observability.memory.mapping import SharedMapping
from observability.memory.record_ring import CopiedRecord
from observability.snapshot.frames import FRAMES_KEPT, HEADROOM, Frame
from observability.snapshot.index import IndexReader, IndexWriter, SnapshotIndex

logger = logging.getLogger(__name__)

_decode_documents = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class FrameWriter:
    """The hub's side: writes each of its frames into the mapping."""

    def __init__(
        self, mapping: SharedMapping, epoch: str, index: SnapshotIndex, event_clock: EventClock, counters: Counters
    ) -> None:
        self._mapping = mapping
        self._frames = mapping.frames()
        self._details = mapping.details()
        self._epoch = int(epoch, 16)
        self._index = IndexWriter(index)
        self._event_clock = event_clock
        self._too_large = counters.counter("frames_too_large_total", "Frames that did not fit into the shared memory")

    def write_frame(self, frame: Frame) -> None:
        """Publishes one frame. Frames that are too large are skipped and counted, and the first one is logged."""
        # hot: once per tick (benchmarks/bench_tick.py)
        meta = (self._epoch, frame.ts_ns, frame.mono_ns, 0)
        documents = msgspec.msgpack.encode(frame.documents)
        shape, numbers = self._index.shape(), self._index.numbers()
        if self._event_clock.is_replayed:
            self._mapping.event_clock_ns = frame.ts_ns
        fits = self._details.write(frame.seq, meta, (shape, numbers, documents))
        if not (fits and self._frames.write(frame.seq, meta, (frame.payload,))):
            if not self._too_large.value:
                logger.error(
                    "a snapshot of %d bytes does not fit into the shared memory, and clients do not get it; "
                    "raise MAX_SYMBOLS for more room",
                    len(frame.payload),
                )
            self._too_large.add()


class SharedFrames:
    """A worker's side: the newest frame and those still kept, copied out of the mapping."""

    def __init__(self, mapping: SharedMapping) -> None:
        self._frames = mapping.frames()
        self._details = mapping.details()
        self._index = IndexReader()
        self._latest: Frame | None = None
        self._epoch = ""
        # Older frames that a subscriber resumed from; others are likely to resume from the same ones.
        self._kept: dict[int, Frame] = {}

    @property
    def epoch(self) -> str:
        return self._epoch

    @property
    def latest_seq(self) -> int:
        return 0 if self._latest is None else self._latest.seq

    @property
    def records_lost(self) -> int:
        """Records of frames and details that were overwritten before this worker copied them."""
        return self._frames.records_lost + self._details.records_lost

    def latest(self) -> Frame | None:
        return self._latest

    def find(self, seq: int) -> Frame | None:
        if seq == self.latest_seq:
            return self._latest
        frame = self._kept.get(seq)
        if frame is None and self.latest_seq - FRAMES_KEPT < seq < self.latest_seq:
            record = self._frames.copy(seq)
            if record is not None:
                frame = self._kept[seq] = _frame(record, None)
        return frame

    def refresh(self) -> Frame | None:
        """Copies the newest frame and returns it; None if it is the same as before, or could not be copied in time."""
        # hot: once per tick and worker (benchmarks/bench_workers.py)
        for _ in range(MAX_ATTEMPTS):
            seq = self._frames.cursor
            if seq == self.latest_seq:
                return None
            record, details = self._frames.copy(seq), self._details.copy(seq)
            if record is None or details is None:
                continue
            shape, numbers, documents = details.parts
            frame = _frame(record, self._index.read(shape, numbers))
            frame.documents = _decode_documents(documents)
            self._latest = frame
            self._epoch = f"{record.meta[0]:x}"
            for old in [old for old in self._kept if old <= seq - FRAMES_KEPT]:
                del self._kept[old]
            return frame
        return None


class SharedEventClock:
    """The event clock of a worker: during a replay it shows the time of the newest tick, otherwise the host's time."""

    def __init__(self, mapping: SharedMapping, host_clock: Clock) -> None:
        self._mapping = mapping
        self._host_clock = host_clock

    def time_ns(self) -> int:
        replayed_ns = self._mapping.event_clock_ns
        return self._host_clock.time_ns() if replayed_ns is None else replayed_ns

    def mono_ns(self) -> int:
        return self._host_clock.mono_ns()


def _frame(record: CopiedRecord, index: SnapshotIndex | None) -> Frame:
    frame = Frame(index)
    frame.seq = record.sequence
    _, frame.ts_ns, frame.mono_ns, _ = record.meta
    frame.payload = record.parts[0]
    frame.buffer[HEADROOM:] = frame.payload
    return frame
