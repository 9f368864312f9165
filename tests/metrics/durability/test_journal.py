"""The journal: what must survive is written as it came, and told once it is on disk."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from lives import NOON, D, Life, S, fill, lives, order, read_table
from observability.events import Alert, Equity
from observability.ingest.gate import Verdict
from observability.memory.layout import ALERTS_LANE, TRADES_LANE
from observability.metrics.market.bar_table import Bar
from observability.store.file import DATABASE_NAME


def test_a_fill_is_told_once_it_is_on_disk_and_not_before() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        await life.written()
        with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as other:
            # While another connection writes, nothing can be committed.
            other.execute("BEGIN IMMEDIATE")
            life.bus.publish(fill(1))
            assert not await life.journal.durable(life.journal.position, 0.05)
            assert life.told == []
            other.execute("ROLLBACK")
        await life.written()
        ((channel, seq, symbol, document),) = life.told
        assert (channel, seq, symbol, document["trade_id"], "durable" in document) == (
            TRADES_LANE,
            1,
            "AAPL",
            "t1",
            False,
        )
        await life.end(is_clean=True)

    lives(script)


def test_what_is_told_is_on_disk_by_then() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        store = life.persistence.store
        assert store is not None
        positions: dict[str, int] = {}
        early: list[str] = []

        def on_told(channel: str, seq: int, symbol: str | None, document: dict[str, Any]) -> None:
            if positions[document["trade_id"]] > store.durable_position:
                early.append(document["trade_id"])

        life.journal.add_announcement_listener(on_told)
        for number in range(1, 201):
            life.bus.publish(fill(number))
            positions[f"t{number}"] = life.journal.position
            await asyncio.sleep(0)
        await life.written()
        assert (len(life.told), early) == (200, [])
        await life.end(is_clean=True)

    lives(script)


def test_a_bar_made_again_of_fewer_prints_does_not_replace_the_whole_one() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        for volume, trades in ((10.0, 2), (7.0, 1), (12.0, 3)):
            life.journal.on_bar("AAPL", Bar(NOON, 1.0, 2.0, 1.0, 2.0, volume, trades, 1.5))
        life.journal.on_bar("AAPL", Bar(NOON, 1.0, 2.0, 1.0, 2.0, 5.0, 1, 1.5))
        await life.end(is_clean=True)
        assert read_table(directory, "SELECT symbol, ts_ns, volume, trades FROM bars") == [("AAPL", NOON, 12.0, 3)]

    lives(script)


def test_without_a_store_everything_is_told_at_once() -> None:
    async def script(_: Path) -> None:
        life = Life(None)
        await life.begin()
        life.bus.publish(fill(1))
        life.bus.publish(Alert("critical", "kill switch", ts=NOON, ts_init=NOON))
        assert [(channel, seq) for channel, seq, _, _ in life.told] == [(TRADES_LANE, 1), (ALERTS_LANE, 2)]
        assert await life.journal.is_written()
        await life.end(is_clean=True)

    lives(script)


def test_the_verdict_on_a_fill_is_known_and_a_conflict_is_kept_apart_once() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        verdicts = []
        for event in (fill(1), fill(1), fill(1, price=D(1)), fill(1, price=D(1)), fill(2)):
            life.bus.publish(event)
            verdicts.append(life.journal.last_verdict)
        assert verdicts == [
            Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.CONFLICT, Verdict.ACCEPTED
        ]  # fmt: skip
        await life.end(is_clean=True)
        assert read_table(directory, "SELECT trade_id, price FROM conflicts") == [("t1", "1")]
        assert read_table(directory, "SELECT trade_id FROM fills ORDER BY seq") == [("t1",), ("t2",)]
        life = Life(directory)
        await life.begin()
        life.bus.publish(fill(1, price=D(1)))
        assert life.journal.last_verdict is Verdict.CONFLICT
        assert life.collectors.execution.trades.conflicts == 1
        await life.end(is_clean=True)
        assert len(read_table(directory, "SELECT seq FROM conflicts")) == 1

    lives(script)


def test_each_minute_has_the_equity_of_the_account_and_of_each_strategy() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(Equity(D("1000.50"), ts=NOON, ts_init=NOON))
        life.bus.publish(fill(1, price=D("100.25"), commission=D("0.1")))
        for second in (1, 2, 61):
            life.frame(NOON + second * S)
        await life.end(is_clean=True)
        found = read_table(directory, "SELECT ts_ns, strategy, total_pnl, capital FROM equity ORDER BY ts_ns, strategy")
        assert found == [
            (NOON, "", "-0.10", "1000.50"), (NOON, "alpha", "-0.10", None),
            (NOON + 60 * S, "", "-0.10", "1000.50"), (NOON + 60 * S, "alpha", "-0.10", None),
        ]  # fmt: skip

    lives(script)


def test_a_slippage_that_is_known_later_gets_into_the_row() -> None:
    async def script(directory: Path) -> None:
        life = Life(directory)
        await life.begin()
        life.bus.publish(fill(1, price=D(101)))
        life.bus.publish(order(1, "new", arrival_price=D(100)))
        await life.end(is_clean=True)
        assert read_table(directory, "SELECT slippage_bps FROM fills") == [(100.0,)]

    lives(script)
