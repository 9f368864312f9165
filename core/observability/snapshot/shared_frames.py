"""Frames in the mapping: the hub writes each frame once, and every worker copies the newest.

    frames     META: epoch, event time, monotonic time, 0     payload; shape, numbers and removed keys of its index
    documents  META: the same                                 the REST documents of the same tick, written before it

A frame and its index are one record: a worker copies both or neither. Documents share nothing with them: one that does
not fit is left out, and workers ask the hub for it. `memory/layout.py` draws the two rings of records.
"""

from __future__ import annotations

import logging
import time
from array import array
from collections.abc import Mapping, Sequence, Set
from typing import Final

import msgspec

from observability.clocks.clock import Clock, EventClock
from observability.memory.counters import Counters
from observability.memory.layout import MAX_ATTEMPTS
from observability.memory.mapping import SharedMapping
from observability.memory.record_ring import CopiedRecord, Meta
from observability.snapshot.frames import FRAMES_KEPT, Documents, Frame
from observability.snapshot.index import Removed, Shape, SnapshotIndex
from observability.snapshot.on_demand import SharedDocuments

logger = logging.getLogger(__name__)

# Beside its bytes a document takes its name and two headers of MessagePack.
_DOCUMENT_BYTES: Final = 128

_encode = msgspec.msgpack.encode
_decode_shape = msgspec.msgpack.Decoder(Shape).decode
_decode_removed = msgspec.msgpack.Decoder(Removed).decode
_decode_documents = msgspec.msgpack.Decoder(tuple[dict[str, bytes | None], frozenset[str]]).decode
_NONE_REMOVED: Final = _encode(())


class FrameParts:
    """Takes a frame apart into what other processes need: its payload, and the shape, numbers and removed keys of its
    index."""

    def __init__(self) -> None:
        self._shape: Shape | None = None
        self._encoded_shape = b""

    def of(self, frame: Frame) -> tuple[bytes, bytes, bytes, bytes]:
        # hot: once per tick (benchmarks/bench_tick.py)
        index = frame.index
        if index.shape is not self._shape:
            self._shape, self._encoded_shape = index.shape, _encode(index.shape)
        numbers = array("q", index.numbers).tobytes()
        removed = _encode(index.removed) if index.removed else _NONE_REMOVED
        return frame.payload, self._encoded_shape, numbers, removed


class FrameWriter:
    """The hub's side: writes each of its frames, and the documents of the same tick, into the mapping."""

    def __init__(
        self,
        mapping: SharedMapping,
        epoch: str,
        event_clock: EventClock,
        counters: Counters,
        read_by_workers: Set[str] = frozenset(),
    ) -> None:
        """`read_by_workers` names the documents that are never left out in favour of others."""
        self._epoch = int(epoch, 16)
        self._parts = FrameParts()
        self._event_clock = event_clock
        self._writer = PartsWriter(mapping, counters, read_by_workers)

    @property
    def trouble(self) -> str | None:
        """Why workers do not get the newest frame; None if they do."""
        return self._writer.trouble

    def write_frame(self, frame: Frame, documents: SharedDocuments) -> None:
        """Publishes one frame and its documents."""
        # hot: once per tick (benchmarks/bench_tick.py)
        meta = (self._epoch, frame.ts_ns, frame.mono_ns, 0)
        clock_ns = shown_clock_ns(self._event_clock, frame)
        self._writer.write(frame.seq, meta, self._parts.of(frame), documents, clock_ns)


class PartsWriter:
    """Writes the parts of frames, and documents, into the mapping."""

    def __init__(self, mapping: SharedMapping, counters: Counters, read_by_workers: Set[str] = frozenset()) -> None:
        """`read_by_workers` names the documents that are never left out in favour of others."""
        self.trouble: str | None = None
        """Why workers do not get the newest frame; None if they do."""
        self._mapping = mapping
        self._frames = mapping.frames()
        self._documents = mapping.documents()
        self._frames_too_large = counters.counter(
            "frames_too_large_total", "Snapshots that did not fit into the shared memory, and did not reach clients"
        )
        self._documents_too_large = counters.counter(
            "documents_too_large_total",
            "REST documents that did not fit into the shared memory; workers ask the hub for them",
        )
        self._read_by_workers = read_by_workers
        self._left_out: set[str] = set()

    def write(
        self, seq: int, meta: Meta, parts: Sequence[bytes], documents: SharedDocuments, clock_ns: int | None
    ) -> None:
        """Publishes one frame and its documents. A frame that is too large is counted and not published, and so is a
        document; the first time it is logged too. `clock_ns` is what workers show as the time, None that of the
        host."""
        # hot: once per tick (benchmarks/bench_tick.py)
        self._mapping.event_clock_ns = clock_ns
        self._write_documents(seq, meta, documents)
        if self._frames.write(seq, meta, parts):
            self.trouble = None
            return
        self._frames_too_large.add()
        is_new = self.trouble is None
        self.trouble = (
            f"a snapshot of {len(parts[0]):,} bytes with an index of {sum(map(len, parts[1:])):,} bytes is larger "
            f"than the {self._frames.capacity_bytes:,} bytes that the shared memory has for one"
        )
        if is_new:
            logger.error("%s: clients do not get it; raise MAX_SYMBOLS for more room", self.trouble)

    def _write_documents(self, seq: int, meta: Meta, documents: SharedDocuments) -> None:
        encoded = _encode((documents.by_name, documents.old))
        if not self._documents.write(seq, meta, (encoded,)):
            kept = self._without_the_largest(documents.by_name)
            self._documents.write(seq, meta, (_encode((kept, documents.old)),))

    def _without_the_largest(self, documents: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
        """Returns the documents, with None for each of the largest that do not fit together with the others."""
        room = self._documents.capacity_bytes
        kept: dict[str, bytes | None] = {}
        by_rank = sorted(
            documents.items(), key=lambda item: (item[0] not in self._read_by_workers, len(item[1] or b""))
        )
        for name, document in by_rank:
            size = len(document or b"")
            room -= _DOCUMENT_BYTES + size
            kept[name] = document if room >= 0 else None
            if room < 0:
                self._documents_too_large.add()
                if name not in self._left_out:
                    self._left_out.add(name)
                    logger.warning(
                        "document %s of %s bytes does not fit into the %s bytes that the shared memory has for all; "
                        "workers ask the hub for it, which is slower",
                        name, f"{size:,}", f"{self._documents.capacity_bytes:,}",
                    )  # fmt: skip
        return kept


def shown_clock_ns(event_clock: EventClock, frame: Frame) -> int | None:
    """Returns the time that workers show with a frame, if it is not the host's."""
    # A live tick is later than the host's clock only after that was set back.
    is_apart = event_clock.is_replayed or frame.ts_ns > time.time_ns()
    return frame.ts_ns if is_apart else None


class SharedFrames:
    """A worker's side: the newest frame and those still kept, copied out of the mapping."""

    def __init__(self, mapping: SharedMapping) -> None:
        self.documents = Documents("", 0, {})
        """The newest documents, which may be those of another tick than the newest frame."""
        self._frames = mapping.frames()
        self._documents = mapping.documents()
        self._latest: Frame | None = None
        self._encoded_shape = b""
        self._shape = Shape((), ())
        # Older frames that a subscriber resumed from; others are likely to resume from the same ones.
        self._kept: dict[int, Frame] = {}

    @property
    def epoch(self) -> str:
        return "" if self._latest is None else self._latest.epoch

    @property
    def latest_seq(self) -> int:
        return 0 if self._latest is None else self._latest.seq

    @property
    def records_lost(self) -> int:
        """Records of frames and documents that were overwritten before this worker copied them."""
        return self._frames.records_lost + self._documents.records_lost

    def latest(self) -> Frame | None:
        return self._latest

    def find(self, seq: int) -> Frame | None:
        if seq == self.latest_seq:
            return self._latest
        frame = self._kept.get(seq)
        if frame is None and self.latest_seq - FRAMES_KEPT < seq < self.latest_seq:
            record = self._frames.copy(seq)
            if record is not None:
                frame = self._kept[seq] = self._frame(record)
        return frame

    def refresh(self) -> Frame | None:
        """Copies the newest frame and the newest documents; returns the frame, or None if it is the same as before, or
        could not be copied in time."""
        # hot: once per tick and worker (observability bench --only workers)
        self._copy_documents()
        for _ in range(MAX_ATTEMPTS):
            seq = self._frames.cursor
            if seq == self.latest_seq or not self.documents.seq:
                return None
            record = self._frames.copy(seq)
            if record is None:
                continue
            self._latest = self._frame(record)
            for old in [old for old in self._kept if old <= seq - FRAMES_KEPT]:
                del self._kept[old]
            return self._latest
        return None

    def _copy_documents(self) -> None:
        for _ in range(MAX_ATTEMPTS):
            seq = self._documents.cursor
            if seq == self.documents.seq:
                return
            record = self._documents.copy(seq)
            if record is not None:
                self.documents = Documents(f"{record.meta[0]:x}", seq, *_decode_documents(record.parts[0]))
                return

    def _frame(self, record: CopiedRecord) -> Frame:
        epoch, ts_ns, mono_ns, _ = record.meta
        payload, shape, numbers, removed = record.parts
        if shape != self._encoded_shape:
            self._encoded_shape, self._shape = shape, _decode_shape(shape)
        index = SnapshotIndex(
            self._shape,
            memoryview(numbers).cast("q"),
            () if removed == _NONE_REMOVED else _decode_removed(removed),
        )
        return Frame(f"{epoch:x}", record.sequence, ts_ns, mono_ns, payload, index)


class SharedEventClock:
    """The event clock of a worker: during a replay, and while the hub's clock is ahead of a host's clock that was set
    back, it shows the time of the newest tick, otherwise the host's time."""

    def __init__(self, mapping: SharedMapping, host_clock: Clock) -> None:
        self._mapping = mapping
        self._host_clock = host_clock

    def time_ns(self) -> int:
        replayed_ns = self._mapping.event_clock_ns
        return self._host_clock.time_ns() if replayed_ns is None else replayed_ns

    def mono_ns(self) -> int:
        return self._host_clock.mono_ns()
