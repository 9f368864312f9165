"""Series whose rows mostly repeat: a symbol has a row per tick, and on most ticks the same one as before.

    ticks    t1  t2  t3  t4  t5  t6
    AAPL     a   .   .   b   .   .     t2 and t3 are written before b, t5 and t6 when the series is read or has its turn

Rows that repeat are written together, which costs a fraction, and are the same as if each tick had written its own.
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
    """One series, and the values that its rows have had since they changed last."""

    __slots__ = ("_rows", "next_tick", "series", "values")

    def __init__(self, series: SeriesWriter, rows: StandingRows) -> None:
        self.series = series
        self.values: Sequence[float] | None = None
        """None before the first row."""
        self.next_tick = 0
        """The number of the first tick that has no row yet."""
        self._rows = rows
        series.before_reading = self.catch_up

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Writes the row of the current tick, and lets later ticks repeat it."""
        # hot: once per series that changed per tick (benchmarks/bench_tick.py)
        rows = self._rows
        # The series skips a second row of one moment, if it has the first.
        before = rows.n_ticks - 1 if rows.is_later else rows.n_ticks
        if self.next_tick < before:
            self.catch_up(before)
        self.series.record(ts_ns, values)
        self.values = values
        self.next_tick = rows.n_ticks

    def catch_up(self, until_tick: int | None = None) -> None:
        """Writes the rows of the ticks before `until_tick`, by default of all ticks."""
        times = self._rows.times_from(self.next_tick, until_tick)
        self.next_tick += len(times)
        if self.values is not None and times:
            self.series.repeat(times, self.values)


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

    def times_from(self, tick: int, until_tick: int | None) -> array[int]:
        """Returns the times of the ticks from `tick` on, which must be among the newest."""
        first = tick - self.n_ticks + len(self._times)
        assert first >= 0, "a series has missed its turn"
        return self._times[first : len(self._times) if until_tick is None else until_tick - tick + first]
