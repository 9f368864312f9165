"""The dense and the sparse histogram of durations: percentiles by nearest rank, within three significant digits."""

from __future__ import annotations

import sys
from math import ceil

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.histogram import (
    MAX_DURATION_NS,
    DurationHistogram,
    Durations,
    HistogramState,
    SparseHistogram,
)
from observability.store.checkpoint import pack, unpack

US = 1_000
MS = 1_000_000
FORTY_YEARS = 40 * 365 * 86_400 * 1000 * MS

durations = st.one_of(st.integers(0, 5 * MS), st.integers(0, MAX_DURATION_NS), st.just(MAX_DURATION_NS))
samples = st.lists(durations, min_size=1, max_size=200)
any_durations = st.one_of(durations, st.integers(-10, 0), st.just(3 * MAX_DURATION_NS))
percents = st.sampled_from([0.1, 1.0, 25.0, 50.0, 90.0, 95.0, 99.0, 99.9, 100.0])

SUMMARY_PERCENTS = {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9}


def dense_of(values: list[int]) -> DurationHistogram:
    histogram = DurationHistogram()
    for value in values:
        histogram.record(value)
    return histogram


def sparse_of(values: list[int]) -> SparseHistogram:
    histogram = SparseHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(st.lists(any_durations), samples)
def test_durations_counted_together_count_like_one_by_one(values: list[int], before: list[int]) -> None:
    together = sparse_of(before)
    together.record_all(Durations(values))
    assert together.to_state() == sparse_of([*before, *values]).to_state()


@given(samples, percents)
def test_a_percentile_is_the_nearest_rank_within_three_digits(values: list[int], percent: float) -> None:
    wanted = sorted(values)[max(1, ceil(round(percent * len(values) / 100, 6))) - 1]
    found = dense_of(values).percentile_ns(percent)
    assert found is not None
    assert abs(found - wanted) <= max(256, wanted * 0.0005)


@given(samples)
def test_mean_and_maximum_are_exact(values: list[int]) -> None:
    histogram = dense_of(values)
    assert histogram.count == len(values)
    assert histogram.mean_ms == sum(values) / (len(values) * MS)
    assert histogram.percentile_ns(100) == max(values)
    assert histogram.max_ms == max(values) / MS


def test_one_duration_is_every_percentile_unrounded() -> None:
    histogram = dense_of([123_456_789])
    assert {histogram.percentile_ns(percent) for percent in (0.1, 50, 99.9, 100)} == {123_456_789}


def test_a_rank_is_not_shifted_by_the_rounding_of_doubles() -> None:
    # 99.9 * 41000 / 100 is 40959.00000000001 in doubles.
    histogram = dense_of([1 * MS] * 40_959 + [500 * MS] * 41)
    assert histogram.percentile_ns(99.9) == pytest.approx(1 * MS, rel=0.001)


def test_an_empty_histogram_has_no_percentile_mean_or_maximum() -> None:
    histogram = DurationHistogram()
    assert (histogram.percentile_ns(50), histogram.mean_ms, histogram.max_ms) == (None, None, None)


def test_negative_durations_are_counted_apart() -> None:
    histogram = dense_of([5 * MS, -1_272 * MS])
    assert (histogram.count, histogram.negative, histogram.mean_ms) == (1, 1, 5.0)


def test_the_maximum_of_durations_beyond_an_hour_is_exact() -> None:
    histogram = dense_of([1 * US, 5 * MAX_DURATION_NS, 6 * MAX_DURATION_NS])
    assert histogram.percentile_ns(100) == 6 * MAX_DURATION_NS
    assert histogram.percentile_ns(50) == pytest.approx(MAX_DURATION_NS, rel=0.0005)


def test_a_dense_histogram_never_grows() -> None:
    histogram = DurationHistogram()
    before = sys.getsizeof(histogram._counts)
    for exponent in range(60):
        histogram.record(3**exponent)
    assert sys.getsizeof(histogram._counts) == before


@given(st.lists(any_durations, max_size=200))
def test_a_sparse_histogram_has_the_figures_of_a_dense_one(values: list[int]) -> None:
    dense = dense_of(values)
    counted = [value for value in values if value >= 0]
    assert sparse_of(values).summary() == {
        "n": dense.count,
        "n_negative": dense.negative,
        "mean_ms": dense.mean_ms,
        **{name: dense.percentile_ms(percent) for name, percent in SUMMARY_PERCENTS.items()},
        "min_ms": min(counted) / MS if counted else None,
        "max_ms": dense.max_ms,
    }


@given(st.lists(any_durations, max_size=50), st.lists(any_durations, max_size=50))
def test_a_histogram_made_from_its_state_continues_unchanged(before: list[int], after: list[int]) -> None:
    packed = msgspec.msgpack.encode(sparse_of(before).to_state())
    loaded = SparseHistogram.from_state(msgspec.msgpack.decode(packed, type=HistogramState))
    for value in after:
        loaded.record(value)
    assert loaded.summary() == sparse_of(before + after).summary()
    assert loaded.to_state() == sparse_of(before + after).to_state()


def test_a_summary_includes_every_later_duration() -> None:
    histogram = sparse_of([5 * MS])
    assert histogram.summary()["max_ms"] == 5.0
    histogram.record(7 * MS)
    assert histogram.summary()["max_ms"] == 7.0
    histogram.record(-1)
    assert histogram.summary()["n_negative"] == 1


@pytest.mark.parametrize(("values", "limit"), [(range(0), 500), (range(100 * MS, 800 * MS, 2000), 25_000)])
def test_a_sparse_histogram_takes_the_memory_its_module_states(values: range, limit: int) -> None:
    state = sparse_of(list(values)).to_state()
    assert sys.getsizeof(state.slots) + sys.getsizeof(state.counts) < limit


def test_a_sum_of_more_than_64_bits_survives_a_checkpoint() -> None:
    histogram = SparseHistogram()
    for _ in range(40):
        histogram.record(FORTY_YEARS)
    restored = SparseHistogram.from_state(unpack(pack(histogram.to_state()), HistogramState))
    assert restored.total_ns == 40 * FORTY_YEARS > 2**64
    assert restored.summary() == histogram.summary()
