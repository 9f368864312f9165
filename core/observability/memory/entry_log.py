"""An append-only log of variable-length entries.

One process appends and others copy; a replacement writer continues after the last complete entry. Log lines and the
messages of the lanes are such entries.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Iterator

from observability.memory import layout

LoggedEntry = tuple[int, str | None, bytes]
"""Number, key and content, whose meaning is up to the writer."""


class EntryLog:
    """The last entries by position, as many as index and data have room for; positions count from 0, without gaps."""

    __slots__ = ("_data", "_data_bytes", "_entries", "_words", "entries_lost")

    def __init__(self, memory: memoryview[int] | None, entries: int, data_bytes: int) -> None:
        """`memory` is at least `layout.entry_log_bytes` bytes; without it the memory is private to this process."""
        size = layout.entry_log_bytes(entries, data_bytes)
        if memory is None:
            # Pages that are never written take no memory.
            memory = memoryview(mmap.mmap(-1, size))
        self._words: memoryview[int] = memory[: size - data_bytes].cast("q")
        self._data = memory[size - data_bytes : size]
        self._data_bytes = data_bytes
        self._entries = entries
        self.entries_lost = 0

    @property
    def end(self) -> int:
        """The position after the newest entry."""
        return self._words[layout.ENTRY_LOG_END]

    @property
    def start(self) -> int:
        """The position of the oldest entry in the index; its data may have been overwritten."""
        return max(0, self.end - self._entries)

    @property
    def newest_number(self) -> int:
        """The number of the newest entry, 0 if there is none; only for the writer."""
        newest = None if self.end == 0 else self.copy(self.end - 1)
        return 0 if newest is None else newest[0]

    def append(self, number: int, key: str | None, content: bytes) -> bool:
        """Publishes one entry; returns False, and writes nothing, if it is larger than the whole log."""
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
        # From here on, readers of the entry that was at this place of the index reject it.
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
        """Copies one entry, or returns None, and counts it as lost, if it or its data were overwritten."""
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
        """Yields copies from the newest entry back to the oldest not yet overwritten. Entries overwritten during the
        iteration are left out and counted as lost; those overwritten before it are not."""
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
