"""Series whose rows mostly repeat: a symbol has a row per tick, and on most ticks the same one as before.

    ticks    t1  t2  t3  t4  t5  t6
    AAPL     a   .   .   b   .   .     all of them are written when the series is read or has its turn

Rows are written together, which costs a fraction, and are the same as if each tick had written its own.
Other processes see only what is in the memory, so in shared memory every tick writes all rows.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Final

from observability.history.series_writer import SeriesWriter

# In so many ticks, every series has its turn: no row is written later, and no reader finds more of them to write.
TURN_TICKS: Final = 50


class StandingSeries:
    """One series, the values that its rows have had since they were written last, and those that came after."""

    __slots__ = ("_changed", "_changes", "_rows", "_values", "next_tick", "series")

    def __init__(self, series: SeriesWriter, rows: StandingRows) -> None:
        self.series = series
        self.next_tick = 0
        """The number of the first tick that has no row yet."""
        self._rows = rows
        # The values at `next_tick`, None before the first row; later ones, and the ticks from which on they hold.
        self._values: Sequence[float] | None = None
        self._changes: list[Sequence[float]] = []
        self._changed: list[int] = []
        series.before_reading = self.catch_up

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Gives the current tick, and later ones, a row of `values`."""
        # hot: once per series that changed per tick (benchmarks/bench_tick.py)
        rows = self._rows
        if rows.is_later:
            self._changes.append(values)
            self._changed.append(rows.n_ticks - 1)
            return
        # The series skips a second row of one moment, if it has the first.
        self.catch_up()
        self.series.record(ts_ns, values)
        self._values = values

    def catch_up(self) -> None:
        """Writes the rows of all ticks."""
        rows, first = self._rows, self.next_tick
        until = self.next_tick = rows.n_ticks
        if not self._changes:
            if self._values is not None and first < until:
                self.series.repeat(rows.times_from(first), self._values)
            return
        before = self._values
        changes, changed, self._changes, self._changed = self._changes, self._changed, [], []
        self._values = changes[-1]
        if before is None:
            first = changed[0]
        elif first < changed[0]:
            changes.insert(0, before)
            changed.insert(0, first)
        times = rows.times_from(first)
        if len(changes) == 1:
            self.series.repeat(times, changes[0])
        elif len(changes) == len(times):
            self.series.extend(times, changes)
        else:
            spans = zip(changes, changed, (*changed[1:], until), strict=True)
            self.series.extend(times, [values for values, start, end in spans for _ in range(start, end)])


class StandingRows:
    """The ticks of a history, and the series that repeat their rows on them."""

    def __init__(self, *, is_shared: bool) -> None:
        self.n_ticks = 0
        """How many ticks there were; those that were not later than the one before are left out."""
        self.is_later = True
        """Whether the current tick was later than the one before. Time stands still after the end of a replay."""
        self._series: list[StandingSeries] = []
        self._is_shared = is_shared
        # The times of the newest ticks, which some series may have no rows for yet.
        self._times = array("q")
        self._turn = 0

    def add(self, series: SeriesWriter) -> StandingSeries:
        """Adds a series, whose first row is that of the next tick on which it is recorded."""
        standing = StandingSeries(series, self)
        standing.next_tick = self.n_ticks
        self._series.append(standing)
        return standing

    def begin_tick(self, ts_ns: int) -> None:
        """Begins a tick: series that are not recorded until the next one repeat their rows."""
        times = self._times
        self.is_later = not times or ts_ns > times[-1]
        if self.is_later:
            times.append(ts_ns)
            self.n_ticks += 1

    def end_tick(self) -> None:
        """Writes what is due: in shared memory all rows, else those of the series whose turn it is."""
        # hot: once per tick (benchmarks/bench_tick.py)
        series = self._series
        if self._is_shared:
            self.catch_up()
        else:
            turn = self._turn
            self._turn = (turn + 1) % TURN_TICKS
            for standing in series[turn::TURN_TICKS]:
                standing.catch_up()
        if len(self._times) >= 2 * TURN_TICKS:
            del self._times[:-TURN_TICKS]

    def catch_up(self) -> None:
        """Writes the rows of all series."""
        n_ticks = self.n_ticks
        for standing in self._series:
            if standing.next_tick < n_ticks:
                standing.catch_up()

    def times_from(self, tick: int) -> array[int]:
        """Returns the times of the ticks from `tick` on, which must be among the newest."""
        first = tick - self.n_ticks + len(self._times)
        assert first >= 0, "a series has missed its turn"
        return self._times[first:]
