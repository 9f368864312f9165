"""The history: preallocated rings of rows, one series per symbol or section, in tiers of falling resolution.

No queries over intervals here (see `history.py`), no offsets (see `layout.py`), nothing on disk (see `archive.py`).

    record --> fine ring (a row per tick)
           --> open second --> 1 s ring --> open minute --> 1 min ring, on_minute
"""

from __future__ import annotations

import mmap
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence

from observability.core import layout
from observability.core.aggregates import (
    Block,
    Column,
    column_of_values,
    empty_aggregates,
    merge_aggregates,
    merge_values,
    values_counted,
)
from observability.core.checkpoint import pack, unpack
from observability.core.errors import CapacityError
from observability.core.open_bucket import HistoryState, OpenBucket, SeriesState
from observability.core.row_ring import Ring


class Series:
    """One row of numbers per tick, kept in every tier; a coarse row has six numbers per field (see `layout.py`)."""

    __slots__ = ("_last_ns", "_on_minute", "_row", "buckets", "fields", "key", "rings", "section")

    def __init__(
        self, section: str, key: str, fields: tuple[str, ...], rings: tuple[Ring, ...], on_minute: OnMinute
    ) -> None:
        self.section = section
        self.key = key
        self.fields = fields
        self.rings = rings
        self.buckets = tuple(OpenBucket(tier.interval_ns, len(fields)) for tier in layout.TIERS[1:])
        self._row = array("d", bytes(layout.WORD_BYTES * len(fields)))
        self._last_ns = -1
        self._on_minute = on_minute

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Writes one row; NaN is an undefined value. A row not later than the last one is not written: time stands
        still after a replay's last event, and a ring must not fill with copies of one moment."""
        # hot: once per series per tick (benchmarks/bench_tick.py)
        if ts_ns <= self._last_ns:
            if self.rings[0].cursor:
                return
            # Another world's time: a recording is played where something later was before.
            self._forget()
        self._last_ns = ts_ns
        row = self._row
        row[:] = array("d", values)
        self.rings[0].write_row(ts_ns, row)
        payload = row
        source_ns = ts_ns
        for ring, bucket in zip(self.rings[1:], self.buckets, strict=True):
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
        self._on_minute(self, source_ns, payload)

    def copy_block(self, tier: int, start_ns: int, end_ns: int, columns: Sequence[Column]) -> Block:
        """Copies the rows of one tier that begin in start_ns <= t < end_ns, what an earlier process left included."""
        ring = self.rings[tier]
        if tier == 0:
            block = ring.copy_block(start_ns, end_ns, [column.field for column in columns])
            block.columns = [
                column_of_values(values, column.aggregate)
                for column, values in zip(columns, block.columns, strict=True)
            ]
            return block
        block = ring.copy_block(start_ns, end_ns, [column.offset for column in columns])
        bucket = self.buckets[tier - 1]
        resumed = bucket.resumed
        if resumed is not None and bucket.start_ns is not None and start_ns <= bucket.start_ns < end_ns:
            block.extend(
                Block(array("q", [bucket.start_ns]), [array("d", [resumed[column.offset]]) for column in columns])
            )
        return block

    def first_ns(self, tier: int) -> int | None:
        """Returns the time of the oldest row of a tier, what an earlier process left included."""
        first_ns = self.rings[tier].first_ns()
        if first_ns is None and tier and self.buckets[tier - 1].resumed is not None:
            return self.buckets[tier - 1].start_ns
        return first_ns

    def open_minutes(self) -> list[tuple[int, array[float]]]:
        """Copies the minutes that are in no ring, oldest first: one, or two while the first second of a new one is
        not over."""
        second, minute = self.buckets
        minutes: list[tuple[int, array[float]]] = []
        if minute.start_ns is not None:
            minutes.append((minute.start_ns, minute.aggregates[:]))
        if second.start_ns is not None:
            if minute.start_ns is None or minute.is_over(second.start_ns):
                minutes.append(
                    (second.start_ns - second.start_ns % minute.interval_ns, empty_aggregates(len(self.fields)))
                )
            merge_aggregates(minutes[-1][1], second.aggregates)
        return minutes

    def resume_minutes(self, minutes: Iterable[tuple[int, array[float]]]) -> None:
        """Takes over minutes of an earlier process, oldest first. The newest may not be over yet."""
        ring, bucket = self.rings[-1], self.buckets[-1]
        for start_ns, aggregates in minutes:
            if bucket.start_ns is not None:
                ring.write_row(bucket.start_ns, bucket.aggregates)
            bucket.resume(start_ns, aggregates)
            self._last_ns = start_ns - 1

    def dump_state(self) -> SeriesState:
        return SeriesState(
            self.section,
            self.key,
            self.fields,
            tuple(bucket.dump_state() for bucket in self.buckets),
        )

    def load_state(self, state: SeriesState) -> None:
        """Takes over what was open in a checkpoint, unless `resume_minutes` brought as much or more of it."""
        before = self.open_minutes()[-1:]
        earlier = Series(self.section, self.key, self.fields, self.rings, self._on_minute)
        for bucket, saved in zip(earlier.buckets, state.open, strict=True):
            if saved is not None:
                bucket.resume(saved.start_ns, saved.aligned(state.fields, self.fields))
        after = earlier.open_minutes()
        if not after or (before and _extent(before[-1]) > _extent(after[-1])):
            return
        ring = self.rings[-1]
        if before and before[-1][0] < after[0][0]:
            ring.write_row(*before[-1])
        ring.drop_from(after[0][0])
        self.buckets = earlier.buckets
        self._last_ns = after[-1][0] - 1

    def _forget(self) -> None:
        """Lets go of what an earlier process left."""
        self.rings[-1].drop_from(0)
        for bucket in self.buckets:
            bucket.clear()


OnMinute = Callable[[Series, int, "array[float]"], None]
"""Is told of each minute that is over: series, start, aggregates."""


def _extent(minute: tuple[int, array[float]]) -> tuple[int, float]:
    """Orders two records of a series by how far they reach: of one minute, the one with more values holds the other."""
    return minute[0], values_counted(minute[1])


class History:
    """All series in one anonymous mapping, whose size is fixed when it is made.

    `budget` is the number of series by number of fields, as {4: 64, 7: 1}. Memory never written is never touched.
    """

    name = "history"

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
        # Of series that are not open yet.
        self._saved: dict[tuple[str, str], SeriesState] = {}
        self.on_minute: OnMinute | None = None
        """Is told of each minute that is over."""
        self.load_minutes: Callable[[Series], Iterable[tuple[int, array[float]]]] | None = None
        """Says what an earlier process knew of a series, oldest first: start and aggregates of its last minutes."""

    def open(self, section: str, key: str, fields: tuple[str, ...]) -> Series:
        """Returns the series, made on first use. Raises CapacityError when its memory is not left."""
        series = self._series.get((section, key))
        if series is None:
            rings = self._allocate(len(fields))
            series = self._series[section, key] = Series(section, key, fields, rings, self._minute_is_over)
            if self.load_minutes is not None:
                series.resume_minutes(self.load_minutes(series))
            saved = self._saved.pop((section, key), None)
            if saved is not None:
                series.load_state(saved)
        return series

    def series(self) -> tuple[Series, ...]:
        """Every open series, in the order in which they were opened."""
        return tuple(self._series.values())

    def dump_state(self) -> bytes:
        """Returns the intervals that are not over yet."""
        return pack(HistoryState([*(series.dump_state() for series in self._series.values()), *self._saved.values()]))

    def load_state(self, data: bytes) -> None:
        """Takes over the open intervals of an earlier process; before the first row. Raises CheckpointError."""
        state = unpack(data, HistoryState)
        state.check(len(layout.TIERS) - 1)
        for saved in state.series:
            series = self._series.get((saved.section, saved.key))
            if series is None:
                self._saved[saved.section, saved.key] = saved
            else:
                series.load_state(saved)

    def _minute_is_over(self, series: Series, start_ns: int, aggregates: array[float]) -> None:
        if self.on_minute is not None:
            self.on_minute(series, start_ns, aggregates)

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
