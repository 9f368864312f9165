"""The strategy section in a checkpoint: restored, it equals one that never stopped, to the last digit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import CheckpointError
from observability.events import Equity, Position, Signal
from observability.metrics.arithmetic.sessions import SessionCalendar
from observability.metrics.strategy.position import AverageCostPosition
from observability.metrics.strategy.returns import EquityDaysState
from observability.metrics.strategy.state import StrategyState
from observability.store.checkpoint import pack, unpack
from strategy_desk import DAY, NOON, D, Desk, S

SYMBOLS = ("AAPL", "AMZN", "MSFT")
STRATEGIES = ("a", "b", "c")
SETTINGS: dict[str, Any] = {
    "max_strategies": 2,
    "max_positions": 3,
    "multipliers": {"AMZN": D("0.5")},
    "calendar": SessionCalendar(ZoneInfo("America/New_York"), time(17)),
}

Step = Callable[[Desk, int], object]


def fill(strategy: str, symbol: str, quantity: int, price: Decimal) -> Step:
    return lambda desk, now: desk.fill(
        quantity, str(price), strategy=strategy, symbol=symbol, ts=now, ts_init=now, commission=D("0.01")
    )


def quote(symbol: str, bid: Decimal) -> Step:
    return lambda desk, now: desk.quote(float(bid), float(bid) + 1, now, symbol)


def tick() -> Step:
    return lambda desk, now: desk.tick(now)


def report(strategy: str, symbol: str, quantity: int) -> Step:
    return lambda desk, now: desk.bus.publish(Position(symbol, D(quantity), D(100), strategy, ts=now, ts_init=now))


def equity(strategy: str, value: Decimal) -> Step:
    return lambda desk, now: desk.bus.publish(Equity(value, strategy, ts=now, ts_init=now))


def signal(strategy: str) -> Step:
    return lambda desk, now: desk.bus.publish(Signal(strategy, "AAPL", "buy", 0.1, ts=now, ts_init=now))


strategies = st.sampled_from(STRATEGIES)
symbols = st.sampled_from(SYMBOLS)
amounts = st.decimals(min_value=D(1), max_value=D(300), places=2)
steps = st.one_of(
    st.builds(fill, strategies, symbols, st.integers(-5, 5).filter(bool), amounts),
    st.builds(quote, symbols, amounts),
    st.builds(tick),
    st.builds(report, strategies, symbols, st.integers(-5, 5)),
    st.builds(equity, st.sampled_from(["", *STRATEGIES]), amounts),
    st.builds(signal, strategies),
)
pauses = st.sampled_from([0, 1, 3600 * S, DAY, 3 * DAY])


def restart(desk: Desk) -> None:
    """Replaces the collector by one that loads its checkpoint; market and trade log stay, having their own."""
    old = desk.strategy
    asyncio.run(old.stop())
    desk.strategy = desk.make_section(old.trades)
    desk.strategy.load(old.save())
    asyncio.run(desk.strategy.start())


def saved(desk: Desk) -> tuple[StrategyState, list[EquityDaysState]]:
    """Returns what a checkpoint has. Decimals of the same value are equal, whatever zeros they end with."""
    state = unpack(desk.strategy.save(), StrategyState)
    days = [unpack(each.days, EquityDaysState) for each in (*state.accounts, state) if each.days]
    for each in (*state.accounts, state):
        each.days = b""
    return state, days


def shown(desk: Desk) -> dict[str, Any]:
    section = desk.strategy
    return {
        "fields": section.fields.to_json(),
        "strategies": {name: part.to_json() for name, part in section.groups[0].parts.items()},
        "positions": desk.positions(),
        "symbols": {symbol: part.to_json() for symbol, part in section.groups[2].parts.items()},
        "performance": section.performance(),
        "breaks": section.breaks(),
        "equity": list(section.equity_rows(desk.now)),
    }


@given(st.lists(st.tuples(pauses, st.booleans(), steps), max_size=30))
def test_restarts_at_any_moment_change_no_figure(sequence: list[tuple[int, bool, Step]]) -> None:
    steady, restarted = Desk(**SETTINGS), Desk(**SETTINGS)
    for elapsed, is_restarted, step in sequence:
        if is_restarted:
            # The hub ticks to its end, and when it starts.
            steady.tick(steady.now)
            restarted.tick(restarted.now)
            restart(restarted)
            restarted.tick(restarted.now)
        for desk in (steady, restarted):
            desk.now += elapsed
            step(desk, desk.now)
    for desk in (steady, restarted):
        desk.tick(desk.now)
    restart(restarted)
    restarted.tick(restarted.now)
    assert shown(restarted) == shown(steady)
    assert saved(restarted) == saved(steady)


def test_days_between_two_runs_are_no_returns() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(10, 100)
    for day, price in enumerate((110.0, 99.0)):
        desk.quote(price, price, NOON + day * DAY)
        desk.tick(NOON + day * DAY)
    restart(desk)
    for day, price in ((3000, 120.0), (3002, 130.0), (3003, 130.0)):
        desk.quote(price, price, NOON + day * DAY)
        desk.tick(NOON + day * DAY)
    account = desk.strategy.performance()["account"]
    # The first two, and three of the second run: a silent day while it runs is a return of zero.
    assert (account["days"], account["sharpe"]["n"]) == (5, 5)
    restart(desk)
    desk.tick(NOON + 3003 * DAY)
    assert desk.strategy.performance()["account"]["days"] == 5


def test_the_anchor_of_the_daily_pnl_survives_a_restart() -> None:
    desk = Desk(**SETTINGS)
    desk.fill(10, 100)
    desk.quote(104.0, 106.0)
    desk.tick(NOON)
    restart(desk)
    desk.fill(-10, 107, ts=NOON + DAY, ts_init=NOON + DAY)
    metrics = desk.tick(NOON + DAY)
    assert (metrics["total_pnl"], metrics["daily_pnl"]) == (70.0, 20.0)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", pack(StrategyState(days=b"\xc1")), pack(StrategyState(days=pack(EquityDaysState())))[:-1]]
)
def test_a_checkpoint_that_cannot_be_read_changes_nothing(data: bytes) -> None:
    desk = Desk()
    before = desk.strategy.save()
    with pytest.raises(CheckpointError):
        desk.strategy.load(data)
    assert desk.strategy.save() == before


def test_fields_that_an_older_checkpoint_lacks_take_their_defaults() -> None:
    desk = Desk()
    desk.strategy.load(b"\x80")
    assert desk.tick()["total_pnl"] == 0.0


def test_a_checkpoint_keeps_every_digit() -> None:
    desk, position = Desk(), AverageCostPosition()
    for quantity, price in (
        ("0.000000000000000001", "999999999999999999.999999999999999999"),
        ("3", "0.1"),
        ("-1", "0.3"),
    ):
        desk.fill(quantity, price)
        position.apply(D(quantity), D(price), ts_ns=NOON)
    state = unpack(desk.strategy.save(), StrategyState)
    (kept,) = state.accounts[0].positions
    assert kept.position == position
    assert isinstance(kept.position.open_cost, Decimal)
