"""One segment as its recorder writes it, and the repair of one whose recorder was killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.recorder.codec import FrameEncoder
from observability.recorder.layout import (
    ENTRY_BYTES,
    HEADER_BYTES,
    Entry,
    Header,
    Kind,
    Record,
    index_path,
    pack_record,
    read_entries,
    read_record,
    remove_segment,
    segment_path,
)
from observability.snapshot.frames import Frame

FULL_NS: Final = 10 * NS_PER_S
# A frame is decoded from the full one before it: with 12 MB in between, within 40 ms.
MAX_STEPPED_BYTES: Final = 12_000_000
FILE_MODE: Final = 0o600
FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC


class SegmentWriter:
    """Appends frames to a new segment. Each is in the file, for other processes to read and through any kill, when
    `append` returns. Nothing is fsynced: a disk that is busy with the store would hold up the frames behind for
    seconds, to save the last ones of a machine that loses its power."""

    def __init__(self, directory: Path, number: int, epoch: str, made_ns: int) -> None:
        """Raises OSError."""
        self.number = number
        self.made_ns = made_ns
        self.epoch = epoch
        self.last_ns: int | None = None
        self.size = 0
        """The bytes of both files, and of the documents beside them."""
        self._encoder = FrameEncoder()
        self._end = 0
        self._frames = 0
        self._last = (0, 0)
        self._full_ns = 0
        self._stepped_bytes = 0
        self._is_open = True
        self._file = os.open(segment_path(directory, number), FLAGS, FILE_MODE)
        try:
            self._index = os.open(index_path(directory, number), FLAGS, FILE_MODE)
        except OSError:
            os.close(self._file)
            raise
        try:
            self._write(Header(epoch, number, made_ns).pack())
        except OSError:
            self.abandon()
            raise

    def append(self, frame: Frame, lane_seq: int, missing: int = 0) -> None:
        """Appends a frame; `missing` frames before it were not recorded. Raises OSError, after which nothing may be
        appended any more."""
        is_full = (
            not self._frames
            or missing > 0
            or frame.ts_ns - self._full_ns >= FULL_NS
            or self._stepped_bytes >= MAX_STEPPED_BYTES
        )
        body = self._encoder.encode(frame, is_full=is_full)
        if missing:
            self._append_gap(missing, frame.ts_ns if self.last_ns is None else self.last_ns)
        offset = self._end
        kind = Kind.FULL if is_full else Kind.STEP
        self._write(pack_record(kind, frame.seq, frame.ts_ns, lane_seq, body))
        if is_full:
            self._full_ns, self._stepped_bytes = frame.ts_ns, 0
            self._write_entry(Entry(kind, self._frames, frame.seq, frame.ts_ns, offset, lane_seq))
        self._stepped_bytes += frame.size
        self._frames += 1
        self.last_ns = frame.ts_ns
        self._last = (frame.seq, lane_seq)

    def finish(self) -> None:
        """Ends the segment. Raises OSError."""
        try:
            if self.last_ns is not None:
                seq, lane_seq = self._last
                self._write_entry(Entry(Kind.END, self._frames, seq, self.last_ns, self._end, lane_seq))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Closes the files, as they are."""
        if self._is_open:
            self._is_open = False
            os.close(self._file)
            os.close(self._index)

    def _append_gap(self, missing: int, ts_ns: int) -> None:
        self._write_entry(Entry(Kind.GAP, self._frames, missing, ts_ns, self._end, 0))
        self._write(pack_record(Kind.GAP, missing, ts_ns, 0, b""))

    def _write(self, data: bytes) -> None:
        write_all(self._file, data)
        self._end += len(data)
        self.size += len(data)

    def _write_entry(self, entry: Entry) -> None:
        write_all(self._index, entry.pack())
        self.size += ENTRY_BYTES


def repair(directory: Path, number: int) -> int:
    """Cuts the torn tail of a segment whose recorder was killed, and writes the rest of its index; returns how many
    bytes were cut. A segment without a single whole frame is removed. Raises OSError."""
    path, index = segment_path(directory, number), index_path(directory, number)
    entries = read_entries(index.read_bytes()) if index.exists() else []
    if entries and entries[-1].kind == Kind.END and entries[-1].offset == path.stat().st_size:
        return 0
    data = path.read_bytes()
    if Header.unpack(data) is None:
        remove_segment(directory, number)
        return len(data)
    found: list[Entry] = []
    frames, at = 0, HEADER_BYTES
    last: Record | None = None
    while (record := read_record(data, at)) is not None:
        if record.kind != Kind.STEP:
            found.append(Entry(record.kind, frames, record.seq, record.ts_ns, at, record.lane_seq))
        if record.kind != Kind.GAP:
            frames += 1
            last = record
        at = record.end
    if last is None:
        remove_segment(directory, number)
        return len(data)
    found.append(Entry(Kind.END, frames, last.seq, last.ts_ns, at, last.lane_seq))
    if at < len(data):
        os.truncate(path, at)
    # A reader may have the old index, which is the beginning of the new one.
    whole = b"".join(entry.pack() for entry in found)
    temporary = index.with_suffix(".new")
    temporary.write_bytes(whole)
    temporary.chmod(FILE_MODE)
    temporary.replace(index)
    return len(data) - at


def write_all(descriptor: int, data: bytes) -> None:
    """Writes all of `data`. Raises OSError."""
    written = os.write(descriptor, data)
    while written < len(data):
        # A full disk takes a part before it says so.
        written += os.write(descriptor, data[written:])
