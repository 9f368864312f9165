"""Feed latency: how much later than the fastest event each one came, however the two clocks disagree."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.market.feed import MAX_STEPS, FeedFigures, FeedLatency, FeedState, Offsets, figures_of
from observability.store.checkpoint import pack, unpack

S = 1_000_000_000
MS = 1_000_000
NOON = 1_340_280_000 * S

offsets = st.integers(min_value=-(10**13), max_value=10**13)
near = st.builds(lambda base, more: base + more, st.just(-1_275_018_000), st.integers(0, 25 * MS))
samples = st.lists(st.one_of(offsets, near), min_size=1, max_size=2000)


def arrive(feed: FeedLatency, *offsets_ns: int) -> None:
    feed.arrived.extend(offsets_ns)


def figures(values: list[int]) -> tuple[FeedFigures, int]:
    """Returns the figures of offsets within one window, and the width of their steps."""
    counted = Offsets()
    feed = FeedLatency(60)
    arrive(feed, *values)
    counted.add(feed.arrived)
    return figures_of(counted), 1 << counted.shift


@given(samples)
def test_percentiles_are_nearest_ranks_within_half_a_step(values: list[int]) -> None:
    found, step_ns = figures(values)
    latencies = sorted(value - min(values) for value in values)
    for percent, found_ms in ((50, found.p50_ms), (99, found.p99_ms)):
        assert found_ms is not None
        wanted = latencies[ceil(percent * len(values) / 100) - 1]
        assert abs(found_ms * MS - wanted) <= step_ns / 2 + 1
    assert (found.n, found.clock_offset_ms, found.max_ms) == (len(values), min(values) / MS, latencies[-1] / MS)


def test_a_constant_clock_error_changes_no_latency() -> None:
    right, _ = figures([MS, 2 * MS, 3 * MS, 7 * MS])
    behind, _ = figures([x - 1_272 * MS for x in (MS, 2 * MS, 3 * MS, 7 * MS)])
    assert (right.clock_offset_ms, behind.clock_offset_ms) == (1.0, -1271.0)
    assert (right.max_ms, behind.max_ms) == (6.0, 6.0)
    assert behind.p50_ms == pytest.approx(right.p50_ms, abs=0.002)


def test_steps_grow_wider_instead_of_more_numerous() -> None:
    counted = Offsets()
    feed = FeedLatency(60)
    for start in range(0, 100 * MS, MS):
        arrive(feed, *range(start, start + MS, 10_000))
        counted.add(feed.arrived)
        del feed.arrived[:]
    steps = list(counted.steps_ns())
    assert len(steps) <= MAX_STEPS
    assert sum(count for _, count in steps) == counted.count == 10_000
    assert 1 << counted.shift == 262_144


@given(samples, st.integers(1, 50))
def test_portions_in_which_offsets_are_counted_do_not_matter(values: list[int], portion: int) -> None:
    at_once, bit_by_bit, feed = Offsets(), Offsets(), FeedLatency(60)
    arrive(feed, *values)
    at_once.add(feed.arrived)
    for start in range(0, len(values), portion):
        bit_by_bit.add(feed.arrived[start : start + portion])
    assert bit_by_bit.to_state() == at_once.to_state()


def test_a_feed_without_exchange_times_has_no_figures() -> None:
    feed = FeedLatency(60)
    feed.refresh(NOON)
    assert feed.figures == FeedFigures(0, None, None, None, None)


def test_the_clock_offset_is_that_of_a_sliding_window() -> None:
    feed = FeedLatency(60)
    shown = []
    for seconds, offset_ms in ((0, -5), (1, 10), (29, 12), (31, 12), (62, 12)):
        arrive(feed, offset_ms * MS)
        feed.refresh(NOON + seconds * S)
        shown.append((feed.figures.clock_offset_ms, feed.figures.max_ms, feed.figures.n))
    assert shown == [(-5.0, 0.0, 1), (-5.0, 15.0, 2), (-5.0, 17.0, 3), (-5.0, 17.0, 4), (12.0, 0.0, 2)]


def test_a_silent_feed_loses_its_figures() -> None:
    feed = FeedLatency(60)
    arrive(feed, 5 * MS)
    feed.refresh(NOON)
    for seconds in range(1, 61):
        feed.refresh(NOON + seconds * S)
    assert feed.figures == FeedFigures()


def test_a_gap_longer_than_the_window_leaves_nothing_old() -> None:
    feed = FeedLatency(60)
    arrive(feed, -5 * MS)
    feed.refresh(NOON)
    arrive(feed, 10 * MS)
    feed.refresh(NOON + 3600 * S)
    assert (feed.figures.n, feed.figures.clock_offset_ms) == (1, 10.0)


@given(samples, samples, samples)
def test_a_restored_feed_equals_one_that_never_stopped(first: list[int], then: list[int], last: list[int]) -> None:
    kept = FeedLatency(60)
    arrive(kept, *first)
    kept.refresh(NOON)
    kept.refresh(NOON + 40 * S)
    arrive(kept, *then)
    loaded = FeedLatency(60)
    loaded.load_state(unpack(pack(kept.to_state()), FeedState))
    assert loaded.figures == kept.figures
    for seconds in (41, 55, 56, 71):
        for feed in (kept, loaded):
            if seconds != 41:
                arrive(feed, *last)
            feed.refresh(NOON + seconds * S)
        assert loaded.figures == kept.figures
        assert loaded.to_state() == kept.to_state()
