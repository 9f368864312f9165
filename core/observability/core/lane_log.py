"""The entries of one lossless lane in shared memory: the hub appends, workers copy, and a new hub goes on behind it.

No offsets here (see `shared_layout.py`) and no messages (see `lanes.py` of the protocol layer).
"""

from __future__ import annotations

import zlib

from observability.core import shared_layout as layout

LoggedEntry = tuple[int, str | None, bytes]
"""Sequence number, symbol and members."""


class LaneLog:
    """The last entries by position, as many as its index and its bytes hold; positions count from 0, without gaps."""

    __slots__ = ("_data", "_data_bytes", "_entries", "_words", "entries_lost")

    def __init__(self, memory: memoryview[int], entries: int, data_bytes: int) -> None:
        """`memory` is bytes, `layout.lane_bytes` of them or more."""
        size = layout.lane_bytes(entries, data_bytes)
        self._words: memoryview[int] = memory[: size - data_bytes].cast("q")
        self._data = memory[size - data_bytes : size]
        self._data_bytes = data_bytes
        self._entries = entries
        self.entries_lost = 0

    @property
    def end(self) -> int:
        """Position behind the newest entry."""
        return self._words[layout.LANE_END]

    @property
    def start(self) -> int:
        """Position of the oldest entry that its index holds; its bytes may be gone."""
        return max(0, self.end - self._entries)

    @property
    def newest_seq(self) -> int:
        """Sequence number of the newest entry, 0 without one; to be asked by the one who appends."""
        newest = None if self.end == 0 else self.copy(self.end - 1)
        return 0 if newest is None else newest[0]

    def append(self, seq: int, symbol: str | None, members: bytes) -> bool:
        """Publishes one entry; returns False, and writes nothing, if it is larger than all the room there is."""
        data = members if symbol is None else symbol.encode() + members
        length = len(data)
        if length > self._data_bytes:
            return False
        words = self._words
        position = words[layout.LANE_END]
        offset = words[layout.LANE_DATA_END]
        place = offset % self._data_bytes
        if place + length > self._data_bytes:
            offset += self._data_bytes - place
            place = 0
        at = self._at(position)
        # From here on whoever wants what was in this place of the index does not believe it.
        words[at + layout.ENTRY_BEGIN] = position + 1
        words[at + layout.ENTRY_SEQ] = seq
        words[at + layout.ENTRY_OFFSET] = offset
        words[at + layout.ENTRY_SYMBOL_LENGTH] = -1 if symbol is None else length - len(members)
        words[at + layout.ENTRY_LENGTH] = length
        self._data[place : place + length] = data
        words[at + layout.ENTRY_CRC] = zlib.crc32(data, self._header_crc(at, position))
        words[at + layout.ENTRY_END] = position + 1
        words[layout.LANE_DATA_END] = offset + length
        words[layout.LANE_END] = position + 1
        return True

    def copy(self, position: int) -> LoggedEntry | None:
        """Copies one entry, or returns None if it, or its bytes, were overwritten; that is counted."""
        words = self._words
        at = self._at(position)
        if words[at + layout.ENTRY_END] == position + 1:
            crc = self._header_crc(at, position)
            wanted_crc = words[at + layout.ENTRY_CRC]
            seq = words[at + layout.ENTRY_SEQ]
            place = words[at + layout.ENTRY_OFFSET] % self._data_bytes
            symbol_length, length = words[at + layout.ENTRY_SYMBOL_LENGTH], words[at + layout.ENTRY_LENGTH]
            data = bytes(self._data[place : place + length]) if length >= 0 else b""
            if words[at + layout.ENTRY_BEGIN] == position + 1 and zlib.crc32(data, crc) == wanted_crc:
                if symbol_length < 0:
                    return seq, None, data
                return seq, data[:symbol_length].decode(), data[symbol_length:]
        self.entries_lost += 1
        return None

    def _at(self, position: int) -> int:
        """Returns the first word of an entry."""
        return layout.LANE_HEADER_WORDS + position % self._entries * layout.ENTRY_WORDS

    def _header_crc(self, at: int, position: int) -> int:
        return zlib.crc32(bytes(self._words[at + layout.ENTRY_SEQ : at + layout.ENTRY_WORDS]), position & 0xFFFF_FFFF)
