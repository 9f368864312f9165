"""Positions: average cost, and books that balance to the last digit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.positions import Position

D = Decimal

# As wide as events may be: 18 digits on either side of the point.
prices = st.decimals(min_value=D("-1e18"), max_value=D("1e18"), places=18, allow_nan=False)
sizes = st.one_of(
    st.integers(min_value=-50, max_value=50).map(D),
    st.decimals(min_value=D("-1e18"), max_value=D("1e18"), places=18, allow_nan=False),
).filter(bool)
fees = st.decimals(min_value=D(-5), max_value=D(5), places=18, allow_nan=False)
fills = st.lists(st.tuples(sizes, prices, fees), max_size=40)
multipliers = st.sampled_from([D(1), D(50), D("0.01")])


@given(fills, prices, multipliers)
def test_cash_and_position_equal_realised_and_unrealised_exactly(
    sequence: list[tuple[Decimal, Decimal, Decimal]], mark: Decimal, multiplier: Decimal
) -> None:
    position = Position(multiplier)
    cash = quantity = Fraction(0)
    for signed, price, fee in sequence:
        position.apply(signed, price, fee)
        cash -= Fraction(signed) * Fraction(price) * Fraction(multiplier)
        quantity += Fraction(signed)
        assert Fraction(position.realized_gross) - Fraction(position.open_cost) == cash

    equity = cash + quantity * Fraction(mark) * Fraction(multiplier)
    assert equity == Fraction(position.realized_gross) + Fraction(position.unrealized(mark))
    total_fees = sum((Fraction(fee) for _, _, fee in sequence), Fraction(0))
    assert equity - total_fees == Fraction(position.realized) + Fraction(position.unrealized(mark))


@given(fills)
def test_what_fills_realise_adds_up_to_the_realised_total(sequence: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    position = Position()
    realized = [position.apply(*fill) for fill in sequence]
    assert sum((Fraction(pnl) for pnl in realized if pnl is not None), Fraction(0)) == Fraction(position.realized_gross)


@given(fills)
def test_a_flat_position_has_cost_nothing(sequence: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    position = Position()
    for fill in sequence:
        position.apply(*fill)
    if position.quantity:
        position.apply(position.quantity.copy_negate(), D(7))
    assert (position.quantity, position.open_cost, position.avg_price) == (D(0), D(0), None)


def test_adding_to_a_position_averages_its_price() -> None:
    position = Position()
    assert position.apply(D(100), D("10.00")) is None
    assert position.apply(D(300), D("11.00")) is None
    assert (position.quantity, position.avg_price) == (D(400), D("10.75"))


def test_closing_a_part_realises_against_the_average_and_leaves_it() -> None:
    position = Position()
    position.apply(D(3), D(10))
    position.apply(D(3), D(20))
    assert position.apply(D(-2), D(18)) == 6
    assert (position.quantity, position.avg_price, position.unrealized(D(16))) == (D(4), D(15), D(4))


def test_a_short_position_gains_when_the_price_falls() -> None:
    position = Position()
    position.apply(D(-10), D(50))
    assert (position.avg_price, position.unrealized(D(45))) == (D(50), D(50))
    assert position.apply(D(4), D(45)) == 20


def test_a_flip_realises_the_whole_and_opens_the_rest_at_its_own_price() -> None:
    position = Position()
    position.apply(D(5), D(100))
    assert position.apply(D(-8), D(110)) == 50
    assert (position.quantity, position.avg_price) == (D(-3), D(110))


def test_fees_lower_the_net_result_and_leave_the_gross_alone() -> None:
    position = Position()
    position.apply(D(1), D(100), D("0.10"))
    assert position.realized == D("-0.10")
    position.apply(D(-1), D(105), D("0.15"))
    assert (position.realized_gross, position.fees, position.realized) == (D(5), D("0.25"), D("4.75"))


def test_thirds_lose_nothing() -> None:
    position = Position()
    position.apply(D(3), D("33.333333333333333333"))
    position.apply(D(4), D("1"))
    for _ in range(7):
        position.apply(D(-1), D(20))
    assert (position.quantity, position.open_cost) == (D(0), D(0))
    assert position.realized_gross == 140 - D("99.999999999999999999") - 4


def test_a_contract_counts_by_its_multiplier() -> None:
    position = Position(D(50))
    position.apply(D(2), D(5000))
    assert (position.avg_price, position.value(D(5001)), position.unrealized(D(5001))) == (D(5000), D(500_100), D(100))
