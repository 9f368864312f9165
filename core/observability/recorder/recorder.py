"""The recorder: keeps every frame of a hub on disk. Its thread encodes and writes; the tick only queues.

    tick --> queue, at most MAX_QUEUED_FRAMES --> thread --> newest segment --> prune
               |                                    |
               full: the frame is dropped           fails: frames are dropped until the disk takes them again

Frames in which nothing has changed are held, and queued together with the next one that has news, so that the thread of
an idle server sleeps. What is dropped is counted, and the recording has a gap of so many frames in its place.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from observability.clocks.clock import Clock, HostClock
from observability.clocks.timestamps import NS_PER_DAY, NS_PER_S
from observability.memory.counters import Counters
from observability.recorder.codec import MAX_FRAME_BYTES
from observability.recorder.documents import DocumentWriter
from observability.recorder.layout import (
    documents_path,
    index_path,
    remove_segment,
    segment_numbers,
    segment_path,
)
from observability.recorder.segment import SegmentWriter, repair
from observability.snapshot.frames import Frame

logger = logging.getLogger(__name__)

MAX_QUEUED_FRAMES: Final = 100
MAX_QUEUED_BYTES: Final = 64_000_000
# So many frames without news are queued at the latest.
MAX_HELD_FRAMES: Final = 10
# A recording is pruned by whole segments.
SEGMENTS_KEPT: Final = 16
MAX_SEGMENT_BYTES: Final = 64_000_000
SEGMENT_NS: Final = 3600 * NS_PER_S
RETRY_NS: Final = 10 * NS_PER_S
# What is left on the disk for the store, which matters more.
RESERVED_BYTES: Final = 64_000_000
STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLimits:
    """How much is kept."""

    max_bytes: int
    max_age_days: int

    @property
    def segment_bytes(self) -> int:
        return min(MAX_SEGMENT_BYTES, self.max_bytes // SEGMENTS_KEPT)


@dataclass(frozen=True, slots=True)
class _Queued:
    """A frame that waits for the disk."""

    frame: Frame
    lane_seq: int
    missing: int
    """How many frames before it were dropped."""


@dataclass(frozen=True, slots=True)
class _QueuedDocument:
    """A document that waits for the disk."""

    name: str
    ts_ns: int
    body: bytes


class Recorder:
    """Records the frames of one hub in a directory, which no other recorder writes to."""

    def __init__(
        self, directory: Path, limits: RecordLimits, counters: Counters, host_clock: Clock | None = None
    ) -> None:
        """`host_clock` is asked by the thread."""
        self._directory = directory
        self._limits = limits
        self._clock = host_clock or HostClock()
        self._queue: SimpleQueue[list[_Queued] | _QueuedDocument | Callable[[], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._fault: str | None = None
        # Each has one writer: what the loop has queued, and what the thread has taken.
        self._put, self._put_bytes = 0, 0
        self._taken, self._taken_bytes = 0, 0
        self._missing = 0
        self._held: list[_Queued] = []
        self._last: _Queued | None = None
        # Of the thread.
        self._segment: SegmentWriter | None = None
        self._documents: DocumentWriter | None = None
        self._next_number = 1
        self._lost = 0
        self._retry_ns = 0
        self._recorded = counters.counter("recorder_frames_total", "Frames recorded")
        self._dropped = counters.counter(
            "recorder_frames_dropped_total",
            "Frames not recorded because too many were waiting for the disk, or one was too large",
        )
        self._failed = counters.counter(
            "recorder_frames_failed_total", "Frames not recorded because the disk did not take them"
        )
        self._written = counters.counter("recorder_written_bytes_total", "Bytes written to the recording")
        self._size = counters.gauge("recorder_size_bytes", "Size of the recording on disk")
        self._waiting = counters.gauge("recorder_queue_frames", "Frames that wait for the disk")

    def start(self) -> None:
        """Starts the thread, which ends what an earlier recorder has left unfinished first."""
        self._thread.start()

    def stop(self) -> None:
        """Writes what is queued and ends the thread; abandons the thread if the disk does not answer. Blocks."""
        self._release()
        self._queue.put(None)
        self._thread.join(STOP_SECONDS)

    def wait(self) -> None:
        """Returns once every frame that was queued is written, or lost. Blocks."""
        done = threading.Event()
        self._release()
        self._queue.put(done.set)
        done.wait()

    @property
    def trouble(self) -> str | None:
        """Why nothing is recorded now; None if all is well."""
        fault = self._fault
        return None if fault is None else f"nothing is recorded: {fault}"

    def on_frame(self, frame: Frame, lane_seq: int) -> None:
        """Records a frame; `lane_seq` is the newest entry of the lanes by now."""
        # hot: once per tick (benchmarks/bench_recorder.py)
        queued = self._put - self._taken
        self._waiting.set(queued)
        is_full = queued >= MAX_QUEUED_FRAMES or self._put_bytes - self._taken_bytes > MAX_QUEUED_BYTES
        if is_full or frame.size > MAX_FRAME_BYTES:
            self._missing += 1
            self._dropped.add()
            return
        self._put += 1
        self._put_bytes += frame.size
        entry, last = _Queued(frame, lane_seq, self._missing), self._last
        self._missing = 0
        self._last = entry
        held = self._held
        held.append(entry)
        if (
            len(held) >= MAX_HELD_FRAMES
            or last is None
            or lane_seq != last.lane_seq
            or frame.index.has_changed_since(last.frame.index)
        ):
            self._release()

    def _release(self) -> None:
        """Queues the frames that are held."""
        if self._held:
            self._queue.put(self._held)
            self._held = []

    def on_document(self, name: str, ts_ns: int, body: bytes) -> None:
        """Records a document of the newest frame, unless too many frames wait for the disk."""
        if self._put - self._taken < MAX_QUEUED_FRAMES and self._put_bytes - self._taken_bytes <= MAX_QUEUED_BYTES:
            self._put_bytes += len(body)
            self._release()
            self._queue.put(_QueuedDocument(name, ts_ns, body))

    # -- the thread

    def _run(self) -> None:
        self._attempt(self._prepare)
        while (item := self._queue.get()) is not None:
            if isinstance(item, list):
                for queued in item:
                    self._take(queued)
                    self._taken += 1
                    self._taken_bytes += queued.frame.size
            elif isinstance(item, _QueuedDocument):
                self._attempt(partial(self._append_document, item))
                self._taken_bytes += len(item.body)
            else:
                item()
        self._attempt(self._finish)

    def _take(self, queued: _Queued) -> None:
        self._lost += queued.missing
        is_off = self._fault is not None and (time.monotonic_ns() < self._retry_ns or not self._attempt(self._prepare))
        if is_off or not self._attempt(lambda: self._append(queued)):
            self._lost += 1
            self._failed.add()
        elif self._fault is not None:
            logger.warning("frames are recorded again; they were not because of: %s", self._fault)
            self._fault = None

    def _append(self, queued: _Queued) -> None:
        frame = queued.frame
        segment = self._segment_for(frame)
        # A segment grows for an hour, and others write to the disk as well.
        self._check_room()
        before = segment.size
        segment.append(frame, queued.lane_seq, self._lost)
        self._lost = 0
        self._recorded.add()
        self._written.add(segment.size - before)
        self._size.add(segment.size - before)

    def _append_document(self, queued: _QueuedDocument) -> None:
        # Without a segment nothing is recorded now.
        if self._segment is None:
            return
        self._check_room()
        if self._documents is None:
            self._documents = DocumentWriter(self._directory, self._segment.number)
        written = self._documents.append(queued.name, queued.ts_ns, queued.body)
        self._segment.size += written
        self._written.add(written)
        self._size.add(written)

    def _close_documents(self) -> None:
        documents, self._documents = self._documents, None
        if documents is not None:
            documents.close()

    def _segment_for(self, frame: Frame) -> SegmentWriter:
        segment, now_ns = self._segment, self._clock.time_ns()
        if (
            segment is not None
            and segment.epoch == frame.epoch
            and segment.size < self._limits.segment_bytes
            and 0 <= now_ns - segment.made_ns < SEGMENT_NS
            and (segment.last_ns is None or segment.last_ns <= frame.ts_ns)
        ):
            return segment
        self._finish()
        self._prune()
        self._segment = SegmentWriter(self._directory, self._next_number, frame.epoch, now_ns)
        self._next_number += 1
        self._size.add(self._segment.size)
        return self._segment

    def _finish(self) -> None:
        """Ends the segment that is written to, if there is one."""
        segment, self._segment = self._segment, None
        self._close_documents()
        if segment is not None:
            before = segment.size
            segment.finish()
            self._size.add(segment.size - before)

    def _prepare(self) -> None:
        """Ends what an earlier recorder has left, or this one before the disk failed."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        numbers = segment_numbers(self._directory)
        # After a power cut the last one need not be the only one whose end is not on the disk.
        for number in numbers:
            cut = repair(self._directory, number)
            if cut:
                logger.warning("recording: %d bytes of segment %d were not whole and are cut off", cut, number)
            self._next_number = max(self._next_number, number + 1)
        self._prune()

    def _prune(self) -> None:
        """Removes the oldest segments, so that there is room for a new one. Raises OSError if the disk is full."""
        oldest_ns = self._clock.time_ns() - self._limits.max_age_days * NS_PER_DAY
        sizes = {}
        total = 0
        for number in segment_numbers(self._directory):
            found = segment_path(self._directory, number).stat()
            further = index_path(self._directory, number), documents_path(self._directory, number)
            size = found.st_size + sum(map(_size_of, further))
            sizes[number] = size, found.st_mtime_ns
            total += size
        room = self._limits.max_bytes - self._limits.segment_bytes
        for number, (size, written_ns) in sizes.items():
            if total <= room and written_ns >= oldest_ns:
                break
            remove_segment(self._directory, number)
            total -= size
            logger.info("recording: segment %d is removed, %d bytes", number, size)
        self._size.set(total)
        self._check_room()

    def _check_room(self) -> None:
        """Raises OSError if the disk is full but for what the store may need."""
        disk = os.statvfs(self._directory)
        if disk.f_bavail * disk.f_frsize < RESERVED_BYTES:
            raise OSError(f"the disk has less than {RESERVED_BYTES // 1_000_000} MB left, which are the store's")

    def _attempt(self, action: Callable[[], None]) -> bool:
        """Returns whether the disk did what was asked; if not, frames are dropped for a while."""
        try:
            action()
        except OSError as error:
            if self._segment is not None:
                self._segment.abandon()
                self._segment = None
                self._close_documents()
            self._retry_ns = time.monotonic_ns() + RETRY_NS
            if self._fault is None:
                logger.error("the recorder is off, the server goes on without it: %s", error)
            self._fault = str(error)
            return False
        return True


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
