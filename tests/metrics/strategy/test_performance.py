"""The performance document: each figure with its sample count, or the reason why it has no value."""

from __future__ import annotations

from datetime import time
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from observability.events import Equity
from observability.metrics.arithmetic.sessions import SessionCalendar
from observability.metrics.strategy.capital import NO_CAPITAL
from observability.metrics.strategy.performance import NOTHING_CLOSED, NOTHING_DECIDED, NOTHING_LOST
from observability.metrics.strategy.returns import TOO_FEW_DAYS
from strategy_desk import DAY, NOON, D, Desk, S

MIDNIGHT = NOON + DAY // 2


def account(desk: Desk) -> dict[str, Any]:
    found: dict[str, Any] = desk.strategy.performance()["account"]
    return found


def figure(desk: Desk, name: str) -> tuple[float | None, int, str | None]:
    found = account(desk)[name]
    return found["value"], found["n"], found["reason"]


def test_a_day_without_an_event_has_a_return_of_zero() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(10, 100)
    desk.quote(110.0, 110.0)
    desk.tick(NOON)
    desk.tick(NOON + 3 * DAY)
    assert (account(desk)["days"], account(desk)["first_day"], account(desk)["last_day"]) == (
        3, "2012-06-21", "2012-06-23"
    )  # fmt: skip
    # Returns 0.1, 0, 0: mean 1/30, deviation 0.1 / sqrt(3).
    assert figure(desk, "sharpe") == (pytest.approx(1 / 30 / (0.1 / 3**0.5) * 365**0.5), 3, None)


def test_the_current_day_does_not_count() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(10, 100)
    desk.tick(MIDNIGHT - 1)
    assert (account(desk)["days"], figure(desk, "sharpe")) == (0, (None, 0, TOO_FEW_DAYS))
    desk.tick(MIDNIGHT)
    assert account(desk)["days"] == 1


def test_a_utc_day_ends_at_the_marks_before_it_in_any_calendar() -> None:
    desk = Desk(starting_capital=D(1000), calendar=SessionCalendar(ZoneInfo("America/New_York"), time(17)))
    desk.fill(10, 100)
    desk.quote(105.0, 105.0)
    desk.tick(MIDNIGHT - 3600 * S)
    desk.quote(110.0, 110.0, ts=MIDNIGHT - S)
    desk.quote(150.0, 150.0, ts=MIDNIGHT)
    desk.tick(MIDNIGHT)
    assert figure(desk, "annual_return")[0] == pytest.approx(1.1**365 - 1)


def test_ratios_are_annualised_as_configured() -> None:
    desk = Desk(starting_capital=D(1000), annualization=252)
    desk.fill(10, 100)
    desk.quote(101.0, 101.0)
    desk.tick(MIDNIGHT - S)
    desk.tick(MIDNIGHT)
    assert desk.strategy.performance()["annualization"] == 252
    assert figure(desk, "annual_return")[0] == pytest.approx(1.01**252 - 1)


def test_a_strategy_is_measured_by_its_own_capital_only() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.bus.publish(Equity(D(100), "a", ts=NOON, ts_init=NOON))
    desk.fill(1, 100, strategy="a")
    desk.fill(1, 100, strategy="b")
    desk.quote(110.0, 110.0)
    desk.tick(NOON)
    desk.tick(NOON + 2 * DAY)
    strategies = desk.strategy.performance()["strategies"]
    assert strategies["a"]["sharpe"]["value"] == pytest.approx(0.05 / (0.1 / 2**0.5) * 365**0.5)
    assert strategies["b"]["sharpe"]["reason"] == NO_CAPITAL


def test_outcomes_have_their_counts_and_reasons() -> None:
    desk = Desk()
    names = ("win_rate", "profit_factor", "expectancy", "best", "worst", "holding_time_seconds")
    assert {figure(desk, name) for name in names} == {(None, 0, NOTHING_CLOSED)}

    def round_trip(price: int) -> None:
        desk.fill(1, 100)
        desk.fill(-1, price)

    round_trip(100)
    assert figure(desk, "win_rate") == (None, 0, NOTHING_DECIDED)
    round_trip(104)
    assert figure(desk, "profit_factor") == (None, 1, NOTHING_LOST)
    round_trip(98)
    assert figure(desk, "win_rate") == (0.5, 2, None)
    assert figure(desk, "profit_factor") == (2.0, 2, None)
    assert figure(desk, "expectancy") == (2 / 3, 3, None)
    assert (figure(desk, "best"), figure(desk, "worst")) == ((4.0, 3, None), (-2.0, 3, None))
    assert account(desk)["n_breakeven"] == 1


def test_holding_time_uses_engine_times_and_survives_a_drop() -> None:
    desk = Desk(max_positions=1)
    desk.fill(1, 100, ts=NOON, ts_init=NOON + 7 * S)
    desk.fill(-1, 100, ts=NOON + 30 * S, ts_init=NOON + 99 * S)
    desk.fill(3, 100, symbol="AMZN", ts=NOON, ts_init=NOON + 100 * S)
    desk.fill(-3, 100, symbol="AMZN", ts=NOON + 10 * S, ts_init=NOON + 100 * S)
    assert figure(desk, "holding_time_seconds") == (15.0, 2, None)


def test_the_document_shows_the_session() -> None:
    desk = Desk(calendar=SessionCalendar(ZoneInfo("America/New_York"), time(17)))
    assert desk.strategy.performance()["session"] == {"timezone": "America/New_York", "start": "17:00", "ends": None}
    desk.fill(1, 100)
    assert desk.strategy.performance()["session"]["ends"] == "2012-06-21T21:00:00.000Z"


def test_a_session_ends_at_a_tick_while_there_is_no_account() -> None:
    desk = Desk()
    desk.bus.publish(Equity(D(1000), ts=NOON, ts_init=NOON))
    for now_ns, ends in ((NOON, "2012-06-22"), (MIDNIGHT - 1, "2012-06-22"), (MIDNIGHT, "2012-06-23")):
        desk.tick(now_ns)
        assert desk.strategy.performance()["session"]["ends"] == f"{ends}T00:00:00.000Z"


def test_figures_are_derived_again_only_after_a_change() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(2, 100)
    desk.tick(NOON)
    before = account(desk)["sharpe"]
    desk.quote(110.0, 110.0)
    desk.tick(NOON)
    assert account(desk)["sharpe"] is before
    desk.tick(MIDNIGHT)
    assert account(desk)["sharpe"] is not before


def test_the_document_is_valid_json_with_and_without_values() -> None:
    desk = Desk(starting_capital=D(1000))
    orjson.dumps(desk.strategy.performance())
    for day, price in enumerate((100, 110, 90, 105)):
        at = NOON + day * DAY
        desk.quote(float(price), float(price), ts=at)
        desk.fill(2 if day < 2 else -1, price, ts=at, ts_init=at)
        desk.tick(at)
    desk.tick(NOON + 4 * DAY)
    document = orjson.loads(orjson.dumps(desk.strategy.performance()))
    ratios = ("sharpe", "sortino", "calmar", "annual_return", "volatility")
    assert all(document["account"][name]["value"] is not None for name in ratios)
    assert document["account"]["drawdown"]["maximum"]["trough_time"] == "2012-06-23T12:00:00.000Z"
    assert desk.strategy.fields.to_json()["sharpe"] == document["account"]["sharpe"]["value"]
