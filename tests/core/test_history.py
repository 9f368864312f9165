"""Questions to the history: every tick is in exactly one interval of any answer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.core.history import read_points
from observability.core.layout import AGGREGATE_WORDS
from observability.core.rings import History, Series
from observability.core.timestamps import NS_PER_MS, NS_PER_S

MINUTE_NS = 60 * NS_PER_S
TICK_NS = 100 * NS_PER_MS


def recorded(times_ns: list[int]) -> Series:
    series = History({1: 1}).open("s", "k", ("x",))
    for n, ts_ns in enumerate(times_ns):
        series.record(ts_ns, (float(n),))
    return series


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(min_value=1, max_value=90 * NS_PER_S), min_size=1, max_size=200),
    st.sampled_from([NS_PER_S, 10 * NS_PER_S, MINUTE_NS, 5 * MINUTE_NS]),
)
def test_every_tick_counts_once_at_any_interval(gaps_ns: list[int], interval_ns: int) -> None:
    times_ns = [sum(gaps_ns[: n + 1]) for n in range(len(gaps_ns))]
    points = list(read_points(recorded(times_ns), 0, times_ns[-1] + 1, interval_ns))
    expected: dict[int, list[float]] = {}
    for n, ts_ns in enumerate(times_ns):
        expected.setdefault(ts_ns // interval_ns * interval_ns, []).append(float(n))
    assert {
        point.ts_ns: (point.aggregates[0], point.aggregates[1], point.aggregates[2], point.last(0), point.aggregates[5])
        for point in points
    } == {ts_ns: (xs[0], min(xs), max(xs), xs[-1], len(xs)) for ts_ns, xs in expected.items()}


def test_ticks_are_answered_one_by_one() -> None:
    series = recorded([n * TICK_NS for n in range(25)])
    points = list(read_points(series, 5 * TICK_NS, 10 * TICK_NS, TICK_NS))
    assert [point.last(0) for point in points] == [5.0, 6.0, 7.0, 8.0, 9.0]


def test_the_minute_that_is_not_over_is_answered_too() -> None:
    series = recorded([n * NS_PER_S for n in range(75)])
    points = list(read_points(series, 0, MINUTE_NS * 2, MINUTE_NS))
    assert [(point.ts_ns, point.aggregates[5]) for point in points] == [(0, 60.0), (MINUTE_NS, 15.0)]


@pytest.mark.parametrize("interval_ns", [TICK_NS, NS_PER_S, MINUTE_NS])
def test_a_series_without_rows_has_no_points(interval_ns: int) -> None:
    assert list(read_points(recorded([]), 0, MINUTE_NS, interval_ns)) == []


def test_a_point_has_six_numbers_per_field() -> None:
    (point,) = read_points(recorded([0]), 0, 1, TICK_NS)
    assert len(point.aggregates) == AGGREGATE_WORDS
