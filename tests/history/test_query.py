"""Queries: every tick is in exactly one point of any result, from whichever tiers the points are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.history import layout
from observability.history.aggregates import COUNT, FIRST, LAST, MAX, MIN, SUM, Block, Column
from observability.history.history import History
from observability.history.layout import Budget
from observability.history.query import Plan, Stretch, make_plan, read_points, stored_until_ns
from observability.history.series_writer import SeriesWriter

MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 60 * MINUTE_NS
TICK_NS = 100 * NS_PER_MS
ALL = [Column(0, aggregate) for aggregate in (FIRST, MIN, MAX, LAST, SUM, COUNT)]
COUNTS = [Column(0, COUNT)]


class Points(NamedTuple):
    """A block as plain lists, for comparison."""

    times: list[int]
    columns: list[list[float]]

    @classmethod
    def of(cls, block: Block) -> Points:
        return cls(block.times.tolist(), [column.tolist() for column in block.columns])


def recorded(times_ns: Sequence[int]) -> SeriesWriter:
    series = History(Budget({1: 1}, {})).open("s", "k", ("x",))
    for n, ts_ns in enumerate(times_ns):
        series.record(ts_ns, (float(n),))
    return series


def ask(series: SeriesWriter, start_ns: int, end_ns: int, interval_ns: int, columns: Sequence[Column] = ALL) -> Points:
    view = series.view()
    return Points.of(read_points(view, columns, start_ns, end_ns, make_plan([view], interval_ns)))


@pytest.fixture(scope="module")
def two_hours() -> SeriesWriter:
    """A tick every tenth of a second for two hours, which has lapped the rings of ticks and seconds."""
    return recorded(range(0, 2 * HOUR_NS, TICK_NS))


@given(
    st.lists(st.integers(min_value=1, max_value=90 * NS_PER_S), min_size=1, max_size=200),
    st.sampled_from([NS_PER_S, 7 * NS_PER_S, 10 * NS_PER_S, 90 * NS_PER_S, MINUTE_NS, 5 * MINUTE_NS, 1500 * NS_PER_MS]),
)
def test_every_tick_counts_once_at_any_interval(gaps_ns: list[int], interval_ns: int) -> None:
    times_ns = [sum(gaps_ns[: n + 1]) for n in range(len(gaps_ns))]
    points = ask(recorded(times_ns), 0, times_ns[-1] + 1, interval_ns)
    expected: dict[int, list[float]] = {}
    for n, ts_ns in enumerate(times_ns):
        expected.setdefault(ts_ns // interval_ns * interval_ns, []).append(float(n))
    assert points.times == list(expected)
    assert list(zip(*points.columns, strict=True)) == [
        (xs[0], min(xs), max(xs), xs[-1], sum(xs), len(xs)) for xs in expected.values()
    ]


@settings(max_examples=40)
@given(interval_ms=st.integers(1, 3_000_000).map(lambda n: n * 100))
def test_every_tick_counts_once_across_tiers(two_hours: SeriesWriter, interval_ms: int) -> None:
    points = ask(two_hours, 0, 2 * HOUR_NS, interval_ms * NS_PER_MS, [Column(0, COUNT), Column(0, LAST)])
    assert sum(points.columns[0]) == 2 * HOUR_NS // TICK_NS
    assert points.times == sorted(set(points.times))
    assert points.columns[1] == sorted(points.columns[1])


def test_coarser_points_are_returned_where_no_finer_ones_are_left(two_hours: SeriesWriter) -> None:
    plan = make_plan([two_hours.view()], TICK_NS)
    ticks, seconds, minutes = reversed(plan.stretches(0, 2 * HOUR_NS))
    assert minutes == Stretch(0, seconds.start_ns, MINUTE_NS)
    assert seconds == Stretch(minutes.end_ns, ticks.start_ns, NS_PER_S)
    assert ticks == Stretch(seconds.end_ns, 2 * HOUR_NS, TICK_NS)
    points = Points.of(read_points(two_hours.view(), COUNTS, 0, 2 * HOUR_NS, plan))
    expected = [*range(0, seconds.start_ns, MINUTE_NS), *range(seconds.start_ns, ticks.start_ns, NS_PER_S)]
    assert points.times == [*expected, *range(ticks.start_ns, 2 * HOUR_NS, TICK_NS)]


def test_finer_tiers_reach_back_as_far_as_their_rings(two_hours: SeriesWriter) -> None:
    (_, seconds, ticks) = make_plan([two_hours.view()], TICK_NS).stretches(0, 2 * HOUR_NS)
    assert 0 <= 2 * HOUR_NS - layout.TIERS[0].rows * TICK_NS - ticks.start_ns + NS_PER_S <= NS_PER_S
    assert 0 <= seconds.start_ns - (2 * HOUR_NS - layout.TIERS[1].rows * NS_PER_S) <= MINUTE_NS


def test_a_query_that_one_tier_answers_is_one_stretch(two_hours: SeriesWriter) -> None:
    plan = make_plan([two_hours.view()], NS_PER_S)
    start_ns = 2 * HOUR_NS - 30 * MINUTE_NS
    assert plan.stretches(start_ns, 2 * HOUR_NS) == [Stretch(start_ns, 2 * HOUR_NS, NS_PER_S)]


def test_the_cuts_of_a_plan_hold_for_each_of_its_series() -> None:
    series = recorded([n * NS_PER_S for n in range(300)])
    points = Points.of(read_points(series.view(), COUNTS, 0, 300 * NS_PER_S, Plan(NS_PER_S, (-1, 3 * MINUTE_NS))))
    assert points.times == [0, MINUTE_NS, 2 * MINUTE_NS, *range(3 * MINUTE_NS, 300 * NS_PER_S, NS_PER_S)]


def test_a_query_at_the_tick_interval_returns_every_tick() -> None:
    series = recorded([n * TICK_NS for n in range(25)])
    points = ask(series, 5 * TICK_NS, 10 * TICK_NS, TICK_NS, [Column(0, LAST)])
    assert points.columns == [[5.0, 6.0, 7.0, 8.0, 9.0]]


def test_the_interval_that_contains_the_start_is_complete() -> None:
    series = recorded([n * NS_PER_S for n in range(300)])
    points = ask(series, 90 * NS_PER_S, 3 * MINUTE_NS, MINUTE_NS, COUNTS)
    assert (points.times, points.columns) == ([MINUTE_NS, 2 * MINUTE_NS], [[60.0, 60.0]])


def test_the_minute_that_is_still_open_is_returned_too() -> None:
    series = recorded([n * NS_PER_S for n in range(75)])
    points = ask(series, 0, MINUTE_NS * 2, MINUTE_NS, COUNTS)
    assert (points.times, points.columns) == ([0, MINUTE_NS], [[60.0, 15.0]])


@pytest.mark.parametrize("interval_ns", [TICK_NS, NS_PER_S, MINUTE_NS])
def test_a_series_without_rows_has_no_points(interval_ns: int) -> None:
    assert ask(recorded([]), 0, MINUTE_NS, interval_ns).times == []


@pytest.mark.parametrize("interval_ns", [TICK_NS, NS_PER_S, MINUTE_NS])
def test_an_undefined_value_enters_no_aggregate(interval_ns: int) -> None:
    series = History(Budget({1: 1}, {})).open("s", "k", ("x",))
    for n, value in enumerate((math.nan, 2.0, math.nan, 4.0, math.nan)):
        series.record(n * 10 * NS_PER_MS, (value,))
    points = ask(series, 0, MINUTE_NS, interval_ns)
    assert [column[0] for column in points.columns] == [2.0, 2.0, 4.0, 4.0, 6.0, 2.0]


def test_an_interval_without_a_defined_value_is_undefined() -> None:
    series = History(Budget({1: 1}, {})).open("s", "k", ("x",))
    series.record(0, (math.nan,))
    series.record(1, (math.nan,))
    points = ask(series, 0, MINUTE_NS, NS_PER_S)
    assert [column[0] for column in points.columns[4:]] == [0.0, 0.0]
    assert all(math.isnan(column[0]) for column in points.columns[:4])


def test_a_later_series_does_not_coarsen_the_others() -> None:
    history = History(Budget({1: 2}, {}))
    old, new = history.open("s", "old", ("x",)), history.open("s", "new", ("x",))
    for n in range(600):
        old.record(n * NS_PER_S, (1.0,))
        if n > 300:
            new.record(n * NS_PER_S, (1.0,))
    assert make_plan([old.view(), new.view()], NS_PER_S).stretches(0, 600 * NS_PER_S) == [
        Stretch(0, 600 * NS_PER_S, NS_PER_S)
    ]


def test_the_rings_hold_everything_from_their_oldest_minute_on(two_hours: SeriesWriter) -> None:
    for interval_ns in (TICK_NS, NS_PER_S, MINUTE_NS):
        plan = make_plan([two_hours.view()], interval_ns)
        assert stored_until_ns(two_hours.view(), 0, HOUR_NS, plan) == 0
        series = recorded([90 * NS_PER_S])
        assert stored_until_ns(series.view(), 0, HOUR_NS, make_plan([series.view()], MINUTE_NS)) == MINUTE_NS
        assert stored_until_ns(recorded([]).view(), 0, HOUR_NS, plan) == HOUR_NS


def test_minutes_that_only_finer_rings_hold_are_read_from_the_store() -> None:
    """With a tick a minute, the seconds reach back further than the minutes."""
    series = recorded([n * MINUTE_NS for n in range(4000)])
    day_ns, end_ns = 1440 * MINUTE_NS, 4000 * MINUTE_NS
    until_ns = stored_until_ns(series.view(), 0, end_ns, make_plan([series.view()], MINUTE_NS))
    assert end_ns - day_ns - 2 * MINUTE_NS <= until_ns <= end_ns - day_ns
    points = ask(series, 0, end_ns, MINUTE_NS)
    assert points.times[0] == until_ns
    points = ask(series, 0, end_ns, NS_PER_S)
    assert len(points.times) > 3600
    assert stored_until_ns(series.view(), 0, end_ns, make_plan([series.view()], NS_PER_S)) <= points.times[0]
