"""A directory of what a region of memory contains: one process adds entries, any process reads them, none ever changes.

What an entry means is up to the region (`counters.py`, `history/history.py`).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from observability.errors import CapacityError
from observability.memory import layout


class Directory:
    """The entries in the order in which this process, and its predecessors, added them."""

    __slots__ = ("_bytes", "_header", "_read", "_words")

    def __init__(self, memory: memoryview[int]) -> None:
        """`memory` is bytes; entries that it already contains are kept."""
        header_bytes = layout.DIRECTORY_HEADER_WORDS * layout.WORD_BYTES
        self._header: memoryview[int] = memory[:header_bytes].cast("q")
        self._bytes = memory[header_bytes:]
        self._words: memoryview[int] = self._bytes.cast("q")
        self._read = 0

    def add(self, entry: bytes) -> None:
        """Adds an entry; readers see it once END is written. Raises CapacityError if it does not fit."""
        at = self._header[layout.DIRECTORY_END]
        start = at + layout.DIRECTORY_ENTRY_WORDS * layout.WORD_BYTES
        end = layout.words_up(start + len(entry))
        if end > len(self._bytes):
            raise CapacityError(f"all {len(self._bytes)} bytes of the directory are in use")
        word = at // layout.WORD_BYTES
        self._bytes[start : start + len(entry)] = entry
        self._words[word + layout.DIRECTORY_LENGTH] = len(entry)
        self._words[word + layout.DIRECTORY_CRC] = zlib.crc32(entry)
        self._header[layout.DIRECTORY_END] = end

    def read_new(self) -> Iterator[bytes]:
        """Yields the entries that this object has not yielded yet."""
        end = self._header[layout.DIRECTORY_END]
        while (at := self._read) < end:
            word = at // layout.WORD_BYTES
            length = self._words[word + layout.DIRECTORY_LENGTH]
            start = at + layout.DIRECTORY_ENTRY_WORDS * layout.WORD_BYTES
            entry = bytes(self._bytes[start : start + length])
            if zlib.crc32(entry) != self._words[word + layout.DIRECTORY_CRC]:
                # The new END became visible before the entry; the next call sees both.
                return
            self._read = layout.words_up(start + length)
            yield entry
