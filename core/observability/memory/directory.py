"""Names what lies in a region of memory: one process adds entries, any process reads them, and none is ever changed.

Nothing of what an entry means (see `counters.py`, `history/history.py`). The offsets are drawn in `memory/layout.py`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from observability.errors import CapacityError
from observability.memory import layout


class Directory:
    """The entries in the order in which they were added, by this process or by those before it."""

    __slots__ = ("_bytes", "_header", "_read", "_words")

    def __init__(self, memory: memoryview[int]) -> None:
        """`memory` is bytes; what it holds already is kept."""
        header_bytes = layout.DIRECTORY_HEADER_WORDS * layout.WORD_BYTES
        self._header: memoryview[int] = memory[:header_bytes].cast("q")
        self._bytes = memory[header_bytes:]
        self._words: memoryview[int] = self._bytes.cast("q")
        self._read = 0

    def add(self, entry: bytes) -> None:
        """Adds an entry, which counts once its end is written. Raises CapacityError without room."""
        at = self._header[layout.DIRECTORY_END]
        start = at + layout.DIRECTORY_ENTRY_WORDS * layout.WORD_BYTES
        end = layout.words_up(start + len(entry))
        if end > len(self._bytes):
            raise CapacityError(f"all {len(self._bytes)} bytes for names are in use")
        word = at // layout.WORD_BYTES
        self._bytes[start : start + len(entry)] = entry
        self._words[word + layout.DIRECTORY_LENGTH] = len(entry)
        self._words[word + layout.DIRECTORY_CRC] = zlib.crc32(entry)
        self._header[layout.DIRECTORY_END] = end

    def read_new(self) -> Iterator[bytes]:
        """Yields the entries that were not read yet."""
        end = self._header[layout.DIRECTORY_END]
        while (at := self._read) < end:
            word = at // layout.WORD_BYTES
            length = self._words[word + layout.DIRECTORY_LENGTH]
            start = at + layout.DIRECTORY_ENTRY_WORDS * layout.WORD_BYTES
            entry = bytes(self._bytes[start : start + length])
            if zlib.crc32(entry) != self._words[word + layout.DIRECTORY_CRC]:
                # The end was seen before what is in front of it: the next look sees both.
                return
            self._read = layout.words_up(start + length)
            yield entry
