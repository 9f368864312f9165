"""Durations in a log-linear histogram: three significant digits from 1 us to 1 h, in memory that never grows.

No exposition format here, and no buckets of Prometheus (see `observability.memory.counters`).

The layout is that of HdrHistogram (Gil Tene): values are counted in units of 2**9 ns, the largest power of two below
1 us. The first 2048 units have a slot each; from there on every doubling of the value has 1024 slots.

    index        0 .. 2047      one unit each             0 .. 1.05 ms
                 2048 .. 3071   two units each         1.05 .. 2.10 ms
                 3072 .. 4095   four units each        2.10 .. 4.19 ms      ... up to 1 h
"""

from __future__ import annotations

from array import array
from math import ceil

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S

MAX_NS = 3600 * NS_PER_S

_UNIT_SHIFT = 9
_HALF_BITS = 10
_HALF = 1 << _HALF_BITS
_LINEAR_BITS = _HALF_BITS + 1
# Percentiles skip whole blocks, so that one costs a hundred steps, not twenty thousand.
_BLOCK_SHIFT = 8
_BLOCK = 1 << _BLOCK_SHIFT


def slot_of(value_ns: int) -> int:
    """Returns the slot of a duration from 0 to MAX_NS."""
    units = value_ns >> _UNIT_SHIFT
    doublings = units.bit_length() - _LINEAR_BITS
    if doublings <= 0:
        return units
    return (doublings << _HALF_BITS) + (units >> doublings)


def slot_middle_ns(index: int) -> int:
    """Returns the middle of the values that share a slot."""
    doublings = (index >> _HALF_BITS) - 1
    if doublings <= 0:
        low, width = index, 1
    else:
        low, width = (index - (doublings << _HALF_BITS)) << doublings, 1 << doublings
    return (low << _UNIT_SHIFT) + (width << _UNIT_SHIFT) // 2


def nearest_rank(percent: float, count: int) -> int:
    """Returns the rank, from 1, of the smallest of `count` values that `percent` % of all do not exceed."""
    # Rounded before the ceiling: 99.9 % of 41,000 is 40,959, not the 40,959.00000000001 that doubles make of it.
    return min(count, max(1, ceil(round(percent * count / 100, 6))))


_SLOTS = (slot_of(MAX_NS) // _BLOCK + 1) * _BLOCK


class DurationHistogram:
    """Counts durations; minimum, maximum and mean are exact, percentiles within 0.05 % (256 ns below 1 ms)."""

    __slots__ = ("_blocks", "_counts", "_max_ns", "_min_ns", "_total_ns", "count", "negative")

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _SLOTS))
        self._blocks = array("Q", bytes(8 * (_SLOTS // _BLOCK)))
        self.count = 0
        self.negative = 0
        """Durations below zero: the two clocks disagree. They are in no other number."""
        self._total_ns = 0
        self._min_ns = 0
        self._max_ns = 0

    def record(self, duration_ns: int) -> None:
        """Counts one duration. Beyond an hour it is one hour to percentiles; mean and maximum keep its value."""
        if duration_ns < 0:
            self.negative += 1
            return
        index = slot_of(min(duration_ns, MAX_NS))
        self._counts[index] += 1
        self._blocks[index >> _BLOCK_SHIFT] += 1
        if not self.count or duration_ns < self._min_ns:
            self._min_ns = duration_ns
        if duration_ns > self._max_ns:
            self._max_ns = duration_ns
        self._total_ns += duration_ns
        self.count += 1

    def merge(self, other: DurationHistogram) -> None:
        """Adds everything `other` has counted."""
        for index, count in enumerate(other._counts):
            if count:
                self._counts[index] += count
                self._blocks[index >> _BLOCK_SHIFT] += count
        if other.count:
            self._min_ns = min(self._min_ns, other._min_ns) if self.count else other._min_ns
            self._max_ns = max(self._max_ns, other._max_ns)
        self._total_ns += other._total_ns
        self.count += other.count
        self.negative += other.negative

    def clear(self) -> None:
        """Forgets everything; no memory is given back or taken."""
        self._counts[:] = array("Q", bytes(8 * _SLOTS))
        self._blocks[:] = array("Q", bytes(8 * len(self._blocks)))
        self.count = self.negative = self._total_ns = self._min_ns = self._max_ns = 0

    def percentile_ns(self, percent: float) -> int | None:
        """Returns the percentile by nearest rank: the smallest duration that `percent` % of all do not exceed.

        None without any duration. A slot is reported by its middle, kept between minimum and maximum.
        """
        if not self.count:
            return None
        rank = nearest_rank(percent, self.count)
        if rank == self.count:
            return self._max_ns
        block = below = 0
        while below + self._blocks[block] < rank:
            below += self._blocks[block]
            block += 1
        index = block << _BLOCK_SHIFT
        while below + self._counts[index] < rank:
            below += self._counts[index]
            index += 1
        return max(self._min_ns, min(self._max_ns, slot_middle_ns(index)))

    def percentile_ms(self, percent: float) -> float | None:
        value_ns = self.percentile_ns(percent)
        return None if value_ns is None else value_ns / NS_PER_MS

    @property
    def mean_ms(self) -> float | None:
        return self._total_ns / (self.count * NS_PER_MS) if self.count else None

    @property
    def max_ms(self) -> float | None:
        return self._max_ns / NS_PER_MS if self.count else None
