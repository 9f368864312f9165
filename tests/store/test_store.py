"""The store: rows reported durable are on disk, in order, and rows that cannot be written raise no exception."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store.file import DATABASE_NAME
from observability.store.limits import StoreLimits
from observability.store.schema import INSERT_EQUITY_REPORT, INSERT_FILL, UPDATE_FILL
from observability.store.store import Store
from stored import count_of, fill_row, select

SOON = 30.0


def run(
    directory: Path, use: Callable[[Store], Awaitable[None]], limits: StoreLimits | None = None, *, start: bool = True
) -> Counters:
    """Calls `use` with an open store, stops the store, and returns its counters."""
    counters = Counters()

    async def main() -> None:
        store = Store.open(directory, limits or StoreLimits(), counters)
        if start:
            store.start(asyncio.get_running_loop())
        try:
            await use(store)
        finally:
            await store.stop()

    asyncio.run(main())
    return counters


def put_fills(store: Store, *seqs: int) -> int:
    position = 0
    for seq in seqs:
        position = store.put(INSERT_FILL, fill_row(seq))
    return position


def test_positions_count_from_one_and_become_durable(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        assert (store.position, store.durable_position) == (0, 0)
        assert [put_fills(store, seq) for seq in (10, 20, 30)] == [1, 2, 3]
        assert store.position == 3
        assert await store.durable(3, SOON)
        assert store.durable_position == 3

    run(tmp_path, use)
    assert select(tmp_path / DATABASE_NAME, "SELECT seq FROM fills") == [10, 20, 30]


def test_rows_reported_durable_are_visible_to_every_reader(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        for seq in range(1, 20):
            assert await store.durable(put_fills(store, seq), SOON)
            newest = await store.reader.run(lambda db: db.execute("SELECT max(seq) FROM fills").fetchone()[0])
            assert newest == seq

    run(tmp_path, use)


def test_many_waiters_share_a_position_or_have_their_own(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        put_fills(store, *range(1, 101))
        waiting = [store.durable(position, SOON) for position in (100, 1, 50, 100, 0, 99)]
        assert await asyncio.gather(*waiting) == [True] * 6

    run(tmp_path, use)


def test_a_position_not_yet_reached_is_not_durable_in_time(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        put_fills(store, 1)
        assert await store.durable(1, SOON)
        assert not await store.durable(2, 0.01)
        assert put_fills(store, 2) == 2
        assert await store.durable(2, SOON)

    run(tmp_path, use)


def test_rows_queued_together_share_few_commits(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        assert await store.durable(put_fills(store, *range(1, 1001)), SOON)

    counters = run(tmp_path, use)
    assert count_of(counters, "store_rows_total") == 1000
    assert count_of(counters, "store_commits_total") <= 10


def test_a_commit_has_a_limited_number_of_rows(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        assert await store.durable(put_fills(store, *range(1, 101)), SOON)

    counters = run(tmp_path, use, StoreLimits(group_rows=10))
    assert count_of(counters, "store_commits_total") >= 10


def test_listeners_receive_rising_positions_on_the_loop(tmp_path: Path) -> None:
    positions: list[int] = []

    async def use(store: Store) -> None:
        loop = asyncio.get_running_loop()

        def listen(position: int) -> None:
            assert asyncio.get_running_loop() is loop
            positions.append(position)

        store.add_commit_listener(listen)
        for seq in range(1, 30):
            put_fills(store, seq)
            await asyncio.sleep(0)
        assert await store.durable(store.position, SOON)

    run(tmp_path, use)
    assert positions == sorted(set(positions))
    assert positions[-1] == 29


def test_an_exception_from_a_listener_does_not_affect_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    positions: list[int] = []

    def fail(position: int) -> None:
        raise RuntimeError("made up")

    async def use(store: Store) -> None:
        store.add_commit_listener(fail)
        store.add_commit_listener(positions.append)
        assert await store.durable(put_fills(store, 1), SOON)

    run(tmp_path, use)
    assert positions == [1]
    assert "made up" in caplog.text


def test_stopping_writes_the_queued_rows(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        put_fills(store, *range(1, 30_001))

    run(tmp_path, use)
    assert select(tmp_path / DATABASE_NAME, "SELECT count(*) FROM fills") == [30_000]


def test_a_store_that_was_never_started_can_be_stopped(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        with pytest.raises(StoreError, match="in use"):
            Store.open(tmp_path, StoreLimits(), Counters())

    run(tmp_path, use, start=False)
    Store.open(tmp_path, StoreLimits(), Counters())


def test_statements_of_one_table_keep_their_order(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        for seq in range(1, 100):
            store.put(INSERT_FILL, fill_row(seq))
            store.put(UPDATE_FILL, (float(seq), seq))

    run(tmp_path, use)
    assert select(tmp_path / DATABASE_NAME, "SELECT slippage_bps FROM fills") == [float(seq) for seq in range(1, 100)]


# -- rows that can never be written

BROKEN = {
    "a key that is taken": (INSERT_FILL, fill_row(1)),
    "a text where a number belongs": (INSERT_FILL, fill_row(99, ts_ns="noon")),
    "an object that SQLite does not know": (INSERT_FILL, fill_row(99, price=object())),
    "an integer of more than 64 bits": (INSERT_FILL, fill_row(99, ts_ns=2**63)),
    "half a character": (INSERT_FILL, fill_row(99, order_id="\ud800")),
    "too few parameters": (INSERT_FILL, (1, 2)),
    "a statement without a table": ("INSERT INTO nothing VALUES (?)", (1,)),
}


def test_an_update_finds_the_row_that_its_own_group_inserts(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        assert await store.durable(put_fills(store, 1), SOON)
        store.begin_unit()
        store.put(UPDATE_FILL, (0.5, 1))
        put_fills(store, 2)
        position = store.put(UPDATE_FILL, (1.5, 2))
        store.end_unit()
        assert await store.durable(position, SOON)
        assert select(store.path, "SELECT slippage_bps FROM fills ORDER BY seq") == [0.5, 1.5]

    run(tmp_path, use)


def test_a_waiter_that_is_cancelled_leaves_the_others_waiting(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        store.begin_unit()
        position = put_fills(store, 1)
        first, second = (asyncio.create_task(store.durable(position, SOON)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        store.end_unit()
        assert await second
        assert first.cancelled()

    run(tmp_path, use)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_row_that_cannot_be_written_does_not_affect_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: tuple[str, tuple[object, ...]]
) -> None:
    async def use(store: Store) -> None:
        put_fills(store, 1, 2)
        store.put(*broken)
        store.put(*broken)
        assert await store.durable(put_fills(store, 3, 4), SOON)
        assert store.fault is None

    with caplog.at_level(logging.ERROR):
        counters = run(tmp_path, use)
    assert select(tmp_path / DATABASE_NAME, "SELECT seq FROM fills") == [1, 2, 3, 4]
    assert count_of(counters, "store_rows_refused_total") == 2
    assert count_of(counters, "store_rows_total") == 4
    assert len(caplog.records) == 1


@given(st.lists(st.tuples(st.integers(1, 12), st.booleans()), max_size=40), st.integers(1, 7))
def test_every_valid_row_is_written_whatever_its_neighbours(
    tmp_path_factory: pytest.TempPathFactory, puts: list[tuple[int, bool]], group_rows: int
) -> None:
    directory = tmp_path_factory.mktemp("store")

    async def use(store: Store) -> None:
        for seq, is_fill in puts:
            if is_fill:
                store.put(INSERT_FILL, fill_row(seq))
            else:
                store.put(INSERT_EQUITY_REPORT, (seq, 1, 1, "1", ""))
        assert await store.durable(store.position, SOON)

    run(directory, use, StoreLimits(group_rows=group_rows))
    for table, is_fill in (("fills", True), ("equity_reports", False)):
        expected = sorted({seq for seq, kind in puts if kind is is_fill})
        assert select(directory / DATABASE_NAME, f"SELECT seq FROM {table}") == expected


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 7))
def test_a_unit_of_any_size_is_committed_whole(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], group_rows: int
) -> None:
    directory = tmp_path_factory.mktemp("store")
    committed: list[int] = []

    async def use(store: Store) -> None:
        store.add_commit_listener(committed.append)
        seq = 0
        for size in sizes:
            store.begin_unit()
            for _ in range(size):
                seq += 1
                store.put(INSERT_FILL, fill_row(seq))
                # The writer can run in the middle of a unit too.
                await asyncio.sleep(0)
            store.end_unit()
        assert await store.durable(store.position, SOON)

    run(directory, use, StoreLimits(group_rows=group_rows))
    assert set(committed) <= set(accumulate(sizes))
    assert select(directory / DATABASE_NAME, "SELECT count(*) FROM fills") == [sum(sizes)]


# -- too many rows


def test_a_full_queue_drops_and_counts_the_newest_rows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def use(store: Store) -> None:
        put_fills(store, *range(1, 75))
        assert store.has_room
        put_fills(store, 75)
        assert not store.has_room
        put_fills(store, *range(76, 131))
        assert (store.position, store.lost) == (100, 30)
        # Any waiter's rows may be among those missing, so none is told that its rows are durable.
        assert not await store.durable(100, SOON)
        store.start(asyncio.get_running_loop())
        drained = asyncio.Event()
        store.add_commit_listener(lambda position: drained.set() if position == 100 else None)
        await asyncio.wait_for(drained.wait(), SOON)
        assert store.has_room
        assert put_fills(store, 131) == 131
        assert await store.durable(131, SOON)

    counters = run(tmp_path, use, StoreLimits(queue_rows=100), start=False)
    assert select(tmp_path / DATABASE_NAME, "SELECT seq FROM fills") == [*range(1, 101), 131]
    assert count_of(counters, "store_rows_lost_total") == 30
    assert count_of(counters, "store_queue_rows") == 0
    assert caplog.text.count("dropping further rows") == 1


# -- reading


def test_an_error_of_a_read_reaches_its_caller_only(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        with pytest.raises(StoreError, match=r"observability\.db: cannot be read: no such table"):
            await store.reader.run(lambda db: db.execute("SELECT * FROM absent").fetchall())
        with pytest.raises(ZeroDivisionError):
            await store.reader.run(lambda db: db.total_changes // 0)
        assert await store.reader.run(lambda db, number: db.total_changes + number, 42) == 42

    run(tmp_path, use)


def test_a_cancelled_read_is_not_run(tmp_path: Path) -> None:
    ran: list[int] = []
    proceed = threading.Event()

    def ask(_: sqlite3.Connection, number: int) -> None:
        assert proceed.wait(SOON)
        ran.append(number)

    async def use(store: Store) -> None:
        first, second, third = (asyncio.ensure_future(store.reader.run(ask, number)) for number in (1, 2, 3))
        await asyncio.sleep(0)
        second.cancel()
        proceed.set()
        await asyncio.gather(first, third)

    run(tmp_path, use)
    assert ran == [1, 3]


def test_reads_after_the_stop_are_refused_at_once(tmp_path: Path) -> None:
    stores: list[Store] = []

    async def use(store: Store) -> None:
        stores.append(store)
        await store.reader.run(lambda db: db.total_changes)

    run(tmp_path, use)
    with pytest.raises(StoreError, match=r"observability\.db: closed"):
        asyncio.run(stores[0].reader.run(lambda db: db.total_changes))


def test_the_start_can_read_before_the_loop_runs(tmp_path: Path) -> None:
    async def use(store: Store) -> None:
        put_fills(store, 1)

    run(tmp_path, use)
    store = Store.open(tmp_path, StoreLimits(), Counters())
    with store.reading() as connection:
        assert connection.execute("SELECT seq FROM fills").fetchall() == [(1,)]
    asyncio.run(store.stop())
