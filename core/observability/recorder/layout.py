"""The files of a recording: segments of frames, each with an index of its full frames.

    00000007.frames   | header | FULL | STEP | STEP | ... | FULL | STEP | ...      appended to, one write per record
    00000007.index    | entry of the 1st FULL | entry of the 2nd FULL | ... | END  one entry of ENTRY_BYTES each
    00000007.documents   REST documents of the same time, see documents.py

    header   MAGIC, epoch of the hub, number of the segment, time of its making by the host's clock, CRC
    record   size of the body, CRC of all that follows, kind, seq, time, newest lane entry; body
    entry    kind, frames before it in the segment, seq, time, offset of its record, newest lane entry, CRC

A segment has frames of one epoch, in the order in which they were shown, and their times never go back. Segments are
numbered in the order of recording. A STEP is compressed against the frame before it, so a frame is decoded from the
newest FULL before it. A GAP says how many frames were not recorded before the next one. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

MAGIC: Final = b"OBSFRM01"
FRAMES_SUFFIX: Final = ".frames"
INDEX_SUFFIX: Final = ".index"
DOCUMENTS_SUFFIX: Final = ".documents"
DIRECTORY_NAME: Final = "recording"

_HEADER: Final = struct.Struct("<8s32sqq")
_RECORD: Final = struct.Struct("<IIB3xqqq")
_RECORD_CHECKED: Final = struct.Struct("<B3xqqq")
_ENTRY: Final = struct.Struct("<B3xIqqqq")
_CRC: Final = struct.Struct("<I")

HEADER_BYTES: Final = _HEADER.size + _CRC.size
RECORD_BYTES: Final = _RECORD.size
ENTRY_BYTES: Final = _ENTRY.size + _CRC.size
# The size and the CRC themselves are not in the CRC.
_UNCHECKED_BYTES: Final = 8


class Kind(IntEnum):
    """What a record, or an entry of an index, is."""

    FULL = 1
    STEP = 2
    GAP = 3
    """`seq` is the number of frames that are missing, and the time is that of the last one before them."""
    END = 4
    """Only in an index: the last frame of a finished segment; the offset is the segment's size."""


class Header(NamedTuple):
    """The head of a segment."""

    epoch: str
    number: int
    made_ns: int

    def pack(self) -> bytes:
        data = _HEADER.pack(MAGIC, self.epoch.encode(), self.number, self.made_ns)
        return data + _CRC.pack(crc32(data))

    @classmethod
    def unpack(cls, data: bytes) -> Header | None:
        """Returns None for what is no whole header."""
        if len(data) < HEADER_BYTES or data[:8] != MAGIC:
            return None
        if crc32(data[: _HEADER.size]) != _CRC.unpack_from(data, _HEADER.size)[0]:
            return None
        _, epoch, number, made_ns = _HEADER.unpack_from(data)
        return cls(epoch.rstrip(b"\0").decode(), number, made_ns)


class Record(NamedTuple):
    """One record of a segment, and where its body lies in the bytes that it was read from."""

    kind: int
    seq: int
    ts_ns: int
    lane_seq: int
    """The newest entry of the lanes by then."""
    start: int
    end: int


class Entry(NamedTuple):
    """One entry of an index."""

    kind: int
    ordinal: int
    """How many frames of the segment come before this one."""
    seq: int
    ts_ns: int
    offset: int
    lane_seq: int

    def pack(self) -> bytes:
        data = _ENTRY.pack(*self)
        return data + _CRC.pack(crc32(data))


def pack_record(kind: Kind, seq: int, ts_ns: int, lane_seq: int, body: bytes) -> bytes:
    """Returns one record."""
    checked = _RECORD_CHECKED.pack(kind, seq, ts_ns, lane_seq)
    return struct.pack("<II", len(body), crc32(body, crc32(checked))) + checked + body


def read_record(data: bytes, at: int) -> Record | None:
    """Returns the record that begins at `at`; None if it is not whole."""
    start = at + RECORD_BYTES
    if start > len(data):
        return None
    size, crc, kind, seq, ts_ns, lane_seq = _RECORD.unpack_from(data, at)
    end = start + size
    if end > len(data) or crc32(memoryview(data)[at + _UNCHECKED_BYTES : end]) != crc:
        return None
    return Record(kind, seq, ts_ns, lane_seq, start, end)


def read_entries(data: bytes) -> list[Entry]:
    """Returns the whole entries that `data` begins with."""
    entries = []
    for at in range(0, len(data) - ENTRY_BYTES + 1, ENTRY_BYTES):
        if crc32(data[at : at + _ENTRY.size]) != _CRC.unpack_from(data, at + _ENTRY.size)[0]:
            break
        entries.append(Entry(*_ENTRY.unpack_from(data, at)))
    return entries


def segment_path(directory: Path, number: int) -> Path:
    return directory / f"{number:08d}{FRAMES_SUFFIX}"


def index_path(directory: Path, number: int) -> Path:
    return directory / f"{number:08d}{INDEX_SUFFIX}"


def documents_path(directory: Path, number: int) -> Path:
    return directory / f"{number:08d}{DOCUMENTS_SUFFIX}"


def remove_segment(directory: Path, number: int) -> None:
    """Removes a segment with its index and documents, if it has them. Raises OSError."""
    # Documents go first: nothing would ever find and remove those that a kill leaves without a segment.
    documents_path(directory, number).unlink(missing_ok=True)
    segment_path(directory, number).unlink()
    index_path(directory, number).unlink(missing_ok=True)


def segment_numbers(directory: Path) -> list[int]:
    """Returns the numbers of the segments in a directory, in the order of recording. Raises OSError."""
    return sorted(
        int(path.stem) for path in directory.iterdir() if path.suffix == FRAMES_SUFFIX and path.stem.isdigit()
    )
