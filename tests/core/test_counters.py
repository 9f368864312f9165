"""Counters on plain words."""

from __future__ import annotations

import pytest

from observability.core.counters import CAPACITY_WORDS, Counter, Counters
from observability.core.errors import CapacityError


def test_the_same_name_and_labels_are_the_same_word() -> None:
    counters = Counters()
    counters.counter("requests_total", "help", method="GET", route="/").add()
    counters.counter("requests_total", "help", route="/", method="GET").add(2)
    (family,) = counters.families()
    (sample,) = family.samples.values()
    assert isinstance(sample, Counter)
    assert sample.value == 3


def test_different_labels_are_different_words() -> None:
    counters = Counters()
    counters.counter("x", "help", a="1").add()
    other = counters.counter("x", "help", a="2")
    assert other.value == 0


def test_a_duration_falls_into_the_bucket_whose_bound_it_does_not_exceed() -> None:
    histogram = Counters().histogram("d", "help")
    for duration_ns in (1, 100_000, 100_001, 11_000_000_000):
        histogram.record(duration_ns)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 4
    assert histogram.sum_ns == 11_000_200_002


def test_histograms_do_not_share_words() -> None:
    counters = Counters()
    first, second = counters.histogram("a", "help"), counters.histogram("b", "help")
    gauge = counters.gauge("c", "help")
    first.record(10**12)
    gauge.set(-5)
    assert second.counts == [0] * len(second.counts)
    assert second.sum_ns == 0
    assert (sum(first.counts), gauge.value) == (1, -5)


def test_a_full_block_refuses_another_counter() -> None:
    counters = Counters()
    for n in range(CAPACITY_WORDS):
        counters.counter("x", "help", n=str(n))
    with pytest.raises(CapacityError):
        counters.counter("x", "help", n="one more")
