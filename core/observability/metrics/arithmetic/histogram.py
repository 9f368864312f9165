"""Histograms of durations with percentiles of three significant digits, from 1 us to 1 h.

The slots are those of HdrHistogram (Gil Tene). Values are counted in units of 2**9 ns, the largest power of two below
1 us. The first 2048 units have a slot each; from there on every doubling of the value has 1024 slots.

    slot         0 .. 2047      one unit each             0 .. 1.05 ms
                 2048 .. 3071   two units each         1.05 .. 2.10 ms
                 3072 .. 4095   four units each        2.10 .. 4.19 ms      ... up to 1 h

A `DurationHistogram` has all slots, 195 kB, and is the faster one: for what is recorded per client or per tick. A
`SparseHistogram` has only the slots in use, 6 bytes each: for the many legs of many groups of orders. Latencies that
spread over a factor of 8 fill at most 3072 slots, 18 kB; all slots from 0 to an hour take 146 kB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import accumulate
from math import ceil
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S

MAX_DURATION_NS: Final = 3600 * NS_PER_S

_UNIT_SHIFT: Final = 9
_HALF_BITS: Final = 10
_LINEAR_BITS: Final = _HALF_BITS + 1
# Percentiles skip whole blocks of slots, so that one costs a hundred steps and not twenty thousand.
_BLOCK_SHIFT: Final = 8
_BLOCK: Final = 1 << _BLOCK_SHIFT

_PERCENTILES: Final = {"p50_ms": 50.0, "p90_ms": 90.0, "p95_ms": 95.0, "p99_ms": 99.0, "p999_ms": 99.9}


def _slot_of(duration_ns: int) -> int:
    """Returns the slot of a duration from 0 to MAX_DURATION_NS."""
    units = duration_ns >> _UNIT_SHIFT
    doublings = units.bit_length() - _LINEAR_BITS
    if doublings <= 0:
        return units
    return (doublings << _HALF_BITS) + (units >> doublings)


def _in_slot(durations: Iterable[int], slot: int) -> list[int]:
    return [each for each in durations if each >= 0 and _slot_of(min(each, MAX_DURATION_NS)) == slot]


def _slot_middle_ns(slot: int) -> int:
    """Returns the middle of the durations that share a slot."""
    doublings = (slot >> _HALF_BITS) - 1
    if doublings <= 0:
        low, width = slot, 1
    else:
        low, width = (slot - (doublings << _HALF_BITS)) << doublings, 1 << doublings
    return (low << _UNIT_SHIFT) + (width << _UNIT_SHIFT) // 2


def _nearest_rank(percent: float, count: int) -> int:
    """Returns the rank, from 1, of the smallest of `count` values that at least `percent` % of them do not exceed."""
    # Rounded before the ceiling: 99.9 % of 41,000 is 40,959, not the 40,959.00000000001 that doubles make of it.
    return min(count, max(1, ceil(round(percent * count / 100, 6))))


_SLOTS: Final = (_slot_of(MAX_DURATION_NS) // _BLOCK + 1) * _BLOCK


class DurationHistogram:
    """Counts durations; maximum and mean are exact, percentiles within 0.05 % (256 ns below 1 ms)."""

    __slots__ = ("_blocks", "_counts", "_max_ns", "_min_ns", "_total_ns", "count", "negative")

    def __init__(self) -> None:
        self._counts = array("Q", bytes(8 * _SLOTS))
        self._blocks = array("Q", bytes(8 * (_SLOTS // _BLOCK)))
        self.count = 0
        self.negative = 0
        """Durations below zero, which come from clocks that disagree; no other figure includes them."""
        self._total_ns = 0
        self._min_ns = 0
        self._max_ns = 0

    def record(self, duration_ns: int) -> None:
        """Counts one duration. One beyond an hour counts as an hour in percentiles; mean and maximum use its value."""
        if duration_ns < 0:
            self.negative += 1
            return
        slot = _slot_of(min(duration_ns, MAX_DURATION_NS))
        self._counts[slot] += 1
        self._blocks[slot >> _BLOCK_SHIFT] += 1
        if not self.count or duration_ns < self._min_ns:
            self._min_ns = duration_ns
        if duration_ns > self._max_ns:
            self._max_ns = duration_ns
        self._total_ns += duration_ns
        self.count += 1

    def percentile_ns(self, percent: float) -> int | None:
        """Returns the percentile by nearest rank: the smallest duration that `percent` % of all do not exceed.

        None if nothing was recorded. A slot counts as its middle, limited to the minimum and the maximum.
        """
        if not self.count:
            return None
        rank = _nearest_rank(percent, self.count)
        if rank == self.count:
            return self._max_ns
        block = below = 0
        while below + self._blocks[block] < rank:
            below += self._blocks[block]
            block += 1
        slot = block << _BLOCK_SHIFT
        while below + self._counts[slot] < rank:
            below += self._counts[slot]
            slot += 1
        return max(self._min_ns, min(self._max_ns, _slot_middle_ns(slot)))

    def percentile_ms(self, percent: float) -> float | None:
        value_ns = self.percentile_ns(percent)
        return None if value_ns is None else value_ns / NS_PER_MS

    @property
    def mean_ms(self) -> float | None:
        return self._total_ns / (self.count * NS_PER_MS) if self.count else None

    @property
    def max_ms(self) -> float | None:
        return self._max_ns / NS_PER_MS if self.count else None


class Durations:
    """Durations that are counted together, in several histograms: their slots are found once."""

    __slots__ = ("count", "max_ns", "min_ns", "negative", "slots", "total_ns")

    def __init__(self, durations_ns: Sequence[int]) -> None:
        counted = [each for each in durations_ns if each >= 0]
        self.count = len(counted)
        self.negative = len(durations_ns) - self.count
        self.total_ns = sum(counted)
        self.min_ns = min(counted, default=0)
        self.max_ns = max(counted, default=0)
        self.slots: dict[int, int] = {}
        """How many are in each slot."""
        for each in counted:
            slot = _slot_of(min(each, MAX_DURATION_NS))
            self.slots[slot] = self.slots.get(slot, 0) + 1


class HistogramState(msgspec.Struct, array_like=True):
    """A sparse histogram in a checkpoint."""

    slots: bytes = b""
    counts: bytes = b""
    count: int = 0
    negative: int = 0
    total_ns: Decimal = Decimal(0)
    """An integer; a few dozen durations of decades, from a clock that was never set, add up to more than 64 bits."""
    min_ns: int = 0
    max_ns: int = 0


class SparseHistogram:
    """Counts durations with the figures of a `DurationHistogram`, in memory that grows with the slots in use.

    slots    sorted      | 1203 | 1204 | 1377 | ...     array("H")
    counts   beside it   |    2 |    1 |    9 | ...     array("I")
    """

    __slots__ = ("_counts", "_max_ns", "_min_ns", "_slots", "_summary", "_total_ns", "count", "negative")

    def __init__(self) -> None:
        self._slots = array("H")
        self._counts = array("I")
        self.count = 0
        self.negative = 0
        """Durations below zero, which come from clocks that disagree; no other figure includes them."""
        self._total_ns = 0
        self._min_ns = 0
        self._max_ns = 0
        self._summary: dict[str, float | int | None] | None = None

    def record(self, duration_ns: int) -> None:
        """Counts one duration. One beyond an hour counts as an hour in percentiles; mean and maximum use its value."""
        self._summary = None
        if duration_ns < 0:
            self.negative += 1
            return
        self._add(_slot_of(min(duration_ns, MAX_DURATION_NS)), 1)
        if not self.count or duration_ns < self._min_ns:
            self._min_ns = duration_ns
        if duration_ns > self._max_ns:
            self._max_ns = duration_ns
        self._total_ns += duration_ns
        self.count += 1

    def record_all(self, durations: Durations) -> None:
        """Counts several durations in the same way."""
        # hot: eight times per leg and set of orders, per tick (benchmarks/bench_intake.py)
        self._summary = None
        self.negative += durations.negative
        if not durations.count:
            return
        for slot, count in durations.slots.items():
            self._add(slot, count)
        if not self.count or durations.min_ns < self._min_ns:
            self._min_ns = durations.min_ns
        if durations.max_ns > self._max_ns:
            self._max_ns = durations.max_ns
        self._total_ns += durations.total_ns
        self.count += durations.count

    def forget(self, duration_ns: int, others: Iterable[int] = ()) -> None:
        """Takes back one recorded duration. If it was the minimum or the maximum, the next one is that of `others` in
        its slot, else the middle of the slot."""
        self._summary = None
        if duration_ns < 0:
            self.negative -= 1
            return
        slots, counts = self._slots, self._counts
        slot = _slot_of(min(duration_ns, MAX_DURATION_NS))
        index = bisect_left(slots, slot)
        if index == len(slots) or slots[index] != slot:
            # It was recorded before a restart with an earlier version.
            return
        counts[index] -= 1
        if not counts[index]:
            del slots[index], counts[index]
        self._total_ns -= duration_ns
        self.count -= 1
        if not self.count:
            self._total_ns = self._min_ns = self._max_ns = 0
        elif duration_ns in (self._min_ns, self._max_ns):
            known = list(others)
            if duration_ns == self._max_ns:
                self._max_ns = max(_in_slot(known, slots[-1]), default=min(duration_ns, _slot_middle_ns(slots[-1])))
            if duration_ns == self._min_ns:
                self._min_ns = min(_in_slot(known, slots[0]), default=max(duration_ns, _slot_middle_ns(slots[0])))

    def summary(self) -> dict[str, float | int | None]:
        """Returns count, mean, percentiles by nearest rank, minimum and maximum, in milliseconds; do not modify it.

        If nothing was recorded, everything but the counts is None. A slot counts as its middle, limited to the minimum
        and the maximum.
        """
        # Read once per tick, computed only after a further duration.
        if self._summary is None:
            self._summary = self._derive()
        return self._summary

    def cumulative(self, bounds_ns: Sequence[int]) -> list[int]:
        """Returns how many durations are at most each bound; a slot counts as its middle. Bounds rise."""
        counts = []
        total = index = 0
        for bound_ns in bounds_ns:
            while index < len(self._slots) and _slot_middle_ns(self._slots[index]) <= bound_ns:
                total += self._counts[index]
                index += 1
            counts.append(total)
        return counts

    @property
    def total_ns(self) -> int:
        """The exact sum of all durations."""
        return self._total_ns

    def to_state(self) -> HistogramState:
        return HistogramState(
            self._slots.tobytes(), self._counts.tobytes(), self.count, self.negative,
            Decimal(self._total_ns), self._min_ns, self._max_ns,
        )  # fmt: skip

    @classmethod
    def from_state(cls, state: HistogramState) -> SparseHistogram:
        histogram = cls()
        histogram._slots.frombytes(state.slots)
        histogram._counts.frombytes(state.counts)
        histogram.count, histogram.negative = state.count, state.negative
        histogram._total_ns, histogram._min_ns, histogram._max_ns = int(state.total_ns), state.min_ns, state.max_ns
        return histogram

    def _add(self, slot: int, count: int) -> None:
        slots = self._slots
        index = bisect_left(slots, slot)
        if index < len(slots) and slots[index] == slot:
            self._counts[index] += count
        else:
            slots.insert(index, slot)
            self._counts.insert(index, count)

    def _derive(self) -> dict[str, float | int | None]:
        summary: dict[str, float | int | None] = {"n": self.count, "n_negative": self.negative}
        if not self.count:
            return {**summary, "mean_ms": None, **dict.fromkeys(_PERCENTILES), "min_ms": None, "max_ms": None}
        ranks = list(accumulate(self._counts))
        summary["mean_ms"] = self._total_ns / (self.count * NS_PER_MS)
        for name, percent in _PERCENTILES.items():
            rank = _nearest_rank(percent, self.count)
            if rank == self.count:
                summary[name] = self._max_ns / NS_PER_MS
            else:
                middle_ns = _slot_middle_ns(self._slots[bisect_left(ranks, rank)])
                summary[name] = max(self._min_ns, min(self._max_ns, middle_ns)) / NS_PER_MS
        summary["min_ms"] = self._min_ns / NS_PER_MS
        summary["max_ms"] = self._max_ns / NS_PER_MS
        return summary
