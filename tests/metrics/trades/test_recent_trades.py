"""Queries over the trades in memory give the loop its turn in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from observability.events import Fill
from observability.metrics.trades.queries import RecentTrades
from observability.metrics.trades.trade import TradeFilter
from observability.metrics.trades.trade_log import MAX_TRADES, Reader, TradeLog

ALL = TradeFilter()


def full_log() -> TradeLog:
    log = TradeLog()
    for number in range(MAX_TRADES):
        fill = Fill(
            str(number), order_id="o1", symbol="A", side="buy", quantity=Decimal(number + 1), price=Decimal("100.25"),
            ts=number, ts_init=number,
        )  # fmt: skip
        log.admit(fill, Reader.ACCOUNTING)
    return log


@pytest.mark.parametrize(
    "ask", [lambda trades: trades.stats(ALL), lambda trades: trades.query(ALL)], ids=["stats", "query"]
)
def test_the_loop_turns_while_a_full_log_is_read(ask: Callable[[RecentTrades], Awaitable[Any]]) -> None:
    trades = RecentTrades(full_log())

    async def main() -> tuple[Any, int]:
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1
            loop.call_soon(count)

        loop = asyncio.get_running_loop()
        asking = asyncio.ensure_future(ask(trades))
        count()
        return await asking, turns

    answer, turns = asyncio.run(main())
    assert answer in (trades._log.stats(ALL), trades._log.query(ALL))
    assert turns > 2


def test_trades_that_come_while_the_log_is_read_are_not_in_the_answer() -> None:
    log = full_log()

    async def main() -> int:
        asking = asyncio.ensure_future(RecentTrades(log).query(ALL))
        await asyncio.sleep(0)
        log.admit(
            Fill("new", order_id="o1", symbol="A", side="buy", quantity=Decimal(1), price=Decimal(1), ts=1, ts_init=1),
            Reader.ACCOUNTING,
        )
        page, total = await asking
        assert page[0].trade_id == str(MAX_TRADES - 1)
        return total

    assert asyncio.run(main()) == MAX_TRADES
