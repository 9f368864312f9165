"""The starting capital: configured, or reported by the engine."""

from __future__ import annotations

from observability.events import Equity
from strategy_desk import NOON, D, Desk


def test_a_report_does_not_change_a_configured_capital() -> None:
    desk = Desk(starting_capital=D("1000.5"))
    desk.fill(1, 100)
    desk.quote(110.0, 110.0)
    desk.bus.publish(Equity(D(990), ts=NOON, ts_init=NOON))
    metrics = desk.tick()
    assert (metrics["starting_capital"], metrics["equity"], metrics["reported_equity"]) == (1000.5, 1010.5, 990.0)


def test_a_drawdown_has_a_percentage_once_its_capital_is_known() -> None:
    desk = Desk()
    desk.fill(1, 100, strategy="a")
    desk.quote(90.0, 90.0)
    desk.tick()
    desk.bus.publish(Equity(D(190), "a", ts=NOON, ts_init=NOON))
    desk.tick()
    drawdown = desk.strategy.performance()["strategies"]["a"]["drawdown"]
    assert drawdown["current"]["percent"] == drawdown["maximum_percent"]["percent"] == 5.0


def test_a_first_report_includes_the_pnl_since_the_last_tick() -> None:
    desk = Desk()
    desk.quote(110.0, 110.0)
    desk.fill(1, 100, strategy="a")
    desk.tick()
    desk.fill(1, 100, strategy="a")
    desk.bus.publish(Equity(D(120), "a", ts=NOON, ts_init=NOON))
    assert [row[4] for row in desk.strategy.equity_rows(NOON) if row[0] == "a"] == [100]


def test_a_configured_capital_is_known_before_the_first_event() -> None:
    assert Desk(starting_capital=D(1000)).tick()["equity"] == 1000.0
