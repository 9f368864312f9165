"""The table of finished bars: one day, one slot per minute."""

from __future__ import annotations

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.metrics.market.bar_table import MAX_BARS, Bar, BarTable

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z


def bar(minute: int, trades: int = 1, vwap: float | None = 10.25) -> Bar:
    return Bar(NOON + minute * NS_PER_MINUTE, 10.0, 10.5, 9.5, 10.25, 300.0, trades, vwap)


def kept(table: BarTable, start: int = -(10**6), end: int = 10**6) -> list[int]:
    start_ns, end_ns = NOON + start * NS_PER_MINUTE, NOON + end * NS_PER_MINUTE
    return [(bar.ts_ns - NOON) // NS_PER_MINUTE for bar in table.copy_bars(start_ns, end_ns)]


def test_a_bar_is_read_back_unchanged() -> None:
    table = BarTable()
    table.put(bar(0))
    table.put(bar(1, vwap=None))
    assert list(table.copy_bars(0, NOON + 10 * NS_PER_MINUTE)) == [bar(0), bar(1, vwap=None)]


def test_an_amended_bar_replaces_its_earlier_version() -> None:
    table = BarTable()
    table.put(bar(0))
    table.put(bar(1))
    table.put(bar(0, trades=2))
    assert [b.trades for b in table.copy_bars(0, NOON + 10 * NS_PER_MINUTE)] == [2, 1]


def test_minutes_without_a_print_have_no_bar() -> None:
    table = BarTable()
    for minute in (0, 3, 7):
        table.put(bar(minute))
    assert kept(table) == [0, 3, 7]


def test_a_range_includes_its_start_and_excludes_its_end() -> None:
    table = BarTable()
    for minute in range(5):
        table.put(bar(minute))
    assert kept(table, 1, 3) == [1, 2]
    assert [b.ts_ns for b in table.copy_bars(NOON + 1, NOON + NS_PER_MINUTE + 1)] == [NOON + NS_PER_MINUTE]


def test_bars_older_than_a_day_are_replaced() -> None:
    table = BarTable()
    for minute in range(MAX_BARS + 5):
        table.put(bar(minute))
    assert kept(table) == list(range(5, MAX_BARS + 5))


def test_bars_from_before_a_gap_of_days_are_not_shown() -> None:
    table = BarTable()
    table.put(bar(0))
    table.put(bar(2 * MAX_BARS + 3))
    assert kept(table) == [2 * MAX_BARS + 3]


def test_a_bar_older_than_a_day_does_not_replace_a_newer_one() -> None:
    table = BarTable()
    table.put(bar(MAX_BARS))
    table.put(bar(0))
    assert kept(table) == [MAX_BARS]


def test_an_empty_table_has_no_bar_of_1970() -> None:
    assert list(BarTable().copy_bars(0, NOON)) == []


def test_a_bar_of_fewer_prints_does_not_replace_one_of_more() -> None:
    table = BarTable()
    table.put(bar(0, trades=3))
    table.put(bar(0, trades=2))
    assert [b.trades for b in table.copy_bars(0, NOON + NS_PER_MINUTE)] == [3]
