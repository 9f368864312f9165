"""A ring of rows: every row that is written is read, or counted as lost."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.history import layout
from observability.history.layout import Tier
from observability.history.ring import Ring
from observability.memory.layout import WORD_BYTES

# Of a fine ring with one field.
SLOT_WORDS = layout.SLOT_OVERHEAD_WORDS + 1


def make_ring(rows: int = 4, fields: int = 2, spare: int = 0) -> Ring:
    tier = Tier(interval_ns=0, rows=rows, spare=spare)
    memory = memoryview(bytearray(tier.ring_words(fields) * WORD_BYTES))
    return Ring(memory.cast("q"), memory.cast("d"), tier, fields)


def write(ring: Ring, *times_ns: int) -> None:
    for ts_ns in times_ns:
        ring.write_row(ts_ns, array("d", (float(ts_ns),)))


@given(st.lists(st.tuples(st.floats(allow_nan=False), st.floats(allow_nan=False)), max_size=20))
def test_a_ring_keeps_the_newest_rows(values: list[tuple[float, float]]) -> None:
    ring = make_ring(rows=4)
    for ts_ns, pair in enumerate(values):
        ring.write_row(ts_ns, array("d", pair))
    rows = list(ring.copy_rows(0, len(values)))
    assert [tuple(row.payload) for row in rows] == values[-4:]
    assert [row.sequence for row in rows] == list(range(max(1, len(values) - 3), len(values) + 1))


def test_a_row_that_was_overwritten_is_counted_as_lost() -> None:
    ring = make_ring(rows=4)
    for ts_ns in range(5):
        ring.write_row(ts_ns, array("d", (0.0, 0.0)))
    assert ring.copy_row(1) is None
    assert ring.rows_lost == 1


def test_a_row_that_is_being_overwritten_is_not_copied() -> None:
    tier = Tier(interval_ns=0, rows=2)
    memory = memoryview(bytearray(tier.ring_words(1) * WORD_BYTES))
    words = memory.cast("q")
    ring = Ring(words, memory.cast("d"), tier, 1)
    ring.write_row(10, array("d", (1.0,)))
    words[layout.RING_HEADER_WORDS + layout.SLOT_BEGIN] = 3  # a writer has begun to reuse the slot
    assert ring.copy_row(1) is None


def test_a_row_whose_end_is_not_written_yet_is_not_copied() -> None:
    tier = Tier(interval_ns=0, rows=2)
    memory = memoryview(bytearray(tier.ring_words(1) * WORD_BYTES))
    words = memory.cast("q")
    ring = Ring(words, memory.cast("d"), tier, 1)
    words[layout.RING_HEADER_WORDS + layout.SLOT_BEGIN] = 1  # a writer has begun its first row
    assert ring.copy_row(1) is None


@pytest.mark.parametrize("word", [layout.SLOT_BEGIN, SLOT_WORDS - 1])
def test_a_block_leaves_out_a_row_that_is_being_written(word: int) -> None:
    tier = Tier(interval_ns=0, rows=3)
    memory = memoryview(bytearray(tier.ring_words(1) * WORD_BYTES))
    words = memory.cast("q")
    ring = Ring(words, memory.cast("d"), tier, 1)
    for ts_ns in (10, 20, 30):
        ring.write_row(ts_ns, array("d", (float(ts_ns),)))
    words[layout.RING_HEADER_WORDS + SLOT_WORDS + word] = 5  # a writer is a lap ahead
    block = ring.span().copy_block(0, 100, [0])
    assert (block.times.tolist(), block.columns[0].tolist()) == ([10, 30], [10.0, 30.0])
    assert ring.rows_lost == 1


def test_copy_rows_includes_the_start_and_excludes_the_end() -> None:
    ring = make_ring(rows=8, fields=1)
    for ts_ns in (10, 20, 30, 40):
        ring.write_row(ts_ns, array("d", (float(ts_ns),)))
    assert [row.ts_ns for row in ring.copy_rows(20, 40)] == [20, 30]


def test_a_span_holds_the_rows_of_its_moment() -> None:
    ring = make_ring(rows=3, fields=1, spare=2)
    write(ring, 10, 20, 30, 40)
    span = ring.span()
    write(ring, 50, 60)
    assert (span.first_ns, span.last_ns, span.is_lapped) == (20, 40, True)
    assert span.copy_block(0, 100, [0]).times.tolist() == [20, 30, 40]
    assert ring.span().copy_block(0, 100, [0]).times.tolist() == [40, 50, 60]
    assert ring.rows_lost == 0


def test_rows_overwritten_before_a_span_is_copied_are_counted() -> None:
    ring = make_ring(rows=3, fields=1, spare=2)
    write(ring, 10, 20, 30)
    span = ring.span()
    write(ring, 40, 50, 60, 70)
    assert span.copy_block(30, 100, [0]).times.tolist() == [30]
    assert span.copy_block(0, 100, [0]).times.tolist() == [30]
    assert ring.rows_lost == 2


def test_forgotten_rows_are_gone_but_not_for_a_span_from_before() -> None:
    ring = make_ring(rows=3, fields=1, spare=2)
    write(ring, 10, 20)
    span = ring.span()
    ring.forget()
    assert ring.span().first_ns is None
    write(ring, 5)
    assert span.copy_block(0, 100, [0]).times.tolist() == [10, 20]
    assert ring.span().copy_block(0, 100, [0]).times.tolist() == [5]
    assert not ring.span().is_lapped


def test_new_rows_replace_those_that_were_dropped() -> None:
    ring = make_ring(rows=3, fields=1)
    write(ring, 10, 20, 30)
    ring.drop_from(20)
    write(ring, 25)
    assert [row.ts_ns for row in ring.copy_rows(0, 100)] == [10, 25]
