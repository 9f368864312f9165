"""A recording as it is read: which frames there are, and any of them as it was. Several processes may read while a
recorder writes.

    Recording   all segments of a directory             Place   a frame: segment, group, record
      Segment   a file and its index                    Cursor  decodes the frame at a place, and those near it
        Group   the records from one full frame to the next

A read takes milliseconds, of the disk or of decoding, so that nothing here is called on an event loop.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from observability.clocks.timestamps import MAX_NS, NS_PER_MS
from observability.recorder.codec import FrameDecoder
from observability.recorder.documents import Document, DocumentReader
from observability.recorder.layout import (
    ENTRY_BYTES,
    HEADER_BYTES,
    Entry,
    Header,
    Kind,
    Record,
    documents_path,
    index_path,
    read_entries,
    read_record,
    segment_numbers,
    segment_path,
)
from observability.snapshot.frames import Frame

# For those who look at the same minute; mostly a group has 20 to 500 KB.
MAX_CACHED_BYTES: Final = 32_000_000
# Frames that were decoded last, for those who look at the same moment.
MAX_DECODED: Final = 256
MAX_DECODED_BYTES: Final = 16_000_000
# Segments of which it is kept where their documents lie.
MAX_DOCUMENT_FILES: Final = 8
# A document is searched for in so many segments; each is recorded anew within seconds.
DOCUMENT_SEGMENTS: Final = 3


class Place(NamedTuple):
    """Where a frame is recorded. Places are in the order of recording."""

    segment: int
    group: int
    record: int


class Stretch(NamedTuple):
    """A part of a recording without an interruption."""

    epoch: str
    start_ns: int
    end_ns: int
    frames: int


class Gap(NamedTuple):
    """A time of which nothing is recorded."""

    start_ns: int
    end_ns: int
    frames: int | None
    """How many frames were dropped; None if no recorder ran."""


class Group:
    """The records from one full frame up to the next."""

    __slots__ = ("data", "end", "epoch", "records", "times")

    def __init__(self, epoch: str, data: bytes) -> None:
        self.epoch = epoch
        self.data = data
        self.records: list[Record] = []
        at = 0
        while (record := read_record(data, at)) is not None:
            at = record.end
            if record.kind != Kind.GAP:
                self.records.append(record)
        self.end = at
        """Where the last whole record ends."""
        self.times = [record.ts_ns for record in self.records]


class Segment:
    """One segment: its header and as much of its index as has been read. Of one that is finished it is the first and
    the last entry, until something within it is wanted: a week has more than sixty thousand."""

    def __init__(self, directory: Path, number: int) -> None:
        """Raises OSError, and ValueError for a file that is no segment."""
        self.number = number
        self.start_ns: int | None = None
        """The time of the first full frame; None while there is none."""
        self._fulls: list[Entry] = []
        self._times: list[int] = []
        self._gaps: list[Entry] = []
        self.end: Entry | None = None
        """The last frame; None while the segment is being written."""
        self._path = segment_path(directory, number)
        self._index_path = index_path(directory, number)
        self._documents_path = documents_path(directory, number)
        self._read_bytes = 0
        with self._path.open("rb") as file:
            header = Header.unpack(file.read(HEADER_BYTES))
        if header is None:
            raise ValueError(f"{self._path}: this is no segment of a recording")
        self.epoch, self.made_ns = header.epoch, header.made_ns

    def refresh(self) -> None:
        """Reads what has been added to the index. Raises OSError."""
        if self.end is not None:
            return
        if self._read_bytes or not self._read_ends():
            self._read_entries()

    @property
    def fulls(self) -> list[Entry]:
        """The full frames. Raises OSError and ValueError, as do those below, if the index cannot be read."""
        self._read_rest()
        return self._fulls

    @property
    def times(self) -> list[int]:
        """The times of the full frames."""
        self._read_rest()
        return self._times

    @property
    def gaps(self) -> list[Entry]:
        """Where frames are missing."""
        self._read_rest()
        return self._gaps

    def _read_ends(self) -> bool:
        """Reads the first and the last entry; returns whether the segment is finished and begins with a full frame."""
        try:
            with self._index_path.open("rb") as file:
                first = read_entries(file.read(ENTRY_BYTES))
                file.seek(max(0, self._index_path.stat().st_size - ENTRY_BYTES))
                last = read_entries(file.read(ENTRY_BYTES))
        except FileNotFoundError:
            return False
        if not first or not last or first[0].kind != Kind.FULL or last[0].kind != Kind.END:
            return False
        self.start_ns, self.end = first[0].ts_ns, last[0]
        return True

    def _read_rest(self) -> None:
        if self.end is not None and not self._read_bytes:
            self._read_entries()
            if not self._fulls:
                raise ValueError(f"{self._index_path}: the index is damaged, or removed")

    def _read_entries(self) -> None:
        try:
            with self._index_path.open("rb") as file:
                file.seek(self._read_bytes)
                entries = read_entries(file.read())
        except FileNotFoundError:
            entries = []
        self._read_bytes += len(entries) * ENTRY_BYTES
        for entry in entries:
            if entry.kind == Kind.FULL:
                self._fulls.append(entry)
                self._times.append(entry.ts_ns)
            elif entry.kind == Kind.GAP:
                self._gaps.append(entry)
            else:
                self.end = entry
        if self._times:
            self.start_ns = self._times[0]

    @property
    def size(self) -> int:
        return self._path.stat().st_size

    @property
    def documents_size(self) -> int:
        """The bytes of the documents beside it."""
        try:
            return self._documents_path.stat().st_size
        except FileNotFoundError:
            return 0

    def has_grown(self, number: int, group: Group) -> bool:
        """Returns whether a group has become longer since it was read. Raises OSError."""
        return self._end_of(number) > self.fulls[number].offset + len(group.data)

    def read_group(self, number: int) -> Group:
        """Raises OSError, and ValueError if the index is damaged."""
        start, end = self.fulls[number].offset, self._end_of(number)
        if not HEADER_BYTES <= start <= end <= self.size:
            raise ValueError(f"{self._index_path}: the index is damaged")
        descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Group(self.epoch, os.pread(descriptor, end - start, start))
        finally:
            os.close(descriptor)

    def _end_of(self, number: int) -> int:
        if number + 1 < len(self.fulls):
            return self.fulls[number + 1].offset
        return self.size if self.end is None else self.end.offset


class Decoded(NamedTuple):
    """A frame that was decoded, and what decodes the one after it."""

    frame: Frame
    decoder: FrameDecoder


class Recording:
    """The segments of one directory. Used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._segments: dict[int, Segment] = {}
        """By number, in the order of recording."""
        self._groups: OrderedDict[tuple[int, int], Group] = OrderedDict()
        self._cached_bytes = 0
        self._documents: OrderedDict[int, DocumentReader] = OrderedDict()
        self._decoded: OrderedDict[Place, Decoded] = OrderedDict()
        self._decoded_bytes = 0

    def refresh(self) -> None:
        """Reads what has been recorded, and removed, since the last call. Raises OSError."""
        try:
            numbers = segment_numbers(self._directory)
        except FileNotFoundError:
            numbers = []
        segments = {}
        for number in numbers:
            try:
                segment = self._segments.get(number) or Segment(self._directory, number)
                segment.refresh()
            except (FileNotFoundError, ValueError):
                # Removed, or not begun, while it was listed.
                continue
            if segment.start_ns is not None:
                segments[number] = segment
        self._segments = segments

    # -- what there is

    @property
    def segments(self) -> list[Segment]:
        """The segments, in the order of recording."""
        return [*self._segments.values()]

    @property
    def size_bytes(self) -> int:
        total = 0
        for segment in self._segments.values():
            try:
                total += segment.size + segment.documents_size
            except FileNotFoundError:
                continue
        return total

    def first_place(self) -> Place | None:
        return self._first_of(self._segments)

    def start_ns(self) -> int | None:
        """Returns the earliest time; None if nothing is recorded."""
        return min((_start_of(segment) for segment in self._segments.values()), default=None)

    def end_ns(self) -> int | None:
        """Returns the latest time; None if nothing is recorded."""
        return max((self._last(segment)[1] for segment in self._segments.values()), default=None)

    def stretches(self) -> list[Stretch]:
        """Returns what is recorded, in the order of recording."""
        found: list[Stretch] = []
        for segment in self._segments.values():
            frames, end_ns = self._last(segment)
            before = found[-1] if found else None
            if before is not None and before.epoch == segment.epoch and before.end_ns <= _start_of(segment):
                found[-1] = before._replace(end_ns=end_ns, frames=before.frames + frames)
            else:
                found.append(Stretch(segment.epoch, _start_of(segment), end_ns, frames))
        return found

    def gaps(self) -> list[Gap]:
        """Returns where frames are missing, in the order of recording."""
        found: list[Gap] = []
        before: Segment | None = None
        for segment in self._segments.values():
            if before is not None:
                end_ns = self._last(before)[1]
                dropped = segment.gaps[0].seq if segment.gaps and not segment.gaps[0].ordinal else None
                if segment.epoch != before.epoch and _start_of(segment) > end_ns:
                    found.append(Gap(end_ns, _start_of(segment), None))
                elif dropped is not None:
                    found.append(Gap(end_ns, _start_of(segment), dropped))
            for gap in segment.gaps:
                if gap.ordinal:
                    # The frame after a gap is a full one.
                    after = bisect_left(segment.fulls, gap.ordinal, key=lambda entry: entry.ordinal)
                    if after < len(segment.fulls):
                        found.append(Gap(gap.ts_ns, segment.times[after], gap.seq))
            before = segment
        return found

    def _last(self, segment: Segment) -> tuple[int, int]:
        """Returns the number of frames of a segment, and the time of the last."""
        if segment.end is not None:
            return segment.end.ordinal, segment.end.ts_ns
        group = self._whole_group(segment, range(len(segment.fulls) - 1, -1, -1))
        if group is None:
            return 0, _start_of(segment)
        times = self.group(Place(segment.number, group, 0), newest=True).times
        return segment.fulls[group].ordinal + len(times), times[-1]

    def _whole_group(self, segment: Segment, groups: range) -> int | None:
        """Returns the first of some groups that has a frame; one whose full frame is damaged has none."""
        for group in groups:
            if self.group(Place(segment.number, group, 0), newest=True).records:
                return group
        return None

    def _first_of(self, numbers: Iterable[int]) -> Place | None:
        """Returns the first frame of some segments."""
        for number in numbers:
            group = self._whole_group(self._segments[number], range(len(self._segments[number].fulls)))
            if group is not None:
                return Place(number, group, 0)
        return None

    # -- places

    def find(self, time_ns: int) -> Place | None:
        """Returns the newest frame at or before a time; None if there is none. Of several recordings of the same time
        it is the newest that has the time. A frame has the time that it shows, which is in whole milliseconds."""
        time_ns = _end_of_ms(time_ns)
        nearest: Segment | None = None
        for segment in reversed(self._segments.values()):
            if _start_of(segment) > time_ns:
                continue
            if self._last(segment)[1] >= time_ns:
                nearest = segment
                break
            if nearest is None or self._last(nearest)[1] < self._last(segment)[1]:
                nearest = segment
        return None if nearest is None else self._find_in(nearest, time_ns)

    def _find_in(self, segment: Segment, time_ns: int) -> Place:
        newest = bisect_right(segment.times, time_ns) - 1
        number = self._whole_group(segment, range(newest, -1, -1))
        place = Place(segment.number, newest if number is None else number, 0)
        record = bisect_right(self.group(place, newest=True).times, time_ns) - 1
        return place._replace(record=max(record, 0))

    def find_after(self, place: Place, time_ns: int, *, is_coarse: bool = False) -> Place | None:
        """Returns the newest frame at or before a time that was recorded after `place`, and before the clock was set
        back; None if there is none. A coarse search finds full frames alone, unless there is none."""
        segment = self._segments.get(place.segment)
        found: Place | None = None
        end_ns = None if segment is None else self._last(segment)[1]
        if segment is not None and _start_of(segment) <= time_ns:
            here = self._find_in(segment, time_ns)
            if is_coarse and here.group > place.group:
                here = here._replace(record=0)
            if here > place:
                found = here
        for later in self._segments.values():
            if later.number > place.segment:
                if _start_of(later) > time_ns or (end_ns is not None and _start_of(later) < end_ns):
                    break
                end_ns = self._last(later)[1]
                found = self._find_in(later, time_ns)
                if is_coarse:
                    found = found._replace(record=0)
        return found

    def next_place(self, place: Place) -> Place | None:
        """Returns the place of the frame after this one; None at the end of what is recorded."""
        segment = self._segments.get(place.segment)
        if segment is not None:
            if place.record + 1 < len(self.group(place, newest=True).records):
                return place._replace(record=place.record + 1)
            group = self._whole_group(segment, range(place.group + 1, len(segment.fulls)))
            if group is not None:
                return Place(place.segment, group, 0)
        return self._first_of(number for number in self._segments if number > place.segment)

    def place_before(self, place: Place) -> Place | None:
        """Returns the place of the frame before this one; None at the beginning of what is recorded."""
        segment = self._segments.get(place.segment)
        if segment is not None:
            if place.record:
                return place._replace(record=place.record - 1)
            group = self._whole_group(segment, range(place.group - 1, -1, -1))
            if group is not None:
                return self._last_in(Place(place.segment, group, 0))
        for earlier in reversed(self._segments.values()):
            if earlier.number < place.segment:
                group = self._whole_group(earlier, range(len(earlier.fulls) - 1, -1, -1))
                if group is not None:
                    return self._last_in(Place(earlier.number, group, 0))
        return None

    # -- documents

    def document(self, name: str, time_ns: int) -> Document | None:
        """Returns the newest version of a document by a time, of the hub whose frame was shown then; None if there is
        none. Raises OSError, and ValueError if it is damaged."""
        place = self.find(time_ns)
        if place is None:
            return None
        epoch = self._segments[place.segment].epoch
        for segment in islice(self._segments_back(place.segment), DOCUMENT_SEGMENTS):
            if segment.epoch != epoch:
                return None
            found = self.documents_of(segment.number).newest(name, _end_of_ms(time_ns))
            if found is not None:
                return found
        return None

    def documents_back(self, name: str, time_ns: int) -> Iterator[Document]:
        """Yields the versions of a document by a time, of any hub, the newest first. Raises OSError, and ValueError if
        one is damaged."""
        place = self.find(time_ns)
        if place is not None:
            for segment in self._segments_back(place.segment):
                yield from self.documents_of(segment.number).newest_first(name, _end_of_ms(time_ns))

    def documents_before(self, number: int) -> dict[str, Document]:
        """Returns the newest version of each document that the segments before this one have, of the same hub, by
        name. Raises OSError, and ValueError if one is damaged."""
        found: dict[str, Document] = {}
        for segment in islice(self._segments_back(number), DOCUMENT_SEGMENTS):
            if segment.epoch != self._segments[number].epoch:
                break
            if segment.number < number:
                reader = self.documents_of(segment.number)
                for name in reader.names:
                    version = None if name in found else reader.newest(name, MAX_NS)
                    if version is not None:
                        found[name] = version
        return found

    def _segments_back(self, number: int) -> Iterator[Segment]:
        return (self._segments[each] for each in reversed(self._segments) if each <= number)

    def documents_of(self, number: int) -> DocumentReader:
        """Returns the documents of a segment. Raises OSError."""
        reader = self._documents.get(number)
        if reader is None:
            reader = self._documents[number] = DocumentReader(self._directory, number)
            if len(self._documents) > MAX_DOCUMENT_FILES:
                self._documents.popitem(last=False)
        self._documents.move_to_end(number)
        reader.refresh()
        return reader

    def _last_in(self, place: Place) -> Place:
        return place._replace(record=len(self.group(place, newest=True).records) - 1)

    def record(self, place: Place) -> Record:
        """Returns what is known about the frame at a place. Raises OSError, and ValueError if it is damaged."""
        records = self.group(place).records
        if place.record >= len(records):
            records = self.group(place, newest=True).records
        if place.record >= len(records):
            raise ValueError(f"a frame of the recording is damaged: segment {place.segment}, group {place.group}")
        return records[place.record]

    def group(self, place: Place, *, newest: bool = False) -> Group:
        """Returns the group of a place; the `newest` version of it if it is still written to. One whose full frame is
        damaged has no records. Raises OSError."""
        key = place.segment, place.group
        group = self._groups.get(key)
        segment = self._segments.get(place.segment)
        if group is None or (newest and segment is not None and segment.has_grown(place.group, group)):
            if segment is None:
                raise FileNotFoundError(f"segment {place.segment} is removed")
            if group is not None:
                self._cached_bytes -= len(group.data)
            group = self._groups[key] = segment.read_group(place.group)
            self._cached_bytes += len(group.data)
            while self._cached_bytes > MAX_CACHED_BYTES and len(self._groups) > 1:
                self._cached_bytes -= len(self._groups.popitem(last=False)[1].data)
        self._groups.move_to_end(key)
        return group

    # -- decoded frames

    def decoded(self, place: Place) -> Decoded | None:
        """Returns the frame at a place if it was decoded a short while ago."""
        found = self._decoded.get(place)
        if found is not None:
            self._decoded.move_to_end(place)
        return found

    def keep_decoded(self, place: Place, decoded: Decoded) -> None:
        self._decoded[place] = decoded
        self._decoded_bytes += decoded.frame.size
        while len(self._decoded) > MAX_DECODED or self._decoded_bytes > MAX_DECODED_BYTES:
            self._decoded_bytes -= self._decoded.popitem(last=False)[1].frame.size


def _start_of(segment: Segment) -> int:
    assert segment.start_ns is not None, "one without a frame is not listed"
    return segment.start_ns


def _end_of_ms(time_ns: int) -> int:
    return time_ns + NS_PER_MS - 1 - time_ns % NS_PER_MS


class Cursor:
    """A position in a recording. Going to a frame near the last one decodes only what lies between, and nothing if
    another cursor has gone there."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self.place: Place | None = None
        self._decoder: FrameDecoder
        """That of `place`, which other cursors may have, too."""

    def go(self, place: Place) -> Frame:
        """Returns the frame at a place. Raises OSError, and ValueError if it cannot be decoded."""
        record = self._recording.record(place)
        decoded = self._recording.decoded(place)
        if decoded is not None:
            self.place, self._decoder = place, decoded.decoder
            return decoded.frame
        group = self._recording.group(place)
        before = self.place
        if before is not None and before[:2] == place[:2] and before.record <= place.record:
            first, decoder = before.record + 1, self._decoder.copy()
        else:
            first, decoder = 0, FrameDecoder(group.epoch)
        with memoryview(group.data) as data:
            for at in range(first, place.record + 1):
                each = group.records[at]
                with data[each.start : each.end] as body:
                    decoder.decode(body, is_full=each.kind == Kind.FULL)
        frame = decoder.frame(record.seq, record.ts_ns)
        self.place, self._decoder = place, decoder
        self._recording.keep_decoded(place, Decoded(frame, decoder))
        return frame
