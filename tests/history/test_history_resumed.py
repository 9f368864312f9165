"""The history across restarts of the host: a minute that spans one is one minute, and no tick counts twice."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.errors import CheckpointError
from observability.history.aggregates import COUNT, LAST, Block, Column
from observability.history.history import History
from observability.history.layout import Budget
from observability.history.open_interval import HistoryState, OpenIntervalState, SeriesState
from observability.history.query import Stretch, make_plan, read_points, stored_until_ns
from observability.history.series_writer import SeriesWriter
from observability.store.checkpoint import pack

MINUTE_NS = 60 * NS_PER_S
HOUR_NS = 60 * MINUTE_NS
COUNTS = [Column(0, COUNT)]
Ticks = list[tuple[int, float]]
Stored = dict[int, "array[float]"]


class Minutes:
    """Stands for the store: start and aggregates of each minute."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored

    def record(self, series: SeriesWriter, start_ns: int, aggregates: array[float]) -> None:
        self._stored[start_ns] = aggregates[:]

    def load(self, series: SeriesWriter) -> list[tuple[int, array[float]]]:
        return [(ts_ns, row[:]) for ts_ns, row in sorted(self._stored.items())]

    def catch_up(self, series: SeriesWriter) -> None:
        raise AssertionError("the memory is new in each process")


class Points(NamedTuple):
    """A block as plain lists, for comparison."""

    times: list[int]
    columns: list[list[float]]

    @classmethod
    def of(cls, block: Block) -> Points:
        return cls(block.times.tolist(), [column.tolist() for column in block.columns])


class Process:
    """The history of one series in one process; `stored` outlives it."""

    def __init__(self, stored: Stored, state: bytes | None = None, fields: tuple[str, ...] = ("x",)) -> None:
        self.stored = stored
        self.history = History(Budget({len(fields): 1}, {}))
        self.history.archive = Minutes(stored)
        if state is not None:
            self.history.load(state)
        self.series = self.history.open("s", "k", fields)

    def record(self, ticks: Ticks) -> None:
        for ts_ns, value in ticks:
            self.series.record(ts_ns, (value,) * len(self.series.fields))

    def stop(self) -> bytes:
        """Does what a clean stop does, and returns the last checkpoint."""
        for start_ns, aggregates in self.series.open_minutes():
            self.stored[start_ns] = aggregates
        return self.history.save()

    def minutes(self) -> Points:
        return self.ask(MINUTE_NS)

    def ask(self, interval_ns: int, columns: Sequence[Column] = COUNTS) -> Points:
        return Points.of(
            read_points(self.series.view(), columns, 0, 2**62, make_plan([self.series.view()], interval_ns))
        )


def ring_rows(process: Process) -> list[tuple[int, bytes]]:
    return [(row.ts_ns, row.payload.tobytes()) for row in process.series.rings[2].copy_rows(0, 2**62)]


@st.composite
def runs(draw: st.DrawFn) -> Ticks:
    gaps = draw(st.lists(st.integers(min_value=1, max_value=90 * NS_PER_S), min_size=2, max_size=60))
    values = st.floats(-1e6, 1e6) | st.just(math.nan)
    return [(sum(gaps[: n + 1]), draw(values)) for n in range(len(gaps))]


@given(ticks=runs(), data=st.data(), is_clean=st.booleans())
def test_a_restart_changes_no_minute(ticks: Ticks, data: st.DataObject, is_clean: bool) -> None:
    whole = Process({})
    whole.record(ticks)
    stored: Stored = {}
    process = Process(stored)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ticks)), max_size=3)))
    for start, end in zip([0, *cuts], [*cuts, len(ticks)], strict=True):
        process.record(ticks[start:end])
        if end < len(ticks):
            process = Process(stored, process.stop() if is_clean else process.history.save())
    assert ring_rows(process) == ring_rows(whole)
    assert process.history.save() == whole.history.save()
    assert (process.minutes().times, process.minutes().columns) == (whole.minutes().times, whole.minutes().columns)


@given(ticks=runs(), data=st.data())
def test_a_crash_loses_at_most_the_ticks_after_the_checkpoint(ticks: Ticks, data: st.DataObject) -> None:
    checkpoint = data.draw(st.integers(0, len(ticks)))
    crash = data.draw(st.integers(checkpoint, len(ticks)))
    stored: Stored = {}
    process = Process(stored)
    process.record(ticks[:checkpoint])
    state = process.history.save()
    process.record(ticks[checkpoint:crash])
    process = Process(stored, state)
    process.record(ticks[crash:])
    whole, least = Process({}), Process({})
    whole.record(ticks)
    least.record(ticks[:checkpoint] + ticks[crash:])
    counts = dict(zip(process.minutes().times, process.minutes().columns[0], strict=True))
    most = dict(zip(whole.minutes().times, whole.minutes().columns[0], strict=True))
    assert all(count <= most[ts_ns] for ts_ns, count in counts.items())
    fewest = zip(least.minutes().times, least.minutes().columns[0], strict=True)
    assert all(counts[ts_ns] >= count for ts_ns, count in fewest)


@pytest.mark.parametrize("interval_ns", [100 * NS_PER_MS, NS_PER_S, 7 * NS_PER_S, MINUTE_NS, 5 * MINUTE_NS])
@pytest.mark.parametrize("later_ns", [100 * NS_PER_MS, NS_PER_S, 20 * NS_PER_S, 2 * MINUTE_NS, HOUR_NS])
@pytest.mark.parametrize("ticks_after", [0, 1, 15, 2000])
def test_every_tick_counts_once_across_a_restart(interval_ns: int, later_ns: int, ticks_after: int) -> None:
    before = [(n * 100 * NS_PER_MS, float(n)) for n in range(1305)]
    process = Process({})
    process.record(before)
    process = Process(process.stored, process.stop())
    resumed_ns = before[-1][0] + later_ns
    process.record([(resumed_ns + n * 100 * NS_PER_MS, 1e6 + n) for n in range(ticks_after)])
    points = process.ask(interval_ns, [Column(0, COUNT), Column(0, LAST)])
    assert sum(points.columns[0]) == len(before) + ticks_after
    assert points.times == sorted(set(points.times))
    assert points.columns[1] == sorted(points.columns[1])


def test_a_stored_minute_replaces_an_older_checkpoint_of_it() -> None:
    process = Process({})
    process.record([(n * NS_PER_S, 1.0) for n in range(30)])
    state = process.history.save()
    process.record([(n * NS_PER_S, 1.0) for n in range(30, 65)])
    process = Process(process.stored, state)
    process.record([(70 * NS_PER_S, 1.0)])
    assert process.minutes().columns == [[60, 1]]


def test_seconds_after_a_restart_are_read_as_seconds_at_once() -> None:
    process = Process({})
    process.record([(n * NS_PER_S, 1.0) for n in range(80)])
    process = Process(process.stored, process.stop())
    process.record([(n * NS_PER_S, 1.0) for n in range(90, 100)])
    plan = make_plan([process.series.view()], NS_PER_S)
    resumed_ns, start_ns, end_ns = 79 * NS_PER_S, 95 * NS_PER_S, 100 * NS_PER_S
    assert plan.stretches(0, end_ns) == [
        Stretch(0, resumed_ns, MINUTE_NS),
        Stretch(resumed_ns, end_ns, NS_PER_S),
    ]
    points = Points.of(read_points(process.series.view(), COUNTS, start_ns, end_ns, plan))
    assert points.times == list(range(start_ns, end_ns, NS_PER_S))
    assert stored_until_ns(process.series.view(), start_ns, end_ns, plan) == 0


def test_stored_minutes_are_restored_without_a_checkpoint() -> None:
    process = Process({})
    process.record([(n * NS_PER_S, 1.0) for n in range(150)])
    process.stop()
    process = Process(process.stored)
    process.record([(150 * NS_PER_S, 1.0)])
    assert (process.minutes().times, process.minutes().columns) == ([0, MINUTE_NS, 2 * MINUTE_NS], [[60, 60, 31]])


def test_a_recording_of_an_earlier_time_replaces_the_history() -> None:
    process = Process({})
    process.record([(HOUR_NS + n * NS_PER_S, 1.0) for n in range(150)])
    process = Process(process.stored, process.stop())
    process.record([(n * NS_PER_S, 2.0) for n in range(75)])
    assert (process.minutes().times, process.minutes().columns) == ([0, MINUTE_NS], [[60, 15]])


def test_an_added_field_has_no_values_from_before() -> None:
    process = Process({})
    process.record([(n * NS_PER_S, 1.0) for n in range(10)])
    process = Process({}, process.history.save(), fields=("y", "x"))
    assert process.ask(MINUTE_NS, [Column(0, COUNT), Column(1, COUNT)]).columns == [[0], [10]]


def test_a_checkpoint_restores_a_series_that_is_already_open() -> None:
    process = Process({})
    process.record([(n * NS_PER_S, 1.0) for n in range(10)])
    state = process.history.save()
    process = Process({})
    process.history.load(state)
    assert process.minutes().columns == [[10]]


def test_the_state_of_a_series_that_never_opened_is_kept() -> None:
    process = Process({})
    process.record([(0, 1.0)])
    state = process.history.save()
    history = History(Budget({1: 1}, {}))
    history.load(state)
    assert history.save() == state


@pytest.mark.parametrize(
    "series",
    [
        SeriesState("s", "k", ("x",), (None,)),
        SeriesState("s", "k", ("x",), (OpenIntervalState(0, bytes(47)), None)),
    ],
)
def test_a_state_that_cannot_be_read_changes_nothing(series: SeriesState) -> None:
    process = Process({})
    process.record([(0, 1.0)])
    before = process.history.save()
    with pytest.raises(CheckpointError, match="the series s k cannot be read"):
        process.history.load(pack(HistoryState([series])))
    assert process.history.save() == before
