"""Rows that repeat: however late they are written, they are those that one row per tick would have been."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_MINUTE, NS_PER_S
from observability.history.history import History
from observability.history.layout import TIERS, Budget
from observability.history.series_writer import SeriesWriter
from observability.history.standing import LOOK_TICKS, MAX_CHANGES, TURN_TICKS
from observability.memory.counters import Counters

FIELDS = ("x", "y")
KEYS = ("a", "b")
TICK_NS = NS_PER_S // 10


class Minutes:
    """An archive that keeps the minutes of each series."""

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[int, bytes]]] = {key: [] for key in KEYS}

    def record(self, series: SeriesWriter, start_ns: int, aggregates: array[float]) -> None:
        self.kept[series.key].append((start_ns, aggregates.tobytes()))

    def load(self, series: SeriesWriter) -> Iterable[tuple[int, array[float]]]:
        return ()

    def catch_up(self, series: SeriesWriter) -> None: ...


class Standing:
    """Two series that are recorded when they change."""

    def __init__(self, memory: memoryview[int] | None = None) -> None:
        budget = Budget({len(FIELDS): len(KEYS)}, {})
        self.history = History(budget, memory)
        self.history.archive = self.minutes = Minutes()
        self.series = {key: self.history.open_standing("s", key, FIELDS) for key in KEYS}

    def tick(self, ts_ns: int, **changed: tuple[float, float]) -> None:
        self.history.standing.begin_tick(ts_ns)
        for key, values in changed.items():
            self.series[key].record(ts_ns, values)
        self.history.standing.end_tick()

    def rows(self, key: str) -> list[tuple[int, list[float]]]:
        """Returns the ticks of a series as a reader finds them."""
        (series,) = (one for one in self.history.reader(Counters()).series() if one.key == key)
        view = series.view()
        return [(row.ts_ns, list(row.payload)) for row in view.span(0).ring.copy_rows(0, 2**62)]


class PerTick:
    """The same two series with a row on each tick from their first one on."""

    def __init__(self) -> None:
        self.history = History(Budget({len(FIELDS): len(KEYS)}, {}))
        self.history.archive = self.minutes = Minutes()
        self._series = {key: self.history.open("s", key, FIELDS) for key in KEYS}
        self._values: dict[str, tuple[float, float]] = {}

    def tick(self, ts_ns: int, **changed: tuple[float, float]) -> None:
        self._values |= changed
        for key, values in self._values.items():
            self._series[key].record(ts_ns, values)


values = st.tuples(st.sampled_from([1.0, 0.1, -7.3, 1e9, nan]), st.sampled_from([0.0, 0.3, nan]))
ticks = st.tuples(
    st.integers(1, 700),
    st.sampled_from([0, TICK_NS, TICK_NS + 7_000_001, NS_PER_S // 3, 4 * NS_PER_S, 3 * NS_PER_MINUTE]),
    st.dictionaries(st.sampled_from(KEYS), values),
    st.sampled_from(["", "", "read", "save"]),
)


@settings(max_examples=40)
@given(st.integers(0, 2 * NS_PER_MINUTE), st.lists(ticks, max_size=12))
def test_the_memory_is_that_of_a_row_per_tick(
    now_ns: int, stretches: list[tuple[int, int, dict[str, tuple[float, float]], str]]
) -> None:
    standing, per_tick = Standing(), PerTick()
    for count, step_ns, changes, reading in stretches:
        for number in range(count):
            now_ns += step_ns
            for writer in (standing, per_tick):
                writer.tick(now_ns, **(changes if not number else {}))
        if reading == "read":
            standing.rows("a")
        elif reading == "save":
            assert standing.history.save() == per_tick.history.save()
    standing.history.series()
    assert bytes(standing.history.memory) == bytes(per_tick.history.memory)
    assert standing.minutes.kept == per_tick.minutes.kept


def test_more_ticks_than_the_ring_holds_are_written_around_its_end() -> None:
    standing, per_tick = Standing(), PerTick()
    for number in range(TIERS[0].slots + 500):
        for writer in (standing, per_tick):
            writer.tick(number * TICK_NS, **({"a": (1.5, nan)} if not number else {}))
    standing.history.series()
    assert bytes(standing.history.memory) == bytes(per_tick.history.memory)


@pytest.mark.parametrize("portion", [3, 15, 25, 130])
def test_rows_written_in_portions_are_those_of_a_row_per_tick(portion: int) -> None:
    standing, per_tick = Standing(), PerTick()
    for number in range(700):
        for writer in (standing, per_tick):
            writer.tick(number * TICK_NS, **({"a": (number * 0.1, nan)} if not number % 7 else {}))
        if not number % portion:
            standing.history.series()
    standing.history.series()
    assert bytes(standing.history.memory) == bytes(per_tick.history.memory)
    assert standing.minutes.kept == per_tick.minutes.kept


@pytest.mark.parametrize("first", [0, 8, 9, 599])
def test_the_first_rows_are_written_together_wherever_their_second_ends(first: int) -> None:
    standing, per_tick = Standing(), PerTick()
    for number in range(25):
        for writer in (standing, per_tick):
            writer.tick((first + number) * TICK_NS, **({"a": (1.5, nan)} if not number else {}))
    standing.history.series()
    assert bytes(standing.history.memory) == bytes(per_tick.history.memory)
    assert standing.minutes.kept == per_tick.minutes.kept


def test_a_reader_finds_the_rows_up_to_the_newest_tick() -> None:
    standing = Standing()
    standing.tick(1, a=(1.0, 2.0))
    standing.tick(2)
    standing.tick(3, a=(3.0, 4.0), b=(5.0, 6.0))
    standing.tick(4)
    assert standing.rows("a") == [(1, [1.0, 2.0]), (2, [1.0, 2.0]), (3, [3.0, 4.0]), (4, [3.0, 4.0])]
    assert standing.rows("b") == [(3, [5.0, 6.0]), (4, [5.0, 6.0])]


def test_a_row_of_a_moment_that_has_one_is_skipped() -> None:
    standing = Standing()
    standing.tick(1, a=(1.0, 2.0))
    standing.tick(2)
    standing.tick(2, a=(3.0, 4.0))
    standing.tick(3)
    assert standing.rows("a") == [(1, [1.0, 2.0]), (2, [1.0, 2.0]), (3, [3.0, 4.0])]


def test_in_shared_memory_each_tick_writes_all_rows() -> None:
    memory = bytearray(Budget({len(FIELDS): len(KEYS)}, {}).size_bytes)
    standing = Standing(memoryview(memory))
    standing.tick(1, a=(1.0, 2.0))
    standing.tick(2)
    assert standing.series["a"].series.rings[0].cursor == 2


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_series_that_is_told_of_every_tick_has_a_row_for_each(is_shared: bool) -> None:
    budget = Budget({len(FIELDS): 1}, {})
    history = History(budget, memoryview(bytearray(budget.size_bytes)) if is_shared else None)
    followed = history.open_standing("s", "a", FIELDS)
    per_tick = History(budget)
    series = per_tick.open("s", "a", FIELDS)
    row = (0.0, 0.0)
    for number in range(2 * TURN_TICKS + 100):
        ts_ns = number * TICK_NS
        if not number % 37 or number in (TURN_TICKS, TURN_TICKS + 1):
            row = (number * 0.1, nan)
        history.standing.begin_tick(ts_ns)
        history.standing.end_tick()
        followed.follow(ts_ns, row)
        series.record(ts_ns, row)
    history.series()
    assert bytes(history.memory) == bytes(per_tick.memory)


def test_every_series_has_its_turn() -> None:
    standing = Standing()
    standing.tick(0, a=(1.0, 2.0), b=(1.0, 2.0))
    for number in range(1, 5 * TURN_TICKS):
        standing.tick(number)
    for each in standing.series.values():
        assert each.series.rings[0].cursor >= 4 * TURN_TICKS


def test_a_series_with_many_changes_is_written_before_its_turn() -> None:
    standing = Standing()
    for number in range(MAX_CHANGES + 2 * LOOK_TICKS):
        standing.tick(number, a=(float(number), 2.0), b=(1.0, 2.0) if number else (0.0, 2.0))
    for each in standing.series.values():
        assert each.series.rings[0].cursor > MAX_CHANGES


def test_a_series_that_missed_its_turn_is_an_error_and_not_a_gap() -> None:
    standing = Standing()
    standing.tick(0, a=(1.0, 2.0))
    standing.series["a"].next_tick -= 2
    with pytest.raises(AssertionError, match="missed its turn"):
        standing.series["a"].catch_up()
