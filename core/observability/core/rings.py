"""The history: preallocated rings of rows, one series per symbol or section, in tiers of falling resolution.

No queries over intervals here (see `history.py`) and no offsets (see `layout.py`).
"""

from __future__ import annotations

import math
import mmap
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from observability.core import layout
from observability.core.errors import CapacityError
from observability.core.layout import Tier

NAN = math.nan


@dataclass(frozen=True, slots=True)
class Row:
    """A copy of one slot: `payload` is a value per field (fine tier), or six numbers per field (coarse tiers)."""

    sequence: int
    ts_ns: int
    payload: array[float]


class Ring:
    """Fixed-size rows over preallocated words: one writer, any number of readers.

    The newest row replaces the oldest. What a reader wanted and was overwritten is counted in `rows_lost`; it is no
    error.
    """

    __slots__ = ("_doubles", "_slot_words", "_words", "rows", "rows_lost")

    def __init__(self, words: memoryview[int], doubles: memoryview[float], tier: Tier, fields: int) -> None:
        self._words = words
        self._doubles = doubles
        self._slot_words = tier.slot_words(fields)
        self.rows = tier.rows
        self.rows_lost = 0

    @property
    def cursor(self) -> int:
        """Sequence of the newest whole row; 0 when there is none."""
        return self._words[layout.RING_CURSOR]

    @property
    def oldest(self) -> int:
        """Sequence of the oldest row still kept; `cursor + 1` when there is none."""
        return max(1, self.cursor - self.rows + 1)

    def write_row(self, ts_ns: int, payload: array[float]) -> None:
        """Publishes one row."""
        # hot: once per series per tick (benchmarks/bench_tick.py)
        words = self._words
        sequence = words[layout.RING_CURSOR] + 1
        slot = layout.RING_HEADER_WORDS + (sequence - 1) % self.rows * self._slot_words
        end = slot + self._slot_words - 1
        words[slot] = sequence
        words[slot + layout.SLOT_TS_NS] = ts_ns
        self._doubles[slot + layout.SLOT_PAYLOAD : end] = payload
        words[end] = sequence
        words[layout.RING_CURSOR] = sequence

    def copy_row(self, sequence: int) -> Row | None:
        """Copies the row, or None if it was overwritten before or while it was copied."""
        words = self._words
        slot = layout.RING_HEADER_WORDS + (sequence - 1) % self.rows * self._slot_words
        end = slot + self._slot_words - 1
        if words[end] == sequence:
            ts_ns = words[slot + layout.SLOT_TS_NS]
            payload = array("d", self._doubles[slot + layout.SLOT_PAYLOAD : end])
            if words[slot] == sequence:
                return Row(sequence, ts_ns, payload)
        self.rows_lost += 1
        return None

    def copy_rows(self, start_ns: int, end_ns: int) -> Iterator[Row]:
        """Copies the rows with start_ns <= ts_ns < end_ns, oldest first. Times in a ring never go back."""
        first, last = self.oldest, self.cursor
        sequences = range(first, last + 1)
        for sequence in sequences[bisect_left(sequences, start_ns, key=self._ts_ns) :]:
            row = self.copy_row(sequence)
            if row is not None:
                if row.ts_ns >= end_ns:
                    return
                yield row

    def _ts_ns(self, sequence: int) -> int:
        slot = layout.RING_HEADER_WORDS + (sequence - 1) % self.rows * self._slot_words
        return self._words[slot + layout.SLOT_TS_NS]


class _OpenBucket:
    """The aggregates of a coarse tier's current interval, until it is over."""

    __slots__ = ("_interval_ns", "aggregates", "start_ns")

    def __init__(self, interval_ns: int, fields: int) -> None:
        self._interval_ns = interval_ns
        self.start_ns: int | None = None
        self.aggregates = empty_aggregates(fields)

    def is_over(self, ts_ns: int) -> bool:
        return self.start_ns is not None and ts_ns >= self.start_ns + self._interval_ns

    def reset(self, ts_ns: int) -> None:
        self.start_ns = ts_ns - ts_ns % self._interval_ns
        self.aggregates = empty_aggregates(len(self.aggregates) // layout.AGGREGATE_WORDS)


class Series:
    """One row of numbers per tick, kept in every tier; a coarse row has six numbers per field (see `layout.py`)."""

    __slots__ = ("_buckets", "_last_ns", "_row", "fields", "key", "rings", "section")

    def __init__(self, section: str, key: str, fields: tuple[str, ...], rings: tuple[Ring, ...]) -> None:
        self.section = section
        self.key = key
        self.fields = fields
        self.rings = rings
        self._row = array("d", bytes(layout.WORD_BYTES * len(fields)))
        self._buckets = tuple(_OpenBucket(tier.interval_ns, len(fields)) for tier in layout.TIERS[1:])
        self._last_ns = -1

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Writes one row; NaN is an undefined value. A row not later than the last one is not written: time stands
        still after a replay's last event, and a ring must not fill with copies of one moment."""
        # hot: once per series per tick (benchmarks/bench_tick.py)
        if ts_ns <= self._last_ns:
            return
        self._last_ns = ts_ns
        row = self._row
        row[:] = array("d", values)
        self.rings[0].write_row(ts_ns, row)
        payload = row
        source_ns = ts_ns
        for ring, bucket in zip(self.rings[1:], self._buckets, strict=True):
            add = merge_values if payload is row else merge_aggregates
            if bucket.start_ns is None:
                bucket.reset(source_ns)
                add(bucket.aggregates, payload)
                return
            if not bucket.is_over(source_ns):
                add(bucket.aggregates, payload)
                return
            # The finished interval goes into its ring and from there into the next coarser tier.
            finished, finished_ns = bucket.aggregates, bucket.start_ns
            ring.write_row(finished_ns, finished)
            bucket.reset(source_ns)
            add(bucket.aggregates, payload)
            payload, source_ns = finished, finished_ns


def empty_aggregates(fields: int) -> array[float]:
    """Six numbers per field, of no values yet."""
    return array("d", (NAN, NAN, NAN, NAN, 0.0, 0.0) * fields)


def merge_values(into: array[float], values: Sequence[float]) -> None:
    """Adds one value per field to aggregates; NaN counts nothing."""
    base = 0
    for value in values:
        if value == value:  # false for NaN alone, at a third of the cost of math.isnan
            if into[base + 5]:
                if value < into[base + 1]:
                    into[base + 1] = value
                elif value > into[base + 2]:
                    into[base + 2] = value
            else:
                into[base] = into[base + 1] = into[base + 2] = value
            into[base + 3] = value
            into[base + 4] += value
            into[base + 5] += 1.0
        base += layout.AGGREGATE_WORDS


def merge_aggregates(into: array[float], later: Sequence[float]) -> None:
    """Adds the aggregates of a later interval."""
    for base in range(0, len(into), layout.AGGREGATE_WORDS):
        first, low, high, last, total, count = later[base : base + layout.AGGREGATE_WORDS]
        if not count:
            continue
        if into[base + 5]:
            into[base + 1] = min(into[base + 1], low)
            into[base + 2] = max(into[base + 2], high)
        else:
            into[base], into[base + 1], into[base + 2] = first, low, high
        into[base + 3] = last
        into[base + 4] += total
        into[base + 5] += count


class History:
    """All series in one anonymous mapping, whose size is fixed when it is made.

    `budget` is the number of series by number of fields, as {4: 64, 7: 1}. Memory never written is never touched.
    """

    def __init__(self, budget: Mapping[int, int]) -> None:
        words = layout.REGION_HEADER_WORDS + sum(
            count * layout.series_words(fields) for fields, count in budget.items()
        )
        self.size_bytes = words * layout.WORD_BYTES
        memory = memoryview(mmap.mmap(-1, self.size_bytes))
        self._words: memoryview[int] = memory.cast("q")
        self._doubles: memoryview[float] = memory.cast("d")
        self._words[layout.REGION_MAGIC] = layout.MAGIC
        self._words[layout.REGION_VERSION] = layout.VERSION
        self._words[layout.REGION_USED_WORDS] = layout.REGION_HEADER_WORDS
        self._series: dict[tuple[str, str], Series] = {}

    def open(self, section: str, key: str, fields: tuple[str, ...]) -> Series:
        """Returns the series, made on first use. Raises CapacityError when its memory is not left."""
        series = self._series.get((section, key))
        if series is None:
            series = self._series[section, key] = Series(section, key, fields, self._allocate(len(fields)))
        return series

    def series(self) -> tuple[Series, ...]:
        """Every open series, in the order in which they were opened."""
        return tuple(self._series.values())

    def _allocate(self, fields: int) -> tuple[Ring, ...]:
        start = self._words[layout.REGION_USED_WORDS]
        end = start + layout.series_words(fields)
        if end > len(self._words):
            raise CapacityError(f"history is full: {self.size_bytes} bytes hold {len(self._series)} series")
        rings = []
        for tier in layout.TIERS:
            stop = start + tier.ring_words(fields)
            rings.append(Ring(self._words[start:stop], self._doubles[start:stop], tier, fields))
            start = stop
        self._words[layout.REGION_USED_WORDS] = end
        return tuple(rings)
