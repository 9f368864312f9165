"""Totals over sites: the sum of the parts is the whole, to the last digit, and what is no sum is null with a reason."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.schemas.execution import EXECUTION_SECTION
from observability.schemas.strategy import STRATEGY_SECTION
from observability.sites.totals import (
    EXECUTION,
    STRATEGY,
    UNDEFINED_REASON,
    SectionTotals,
    strategy_total,
    total_of,
)

GROUPS = {"strategies", "positions", "symbols"}
CENTS = st.integers(-(10**15), 10**15).map(lambda cents: cents / 100)


def account(currency: str = "USD", **figures: Any) -> dict[str, Any]:
    """Returns the fields of the section `strategy` at one site."""
    sums = dict.fromkeys(STRATEGY.amounts, 0.0) | dict.fromkeys(STRATEGY.counts, 0)
    none = dict.fromkeys((*STRATEGY.texts, *STRATEGY.undefined))
    currencies = {currency: {"realized": figures.get("total_pnl") or 0.0, "fees": 0.1}}
    special = {"reporting_currency": currency, "currencies": currencies, "unconverted": {}, "unconverted_reason": None}
    return {**sums, **none, **special, "rates": [], **figures}


@pytest.mark.parametrize(("totals", "section"), [(STRATEGY, STRATEGY_SECTION), (EXECUTION, EXECUTION_SECTION)])
def test_every_field_of_a_section_has_one_meaning_over_sites(totals: SectionTotals, section: dict[str, Any]) -> None:
    decided = [
        *totals.amounts, *totals.counts, *totals.largest, *totals.texts, *totals.undefined, *totals.reasons,
        *totals.special,
    ]  # fmt: skip
    fields = [name for name in section["required"] if name not in GROUPS]
    assert sorted(decided) == sorted(fields)


@given(st.lists(st.tuples(CENTS, st.integers(0, 10**6)), min_size=1, max_size=8))
def test_the_sum_of_the_sites_is_the_total_to_the_last_digit(figures: list[tuple[float, int]]) -> None:
    live = {f"s{number}": account(total_pnl=pnl, fills=fills) for number, (pnl, fills) in enumerate(figures)}
    total = strategy_total(live)
    exact = sum((Decimal(repr(pnl)) for pnl, _ in figures), Decimal(0))
    assert total["total_pnl"] == float(exact)
    assert total["currencies"]["USD"]["realized"] == float(exact)
    assert total["fills"] == sum(fills for _, fills in figures)


def test_decimals_that_have_no_double_add_up_exactly() -> None:
    live = {f"s{number}": account(total_pnl=0.1) for number in range(3)}
    assert strategy_total(live)["total_pnl"] == 0.3


def test_currencies_are_summed_apart_and_never_together() -> None:
    total = strategy_total({"london": account("GBP", total_pnl=1.0), "tokyo": account("JPY", total_pnl=200.0)})
    assert {total[name] for name in STRATEGY.amounts} == {None}
    assert total["reporting_currency"] is None
    assert total["unconverted_reason"] == ("the sites report in different currencies: london in GBP, tokyo in JPY")
    assert {name: each["realized"] for name, each in total["currencies"].items()} == {"GBP": 1.0, "JPY": 200.0}
    assert total_of(EXECUTION, {"a": {"commission": 1.0}}, ["GBP", "JPY"])["commission"] is None


def test_a_sum_that_one_site_cannot_give_is_null_with_its_reason() -> None:
    lacking = account(total_pnl=None, unconverted={"EUR": 5.0}, unconverted_reason="no rate EUR/USD")
    total = strategy_total({"london": account(total_pnl=1.0), "tokyo": lacking})
    assert (total["total_pnl"], total["fees"]) == (None, 0.0)
    assert total["unconverted"] == {"EUR": 5.0}
    assert total["unconverted_reason"] == "tokyo: no rate EUR/USD"


def test_a_count_that_an_older_hub_does_not_have_is_null() -> None:
    older = account(fills=3)
    del older["signals"]
    total = strategy_total({"london": account(fills=1, signals=2), "tokyo": older})
    assert (total["fills"], total["signals"]) == (4, None)


@pytest.mark.parametrize(
    ("totals", "total"), [(STRATEGY, strategy_total({})), (EXECUTION, total_of(EXECUTION, {}, []))]
)
def test_without_a_live_site_every_figure_is_null_with_a_reason(totals: SectionTotals, total: dict[str, Any]) -> None:
    figures = (*totals.amounts, *totals.counts, *totals.largest, *totals.undefined)
    assert {total[name] for name in figures} == {None}
    assert total["undefined_reason"] == "no site is live"
    assert {total[name] for name in totals.reasons} <= {"no site is live"}


def test_without_a_live_site_amounts_say_why_they_are_null() -> None:
    assert strategy_total({})["unconverted_reason"] == "no site is live"


def test_ratios_and_falls_are_null_over_several_sites() -> None:
    total = strategy_total({"london": account(sharpe=2.0, drawdown=5.0), "tokyo": account(sharpe=1.0, drawdown=1.0)})
    assert {total[name] for name in STRATEGY.undefined} == {None}
    assert total["undefined_reason"] == UNDEFINED_REASON


def test_the_largest_latency_is_that_of_all_sites() -> None:
    live = {"london": {"latency_max_ms": 3.0}, "tokyo": {"latency_max_ms": None}, "paris": {"latency_max_ms": 5.0}}
    assert total_of(EXECUTION, live, ["USD"])["latency_max_ms"] == 5.0
