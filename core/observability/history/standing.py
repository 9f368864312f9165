"""Series whose rows mostly repeat: a symbol has a row per tick, and on most ticks the same one as before.

    ticks    t1  t2  t3  t4  t5  t6
    AAPL     a   .   .   b   .   .     all of them are written when the series is read or has its turn

Rows are written together, which costs a fraction, and are the same as if each tick had written its own.
Other processes see only what is in the memory, so in shared memory every tick writes all rows.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from itertools import chain, pairwise, repeat
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.history.series_writer import SeriesWriter, Ticks

# In so many ticks, every series has its turn: no row is written later, and no reader finds more of them to write.
TURN_TICKS: Final = 600
# Changes take memory: a series that is found to have so many, when it is looked at, is written before its turn.
MAX_CHANGES: Final = 60
LOOK_TICKS: Final = 100


class StandingSeries:
    """One series, the values that its rows have had since they were written last, and those that came after."""

    __slots__ = ("_changed", "_changes", "_followed", "_rows", "next_tick", "series")

    def __init__(self, series: SeriesWriter, rows: StandingRows) -> None:
        self.series = series
        self.next_tick = 0
        """The number of the first tick that has no row yet."""
        self._rows = rows
        # The values from `next_tick` on, if there are any yet, later ones, and the ticks from which on they hold.
        self._changes: list[Sequence[float]] = []
        self._changed: list[int] = []
        self._followed: Sequence[float] | None = None
        series.before_reading = self.catch_up

    @property
    def changes(self) -> int:
        """How many values wait to be written."""
        return len(self._changes)

    def record(self, ts_ns: int, values: Sequence[float]) -> None:
        """Gives the current tick, and later ones, a row of `values`."""
        # hot: once per series that changed per tick (benchmarks/bench_tick.py)
        rows = self._rows
        if rows.is_later:
            if not self._changes:
                self.next_tick = rows.n_ticks - 1
            self._changes.append(values)
            self._changed.append(rows.n_ticks - 1)
            return
        # The series skips a second row of one moment, if it has the first.
        self.catch_up()
        self.series.record(ts_ns, values)
        self._changes, self._changed = [values], [self.next_tick]

    def follow(self, ts_ns: int, values: Sequence[float]) -> None:
        """Gives the tick at `ts_ns` a row of `values`, which have not changed if they are the same object; called on
        every tick, after `end_tick`."""
        # hot: once per tick and section (benchmarks/bench_tick.py)
        rows = self._rows
        if rows.is_shared:
            self.series.record(ts_ns, values)
            return
        if ts_ns > rows.newest_ns:
            rows.begin_tick(ts_ns)
        if values is not self._followed:
            self.record(ts_ns, values)
            self._followed = values

    def catch_up(self) -> None:
        """Writes the rows of all ticks."""
        rows, changes, changed = self._rows, self._changes, self._changed
        first, until = self.next_tick, rows.n_ticks
        self.next_tick = until
        if not changes or first >= until:
            return
        values = changes[-1]
        self._changes, self._changed = [values], [until]
        if until - first == 1:
            self.series.record(rows.newest_ns, values)
            return
        if len(changes) > 1 and changed[1] == first:
            # The row before has no more ticks.
            del changes[0], changed[0]
        ticks = rows.ticks_from(first)
        if len(changes) == 1:
            self.series.extend(ticks, [(value,) for value in values])
            return
        changed.append(until)
        counts = [end - start for start, end in pairwise(changed)]
        self.series.extend(ticks, [_column(column, counts) for column in zip(*changes, strict=True)])


def _column(values: Sequence[float], counts: Sequence[int]) -> Sequence[float]:
    """Returns each value so many times; a single one if all have the same bits."""
    data = array("d", values).tobytes()
    if data == data[:8] * len(values):
        return values[:1]
    return list(chain.from_iterable(map(repeat, values, counts)))


class StandingRows:
    """The ticks of a history, and the series that repeat their rows on them."""

    def __init__(self, *, is_shared: bool) -> None:
        self.n_ticks = 0
        """How many ticks there were; those that were not later than the one before are left out."""
        self.is_later = True
        """Whether the current tick was later than the one before. Time stands still after the end of a replay."""
        self.newest_ns = -1
        """The time of the newest tick."""
        self._series: list[StandingSeries] = []
        self.is_shared = is_shared
        # The times of the newest ticks, which some series may have no rows for yet.
        self._times = array("q")
        # The seconds that these lie in, and the number of the first tick of each.
        self._seconds = array("q")
        self._second_ticks: list[int] = []
        self._second_end_ns = 0
        self._turn = 0

    def add(self, series: SeriesWriter) -> StandingSeries:
        """Adds a series, whose first row is that of the next tick on which it is recorded."""
        standing = StandingSeries(series, self)
        standing.next_tick = self.n_ticks
        self._series.append(standing)
        return standing

    def begin_tick(self, ts_ns: int) -> None:
        """Begins a tick: series that are not recorded until the next one repeat their rows. Of the ticks before, it
        writes what is due."""
        # hot: once per tick (benchmarks/bench_tick.py)
        self.is_later = ts_ns > self.newest_ns
        if not self.is_later:
            return
        turn = self._turn
        self._turn = (turn + 1) % TURN_TICKS
        if turn % LOOK_TICKS < len(self._series):
            self._take_turns(turn)
        if ts_ns >= self._second_end_ns:
            start_ns = ts_ns - ts_ns % NS_PER_S
            self._second_end_ns = start_ns + NS_PER_S
            self._seconds.append(start_ns)
            self._second_ticks.append(self.n_ticks)
        self.newest_ns = ts_ns
        self._times.append(ts_ns)
        self.n_ticks += 1

    def end_tick(self) -> None:
        """Writes all rows if other processes read them."""
        # hot: once per tick (benchmarks/bench_tick.py)
        if self.is_shared:
            self.catch_up()

    def _take_turns(self, turn: int) -> None:
        """Writes the series whose turn it is, and some of those with many changes."""
        # hot: once per tick (benchmarks/bench_tick.py)
        if not turn and len(self._times) >= 2 * TURN_TICKS:
            self._forget_old()
        if self.is_shared:
            return
        for standing in self._series[turn::TURN_TICKS]:
            standing.catch_up()
        for standing in self._series[turn % LOOK_TICKS :: LOOK_TICKS]:
            if standing.changes > MAX_CHANGES:
                standing.catch_up()

    def _forget_old(self) -> None:
        """Forgets the times of all but the newest ticks, for which every series has its rows."""
        del self._times[:-TURN_TICKS]
        # The second of the oldest tick stays.
        old = bisect_right(self._second_ticks, self.n_ticks - TURN_TICKS) - 1
        del self._seconds[:old], self._second_ticks[:old]

    def catch_up(self) -> None:
        """Writes the rows of all series."""
        n_ticks = self.n_ticks
        for standing in self._series:
            if standing.next_tick < n_ticks:
                standing.catch_up()

    def ticks_from(self, tick: int) -> Ticks:
        """Returns the ticks from `tick` on, which must be among the newest."""
        first = tick - self.n_ticks + len(self._times)
        assert first >= 0, "a series has missed its turn"
        second = bisect_right(self._second_ticks, tick) - 1
        bounds = [number - tick for number in self._second_ticks[second + 1 :]]
        return Ticks(self._times[first:], self._seconds[second:], [0, *bounds, self.n_ticks - tick])
