"""The duration histogram: percentiles by nearest rank, within three digits, in memory that does not grow."""

from __future__ import annotations

import sys
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.histogram import MAX_NS, DurationHistogram

US = 1_000
MS = 1_000_000

durations = st.one_of(
    st.integers(min_value=0, max_value=5 * MS), st.integers(min_value=0, max_value=MAX_NS), st.just(MAX_NS)
)
samples = st.lists(durations, min_size=1, max_size=200)
percents = st.sampled_from([0.1, 1.0, 25.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0])


def histogram_of(values: list[int]) -> DurationHistogram:
    histogram = DurationHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(samples, percents)
def test_a_percentile_is_the_nearest_rank_within_three_digits(values: list[int], percent: float) -> None:
    wanted = sorted(values)[max(1, ceil(round(percent * len(values) / 100, 6))) - 1]
    found = histogram_of(values).percentile_ns(percent)
    assert found is not None
    assert abs(found - wanted) <= max(256, wanted * 0.0005)


@given(samples)
def test_mean_and_maximum_are_exact(values: list[int]) -> None:
    histogram = histogram_of(values)
    assert histogram.count == len(values)
    assert histogram.mean_ms == sum(values) / (len(values) * MS)
    assert histogram.percentile_ns(100) == max(values)
    assert histogram.max_ms == max(values) / MS


@given(samples, st.lists(durations, max_size=50), percents)
def test_a_merged_histogram_has_seen_both(left: list[int], right: list[int], percent: float) -> None:
    merged = histogram_of(left)
    merged.merge(histogram_of(right))
    both = histogram_of(left + right)
    assert merged.percentile_ns(percent) == both.percentile_ns(percent)
    assert (merged.count, merged.mean_ms, merged.max_ms) == (both.count, both.mean_ms, both.max_ms)


def test_one_duration_is_every_percentile_unrounded() -> None:
    histogram = histogram_of([123_456_789])
    assert {histogram.percentile_ns(percent) for percent in (0.1, 50, 99.9, 100)} == {123_456_789}


def test_the_rank_is_not_spoiled_by_doubles() -> None:
    # 99.9 * 41000 / 100 is 40959.00000000001 in doubles.
    histogram = histogram_of([1 * MS] * 40_959 + [500 * MS] * 41)
    assert histogram.percentile_ns(99.9) == pytest.approx(1 * MS, rel=0.001)


def test_without_durations_nothing_is_claimed() -> None:
    histogram = DurationHistogram()
    assert (histogram.percentile_ns(50), histogram.mean_ms, histogram.max_ms) == (None, None, None)


def test_negative_durations_are_counted_apart() -> None:
    histogram = histogram_of([5 * MS, -1_272 * MS])
    assert (histogram.count, histogram.negative, histogram.mean_ms) == (1, 1, 5.0)


def test_beyond_an_hour_the_maximum_is_still_the_truth() -> None:
    histogram = histogram_of([1 * US, 5 * MAX_NS, 6 * MAX_NS])
    assert histogram.percentile_ns(100) == 6 * MAX_NS
    assert histogram.percentile_ns(50) == pytest.approx(MAX_NS, rel=0.0005)


def test_it_never_grows() -> None:
    histogram = DurationHistogram()
    before = sys.getsizeof(histogram._counts)
    for exponent in range(60):
        histogram.record(3**exponent)
    assert sys.getsizeof(histogram._counts) == before


def test_cleared_it_is_as_new() -> None:
    histogram = histogram_of([5 * MS, -1])
    histogram.clear()
    histogram.record(7 * MS)
    assert (histogram.count, histogram.negative, histogram.percentile_ns(1)) == (1, 0, 7 * MS)
