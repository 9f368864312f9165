"""A hub dies and the next one continues in the same memory: no recorded row is lost, and none counts twice."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_S
from observability.history.aggregates import COUNT, Column
from observability.history.history import History
from observability.history.layout import Budget
from observability.history.query import make_plan, read_points
from observability.history.ring import Ring
from observability.history.series_writer import SeriesWriter
from observability.memory.counters import Counters

MINUTE_NS = 60 * NS_PER_S
BUDGET = Budget({1: 1}, {})
Ticks = list[tuple[int, float]]
Minutes = dict[int, bytes]


class KilledError(Exception):
    """Stands for SIGKILL at that moment."""


class MinuteRows:
    """Stands for the store: records into `minutes`, and loads `stored`."""

    def __init__(self, minutes: Minutes, stored: Minutes) -> None:
        self._minutes = minutes
        self._stored = stored

    def record(self, series: SeriesWriter, start_ns: int, aggregates: array[float]) -> None:
        self._minutes[start_ns] = aggregates.tobytes()

    def load(self, series: SeriesWriter) -> list[tuple[int, array[float]]]:
        return [(ts_ns, array("d", row)) for ts_ns, row in sorted(self._stored.items())]

    def catch_up(self, series: SeriesWriter) -> None:
        for row in series.rings[2].copy_rows(0, 2**62):
            self._minutes[row.ts_ns] = row.payload.tobytes()


class Hub:
    """One hub's history of one series, in memory that outlives it; `minutes` is the store."""

    def __init__(self, minutes: Minutes, memory: memoryview[int] | None = None, stored: Minutes | None = None) -> None:
        self.minutes = minutes
        self.history = History(BUDGET, memory)
        self.history.archive = MinuteRows(minutes, stored or {})
        self.series = self.history.open("s", "k", ("x",))

    def record(self, ticks: Ticks) -> None:
        for ts_ns, value in ticks:
            self.series.record(ts_ns, (value,))

    def next(self) -> Hub:
        return Hub(self.minutes, self.history.memory)

    def counts(self, interval_ns: int) -> dict[int, float]:
        """Returns the number of ticks per interval, as another process reads them."""
        (series,) = self.history.reader(Counters()).series()
        view = series.view()
        block = read_points(view, [Column(0, COUNT)], 0, 2**62, make_plan([view], interval_ns))
        return dict(zip(block.times, block.columns[0], strict=True))


def rows(hub: Hub) -> list[list[tuple[int, bytes]]]:
    return [[(row.ts_ns, row.payload.tobytes()) for row in ring.copy_rows(0, 2**62)] for ring in hub.series.rings]


@st.composite
def runs(draw: st.DrawFn) -> Ticks:
    gaps = draw(st.lists(st.integers(min_value=1, max_value=40 * NS_PER_S), min_size=2, max_size=60))
    values = st.floats(-1e6, 1e6) | st.just(math.nan)
    return [(sum(gaps[: n + 1]), draw(values)) for n in range(len(gaps))]


@given(ticks=runs(), data=st.data())
def test_a_kill_between_ticks_changes_nothing(ticks: Ticks, data: st.DataObject) -> None:
    whole = Hub({})
    whole.record(ticks)
    hub = Hub({})
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ticks)), max_size=3)))
    for start, end in zip([0, *cuts], [*cuts, len(ticks)], strict=True):
        hub.record(ticks[start:end])
        if end < len(ticks):
            hub = hub.next()
    assert rows(hub) == rows(whole)
    assert hub.minutes == whole.minutes
    assert hub.history.save() == whole.history.save()
    assert hub.counts(MINUTE_NS) == whole.counts(MINUTE_NS)


@given(ticks=runs(), data=st.data())
def test_a_kill_during_a_tick_loses_at_most_that_tick(ticks: Ticks, data: st.DataObject) -> None:
    whole = Hub({})
    whole.record(ticks)
    hub = Hub({})
    at = data.draw(st.integers(0, len(ticks) - 1))
    hub.record(ticks[:at])
    # One write for most ticks, four for one that ends a second and a minute.
    write = data.draw(st.integers(1, 3))
    is_before = data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ring, "write_row", killing(write, is_before=is_before))
        with suppress(KilledError):
            hub.record(ticks[at : at + 1])
    hub = hub.next()
    is_lost = write == 1 and is_before
    hub.record(ticks[at + 1 :])
    if is_lost:
        whole = Hub({})
        whole.record(ticks[:at] + ticks[at + 1 :])
    assert rows(hub) == rows(whole)
    assert hub.minutes == whole.minutes
    assert hub.history.save() == whole.history.save()


def killing(write: int, *, is_before: bool) -> Callable[..., None]:
    """Returns a `write_row` that is killed before or after the n-th row that it writes."""
    original = Ring.write_row
    written = 0

    def write_row(ring: Ring, ts_ns: int, payload: Any) -> None:
        nonlocal written
        written += 1
        if written == write and is_before:
            raise KilledError
        original(ring, ts_ns, payload)
        if written == write:
            raise KilledError

    return write_row


def test_a_saved_interval_counts_until_its_minute_is_over() -> None:
    first = Hub({})
    first.record([(n * NS_PER_S, 1.0) for n in range(90)])
    stored = {**first.minutes, **{ts: row.tobytes() for ts, row in first.series.open_minutes()}}
    hub = Hub({}, stored=stored)
    hub.record([(n * NS_PER_S, 1.0) for n in range(95, 100)])
    for seconds in ((100, 110), (110, 125), (125, 130)):
        hub = hub.next()
        hub.record([(n * NS_PER_S, 1.0) for n in range(*seconds)])
    assert hub.counts(MINUTE_NS) == {0: 60, MINUTE_NS: 55, 2 * MINUTE_NS: 10}


def test_a_hub_that_dies_before_its_first_tick_loses_nothing() -> None:
    first = Hub({})
    first.record([(n * NS_PER_S, 1.0) for n in range(90)])
    stored = {**first.minutes, **{ts: row.tobytes() for ts, row in first.series.open_minutes()}}
    hub = Hub({}, stored=stored).next().next()
    hub.record([(100 * NS_PER_S, 1.0)])
    assert hub.counts(MINUTE_NS) == {0: 60, MINUTE_NS: 31}


def test_an_older_checkpoint_does_not_replace_the_memory() -> None:
    hub = Hub({})
    hub.record([(n * NS_PER_S, 1.0) for n in range(10)])
    state = hub.history.save()
    hub.record([(n * NS_PER_S, 1.0) for n in range(10, 20)])
    hub = hub.next()
    hub.history.load(state)
    assert hub.counts(MINUTE_NS) == {0: 20}


def test_a_recording_that_is_replayed_replaces_the_history() -> None:
    hub = Hub({})
    hub.record([(10 * MINUTE_NS + n * NS_PER_S, 1.0) for n in range(150)])
    hub = hub.next()
    hub.record([(n * NS_PER_S, 2.0) for n in range(75)])
    assert hub.counts(MINUTE_NS) == {0: 60, MINUTE_NS: 15}


def test_rows_are_skipped_until_a_corrected_clock_has_caught_up() -> None:
    hub = Hub({})
    hub.record([(n * NS_PER_S, 1.0) for n in range(100)])
    hub = hub.next()
    hub.record([(n * NS_PER_S, 1.0) for n in range(90, 110)])
    assert hub.counts(MINUTE_NS) == {0: 60, MINUTE_NS: 50}


def test_a_view_is_not_changed_by_later_rows() -> None:
    hub = Hub({})
    hub.record([(n * NS_PER_S // 10, 1.0) for n in range(595)])
    (series,) = hub.history.reader(Counters()).series()
    view = series.view()
    hub.record([(n * NS_PER_S // 10, 1.0) for n in range(595, 610)])
    for interval_ns in (NS_PER_S // 10, NS_PER_S, MINUTE_NS):
        plan = make_plan([view], interval_ns)
        assert sum(read_points(view, [Column(0, COUNT)], 0, 2**62, plan).columns[0]) == 595
