"""Ratios of daily returns, compared with independent computations in floats by the definitions of empyrical."""

from __future__ import annotations

import math
import statistics
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from observability.metrics.strategy.capital import NO_CAPITAL
from observability.metrics.strategy.returns import (
    MAX_DAYS,
    NO_DAYS,
    NO_DEVIATION,
    NO_FALL,
    NO_LOSING_DAY,
    RUINED,
    TOO_FEW_DAYS,
    DailyReturns,
    EquityDays,
)

D = Decimal
FIRST = 20_000


def days_of(totals: list[Decimal]) -> EquityDays:
    days = EquityDays()
    days.begin(FIRST)
    for number, total in enumerate(totals):
        days.close(FIRST + number, FIRST + number, total)
    return days


def figures(*totals: int | str, capital: int | None = 100, year: int = 365) -> dict[str, dict[str, Any]]:
    known = None if capital is None else D(capital)
    return DailyReturns(days_of([D(total) for total in totals])).figures(known, year)


def reasons(*totals: int | str, capital: int | None = 100) -> dict[str, str | None]:
    found = figures(*totals, capital=capital)
    assert all((figure["value"] is None) == (figure["reason"] is not None) for figure in found.values())
    return {name: figure["reason"] for name, figure in found.items()}


@given(
    st.lists(st.decimals(min_value=-50, max_value=50, places=2), min_size=2, max_size=60),
    st.sampled_from([252, 365]),
)
def test_ratios_equal_their_definitions(totals: list[Decimal], year: int) -> None:
    equity = [100.0, *(100.0 + float(total) for total in totals)]
    returns = [after / before - 1 for before, after in pairwise(equity)]
    deviation = statistics.stdev(returns)
    downside = math.sqrt(sum(min(change, 0.0) ** 2 for change in returns) / len(returns))
    peaks = [max(equity[: number + 1]) for number in range(len(equity))]
    fall = max(1 - value / peak for value, peak in zip(equity, peaks, strict=True))
    annual = (equity[-1] / equity[0]) ** (year / len(returns)) - 1
    assume(deviation > 1e-9 and downside > 1e-9)

    found = DailyReturns(days_of(totals)).figures(D(100), year)
    expected = {
        "sharpe": statistics.fmean(returns) / deviation * math.sqrt(year),
        "sortino": statistics.fmean(returns) / downside * math.sqrt(year),
        "annual_return": annual,
        "volatility": deviation * math.sqrt(year),
        "calmar": annual / fall,
    }
    for name, value in expected.items():
        assert found[name]["value"] == pytest.approx(value, rel=1e-9, abs=1e-9), name
        assert (found[name]["n"], found[name]["reason"]) == (len(returns), None)


def test_ratios_of_a_worked_example() -> None:
    # Equity 100, 110, 99, 99, 108.9: returns 0.1, -0.1, 0, 0.1; mean 0.025, squares 0.03, one of 0.01 below zero.
    found = figures("10", "-1", "-1", "8.9", year=252)
    assert found["sharpe"]["value"] == pytest.approx(0.025 / math.sqrt((0.03 - 4 * 0.025**2) / 3) * math.sqrt(252))
    assert found["sortino"]["value"] == pytest.approx(0.025 / math.sqrt(0.01 / 4) * math.sqrt(252))
    assert found["annual_return"]["value"] == pytest.approx(1.089**63 - 1)
    assert found["calmar"]["value"] == pytest.approx((1.089**63 - 1) / 0.1)


def test_days_without_a_change_count_as_returns_of_zero() -> None:
    days = EquityDays()
    days.begin(FIRST)
    days.close(FIRST + 1, FIRST + 3, D(10))
    assert DailyReturns(days).figures(D(100), 365) == figures(0, 10, 10, 10)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_figures_do_not_depend_on_when_they_are_read(totals: list[int], asked: int, known: int) -> None:
    days = EquityDays()
    days.begin(FIRST)
    returns = DailyReturns(days)
    for number, total in enumerate(totals):
        days.close(FIRST + number, FIRST + number, D(total))
        if number == asked:
            returns.figures(D(100) if number >= known else None, 365)
    assert returns.figures(D(100), 365) == figures(*totals)


def test_an_undefined_ratio_has_a_reason() -> None:
    assert set(reasons(1, 2, capital=None).values()) == {NO_CAPITAL}
    assert reasons() == {
        "sharpe": TOO_FEW_DAYS, "sortino": TOO_FEW_DAYS, "volatility": TOO_FEW_DAYS,
        "annual_return": NO_DAYS, "calmar": NO_DAYS,
    }  # fmt: skip
    assert reasons(5)["sharpe"] == TOO_FEW_DAYS
    assert reasons(5)["annual_return"] is None
    assert reasons(1, 3) == {
        "sharpe": None, "sortino": NO_LOSING_DAY, "volatility": None, "annual_return": None, "calmar": NO_FALL
    }  # fmt: skip


def test_equal_returns_that_no_decimal_represents_have_no_deviation() -> None:
    # Equity 9, 15, 25: each daily return is two thirds, which no decimal represents exactly.
    assert reasons(6, 16, capital=9)["sharpe"] == NO_DEVIATION
    assert figures(6, 16, capital=9)["volatility"]["value"] == 0.0


def test_no_ratio_is_defined_after_a_ruin() -> None:
    assert set(reasons(-100, 50).values()) == {RUINED}
    assert set(reasons(-120, 50).values()) == {RUINED}


def test_a_last_day_that_loses_everything_returns_minus_one() -> None:
    assert figures(10, -100)["annual_return"]["value"] == -1.0


def test_the_oldest_days_are_dropped_after_ten_years() -> None:
    totals = [D(number % 7) for number in range(MAX_DAYS + 10)]
    days = days_of(totals[:MAX_DAYS])
    returns = DailyReturns(days)
    returns.figures(D(100), 365)
    for number in range(MAX_DAYS, len(totals)):
        days.close(FIRST + number, FIRST + number, totals[number])
    assert days.n < MAX_DAYS
    kept = totals[-days.n :]
    base = totals[-days.n - 1]
    expected = DailyReturns(days_of([total - base for total in kept])).figures(D(100) + base, 365)
    assert returns.figures(D(100), 365) == expected
