"""Counters: plain words with names, readable in other processes."""

from __future__ import annotations

import pytest

from observability.errors import CapacityError
from observability.memory import layout
from observability.memory.counters import CAPACITY_WORDS, BucketHistogram, Counter, Counters


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


def test_a_duration_counts_in_the_first_bucket_that_holds_it() -> None:
    histogram = Counters().histogram("d", "help")
    for duration_ns in (1, 100_000, 100_001, 11_000_000_000):
        histogram.record(duration_ns)
    assert histogram.counts[:2] == [2, 1]
    assert histogram.counts[-1] == 1
    assert sum(histogram.counts) == 4
    assert histogram.sum_ns == 11_000_200_002


def test_durations_of_one_bucket_are_recorded_by_their_sum() -> None:
    histogram = Counters().histogram("d", "help")
    histogram.record(3 * 90_000, 3)
    assert histogram.counts[:2] == [3, 0]
    assert histogram.sum_ns == 270_000


def test_a_percentile_of_buckets_lies_between_the_bounds_of_its_bucket() -> None:
    histogram = Counters().histogram("d", "help")
    assert histogram.percentile_ns(50) is None
    for duration_ms in (3, 4, 7, 8):
        histogram.record(duration_ms * 1_000_000)
    # Two lie between 2.5 and 5 ms, two between 5 and 10 ms.
    assert [histogram.percentile_ns(percent) for percent in (25, 50, 75, 100)] == [3.75e6, 5e6, 7.5e6, 10e6]
    histogram.record(60_000_000_000)
    assert histogram.percentile_ns(99) == 10e9


def test_histograms_do_not_share_words() -> None:
    counters = Counters()
    first, second = counters.histogram("a", "help"), counters.histogram("b", "help")
    gauge = counters.gauge("c", "help")
    first.record(10**12)
    gauge.set(-5)
    assert second.counts == [0] * len(second.counts)
    assert second.sum_ns == 0
    assert (sum(first.counts), gauge.value) == (1, -5)


def test_a_full_block_refuses_a_further_counter() -> None:
    counters = Counters()
    for n in range(CAPACITY_WORDS):
        counters.counter("x", "help", n=str(n))
    with pytest.raises(CapacityError):
        counters.counter("x", "help", n="one more")


def shared_memory() -> memoryview[int]:
    return memoryview(bytearray(layout.counters_bytes()))


def test_another_process_reads_the_counts_by_name_and_labels() -> None:
    memory = shared_memory()
    writer, reader = Counters(memory), Counters(memory)
    writer.counter("x_total", "help", a="1", b="2").add(3)
    writer.histogram("d", "help").record(1)
    families = {family.name: family for family in reader.families()}
    sample = families["x_total"].samples[("a", "1"), ("b", "2")]
    assert isinstance(sample, Counter) and sample.value == 3
    (durations,) = families["d"].samples.values()
    assert isinstance(durations, BucketHistogram) and durations.sum_ns == 1


def test_a_replacement_process_continues_to_count() -> None:
    memory = shared_memory()
    Counters(memory).counter("x_total", "help").add(3)
    successor = Counters(memory)
    successor.counter("x_total", "help").add(2)
    successor.counter("y_total", "help").add(1)
    assert (successor.total("x_total"), successor.total("y_total")) == (5, 1)


def test_a_dead_process_keeps_its_counters_but_not_its_gauges() -> None:
    memory = shared_memory()
    counters = Counters(memory)
    counters.counter("x_total", "help").add(3)
    counters.gauge("open", "help", kind="a").set(7)
    Counters(memory).zero_gauges()
    assert (counters.total("x_total"), counters.total("open")) == (3, 0)


def test_counters_of_several_processes_add_up() -> None:
    total = Counters()
    for n in (1, 2):
        counters = Counters()
        counters.counter("x_total", "help", slot=str(n)).add(n)
        counters.counter("y_total", "help").add(n)
        counters.histogram("d", "help").record(n)
        total.add_all(counters)
    assert (total.total("x_total"), total.total("y_total")) == (3, 3)
    durations = total.histogram("d", "help")
    assert (sum(durations.counts), durations.sum_ns) == (2, 3)


def test_an_entry_is_read_once_all_its_bytes_are_visible() -> None:
    memory = shared_memory()
    Counters(memory).counter("x_total", "help").add(1)
    entry = memory[16:32].cast("q")
    crc = entry[1]
    entry[1] = 0  # as if END were visible before the entry
    reader = Counters(memory)
    assert reader.total("x_total") == 0
    entry[1] = crc
    assert reader.total("x_total") == 1
