"""Splits: quantities and prices change, and nothing that anybody is worth."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Position, Print, Split
from observability.metrics.execution_collector import ExecutionCollector
from strategy_desk import NOON, D, Desk, S


def split(numerator: int | str, denominator: int | str = 1, number: int = 1, symbol: str = "AAPL") -> Split:
    return Split(symbol, D(numerator), D(denominator), f"s{number}")


def position(desk: Desk, now_ns: int = NOON) -> dict[str, Any]:
    desk.strategy.refresh(now_ns)
    (found,) = desk.positions()
    return found


def test_two_for_one_doubles_the_quantity_at_half_the_cost_and_the_mark() -> None:
    desk = Desk()
    desk.fill(10, 100)
    desk.quote(109.0, 111.0)
    desk.book(split(2))
    found = position(desk)
    assert (found["quantity"], found["avg_price"], found["mark"], found["unrealized_pnl"]) == (20.0, 50.0, 55.0, 100.0)
    desk.quote(56.0, 58.0)
    assert position(desk)["unrealized_pnl"] == 140.0
    desk.fill(-20, 57)
    assert desk.tick()["realized_gross_pnl"] == 140.0


def test_ten_shares_at_three_for_two_are_fifteen() -> None:
    desk = Desk()
    desk.fill(10, 100)
    desk.book(split(3, 2))
    assert position(desk)["quantity"] == 15.0


def test_a_fraction_of_a_share_stays_until_a_fill_closes_it() -> None:
    desk = Desk()
    desk.fill(5, 100)
    desk.book(split(3, 2))
    assert position(desk)["quantity"] == 7.5
    desk.fill("-0.5", "66.60")
    assert position(desk)["quantity"] == 7.0


def test_a_quantity_without_a_last_digit_is_rounded_to_one_that_a_fill_can_close() -> None:
    desk = Desk()
    desk.fill(10, 100)
    desk.book(split(1, 3))
    assert desk.tick()["unrealized_pnl"] == 0.0
    desk.fill("-3.333333333333333333", 300)
    section = desk.tick()
    assert section["open_positions"] == 0
    assert section["realized_gross_pnl"] == pytest.approx(0, abs=1e-12)


def test_the_market_shows_prices_of_new_shares_until_a_new_quote_comes() -> None:
    desk = Desk()
    desk.quote(100.0, 102.0)
    desk.bus.publish(Print("AAPL", 101.0, 10.0, ts=NOON, ts_init=NOON))
    desk.book(split(4))
    desk.market.refresh(NOON)
    tracked = desk.market.symbol("AAPL")
    assert tracked is not None
    shown = tracked.to_json()
    assert (shown["bid"], shown["ask"], shown["last_price"]) == (25.0, 25.5, 25.25)
    assert (shown["volume"], shown["high"]) == (10.0, 101.0)
    desk.quote(26.0, 27.0)
    desk.market.refresh(NOON)
    assert tracked.to_json()["bid"] == 26.0


def test_a_mid_that_expires_after_a_split_yields_to_the_scaled_last_price() -> None:
    desk = Desk()
    desk.fill(10, 100)
    desk.quote(100.0, 102.0)
    desk.bus.publish(Print("AAPL", 104.0, 10.0, ts=NOON + S, ts_init=NOON + S))
    desk.now = NOON + 2 * S
    desk.book(split(2))
    assert position(desk, NOON + 3 * S)["mark"] == 50.5
    found = position(desk, NOON + 60 * S)
    assert (found["mark"], found["mark_source"]) == (52.0, "last")


def test_a_split_is_no_drawdown() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(10, 100)
    desk.quote(109.0, 111.0)
    desk.book(split(10))
    section = desk.tick()
    assert (section["equity"], section["max_drawdown"], section["net_exposure"]) == (1100.0, 0.0, 1100.0)


def test_both_sides_of_a_symbol_and_every_venue_are_split() -> None:
    desk = Desk()
    desk.fill(10, 100, strategy="a", venue="A")
    desk.fill(4, 100, strategy="a", venue="B")
    desk.fill(-6, 100, strategy="b")
    desk.book(split(2))
    desk.tick()
    found = {each["strategy"]: each for each in desk.positions()}
    assert (found["a"]["quantity"], found["b"]["quantity"]) == (28.0, -12.0)
    assert [found["a"]["venues"][name]["quantity"] for name in "AB"] == [20.0, 8.0]


def test_the_engines_report_from_before_a_split_is_no_break() -> None:
    desk = Desk()
    desk.fill(10, 100)
    desk.bus.publish(Position("AAPL", D(10), D(100), "mean", ts=NOON, ts_init=NOON))
    desk.book(split(2))
    assert desk.tick()["position_breaks"] == 0
    desk.bus.publish(Position("AAPL", D(20), D(50), "mean", ts=NOON, ts_init=NOON))
    assert (desk.tick()["position_breaks"], position(desk)["difference"]) == (0, 0.0)


@pytest.mark.parametrize("ratio", [("1", "1e17"), ("1e17", "1e-17")])
def test_a_split_that_makes_no_quantity_is_refused(ratio: tuple[str, str]) -> None:
    desk = Desk()
    desk.fill("0.01" if ratio[0] == "1" else 10, 100)
    desk.book(split(*ratio))
    assert "would hold" in desk.refusal()
    assert position(desk)["avg_price"] == 100.0


def test_markouts_of_fills_before_a_split_are_measured_in_new_shares() -> None:
    desk = Desk()
    execution = ExecutionCollector(bus=desk.bus, market=desk.market, bookings=desk.strategy.bookings)
    desk.bus.subscribe(Split, execution.on_split)
    desk.quote(99.0, 101.0)
    execution.on_fill(desk.fill(10, 100))
    desk.book(split(2))
    desk.quote(50.5, 51.5, ts=NOON + S // 2)
    desk.quote(50.5, 51.5, ts=NOON + 2 * S)
    execution.refresh(NOON + 2 * S)
    found = execution.quality()["markouts"]["1s"]
    assert (found["price"], found["quantity"], found["notional"]) == (1.0, 20.0, 1000.0)


# A ratio whose decimals end.
EXACT_RATIOS = st.tuples(st.integers(1, 50), st.sampled_from((1, 2, 4, 5, 8, 10, 20)))
ANY_RATIOS = st.tuples(st.integers(1, 50), st.integers(1, 50))
FILLS = st.lists(
    st.tuples(st.integers(-9, 9).filter(bool), st.decimals(min_value=1, max_value=200, places=2)),
    min_size=1,
    max_size=6,
)


@given(FILLS, EXACT_RATIOS, st.integers(100, 4000))
def test_a_split_changes_no_amount_to_the_last_digit(
    fills: list[tuple[int, Decimal]], ratio: tuple[int, int], quarters: int
) -> None:
    desk, other = Desk(starting_capital=D(10_000)), Desk(starting_capital=D(10_000))
    for each in (desk, other):
        for quantity, price in fills:
            each.fill(quantity, price)
        each.quote(quarters / 4, quarters / 4)
    desk.book(split(*ratio))
    ours, theirs = desk.tick(), other.tick()
    names = ("total_pnl", "unrealized_pnl", "realized_pnl", "equity", "gross_exposure", "net_exposure", "max_drawdown")
    assert [ours[name] for name in names] == [theirs[name] for name in names]
    assert desk.strategy.account_for(split(1), "mean").total == other.strategy.account_for(split(1), "mean").total
    held = Fraction(sum(quantity for quantity, _ in fills)) * ratio[0] / ratio[1]
    assert sum(each["quantity"] for each in desk.positions()) == float(held)


@given(FILLS, ANY_RATIOS, st.decimals(min_value=1, max_value=99, places=2))
def test_what_is_closed_after_a_split_realises_what_it_would_have(
    fills: list[tuple[int, Decimal]], ratio: tuple[int, int], price: Decimal
) -> None:
    desk, other = Desk(), Desk()
    for each in (desk, other):
        for quantity, at in fills:
            each.fill(quantity, at)
    desk.book(split(*ratio))
    held = sum(quantity for quantity, _ in fills)
    if not held:
        return
    desk.tick()
    (part,) = desk.strategy.holders("AAPL")
    new = part.position.quantity
    desk.fill(str(-new), price)
    # The same money for the same shares.
    other.fill(str(-held), 1)
    received = Fraction(new) * Fraction(price) - held
    ours, theirs = desk.tick(), other.tick()
    assert ours["open_positions"] == 0
    assert ours["realized_pnl"] == pytest.approx(float(Fraction(theirs["realized_pnl"]) + received), abs=1e-9)


def test_a_split_of_an_inverse_contract_is_refused() -> None:
    desk = Desk()
    desk.fill(10, 100)
    (part,) = desk.strategy.holders("AAPL")
    part.position.is_inverse = True
    desk.book(split(2))
    assert "inverse" in desk.refusal()
    assert part.position.quantity == 10


def test_a_restored_section_has_the_value_that_it_had() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.fill(10, 100)
    desk.quote(110.01, 110.01)
    desk.book(split(7, 3))
    restored = Desk(starting_capital=D(1000))
    restored.strategy.load(desk.strategy.save())
    restored.market.load(desk.market.save())
    assert restored.tick()["equity"] == desk.tick()["equity"] == 1100.1
    assert restored.positions()[0]["mark"] == desk.positions()[0]["mark"] == pytest.approx(110.01 * 3 / 7)
