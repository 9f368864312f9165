"""A strategy section that was stopped and started again is the one that never stopped, to the last digit."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import time
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.errors import CheckpointError
from observability.events import Equity, Position, Signal
from observability.metrics import StrategyCollector
from observability.metrics.arithmetic.sessions import SessionCalendar
from observability.metrics.strategy.equity_days import Days
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
    """Puts a new collector into the place of the old one; market and record of trades have states of their own."""
    old = desk.strategy
    asyncio.run(old.stop())
    desk.strategy = StrategyCollector(bus=desk.bus, market=desk.market, trades=old.trades, **SETTINGS)
    desk.strategy.load(old.save())
    asyncio.run(desk.strategy.start())


def shown(desk: Desk) -> dict[str, Any]:
    section = desk.strategy
    return {
        "fields": section.fields.to_json(),
        "strategies": {name: part.to_json() for name, part in section.groups[0].parts.items()},
        "positions": desk.positions(),
        "performance": section.performance(),
        "breaks": section.breaks(),
        "equity": list(section.equity_rows(desk.now)),
    }


@settings(max_examples=200)
@given(st.lists(st.tuples(pauses, st.booleans(), steps), max_size=30))
def test_restarts_at_any_moments_change_nothing(sequence: list[tuple[int, bool, Step]]) -> None:
    steady, restarted = Desk(**SETTINGS), Desk(**SETTINGS)
    for elapsed, is_restarted, step in sequence:
        if is_restarted:
            restart(restarted)
        for desk in (steady, restarted):
            desk.now += elapsed
            step(desk, desk.now)
    restart(restarted)
    for desk in (steady, restarted):
        desk.tick(desk.now)
    assert shown(restarted) == shown(steady)
    assert restarted.strategy.save() == steady.strategy.save()


def test_an_anchor_outlives_a_restart() -> None:
    desk = Desk(**SETTINGS)
    desk.fill(10, 100)
    desk.quote(104.0, 106.0)
    desk.tick(NOON)
    restart(desk)
    desk.fill(-10, 107, ts=NOON + DAY, ts_init=NOON + DAY)
    metrics = desk.tick(NOON + DAY)
    assert (metrics["total_pnl"], metrics["daily_pnl"]) == (70.0, 20.0)


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", pack(StrategyState(days=b"\xc1")), pack(StrategyState(days=pack(Days())))[:-1]]
)
def test_a_state_that_cannot_be_read_changes_nothing(data: bytes) -> None:
    desk = Desk()
    before = desk.strategy.save()
    with pytest.raises(CheckpointError):
        desk.strategy.load(data)
    assert desk.strategy.save() == before


def test_a_state_of_an_earlier_version_takes_the_defaults() -> None:
    desk = Desk()
    desk.strategy.load(b"\x80")
    assert desk.tick()["total_pnl"] == 0.0


def test_a_state_keeps_every_digit() -> None:
    desk = Desk()
    desk.fill("0.000000000000000001", "999999999999999999.999999999999999999")
    desk.fill("3", "0.1")
    desk.fill("-1", "0.3")
    state = unpack(desk.strategy.save(), StrategyState)
    part = desk.strategy.account("mean")
    assert part is not None
    (kept,) = state.accounts[0].positions
    assert kept.position == part.positions["AAPL"].position
    assert isinstance(kept.position.open_cost, Decimal)
