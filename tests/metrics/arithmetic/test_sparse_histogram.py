"""The sparse histogram says what the dense one says, in memory that follows what was measured."""

from __future__ import annotations

import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.histogram import MAX_NS, DurationHistogram
from observability.metrics.arithmetic.sparse_histogram import HistogramState, SparseHistogram

MS = 1_000_000

durations = st.one_of(st.integers(-10, 5 * MS), st.integers(0, MAX_NS), st.just(MAX_NS), st.just(3 * MAX_NS))
PERCENTS = {"p50_ms": 50, "p90_ms": 90, "p95_ms": 95, "p99_ms": 99, "p999_ms": 99.9}


def histogram_of(values: list[int]) -> SparseHistogram:
    histogram = SparseHistogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(st.lists(durations, max_size=200))
def test_it_says_what_the_dense_one_says(values: list[int]) -> None:
    dense = DurationHistogram()
    for value in values:
        dense.record(value)
    counted = [value for value in values if value >= 0]
    assert histogram_of(values).summary() == {
        "n": dense.count,
        "n_negative": dense.negative,
        "mean_ms": dense.mean_ms,
        **{name: dense.percentile_ms(percent) for name, percent in PERCENTS.items()},
        "min_ms": min(counted) / MS if counted else None,
        "max_ms": dense.max_ms,
    }


@given(st.lists(durations, max_size=50), st.lists(durations, max_size=50))
def test_one_that_was_dumped_and_loaded_goes_on_as_if_nothing_had_happened(before: list[int], after: list[int]) -> None:
    packed = msgspec.msgpack.encode(histogram_of(before).to_state())
    loaded = SparseHistogram.from_state(msgspec.msgpack.decode(packed, type=HistogramState))
    for value in after:
        loaded.record(value)
    assert loaded.summary() == histogram_of(before + after).summary()
    assert loaded.to_state() == histogram_of(before + after).to_state()


def test_a_summary_is_looked_up_again_after_a_duration() -> None:
    histogram = histogram_of([5 * MS])
    assert histogram.summary()["max_ms"] == 5.0
    histogram.record(7 * MS)
    assert histogram.summary()["max_ms"] == 7.0
    histogram.record(-1)
    assert histogram.summary()["n_negative"] == 1


@pytest.mark.parametrize(("values", "limit"), [(range(0), 500), (range(100 * MS, 800 * MS, 2000), 25_000)])
def test_it_takes_what_its_docstring_says(values: range, limit: int) -> None:
    state = histogram_of(list(values)).to_state()
    assert sys.getsizeof(state.slots) + sys.getsizeof(state.counts) < limit
