"""One series of the history as the hub writes it: each tick goes into the fine ring, and intervals into coarser ones.

No memory is handed out here (see `history_memory.py`) and nothing is read (see `series.py`).

    record --> fine ring (a row per tick)
           --> open second --> 1 s ring --> open minute --> 1 min ring, on_minute
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from observability.clocks.timestamps import MAX_NS
from observability.history import layout
from observability.history.aggregates import empty_aggregates, merge_aggregates, merge_values, values_counted
from observability.history.open_interval import OpenBucket, SeriesState
from observability.history.series import Series
from observability.memory.layout import WORD_BYTES

# A clock that is set back by less than this is waited for; by more, and it is another world's time.
MAX_STEP_BACK_NS: Final = layout.TIERS[-1].interval_ns


class RecordedSeries(Series):
    """Goes on with what the rings hold, if another process has written them."""

    __slots__ = ("_has_recorded", "_last_ns", "_on_minute", "_row", "buckets", "is_continued")

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
        """Whether a process before this one has written into the same memory."""
        self.buckets = tuple(OpenBucket(tier.interval_ns, len(fields)) for tier in layout.TIERS[1:])
        self._row = array("d", bytes(WORD_BYTES * len(fields)))
        self._last_ns = -1
        self._has_recorded = False
        self._on_minute = on_minute
        if is_continued:
            self._continue()
            return
        for ring in self.rings:
            ring.clear()
        for remnant in self.remnants:
            remnant.clear()

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Writes one row; NaN is an undefined value. A row not later than the last one is not written: time stands
        still after a replay's last event, and a ring must not fill with copies of one moment."""
        # hot: once per series per tick (benchmarks/bench_tick.py)
        if ts_ns <= self._last_ns:
            if self._has_recorded or ts_ns > self._last_ns - MAX_STEP_BACK_NS:
                return
            # A recording is played where something later was before.
            self._forget()
        self._last_ns = ts_ns
        self._has_recorded = True
        row = self._row
        row[:] = array("d", values)
        self.rings[0].write_row(ts_ns, row)
        bucket = self.buckets[0]
        # What _fold would do, for all ticks but one in a second.
        if bucket.start_ns is not None and ts_ns < bucket.start_ns + bucket.interval_ns:
            merge_values(bucket.aggregates, row)
        else:
            self._fold(1, ts_ns, row)

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
        ring, bucket, remnant = self.rings[-1], self.buckets[-1], self.remnants[-1]
        for start_ns, aggregates in minutes:
            if bucket.start_ns is not None:
                ring.write_row(bucket.start_ns, bucket.aggregates)
            bucket.resume(start_ns, aggregates)
            self._last_ns = start_ns - 1
        if bucket.start_ns is not None:
            remnant.leave(bucket.start_ns, bucket.aggregates)

    def dump_state(self) -> SeriesState:
        return SeriesState(
            self.section,
            self.key,
            self.fields,
            tuple(bucket.dump_state() for bucket in self.buckets),
        )

    def load_state(self, state: SeriesState) -> None:
        """Takes over what was open in a checkpoint, unless something is known that reaches further."""
        if self.is_continued:
            return
        before = self.open_minutes()[-1:]
        held = self.buckets
        self.buckets = tuple(OpenBucket(bucket.interval_ns, len(self.fields)) for bucket in held)
        for bucket, saved in zip(self.buckets, state.open, strict=True):
            if saved is not None:
                bucket.resume(saved.start_ns, saved.aligned(state.fields, self.fields))
        after = self.open_minutes()
        if not after or (before and _extent(before[-1]) > _extent(after[-1])):
            self.buckets = held
            return
        ring = self.rings[-1]
        if before and before[-1][0] < after[0][0]:
            ring.write_row(*before[-1])
        ring.drop_from(after[0][0])
        for bucket, remnant in zip(self.buckets, self.remnants, strict=True):
            remnant.clear()
            if bucket.start_ns is not None:
                remnant.leave(bucket.start_ns, bucket.aggregates)
        self._last_ns = after[-1][0] - 1

    def _fold(self, tier: int, source_ns: int, payload: array[float]) -> None:
        """Adds a row of a finer tier to the open interval of `tier`; a finished one goes into its ring, and from there
        into the next coarser tier."""
        for n in range(tier - 1, len(self.buckets)):
            bucket = self.buckets[n]
            add = merge_aggregates if n else merge_values
            if bucket.start_ns is None or not bucket.is_over(source_ns):
                if bucket.start_ns is None:
                    bucket.reset(source_ns)
                add(bucket.aggregates, payload)
                return
            finished, finished_ns = bucket.aggregates, bucket.start_ns
            self.rings[n + 1].write_row(finished_ns, finished)
            if self.remnants[n].is_open:
                self.remnants[n].end()
            bucket.reset(source_ns)
            add(bucket.aggregates, payload)
            payload, source_ns = finished, finished_ns
        self._on_minute(self, source_ns, payload)

    def _continue(self) -> None:
        """Makes the open intervals again of what the rings hold: what a finer tier has, and the coarser one has not."""
        for tier in range(len(layout.TIERS) - 1, 0, -1):
            bucket = self.buckets[tier - 1]
            left = self.remnants[tier - 1].copy()
            newest_ns = self.rings[tier].span().last_ns
            since_ns = 0 if newest_ns is None else newest_ns + bucket.interval_ns
            if left is not None and left[0] >= since_ns:
                bucket.resume(*left)
            for row in self.rings[tier - 1].copy_rows(since_ns, MAX_NS):
                self._fold(tier, row.ts_ns, row.payload)
        last_ns = self.rings[0].span().last_ns
        if last_ns is None:
            # It died before its first tick.
            last_ns = max((bucket.start_ns for bucket in self.buckets if bucket.start_ns is not None), default=0) - 1
        self._last_ns = last_ns

    def _forget(self) -> None:
        """Lets go of what an earlier process left."""
        for ring in self.rings:
            ring.forget()
        for bucket in self.buckets:
            bucket.clear()
        for remnant in self.remnants:
            remnant.clear()


OnMinute = Callable[[RecordedSeries, int, "array[float]"], None]
"""Is told of each minute that is over: series, start, aggregates."""


def _extent(minute: tuple[int, array[float]]) -> tuple[int, float]:
    """Orders two records of a series by how far they reach: of one minute, the one with more values holds the other."""
    return minute[0], values_counted(minute[1])
