"""The history's rings: what is written is what is read, and what was lost is counted."""

from __future__ import annotations

import math
import re
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.core import layout
from observability.core.errors import CapacityError
from observability.core.layout import Tier
from observability.core.rings import History, Series
from observability.core.row_ring import Ring
from observability.core.timestamps import NS_PER_S

MINUTE_NS = 60 * NS_PER_S


def make_ring(rows: int = 4, fields: int = 2) -> Ring:
    tier = Tier(interval_ns=0, rows=rows)
    memory = memoryview(bytearray(tier.ring_words(fields) * layout.WORD_BYTES))
    return Ring(memory.cast("q"), memory.cast("d"), tier, fields)


def make_series(fields: tuple[str, ...] = ("x",)) -> Series:
    return History({len(fields): 1}).open("test", "", fields)


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


def test_a_row_that_is_being_written_is_not_believed() -> None:
    tier = Tier(interval_ns=0, rows=2)
    memory = memoryview(bytearray(tier.ring_words(1) * layout.WORD_BYTES))
    words = memory.cast("q")
    ring = Ring(words, memory.cast("d"), tier, 1)
    ring.write_row(10, array("d", (1.0,)))
    words[layout.RING_HEADER_WORDS + layout.SLOT_BEGIN] = 3  # a writer has begun to reuse the slot
    assert ring.copy_row(1) is None


def test_a_row_whose_end_is_not_written_yet_is_not_believed() -> None:
    tier = Tier(interval_ns=0, rows=2)
    memory = memoryview(bytearray(tier.ring_words(1) * layout.WORD_BYTES))
    words = memory.cast("q")
    ring = Ring(words, memory.cast("d"), tier, 1)
    words[layout.RING_HEADER_WORDS + layout.SLOT_BEGIN] = 1  # a writer has begun its first row
    assert ring.copy_row(1) is None


@pytest.mark.parametrize("word", [layout.SLOT_BEGIN, layout.SLOT_TS_NS + 2])
def test_a_block_leaves_out_a_row_that_is_being_written(word: int) -> None:
    tier = Tier(interval_ns=0, rows=3)
    memory = memoryview(bytearray(tier.ring_words(1) * layout.WORD_BYTES))
    words = memory.cast("q")
    ring = Ring(words, memory.cast("d"), tier, 1)
    for ts_ns in (10, 20, 30):
        ring.write_row(ts_ns, array("d", (float(ts_ns),)))
    words[layout.RING_HEADER_WORDS + tier.slot_words(1) + word] = 5  # a writer is a lap ahead
    block = ring.copy_block(0, 100, [0])
    assert (block.times.tolist(), block.columns[0].tolist()) == ([10, 30], [10.0, 30.0])
    assert ring.rows_lost == 1


def test_copy_rows_includes_the_start_and_excludes_the_end() -> None:
    ring = make_ring(rows=8, fields=1)
    for ts_ns in (10, 20, 30, 40):
        ring.write_row(ts_ns, array("d", (float(ts_ns),)))
    assert [row.ts_ns for row in ring.copy_rows(20, 40)] == [20, 30]


def test_a_second_has_first_min_max_last_sum_and_count_of_its_ticks() -> None:
    series = make_series()
    for tenth, value in enumerate((5.0, 9.0, 1.0, 4.0)):
        series.record(tenth * NS_PER_S // 10, (value,))
    series.record(NS_PER_S, (7.0,))
    (row,) = series.rings[1].copy_rows(0, NS_PER_S)
    assert row.payload.tolist() == [5.0, 1.0, 9.0, 4.0, 19.0, 4.0]


def test_a_minute_is_made_of_its_seconds() -> None:
    series = make_series()
    for second in range(122):
        series.record(second * NS_PER_S, (float(second),))
    first, second = series.rings[2].copy_rows(0, 10 * MINUTE_NS)
    assert first.payload.tolist() == [0.0, 0.0, 59.0, 59.0, float(sum(range(60))), 60.0]
    assert second.ts_ns == MINUTE_NS


def test_an_undefined_value_counts_nothing() -> None:
    series = make_series(("x", "y"))
    series.record(0, (math.nan, 1.0))
    series.record(1, (2.0, math.nan))
    series.record(NS_PER_S, (0.0, 0.0))
    (row,) = series.rings[1].copy_rows(0, NS_PER_S)
    assert row.payload.tolist() == [2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_a_row_at_a_time_already_recorded_is_not_written() -> None:
    series = make_series()
    for _ in range(3):
        series.record(5, (1.0,))
    assert series.rings[0].cursor == 1


def test_a_full_history_refuses_another_series() -> None:
    history = History({1: 2})
    history.open("market_data", "AAPL", ("last",))
    history.open("market_data", "AMZN", ("last",))
    with pytest.raises(CapacityError, match="history is full"):
        history.open("market_data", "MSFT", ("last",))


def test_opening_a_series_again_returns_the_same_one() -> None:
    history = History({1: 1})
    assert history.open("s", "k", ("x",)) is history.open("s", "k", ("x",))


def test_the_diagrams_of_the_layout_agree_with_its_constants() -> None:
    text = layout.__doc__ or ""
    region = re.search(r"\| MAGIC q\| VERSION q\| USED_WORDS q \| series 0", text)
    assert region
    assert (layout.REGION_MAGIC, layout.REGION_VERSION, layout.REGION_USED_WORDS) == (0, 1, 2)
    assert layout.REGION_HEADER_WORDS == 3
    slot = re.search(r"\| BEGIN q \| TS_NS q \| n d \| END q", text)
    assert slot
    assert (layout.SLOT_BEGIN, layout.SLOT_TS_NS, layout.SLOT_PAYLOAD) == (0, 1, 2)
    assert "n + 3 words" in text
    assert Tier(0, 1).slot_words(7) == 7 + 3
    assert "6n + 3 words" in text
    assert Tier(1, 1).slot_words(7) == 6 * 7 + 3
