"""The writer of a series: ticks, and the seconds and minutes that it aggregates from them."""

from __future__ import annotations

import math

from observability.clocks.timestamps import NS_PER_S
from observability.history.history import History
from observability.history.layout import Budget
from observability.history.series_writer import SeriesWriter

MINUTE_NS = 60 * NS_PER_S


def make_series(fields: tuple[str, ...] = ("x",)) -> SeriesWriter:
    return History(Budget({len(fields): 1}, {})).open("test", "", fields)


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


def test_an_undefined_value_is_not_counted() -> None:
    series = make_series(("x", "y"))
    series.record(0, (math.nan, 1.0))
    series.record(1, (2.0, math.nan))
    series.record(NS_PER_S, (0.0, 0.0))
    (row,) = series.rings[1].copy_rows(0, NS_PER_S)
    assert row.payload.tolist() == [2.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]


def test_a_second_row_of_the_same_time_is_skipped() -> None:
    series = make_series()
    for _ in range(3):
        series.record(5, (1.0,))
    assert series.rings[0].cursor == 1
