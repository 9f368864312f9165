"""Minutes in the store: they return after a restart, and reach back further than the rings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from observability.clocks.timestamps import NS_PER_S
from observability.history.aggregates import COUNT, LAST, Block, Column
from observability.history.archive import ROWS_PER_READ, Archive, StoredMinutes
from observability.history.history import History
from observability.history.layout import Budget
from observability.history.query import make_plan, read_points, stored_until_ns
from observability.memory.counters import Counters
from observability.store.limits import StoreLimits
from observability.store.schema import UPSERT_MINUTE
from observability.store.store import Store
from stored import NOON_NS

SOON = 30.0
MINUTE_NS = 60 * NS_PER_S
DAY_NS = 1440 * MINUTE_NS
COLUMNS = [Column(0, COUNT), Column(0, LAST)]


def run(directory: Path, use: Callable[[Store, Archive], Awaitable[None]]) -> None:
    """Runs `use` with a store and its archive; the rows that it puts are on disk afterwards."""

    async def main() -> None:
        store = Store.open(directory, StoreLimits(), Counters())
        store.start(asyncio.get_running_loop())
        archive = Archive(store)
        try:
            await use(store, archive)
        finally:
            await store.stop()

    asyncio.run(main())


def make_history(archive: Archive, fields: tuple[str, ...] = ("x",)) -> History:
    history = History(Budget({len(fields): 1}, {}))
    archive.attach(history)
    return history


def put_minutes(store: Store, count: int, fields: tuple[str, ...] = ("x",)) -> int:
    """Puts minutes from noon on, each with its number as last value; returns the end of the last one."""
    for n in range(count):
        row = make_row(float(n), len(fields))
        store.put(UPSERT_MINUTE, ("s", "k", NOON_NS + n * MINUTE_NS, ",".join(fields), row))
    return NOON_NS + count * MINUTE_NS


def lists(block: Block) -> list[list[float]]:
    return [column.tolist() for column in block.columns]


def make_row(value: float, fields: int) -> bytes:
    history = History(Budget({fields: 1}, {}))
    series = history.open("s", "k", tuple("abcdef"[:fields]))
    series.record(0, (value,) * fields)
    ((_, aggregates),) = series.open_minutes()
    return aggregates.tobytes()


def test_the_ring_holds_the_minutes_of_an_earlier_process(tmp_path: Path) -> None:
    async def first(_: Store, archive: Archive) -> None:
        history = make_history(archive)
        series = history.open("s", "k", ("x",))
        for second in range(200):
            series.record(NOON_NS + second * NS_PER_S, (float(second),))
        archive.record_open(history)

    async def second(store: Store, archive: Archive) -> None:
        series = make_history(archive).open("s", "k", ("x",))
        series.record(NOON_NS + 210 * NS_PER_S, (210.0,))
        points = read_points(series.view(), COLUMNS, NOON_NS, NOON_NS + DAY_NS, make_plan([series.view()], MINUTE_NS))
        assert points.times.tolist() == [NOON_NS + n * MINUTE_NS for n in range(4)]
        assert lists(points) == [[60.0, 60.0, 60.0, 21.0], [59.0, 119.0, 179.0, 210.0]]

    run(tmp_path, first)
    run(tmp_path, second)


def test_the_last_day_is_loaded_into_the_ring(tmp_path: Path) -> None:
    async def first(store: Store, _: Archive) -> None:
        put_minutes(store, 2000)

    async def second(store: Store, archive: Archive) -> None:
        series = make_history(archive).open("s", "k", ("x",))
        until_ns = stored_until_ns(series.view(), NOON_NS, NOON_NS + 2 * DAY_NS, make_plan([series.view()], MINUTE_NS))
        assert until_ns == NOON_NS + (2000 - 1440) * MINUTE_NS

    run(tmp_path, first)
    run(tmp_path, second)


def test_minutes_older_than_the_ring_are_read_from_the_store(tmp_path: Path) -> None:
    count = 2 * ROWS_PER_READ + 17

    async def use(store: Store, archive: Archive) -> None:
        end_ns = put_minutes(store, count)
        assert await store.durable(store.position, SOON)
        series = History(Budget({1: 1}, {})).open("s", "k", ("x",))
        block = await StoredMinutes(store.reader).read(
            series, COLUMNS, NOON_NS + MINUTE_NS, end_ns - MINUTE_NS, MINUTE_NS
        )
        assert lists(block)[1] == [float(n) for n in range(1, count - 1)]
        assert block.times[0] == NOON_NS + MINUTE_NS

    run(tmp_path, use)


def test_a_point_across_the_edge_of_the_ring_is_complete(tmp_path: Path) -> None:
    async def first(store: Store, _: Archive) -> None:
        put_minutes(store, 3000)

    async def second(store: Store, archive: Archive) -> None:
        series = make_history(archive).open("s", "k", ("x",))
        hour_ns = 60 * MINUTE_NS
        end_ns = NOON_NS + 3000 * MINUTE_NS
        plan = make_plan([series.view()], 7 * hour_ns)
        edge_ns = stored_until_ns(series.view(), NOON_NS, end_ns, plan)
        stored = await StoredMinutes(store.reader).read(series, COLUMNS, NOON_NS, edge_ns, 7 * hour_ns)
        points = read_points(series.view(), COLUMNS, NOON_NS, end_ns, plan, stored)
        assert sum(points.columns[0]) == 3000
        assert points.times.tolist() == sorted(
            {ts - ts % (7 * hour_ns) for ts in range(NOON_NS, NOON_NS + 50 * hour_ns, hour_ns)}
        )

    run(tmp_path, first)
    run(tmp_path, second)


def test_a_series_without_stored_minutes_has_no_points(tmp_path: Path) -> None:
    async def use(store: Store, archive: Archive) -> None:
        series = make_history(archive).open("s", "k", ("x",))
        assert await StoredMinutes(store.reader).read(series, COLUMNS, 0, 2**62, MINUTE_NS) == Block.empty(2)

    run(tmp_path, use)


def test_fields_are_stored_by_name(tmp_path: Path) -> None:
    async def use(store: Store, archive: Archive) -> None:
        put_minutes(store, 3, ("old", "x"))
        assert await store.durable(store.position, SOON)
        series = make_history(archive, ("x", "new")).open("s", "k", ("x", "new"))
        columns = [Column(0, LAST), Column(1, COUNT)]
        block = await StoredMinutes(store.reader).read(series, columns, NOON_NS, NOON_NS + DAY_NS, MINUTE_NS)
        assert lists(block) == [[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]]
        points = read_points(series.view(), columns, NOON_NS, NOON_NS + DAY_NS, make_plan([series.view()], MINUTE_NS))
        assert points.columns == block.columns

    run(tmp_path, use)


def test_a_minute_that_is_recorded_again_replaces_itself(tmp_path: Path) -> None:
    async def use(store: Store, archive: Archive) -> None:
        history = make_history(archive)
        series = history.open("s", "k", ("x",))
        for second in range(2):
            series.record(NOON_NS + second * NS_PER_S, (1.0,))
            archive.record_open(history)
        assert await store.durable(store.position, SOON)
        block = await StoredMinutes(store.reader).read(series, COLUMNS, NOON_NS, NOON_NS + DAY_NS, MINUTE_NS)
        assert lists(block)[0] == [2.0]

    run(tmp_path, use)


def test_minutes_not_on_disk_when_a_hub_died_are_stored_by_the_next(tmp_path: Path) -> None:
    async def use(store: Store, archive: Archive) -> None:
        budget = Budget({1: 1}, {})
        history = History(budget)
        series = history.open("s", "k", ("x",))
        for second in range(200):
            series.record(NOON_NS + second * NS_PER_S, (1.0,))
        # The first hub had stored a minute that was still open, and nothing after that.
        store.put(UPSERT_MINUTE, ("s", "k", NOON_NS + MINUTE_NS, "x", make_row(1.0, 1)))
        assert await store.durable(store.position, SOON)
        then = History(budget, history.memory)
        archive.attach(then)
        then.open("s", "k", ("x",))
        assert await store.durable(store.position, SOON)
        block = await StoredMinutes(store.reader).read(series, COLUMNS, NOON_NS, NOON_NS + DAY_NS, MINUTE_NS)
        assert (block.times.tolist(), lists(block)[0]) == (
            [NOON_NS + MINUTE_NS, NOON_NS + 2 * MINUTE_NS],
            [60.0, 60.0],
        )

    run(tmp_path, use)
