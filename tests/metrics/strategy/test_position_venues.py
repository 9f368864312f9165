"""A position that was traded at several venues: what each has to do with it adds up to the position."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Instrument, Settlement
from observability.metrics.market.venues import MAX_VENUES
from observability.metrics.strategy.position_venues import PositionVenues
from strategy_desk import D, Desk


def shown(desk: Desk) -> dict[str, Any]:
    desk.tick()
    (position,) = desk.positions()
    return position


@pytest.mark.parametrize("venue", ["", "A"])
def test_a_position_of_one_venue_or_none_shows_no_venues(venue: str) -> None:
    desk = Desk()
    desk.fill(2, 100, venue=venue)
    desk.fill(-1, 101, venue=venue)
    assert "venues" not in shown(desk)


def test_quantity_cash_flow_and_fees_are_those_of_each_venue() -> None:
    desk = Desk()
    desk.fill(3, 100, venue="A", commission=D("0.5"))
    desk.fill(-1, 110, venue="B", commission=D("0.25"))
    desk.quote(119.0, 121.0)
    position = shown(desk)
    assert position["venues"] == {
        "A": {"quantity": 3.0, "cash_flow": -300.0, "fees": 0.5, "pnl": 59.5},
        "B": {"quantity": -1.0, "cash_flow": 110.0, "fees": 0.25, "pnl": -10.25},
    }
    assert position["realized_pnl"] + position["unrealized_pnl"] == 59.5 - 10.25


@pytest.mark.parametrize("venue", ["A", ""])
def test_the_sums_of_an_inverse_contract_add_up_after_a_settlement(venue: str) -> None:
    desk = Desk(reporting_currency="BTC")
    desk.book(Instrument("XBT", "future", "USD", base_currency="BTC", contract="inverse"))
    desk.fill(1_000, 50_000, symbol="XBT", venue="A")
    desk.fill(1_000, 40_000, symbol="XBT", venue="B")
    desk.book(Settlement("XBT", D(50_000), settlement_id="s", venue=venue))
    if venue:
        assert shown(desk)["venues"]["A"] == {"quantity": 0.0, "cash_flow": 0.0, "fees": 0.0, "pnl": 0.0}
    desk.fill(1_000, 50_000, symbol="XBT", venue="A")
    pnl = {name: one["pnl"] for name, one in shown(desk)["venues"].items()}
    assert pnl == {"A": 0.0, "B": pytest.approx(0.005)}


def test_fills_without_a_venue_are_of_none() -> None:
    desk = Desk()
    desk.fill(1, 100, venue="")
    desk.fill(1, 100, venue="A")
    assert list(shown(desk)["venues"]) == ["(none)", "A"]


def test_a_position_that_is_opened_again_keeps_its_venues() -> None:
    desk = Desk()
    desk.fill(1, 100, venue="A")
    desk.fill(-1, 101, venue="B")
    desk.tick()
    assert desk.positions() == []
    desk.fill(1, 102, venue="B")
    venues = shown(desk)["venues"]
    assert [(name, one["quantity"], one["cash_flow"]) for name, one in venues.items()] == [
        ("A", 1.0, -100.0), ("B", 0.0, -1.0),
    ]  # fmt: skip


def test_venues_beyond_the_bound_share_one() -> None:
    desk = Desk()
    for number in range(MAX_VENUES + 5):
        desk.fill(1, 100, venue=f"V{number}")
    venues = shown(desk)["venues"]
    assert len(venues) == MAX_VENUES + 1
    assert venues["(other)"]["quantity"] == 5.0


def test_what_an_older_checkpoint_has_is_of_an_unknown_venue() -> None:
    desk = Desk()
    desk.fill(1, 100, venue="A")
    part = desk.strategy._accounts["mean"].positions["AAPL"]
    part.venues = PositionVenues()
    desk.fill(2, 100, venue="A")
    assert [(name, one["quantity"]) for name, one in shown(desk)["venues"].items()] == [("(unknown)", 1.0), ("A", 2.0)]


FILLS = st.lists(
    st.tuples(
        st.sampled_from(["A", "B", ""]),
        st.integers(-9, 9).filter(bool),
        st.integers(1, 999),
        st.integers(-5, 50),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
)


@given(FILLS, st.sampled_from(["1", "50", "0.1"]))
def test_the_sums_of_all_venues_are_those_of_the_position(fills: list[Any], multiplier: str) -> None:
    desk = Desk(multipliers={"AAPL": D(multiplier)})
    sums: dict[str, list[Fraction]] = {}
    for venue, quantity, cents, fee, is_restarted in fills:
        price = Decimal(cents) / 100
        desk.fill(quantity, str(price), venue=venue, commission=Decimal(fee) / 1000)
        one = sums.setdefault(venue or "(none)", [Fraction(0)] * 3)
        one[0] += quantity
        one[1] -= quantity * Fraction(price) * Fraction(multiplier)
        one[2] += Fraction(fee, 1000)
        if is_restarted:
            desk.strategy.load(desk.strategy.save())
    part = desk.strategy._accounts["mean"].positions["AAPL"]
    position = part.position
    if len(sums) == 1:
        assert not part.venues.sums
        return
    found = {
        name: [Fraction(one.quantity), Fraction(one.cash_flow), Fraction(one.fees)]
        for name, one in part.venues.sums.items()
    }
    assert found == sums
    total = [sum(one[at] for one in sums.values()) for at in range(3)]
    assert total == [
        Fraction(position.quantity), Fraction(position.realized_gross) - Fraction(position.open_cost),
        Fraction(position.fees),
    ]  # fmt: skip
    mark = Decimal("7.77")
    pnl = Fraction(position.realized) + Fraction(position.unrealized(mark))
    assert total[1] + total[0] * Fraction(mark) * Fraction(multiplier) - total[2] == pnl
