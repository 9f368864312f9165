"""Entries of any length, in order: one process appends, others copy, and who takes its place goes on behind them.

No offsets here (see `shared_layout.py`), and nothing of what an entry means (see `log_ring.py`, and `lanes.py` of the
protocol layer).
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator

from observability.memory import layout

LoggedEntry = tuple[int, str | None, bytes]
"""Number, key and content: what they are, is for whoever appends to say."""


class EntryLog:
    """The last entries by position, as many as its index and its bytes hold; positions count from 0, without gaps."""

    __slots__ = ("_data", "_data_bytes", "_entries", "_words", "entries_lost")

    def __init__(self, memory: memoryview[int] | None, entries: int, data_bytes: int) -> None:
        """`memory` is bytes, `layout.entry_log_bytes` of them or more; without it they are this process's own."""
        size = layout.entry_log_bytes(entries, data_bytes)
        if memory is None:
            # Memory never written is never touched.
            memory = memoryview(mmap.mmap(-1, size))
        self._words: memoryview[int] = memory[: size - data_bytes].cast("q")
        self._data = memory[size - data_bytes : size]
        self._data_bytes = data_bytes
        self._entries = entries
        self.entries_lost = 0

    @property
    def end(self) -> int:
        """Position behind the newest entry."""
        return self._words[layout.ENTRY_LOG_END]

    @property
    def start(self) -> int:
        """Position of the oldest entry that its index holds; its bytes may be gone."""
        return max(0, self.end - self._entries)

    @property
    def newest_number(self) -> int:
        """Number of the newest entry, 0 without one; to be asked by the one who appends."""
        newest = None if self.end == 0 else self.copy(self.end - 1)
        return 0 if newest is None else newest[0]

    def append(self, number: int, key: str | None, content: bytes) -> bool:
        """Publishes one entry; returns False, and writes nothing, if it is larger than all the room there is."""
        data = content if key is None else key.encode() + content
        length = len(data)
        if length > self._data_bytes:
            return False
        words = self._words
        position = words[layout.ENTRY_LOG_END]
        offset = words[layout.ENTRY_LOG_DATA_END]
        place = offset % self._data_bytes
        if place + length > self._data_bytes:
            offset += self._data_bytes - place
            place = 0
        at = self._at(position)
        # From here on whoever wants what was in this place of the index does not believe it.
        words[at + layout.ENTRY_BEGIN] = position + 1
        words[at + layout.ENTRY_NUMBER] = number
        words[at + layout.ENTRY_OFFSET] = offset
        words[at + layout.ENTRY_KEY_LENGTH] = -1 if key is None else length - len(content)
        words[at + layout.ENTRY_LENGTH] = length
        self._data[place : place + length] = data
        words[at + layout.ENTRY_CRC] = zlib.crc32(data, self._header_crc(at, position))
        words[at + layout.ENTRY_END] = position + 1
        words[layout.ENTRY_LOG_DATA_END] = offset + length
        words[layout.ENTRY_LOG_END] = position + 1
        return True

    def copy(self, position: int) -> LoggedEntry | None:
        """Copies one entry, or returns None if it, or its bytes, were overwritten; that is counted."""
        words = self._words
        at = self._at(position)
        if words[at + layout.ENTRY_END] == position + 1:
            crc = self._header_crc(at, position)
            wanted_crc = words[at + layout.ENTRY_CRC]
            number = words[at + layout.ENTRY_NUMBER]
            place = words[at + layout.ENTRY_OFFSET] % self._data_bytes
            key_length, length = words[at + layout.ENTRY_KEY_LENGTH], words[at + layout.ENTRY_LENGTH]
            data = bytes(self._data[place : place + length]) if length >= 0 else b""
            if words[at + layout.ENTRY_BEGIN] == position + 1 and zlib.crc32(data, crc) == wanted_crc:
                if key_length < 0:
                    return number, None, data
                return number, data[:key_length].decode(), data[key_length:]
        self.entries_lost += 1
        return None

    def newest_first(self) -> Iterator[LoggedEntry]:
        """Copies from the newest entry back to the oldest that is still there. What had made room before the call is
        nobody's loss; what was overwritten since is left out and counted."""
        words = self._words
        end = self.end
        data_start = words[layout.ENTRY_LOG_DATA_END] - self._data_bytes
        for position in range(end - 1, max(0, end - self._entries) - 1, -1):
            if words[self._at(position) + layout.ENTRY_OFFSET] < data_start:
                return
            entry = self.copy(position)
            if entry is not None:
                yield entry

    def _at(self, position: int) -> int:
        """Returns the first word of an entry."""
        return layout.ENTRY_LOG_HEADER_WORDS + position % self._entries * layout.ENTRY_WORDS

    def _header_crc(self, at: int, position: int) -> int:
        return zlib.crc32(
            bytes(self._words[at + layout.ENTRY_NUMBER : at + layout.ENTRY_WORDS]), position & 0xFFFF_FFFF
        )
