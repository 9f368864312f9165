"""A table of rows by minute: a row that is torn is copied again, or counted as lost."""

from __future__ import annotations

from array import array

from observability.history import layout
from observability.history.table import RowTable
from observability.memory.layout import WORD_BYTES

MINUTE_NS = layout.TABLE_INTERVAL_NS


def make_table() -> tuple[RowTable, memoryview[int]]:
    memory = memoryview(bytearray(layout.table_words(1) * WORD_BYTES))
    words = memory.cast("q")
    return RowTable(words, memory.cast("d"), 1), words


def test_a_row_that_stays_torn_is_counted_as_lost() -> None:
    table, words = make_table()
    for n in range(3):
        table.put(n * MINUTE_NS, array("d", (float(n),)))
    words[layout.TABLE_HEADER_WORDS + layout.SLOT_OVERHEAD_WORDS + 1] = 99
    assert [row.ts_ns for row in table.copy_rows(0, 3 * MINUTE_NS)] == [0, 2 * MINUTE_NS]
    assert table.rows_lost == 1


def test_a_minute_without_a_row_is_not_counted_as_lost() -> None:
    table, _ = make_table()
    table.put(5 * MINUTE_NS, array("d", (1.0,)))
    assert table.copy_row(3 * MINUTE_NS) is None
    assert len(list(table.copy_rows(0, 10 * MINUTE_NS))) == 1
    assert table.rows_lost == 0


def test_a_revision_that_a_dead_writer_began_is_not_reused() -> None:
    table, words = make_table()
    table.put(0, array("d", (1.0,)))
    slot = layout.TABLE_HEADER_WORDS
    begun = words[slot]
    table.put(0, array("d", (2.0,)))
    assert words[slot] > begun
    assert words[layout.TABLE_REVISIONS] == words[slot]
