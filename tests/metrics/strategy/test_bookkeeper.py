"""What bookings change in the accounts: dividends, settlements, and that money is neither made nor lost."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import BookingEvent, Cash, Dividend, Event, Fill, Funding, Position, Settlement
from observability.metrics.trades.booking import BookingFilter
from strategy_desk import NOON, D, Desk, S

CAPITAL = 10_000
SYMBOLS = ("AAPL", "ES")
STRATEGIES = ("a", "b")
WANTED = BookingFilter()


def effect(desk: Desk) -> dict[str, Any]:
    """Returns what the newest booking has changed."""
    (newest, *_), _ = desk.strategy.bookings.query(WANTED, 1)
    return newest.to_json()["effect"] | {"strategy": newest.strategy}


def test_a_dividend_is_paid_on_what_each_strategy_holds() -> None:
    desk = Desk()
    desk.fill(10, 100, strategy="a")
    desk.fill(-4, 100, strategy="b")
    desk.fill(7, 100, strategy="a", symbol="ES")
    desk.book(Dividend("AAPL", D("0.25"), dividend_id="d1"))
    section = desk.tick()
    assert [desk.part(0, name)["income"] for name in STRATEGIES] == [2.5, -1.0]
    assert (section["income"], section["total_pnl"], desk.part(2, "AAPL")["income"]) == (1.5, 1.5, 1.5)
    assert effect(desk) == {"amount": 1.5, "strategies": {"a": 2.5, "b": -1.0}, "strategy": ""}


def test_a_dividend_given_as_a_sum_is_divided_by_what_is_held() -> None:
    desk = Desk()
    desk.fill(1, 100, strategy="a")
    desk.fill(2, 100, strategy="b")
    desk.book(Dividend("AAPL", amount=D(10), dividend_id="d1"))
    account = desk.strategy.holders("AAPL")
    assert sum(1 for _ in account) == 2
    shares = [desk.strategy.account_for(Event(), name).ledger.own.income for name in STRATEGIES]
    assert sum(map(Fraction, shares)) == 10
    assert float(shares[0]) == pytest.approx(10 / 3)


def test_a_sum_that_long_and_short_positions_share_is_refused() -> None:
    desk = Desk()
    desk.fill(1, 100, strategy="a")
    desk.fill(-2, 100, strategy="b")
    desk.book(Dividend("AAPL", amount=D(10), dividend_id="d1"))
    assert "both long and short positions are held" in desk.refusal()
    assert desk.tick()["income"] == 0.0


@pytest.mark.parametrize(("holders", "owner"), [([], "default"), (["a"], "a"), (["a", "b"], "default")])
def test_funding_without_a_strategy_is_that_of_the_only_holder(holders: list[str], owner: str) -> None:
    desk = Desk()
    for name in holders:
        desk.fill(1, 100, strategy=name)
    desk.book(Funding("AAPL", D(-5), "f1"))
    desk.tick()
    assert desk.part(0, owner)["income"] == -5.0


def test_a_settlement_closes_every_position_at_its_price() -> None:
    desk = Desk()
    desk.fill(10, 100, strategy="a", commission=D(1))
    desk.fill(-4, 110, strategy="b")
    desk.quote(104.0, 106.0)
    desk.book(Settlement("AAPL", D(120), "s1"))
    section = desk.tick()
    assert [desk.part(0, name)["realized_gross_pnl"] for name in STRATEGIES] == [200.0, -40.0]
    assert (section["open_positions"], section["unrealized_pnl"], section["total_pnl"]) == (0, 0.0, 159.0)
    assert (section["n_closing"], section["fills"], desk.part(2, "AAPL")["total_pnl"]) == (2, 2, 159.0)
    assert effect(desk)["strategies"] == {"a": 200.0, "b": -40.0}


def test_a_settlement_at_one_venue_leaves_what_is_held_at_others() -> None:
    desk = Desk()
    desk.fill(10, 100, venue="A")
    desk.fill(5, 100, venue="B")
    desk.book(Settlement("AAPL", D(110), "s1", "A"))
    desk.tick()
    (position,) = desk.positions()
    assert (position["quantity"], position["realized_pnl"]) == (5.0, 100.0)
    assert [position["venues"][name]["quantity"] for name in "AB"] == [0.0, 5.0]


def test_a_settlement_at_a_venue_that_holds_nothing_changes_nothing() -> None:
    desk = Desk()
    desk.fill(10, 100, venue="A")
    desk.book(Settlement("AAPL", D(110), "s1", "B"))
    desk.tick()
    assert desk.positions()[0]["quantity"] == 10.0


def test_an_adopted_position_brings_its_cost_in_as_a_deposit_does() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.bus.publish(Position("AAPL", D(10), D(100), "a", adopt=True, ts=NOON, ts_init=NOON))
    desk.quote(104.0, 106.0)
    section = desk.tick()
    assert (section["external_flows"], section["total_pnl"], section["equity"]) == (1000.0, 50.0, 2050.0)


def test_a_deposit_in_another_currency_stays_in_it_and_is_converted_when_shown() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.strategy.rates.put(("EUR", "USD"), D("1.1"), NOON)
    desk.book(Cash(D(100), "deposit", "EUR", "c1"))
    desk.book(Cash(D(-20), "fee", "EUR", "c2", strategy="a"))
    section = desk.tick()
    euros = section["currencies"]["EUR"]
    assert (euros["income"], euros["cash"], euros["equity"]) == (-20.0, 80.0, 80.0)
    assert (section["external_flows"], section["income"], section["equity"]) == (110.0, -22.0, 1088.0)


# -- money is neither made nor lost

money = st.decimals(min_value=-500, max_value=500, places=2)
BOOKINGS = st.one_of(
    st.builds(
        lambda amount, reason, strategy: Cash(amount, reason, "USD", strategy=strategy),
        money,
        st.sampled_from(("transfer", "interest", "other")),
        st.sampled_from(("", *STRATEGIES)),
    ),
    st.builds(Funding, st.sampled_from(SYMBOLS), money, strategy=st.sampled_from(("", *STRATEGIES))),
    st.builds(Dividend, st.sampled_from(SYMBOLS), money),
    st.builds(
        Settlement, st.sampled_from(SYMBOLS), st.decimals(min_value=1, max_value=200, places=2), venue=st.just("")
    ),
)
FILLS = st.tuples(
    st.sampled_from(STRATEGIES),
    st.sampled_from(SYMBOLS),
    st.integers(-9, 9).filter(bool),
    st.decimals(min_value=1, max_value=200, places=2),
    st.decimals(min_value=-1, max_value=5, places=2),
)
QUOTES = st.tuples(st.sampled_from(SYMBOLS), st.integers(4, 800))


class Ledger:
    """Cash and holdings, kept as plain fractions: what was paid and received, and what is held."""

    def __init__(self) -> None:
        self.cash = Fraction(CAPITAL)
        self.held: dict[tuple[str, str], Fraction] = {}
        self.marks: dict[str, Fraction] = {}

    def fill(self, strategy: str, symbol: str, quantity: int, price: Decimal, fee: Decimal) -> None:
        self.cash -= quantity * Fraction(price) + Fraction(fee)
        self.held[strategy, symbol] = self.held.get((strategy, symbol), Fraction(0)) + quantity

    def book(self, event: BookingEvent) -> None:
        match event:
            case Cash() | Funding():
                self.cash += Fraction(event.amount)
            case Dividend():
                assert event.amount_per_share is not None
                self.cash += sum(self._of(event.symbol)) * Fraction(event.amount_per_share)
            case Settlement():
                self.cash += sum(self._of(event.symbol)) * Fraction(event.price)
                self.held = {key: quantity for key, quantity in self.held.items() if key[1] != event.symbol}

    def equity(self) -> Fraction:
        return self.cash + sum(quantity * self.marks[symbol] for (_, symbol), quantity in self.held.items())

    def _of(self, symbol: str) -> list[Fraction]:
        return [quantity for (_, held), quantity in self.held.items() if held == symbol]


@given(st.lists(st.one_of(FILLS, BOOKINGS, QUOTES), max_size=30))
def test_cash_and_the_value_of_positions_add_up_to_equity(steps: list[Any]) -> None:
    desk, ledger = Desk(starting_capital=D(CAPITAL)), Ledger()
    for symbol in SYMBOLS:
        desk.quote(100.0, 100.0, symbol=symbol)
        ledger.marks[symbol] = Fraction(100)
    for second, step in enumerate(steps):
        desk.now = NOON + second * S
        match step:
            case (strategy, symbol, quantity, price, fee):
                desk.fill(quantity, price, strategy=strategy, symbol=symbol, commission=fee)
                ledger.fill(strategy, symbol, quantity, price, fee)
            case (symbol, quarters):
                desk.quote(quarters / 4, quarters / 4, symbol=symbol, ts=NOON)
                ledger.marks[symbol] = Fraction(quarters, 4)
            case event:
                # No id and the time of arrival: each of them is new.
                desk.book(event)
                ledger.book(event)
    section = desk.tick(NOON)
    assert section["equity"] == float(ledger.equity())
    assert section["total_pnl"] == pytest.approx(sum(part.to_json()["total_pnl"] for part in _parts(desk)))


def _parts(desk: Desk) -> list[Any]:
    return list(desk.strategy.groups[0].parts.values())


INDEPENDENT: tuple[Event, ...] = (
    Cash(D("10.5"), "interest", "USD", "c1", ts=NOON, ts_init=NOON),
    Cash(D(500), "deposit", "USD", "c2", ts=NOON, ts_init=NOON),
    Funding("AAPL", D("-1.25"), "f1", ts=NOON, ts_init=NOON),
    Funding("ES", D("-1.25"), "f1", ts=NOON, ts_init=NOON),
    Dividend("AAPL", D("0.1"), dividend_id="d1", ts=NOON, ts_init=NOON),
)


@given(st.permutations(INDEPENDENT * 2))
def test_repetitions_and_the_order_of_independent_bookings_change_nothing(events: list[Event]) -> None:
    desk = Desk(starting_capital=D(CAPITAL))
    desk.fill(10, 100)
    for event in events:
        desk.bus.publish(event)
    section = desk.tick()
    assert (section["income"], section["external_flows"], section["equity"]) == (9.0, 500.0, 10_509.0)
    assert (section["bookings"], section["duplicate_bookings"]) == (5, 5)


def test_a_restored_section_goes_on_with_what_was_booked() -> None:
    desk = Desk(starting_capital=D(CAPITAL))
    desk.fill(10, 100)
    for event in INDEPENDENT:
        desk.bus.publish(event)
    desk.tick()
    restored = Desk(starting_capital=D(CAPITAL))
    restored.strategy.load(desk.strategy.save())
    ours, theirs = restored.tick(), desk.tick()
    names = ("income", "external_flows", "equity", "total_pnl", "bookings", "drawdown_pct")
    assert [ours[name] for name in names] == [theirs[name] for name in names]
    assert isinstance(restored.fill(1, 100), Fill)
