"""The journal: what must survive is written in order, and announced once it is on disk."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from hub_run import NOON, D, HubRun, S, fill, in_data_directory, order, read_table
from observability.errors import StoreError
from observability.events import Alert, Equity
from observability.ingest.gate import Verdict
from observability.memory.layout import ALERTS_LANE, TRADES_LANE
from observability.metrics.market.bar_table import Bar
from observability.snapshot.frames import Frame, Stamp
from observability.store.file import DATABASE_NAME
from observability.store.writer import PendingRow, Shipped


def test_a_fill_is_announced_only_once_it_is_on_disk() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        await run.written()
        with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other:
            # While another connection writes, the store cannot commit.
            other.execute("BEGIN IMMEDIATE")
            run.bus.publish(fill(1))
            assert not await run.journal.durable(run.journal.position, 0.05)
            assert run.announced == []
            other.execute("ROLLBACK")
        await run.written()
        ((lane, seq, symbol, document),) = run.announced
        shown = document()
        assert (lane, seq, symbol, shown["trade_id"], "durable" in shown) == (TRADES_LANE, 1, "AAPL", "t1", False)
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_the_hub_of_a_desk_announces_nothing_that_the_log_has_not_taken() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        store = run.persistence.store
        assert store is not None
        is_taken = threading.Event()

        def ship(rows: Sequence[PendingRow]) -> Shipped:
            if not is_taken.is_set():
                raise StoreError("no answer")
            return Shipped(len(rows), ("c", 0, "1"))

        store.ship_by(ship)
        await run.start()
        run.bus.publish(fill(1))
        faulted = asyncio.Event()
        store.add_fault_listener(lambda _: faulted.set())
        await faulted.wait()
        # One that waits, and one that comes while there is a fault.
        run.bus.publish(fill(2))
        assert run.announced == []
        is_taken.set()
        await run.written()
        announced = [(document()["trade_id"], "durable" in document()) for _, _, _, document in run.announced]
        assert announced == [("t1", False), ("t2", False)]
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_no_announcement_precedes_its_commit() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        store = run.persistence.store
        assert store is not None
        positions: dict[str, int] = {}
        early: list[str] = []

        def on_announcement(lane: str, seq: int, symbol: str | None, document: Callable[[], dict[str, Any]]) -> None:
            trade_id = document()["trade_id"]
            if positions[trade_id] > store.durable_position:
                early.append(trade_id)

        run.journal.add_announcement_listener(on_announcement)
        for number in range(1, 201):
            run.bus.publish(fill(number))
            positions[f"t{number}"] = run.journal.position
            await asyncio.sleep(0)
        await run.written()
        assert (len(run.announced), early) == (200, [])
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_a_bar_of_fewer_prints_does_not_replace_a_more_complete_one() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        for volume, trades in ((10.0, 2), (7.0, 1), (12.0, 3)):
            run.journal.on_bar("AAPL", Bar(NOON, 1.0, 2.0, 1.0, 2.0, volume, trades, 1.5))
        run.journal.on_bar("AAPL", Bar(NOON, 1.0, 2.0, 1.0, 2.0, 5.0, 1, 1.5))
        await run.stop(is_clean=True)
        assert read_table(directory, "SELECT symbol, ts_ns, volume, trades FROM bars") == [("AAPL", NOON, 12.0, 3)]

    in_data_directory(script)


def test_without_a_store_everything_is_announced_at_once() -> None:
    async def script(_: Path) -> None:
        run = HubRun(None)
        await run.start()
        run.bus.publish(fill(1))
        run.bus.publish(Alert("critical", "kill switch", ts=NOON, ts_init=NOON))
        assert [(lane, seq) for lane, seq, _, _ in run.announced] == [(TRADES_LANE, 1), (ALERTS_LANE, 2)]
        assert await run.journal.is_written()
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_the_verdict_on_a_fill_is_known_and_a_conflict_is_stored_once() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        verdicts = []
        for event in (fill(1), fill(1), fill(1, price=D(1)), fill(1, price=D(1)), fill(2)):
            run.bus.publish(event)
            verdicts.append(run.journal.last_verdict)
        assert verdicts == [
            Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.CONFLICT, Verdict.ACCEPTED
        ]  # fmt: skip
        await run.stop(is_clean=True)
        assert read_table(directory, "SELECT trade_id, price FROM conflicts") == [("t1", "1")]
        assert read_table(directory, "SELECT trade_id FROM fills ORDER BY seq") == [("t1",), ("t2",)]
        run = HubRun(directory)
        await run.start()
        run.bus.publish(fill(1, price=D(1)))
        assert run.journal.last_verdict is Verdict.CONFLICT
        assert run.collectors.execution.trades.conflicts == 1
        await run.stop(is_clean=True)
        assert len(read_table(directory, "SELECT seq FROM conflicts")) == 1

    in_data_directory(script)


def test_the_equity_of_account_and_strategies_is_written_each_minute() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(Equity(D("1000.50"), ts=NOON, ts_init=NOON))
        run.bus.publish(fill(1, price=D("100.25"), commission=D("0.1")))
        for second in (1, 2, 61):
            run.frame(NOON + second * S)
        await run.stop(is_clean=True)
        found = read_table(directory, "SELECT ts_ns, strategy, total_pnl, capital FROM equity ORDER BY ts_ns, strategy")
        assert found == [
            (NOON, "", "-0.10", "1000.50"), (NOON, "alpha", "-0.10", None),
            (NOON + 60 * S, "", "-0.10", "1000.50"), (NOON + 60 * S, "alpha", "-0.10", None),
        ]  # fmt: skip

    in_data_directory(script)


def test_slippage_known_only_later_is_written_into_the_row() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.bus.publish(fill(1, price=D(101)))
        run.bus.publish(order(1, "new", arrival_price=D(100)))
        await run.stop(is_clean=True)
        assert read_table(directory, "SELECT slippage_bps FROM fills") == [(100.0,)]

    in_data_directory(script)


def test_a_tick_is_stored_once_its_trades_are_on_disk() -> None:
    async def script(directory: Path) -> None:
        run = HubRun(directory)
        await run.start()
        run.journal.on_frame(Frame("e", 1, NOON, 0, b"{}"))
        await run.written()
        run.bus.publish(fill(1))
        run.journal.on_frame(Frame("e", 2, NOON + S, 0, b"{}"))
        # Nothing was awaited since, so the row can only be waiting.
        assert run.journal.stored() == Stamp(1, NOON)
        await run.written()
        assert run.journal.stored() == Stamp(2, NOON + S)
        await run.stop(is_clean=True)

    in_data_directory(script)


def test_without_a_store_the_newest_tick_is_stored() -> None:
    async def script(_: Path) -> None:
        run = HubRun(None)
        await run.start()
        run.bus.publish(fill(1))
        run.journal.on_frame(Frame("e", 7, NOON, 0, b"{}"))
        assert run.journal.stored() == Stamp(7, NOON)

    in_data_directory(script)
