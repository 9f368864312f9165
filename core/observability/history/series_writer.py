"""One series of the history as the hub writes it: ticks into the fine ring, finished intervals into the coarser ones.

    record --> fine ring (a row per tick)
           --> open second --> 1 s ring --> open minute --> 1 min ring, on_minute

A hub that is killed at any point loses at most the tick that it was writing.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from observability.clocks.timestamps import MAX_NS
from observability.history import layout
from observability.history.aggregates import (
    NAN,
    aggregate_groups,
    empty_aggregates,
    merge_aggregate_columns,
    merge_aggregates,
    merge_column,
    merge_values,
    values_counted,
)
from observability.history.open_interval import OpenInterval, SeriesState
from observability.history.series import Series
from observability.memory.layout import WORD_BYTES

# After a restart: time that is earlier by less than this is a corrected clock, and rows are skipped until it has caught
# up. Anything earlier is a recording, and replaces what an earlier process has recorded.
MAX_STEP_BACK_NS: Final = layout.TIERS[-1].interval_ns

# Fewer rows are recorded one by one at less cost.
MIN_TOGETHER: Final = 3


class Ticks(NamedTuple):
    """Some ticks one after the other, and the seconds that they lie in."""

    times: array[int]
    seconds: array[int]
    """The start of each second."""
    bounds: Sequence[int]
    """The number of the first tick of each second, and how many ticks there are."""

    def after_first(self) -> Ticks:
        """Returns all ticks but the first."""
        bounds = [0, *[bound - 1 for bound in self.bounds[1:]]]
        seconds = self.seconds
        if bounds[1] == 0:
            seconds, bounds = seconds[1:], bounds[1:]
        return Ticks(self.times[1:], seconds, bounds)


class SeriesWriter(Series):
    """A series with one writer, which continues the rings if an earlier process has written them."""

    __slots__ = ("_has_recorded", "_last_ns", "_on_minute", "_row", "is_continued", "open_intervals")

    def __init__(
        self,
        section: str,
        key: str,
        fields: tuple[str, ...],
        words: memoryview[int],
        doubles: memoryview[float],
        on_minute: OnMinute,
        *,
        is_continued: bool = False,
    ) -> None:
        super().__init__(section, key, fields, words, doubles)
        self.is_continued = is_continued
        """Whether an earlier process has written into the same memory."""
        self.open_intervals = tuple(OpenInterval(tier.interval_ns, len(fields)) for tier in layout.TIERS[1:])
        """One per coarse tier."""
        self._row = array("d", bytes(WORD_BYTES * len(fields)))
        self._last_ns = -1
        self._has_recorded = False
        self._on_minute = on_minute
        if is_continued:
            self._continue()
            return
        for ring in self.rings:
            ring.clear()
        for saved in self.saved_intervals:
            saved.clear()

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Appends one row; NaN is an undefined value.

        A row that is not later than the newest one is skipped: time stands still after the last event of a replay, and
        the ring must not fill with copies of one moment.
        """
        # hot: once per series per tick (benchmarks/bench_tick.py)
        if ts_ns <= self._last_ns:
            if self._has_recorded or ts_ns > self._last_ns - MAX_STEP_BACK_NS:
                return
            self._forget()
        self._last_ns = ts_ns
        self._has_recorded = True
        row = self._row
        row[:] = array("d", values)
        self.rings[0].write_row(ts_ns, row)
        second = self.open_intervals[0]
        # A shortcut past _fold for every tick that does not end its second.
        if second.start_ns is not None and ts_ns < second.start_ns + second.interval_ns:
            merge_values(second.aggregates, row)
        else:
            self._fold(1, ts_ns, row)

    def extend(self, ticks: Ticks, columns: Sequence[Sequence[float]]) -> None:
        """Appends a row per tick, from a column of values per field; a single value is that of every row. The same as
        recording them one by one, in memory that no other process reads."""
        # hot: once per series and turn (benchmarks/bench_tick.py)
        times, starts, bounds = ticks.times, ticks.seconds, ticks.bounds
        second, minute = self.open_intervals
        count = len(times)
        if (
            count < MIN_TOGETHER
            or times[0] <= self._last_ns
            or not self._has_recorded
            or second.start_ns is None
            or second.start_ns > starts[0]
        ):
            is_first = not self._has_recorded
            for n, ts_ns in enumerate(times):
                self.record(ts_ns, [column[n] if len(column) == count else column[0] for column in columns])
                if n == 0 and is_first and self._has_recorded and count > MIN_TOGETHER:
                    # The series has its open second now, and takes the rest together.
                    rest = [column[1:] if len(column) == count else column for column in columns]
                    self.extend(ticks.after_first(), rest)
                    return
            return
        self.rings[0].write_rows(times, columns)
        self._last_ns = times[-1]
        if second.start_ns == starts[0]:
            end = bounds[1]
            for n, column in enumerate(columns):
                values = column[:end] if len(column) == count else [column[0]] * end
                merge_column(second.aggregates, n * layout.AGGREGATE_WORDS, values)
            if len(starts) == 1:
                return
            starts, bounds = starts[1:], bounds[1:]
        # The second that was open is over.
        self._fold(1, starts[0], array("d", (NAN,)) * len(columns))
        counts = [end - start for start, end in pairwise(bounds)]
        rows = [part for column in columns for part in aggregate_groups(column, bounds, counts)]
        if len(starts) > 1:
            # All new ones but the last are over, too.
            over = [part if len(part) == 1 else part[:-1] for part in rows]
            self.rings[1].write_rows(starts[:-1], over)
            self._merge_seconds(minute, starts[:-1], over)
        second.restore(starts[-1], array("d", [part[-1] for part in rows]))

    def open_minutes(self) -> list[tuple[int, array[float]]]:
        """Copies the minutes that are in no ring yet, oldest first: one, or two during the first second of a minute."""
        if self.before_reading is not None:
            self.before_reading()
        second, minute = self.open_intervals
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

    def restore_minutes(self, minutes: Iterable[tuple[int, array[float]]]) -> None:
        """Restores the minutes of an earlier process, oldest first. The newest may still be open."""
        ring, minute = self.rings[-1], self.open_intervals[-1]
        for start_ns, aggregates in minutes:
            if minute.start_ns is not None:
                ring.write_row(minute.start_ns, minute.aggregates)
            minute.restore(start_ns, aggregates)
            self._last_ns = start_ns - 1
        if minute.start_ns is not None:
            self.saved_intervals[-1].save(minute.start_ns, minute.aggregates)

    def to_state(self) -> SeriesState:
        if self.before_reading is not None:
            self.before_reading()
        return SeriesState(
            self.section,
            self.key,
            self.fields,
            tuple(interval.to_state() for interval in self.open_intervals),
        )

    def load_state(self, state: SeriesState) -> None:
        """Restores the intervals that were open in a checkpoint, unless the memory or the store reaches further."""
        if self.is_continued:
            return
        before = self.open_minutes()[-1:]
        held = self.open_intervals
        self.open_intervals = tuple(OpenInterval(interval.interval_ns, len(self.fields)) for interval in held)
        for interval, stored in zip(self.open_intervals, state.open, strict=True):
            if stored is not None:
                interval.restore(stored.start_ns, stored.aligned(state.fields, self.fields))
        after = self.open_minutes()
        if not after or (before and _extent(before[-1]) > _extent(after[-1])):
            self.open_intervals = held
            return
        ring = self.rings[-1]
        if before and before[-1][0] < after[0][0]:
            ring.write_row(*before[-1])
        ring.drop_from(after[0][0])
        for interval, saved in zip(self.open_intervals, self.saved_intervals, strict=True):
            saved.clear()
            if interval.start_ns is not None:
                saved.save(interval.start_ns, interval.aggregates)
        self._last_ns = after[-1][0] - 1

    def _fold(self, tier: int, source_ns: int, payload: array[float]) -> None:
        """Merges a row of the next finer tier into the open interval of `tier`. An interval that is over goes into its
        ring and is merged into the next coarser tier in turn."""
        for n in range(tier - 1, len(self.open_intervals)):
            interval = self.open_intervals[n]
            merge = merge_aggregates if n else merge_values
            if interval.start_ns is None or not interval.is_over(source_ns):
                if interval.start_ns is None:
                    interval.reset(source_ns)
                merge(interval.aggregates, payload)
                return
            finished, finished_ns = interval.aggregates, interval.start_ns
            self.rings[n + 1].write_row(finished_ns, finished)
            self._end_saved(n)
            interval.reset(source_ns)
            merge(interval.aggregates, payload)
            payload, source_ns = finished, finished_ns
        self._on_minute(self, source_ns, payload)

    def _merge_seconds(self, minute: OpenInterval, starts: array[int], rows: Sequence[Sequence[float]]) -> None:
        """Merges finished seconds, a column per aggregate, into their minutes."""
        at = 0
        while at < len(starts):
            if minute.start_ns is None:
                minute.reset(starts[at])
            elif minute.is_over(starts[at]):
                finished, finished_ns = minute.aggregates, minute.start_ns
                self.rings[-1].write_row(finished_ns, finished)
                self._end_saved(-1)
                minute.reset(starts[at])
                self._on_minute(self, finished_ns, finished)
            assert minute.start_ns is not None
            end = bisect_left(starts, minute.start_ns + minute.interval_ns, lo=at)
            merge_aggregate_columns(minute.aggregates, rows, at, end)
            at = end

    def _end_saved(self, coarse_tier: int) -> None:
        saved = self.saved_intervals[coarse_tier]
        if saved.is_open:
            saved.end()

    def _continue(self) -> None:
        """Rebuilds the open intervals from the rows of each finer ring that the coarser one does not cover."""
        for tier in range(len(layout.TIERS) - 1, 0, -1):
            interval = self.open_intervals[tier - 1]
            saved = self.saved_intervals[tier - 1].copy()
            newest_ns = self.rings[tier].span().last_ns
            since_ns = 0 if newest_ns is None else newest_ns + interval.interval_ns
            if saved is not None and saved[0] >= since_ns:
                interval.restore(*saved)
            for row in self.rings[tier - 1].copy_rows(since_ns, MAX_NS):
                self._fold(tier, row.ts_ns, row.payload)
        last_ns = self.rings[0].span().last_ns
        if last_ns is None:
            # The earlier process died before its first tick.
            starts = (interval.start_ns for interval in self.open_intervals if interval.start_ns is not None)
            last_ns = max(starts, default=0) - 1
        self._last_ns = last_ns

    def _forget(self) -> None:
        """Forgets everything that an earlier process has recorded."""
        for ring in self.rings:
            ring.forget()
        for interval in self.open_intervals:
            interval.clear()
        for saved in self.saved_intervals:
            saved.clear()


OnMinute = Callable[[SeriesWriter, int, "array[float]"], None]
"""Called with each finished minute: series, start, aggregates."""


def _extent(minute: tuple[int, array[float]]) -> tuple[int, float]:
    """A key that orders open minutes by how far they reach: of the same minute, the one with more values."""
    return minute[0], values_counted(minute[1])
