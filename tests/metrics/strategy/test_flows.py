"""Money paid in and out: it is in the equity, and in no measure of performance."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Cash, Equity
from observability.metrics.strategy.drawdown import Drawdown
from observability.metrics.strategy.returns import MAX_FLOWS, RUINED, DailyReturns, EquityDays
from strategy_desk import DAY, NOON, D, Desk, S

FIRST = 20_000
CAPITAL = 1000

# A day is its P&L between what is paid in and out: [100, ("pay", 50), -20].
STEPS = st.one_of(
    st.integers(-60, 60),
    st.integers(-200, 400).map(lambda amount: ("pay", amount)),
)
DAYS = st.lists(st.lists(STEPS, max_size=5), min_size=2, max_size=20)


def is_pay(step: Any) -> bool:
    return isinstance(step, tuple)


def recorded(days: list[list[Any]]) -> EquityDays:
    found = EquityDays()
    found.begin(FIRST)
    total = D(0)
    for number, steps in enumerate(days):
        for step in steps:
            if is_pay(step):
                found.add_flow(FIRST + number, total, D(step[1]))
            else:
                total += step
        found.close(FIRST + number, FIRST + number, total)
    return found


def daily_returns(days: list[list[Any]], capital: int = CAPITAL) -> list[Fraction] | None:
    """Returns the time-weighted returns as their definition has them; None if the equity falls to zero."""
    equity, returns = Fraction(capital), []
    for steps in days:
        growth = Fraction(1)
        for step in steps:
            if is_pay(step):
                equity += step[1]
            else:
                growth *= (equity + step) / equity
                equity += step
            if equity <= 0:
                return None
        returns.append(growth - 1)
    return returns


@given(DAYS, st.sampled_from([0, D("0.05"), D("-0.01")]))
def test_ratios_are_those_of_returns_linked_between_the_payments(days: list[list[Any]], free_rate: Decimal) -> None:
    returns = daily_returns(days)
    found = DailyReturns(recorded(days)).figures(D(CAPITAL), 252, D(free_rate))
    if returns is None:
        return
    free = (1 + float(free_rate)) ** (1 / 252) - 1
    n, mean = len(returns), float(sum(returns) / len(returns))
    variance = float(sum((each - sum(returns) / n) ** 2 for each in returns) / (n - 1))
    downside = math.sqrt(sum(min(float(each) - free, 0.0) ** 2 for each in returns) / n)
    growth = math.prod(1 + each for each in returns)
    assert found["annual_return"]["value"] == pytest.approx(float(growth) ** (252 / n) - 1, rel=1e-9, abs=1e-12)
    if variance:
        assert found["sharpe"]["value"] == pytest.approx((mean - free) / math.sqrt(variance) * math.sqrt(252), rel=1e-9)
    if downside:
        assert found["sortino"]["value"] == pytest.approx((mean - free) / downside * math.sqrt(252), rel=1e-9)
    index, peak, fall = Fraction(1), Fraction(1), Fraction(0)
    for each in returns:
        index *= 1 + each
        peak = max(peak, index)
        fall = max(fall, 1 - index / peak)
    assert (found["calmar"]["value"] is None) == (not fall)
    if fall:
        expected = found["annual_return"]["value"] / float(fall)
        assert found["calmar"]["value"] == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.lists(st.integers(-60, 60), min_size=2, max_size=20), st.data())
def test_payments_in_proportion_to_the_gains_change_no_return(changes: list[int], data: st.DataObject) -> None:
    # The same returns on an equity that a payment has doubled.
    doubled_on = data.draw(st.integers(0, len(changes) - 1))
    plain = DailyReturns(recorded([[change] for change in changes])).figures(D(3000), 365)
    equity = 3000 + sum(changes[:doubled_on])
    days = [[change] for change in changes[:doubled_on]]
    days += [[("pay", equity), 2 * changes[doubled_on]]] if equity else [[2 * changes[doubled_on]]]
    days += [[2 * change] for change in changes[doubled_on + 1 :]]
    paid = DailyReturns(recorded(days)).figures(D(3000), 365)
    for name in plain:
        assert paid[name]["reason"] == plain[name]["reason"]
        if plain[name]["reason"] is None:
            assert paid[name]["value"] == pytest.approx(plain[name]["value"], rel=1e-12)


@given(st.lists(STEPS, min_size=1, max_size=40))
def test_the_drawdown_in_percent_is_that_of_a_share_of_a_fund(steps: list[Any]) -> None:
    drawdown = Drawdown()
    drawdown.set_capital(D(CAPITAL))
    drawdown.observe(D(0), S)
    total, equity, share = 0, Fraction(CAPITAL), Fraction(1)
    peak, deepest, total_peak = Fraction(1), Fraction(0), 0
    for second, step in enumerate(steps, 2):
        if is_pay(step):
            if equity + step[1] <= 0:
                return
            drawdown.add_flow(D(step[1]), D(total), second * S)
            equity += step[1]
        else:
            share *= (equity + step) / equity
            equity += step
            total += step
            drawdown.observe(D(total), second * S)
        if equity <= 0:
            return
        peak, total_peak = max(peak, share), max(total_peak, total)
        deepest = max(deepest, 1 - share / peak)
    assert float(drawdown.current_pct() or 0) == pytest.approx(float(1 - share / peak) * 100, rel=1e-12, abs=1e-12)
    assert float(drawdown.maximum_pct() or 0) == pytest.approx(float(deepest) * 100, rel=1e-12, abs=1e-12)
    # In currency nothing that is paid counts.
    assert drawdown.current == total_peak - total


def test_a_day_whose_gain_was_lost_around_a_payment_has_a_return() -> None:
    found = DailyReturns(recorded([[100, ("pay", 1100), -100], [0]])).figures(D(1000), 365)
    assert found["annual_return"]["value"] == pytest.approx((1.1 * 2100 / 2200) ** (365 / 2) - 1)


def test_an_account_that_begins_empty_has_returns_from_its_first_deposit_on() -> None:
    found = DailyReturns(recorded([[("pay", 1000), 100], [110]])).figures(D(0), 365)
    assert found["annual_return"]["value"] == pytest.approx(1.21 ** (365 / 2) - 1)
    assert DailyReturns(recorded([[5, ("pay", 1000)]])).figures(D(0), 365)["annual_return"]["reason"] == RUINED


def test_returns_that_were_looked_at_before_a_first_deposit_are_of_it_too() -> None:
    days = EquityDays()
    returns = DailyReturns(days)
    returns.figures(D(1000), 365)
    days.add_flow(FIRST, D(0), D(9000))
    days.begin(FIRST)
    days.close(FIRST, FIRST, D(1000))
    assert returns.figures(D(1000), 365)["annual_return"]["value"] == pytest.approx(1.1**365 - 1)


def test_too_many_payments_drop_the_oldest_days_and_no_money() -> None:
    days = EquityDays()
    days.begin(FIRST)
    per_day = MAX_FLOWS // 4
    for day in range(5):
        for number in range(per_day):
            days.add_flow(FIRST + day, D(day * per_day + number), D(1))
        days.close(FIRST + day, FIRST + day, D((day + 1) * per_day))
    assert len(days.flows) <= MAX_FLOWS
    assert days.base_flows + sum(amount for _, _, amount in days.flows) == 5 * per_day
    assert (days.has_room(FIRST + 5), days.n) == (True, 5 - (days.first or 0) + FIRST)


def test_the_state_of_a_checkpoint_has_what_was_paid() -> None:
    days = recorded([[100, ("pay", 50), -20], [("pay", -30), 5], [1]])
    restored = EquityDays.from_state(days.to_state())
    assert DailyReturns(restored).figures(D(1000), 365) == DailyReturns(days).figures(D(1000), 365)


# -- the section


def cash(number: int, amount: int | str, reason: Any = "deposit", **changes: Any) -> Cash:
    return Cash(D(amount), reason, "USD", f"c{number}", **changes)


def test_a_deposit_changes_equity_and_no_profit() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(10, 100)
    desk.quote(109.0, 111.0)
    desk.book(cash(1, 500))
    desk.book(cash(2, "-200", "withdrawal"))
    desk.book(cash(3, 50, "transfer"))
    section = desk.tick()
    assert (section["equity"], section["external_flows"], section["starting_capital"]) == (1450.0, 350.0, 1000.0)
    assert (section["total_pnl"], section["realized_pnl"], section["income"]) == (100.0, 0.0, 0.0)


def test_other_cash_is_profit_of_its_strategy() -> None:
    desk = Desk(starting_capital=D(1000))
    for number, (amount, reason) in enumerate(((7, "interest"), (2, "rebate"), (-3, "fee"), (-1, "other"))):
        desk.book(cash(number, amount, reason, strategy="mean"))
    section = desk.tick()
    assert (section["total_pnl"], section["income"], section["equity"]) == (5.0, 5.0, 1005.0)
    assert desk.part(0, "mean")["total_pnl"] == 5.0


def test_a_transfer_between_strategies_moves_equity_and_no_profit() -> None:
    desk = Desk()
    for name, value in (("a", 1000), ("b", 100)):
        desk.bus.publish(Equity(D(value), name, ts=NOON, ts_init=NOON))
        desk.fill(1, 100, strategy=name)
    desk.book(cash(1, -300, "transfer", strategy="a"))
    desk.book(cash(2, 300, "transfer", strategy="b"))
    section = desk.tick()
    assert [desk.part(0, name)["equity"] for name in "ab"] == [700.0, 400.0]
    assert (section["equity"], section["external_flows"], section["drawdown_pct"]) == (1100.0, 0.0, 0.0)


def test_a_capital_reported_later_leaves_out_what_was_paid_in_before() -> None:
    desk = Desk()
    desk.book(cash(1, 500))
    assert desk.tick()["equity"] is None
    desk.bus.publish(Equity(D(1700), "", ts=NOON, ts_init=NOON))
    section = desk.tick()
    assert (section["starting_capital"], section["equity"]) == (1200.0, 1700.0)


def test_cash_in_a_currency_without_a_rate_is_refused_whole() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.book(Cash(D(5), "deposit", "JPY", "c1"))
    assert "JPY cannot be converted" in desk.refusal()
    assert (desk.tick()["equity"], len(desk.strategy.bookings)) == (1000.0, 0)


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(-400, 900)), min_size=3, max_size=12))
def test_returns_and_drawdown_of_a_section_equal_those_of_a_fund(steps: list[tuple[int, int]]) -> None:
    desk = Desk(starting_capital=D(5000))
    desk.fill(10, 100)
    price, equity, share, peak = 100, Fraction(5000), Fraction(1), Fraction(1)
    deepest, day_start, returns = Fraction(0), Fraction(1), []
    for number, (move, paid) in enumerate(steps):
        desk.now = NOON + number * DAY
        price += move
        desk.quote(price, price, ts=desk.now)
        share *= (equity + 10 * move) / equity
        equity += 10 * move
        peak = max(peak, share)
        deepest = max(deepest, 1 - share / peak)
        if paid:
            desk.book(cash(number, paid, "transfer"))
            equity += paid
        returns.append(share / day_start - 1)
        day_start = share
    section = desk.tick(desk.now + DAY)
    assert section["equity"] == float(equity)
    assert section["max_drawdown_pct"] == pytest.approx(float(deepest) * 100, rel=1e-12, abs=1e-12)
    mean = sum(returns) / len(returns)
    variance = float(sum((each - mean) ** 2 for each in returns) / (len(returns) - 1))
    if variance:
        assert section["sharpe"] == pytest.approx(float(mean) / math.sqrt(variance) * math.sqrt(365), rel=1e-9)
