"""A table of rows by minute: a slot per minute of the day, so that a row replaces that of the day before.

A row may be put again; it then replaces itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from observability.history import layout
from observability.history.slots import Row, RowSlots
from observability.memory.layout import MAX_ATTEMPTS, WORD_BYTES


class RowTable:
    """The rows of the last 24 hours by minute; one writer and any number of readers."""

    __slots__ = ("_slots", "_words", "rows_lost")

    def __init__(self, words: memoryview[int], doubles: memoryview[float], fields: int) -> None:
        """`words` and `doubles` are the same memory."""
        self._words = words
        start = layout.TABLE_HEADER_WORDS
        self._slots = RowSlots(words[start:], doubles[start:], fields)
        self.rows_lost = 0

    @classmethod
    def of_own_memory(cls, fields: int) -> RowTable:
        memory = memoryview(bytearray(layout.table_words(fields) * WORD_BYTES))
        return cls(memory.cast("q"), memory.cast("d"), fields)

    def clear(self) -> None:
        """Removes every row. There must be no readers yet."""
        self._words[layout.TABLE_REVISIONS] = self._words[layout.TABLE_NEWEST_NS] = 0

    def put(self, ts_ns: int, payload: array[float]) -> None:
        """Stores the row of a minute, unless that is a day or more before the newest one."""
        words = self._words
        newest_ns = words[layout.TABLE_NEWEST_NS]
        if words[layout.TABLE_REVISIONS] and ts_ns <= newest_ns - layout.TABLE_ROWS * layout.TABLE_INTERVAL_NS:
            return
        # Counted first, so that a writer that dies here leaves no revision that the next writer would reuse.
        revision = words[layout.TABLE_REVISIONS] = words[layout.TABLE_REVISIONS] + 1
        self._slots.write(_slot(ts_ns), revision, ts_ns, payload)
        words[layout.TABLE_NEWEST_NS] = max(newest_ns, ts_ns)

    def copy_rows(self, start_ns: int, end_ns: int) -> Iterator[Row]:
        """Copies the rows of minutes that begin in start_ns <= t < end_ns, oldest first."""
        if not self._words[layout.TABLE_REVISIONS]:
            return
        newest_ns = self._words[layout.TABLE_NEWEST_NS]
        first_ns = max(start_ns, newest_ns - (layout.TABLE_ROWS - 1) * layout.TABLE_INTERVAL_NS, 0)
        first_ns += -first_ns % layout.TABLE_INTERVAL_NS
        for ts_ns in range(first_ns, min(end_ns, newest_ns + 1), layout.TABLE_INTERVAL_NS):
            row = self.copy_row(ts_ns)
            if row is not None:
                yield row

    def copy_row(self, ts_ns: int) -> Row | None:
        """Copies the row of a minute; None if there is none, or if the writer kept overwriting it, which counts as
        lost."""
        slot = _slot(ts_ns)
        for _ in range(MAX_ATTEMPTS):
            revision = self._slots.sequence(slot)
            if not revision:
                return None
            row = self._slots.copy(slot, revision)
            if row is not None:
                return row if row.ts_ns == ts_ns else None
        self.rows_lost += 1
        return None


def _slot(ts_ns: int) -> int:
    return ts_ns // layout.TABLE_INTERVAL_NS % layout.TABLE_ROWS
