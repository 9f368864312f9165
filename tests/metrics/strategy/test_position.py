"""A position at average cost: its sums balance to the last digit."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.arithmetic.decimals import EXACT
from observability.metrics.strategy.position import AverageCostPosition, Closing

D = Decimal
_CENT = D("0.01")

# As wide as events may be: 18 digits on either side of the decimal point.
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
    position = AverageCostPosition(multiplier)
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
def test_the_pnl_of_each_fill_adds_up_to_the_total(sequence: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    position = AverageCostPosition()
    closings = [closing for fill in sequence if (closing := position.apply(*fill)) is not None]
    assert sum(Fraction(closing.gross) for closing in closings) == Fraction(position.realized_gross)
    # The fees of what is still open are in no outcome yet.
    pnl = sum(Fraction(closing.pnl) for closing in closings)
    assert pnl - Fraction(position.open_fees) == Fraction(position.realized)
    outcomes = sum(Fraction(closing.outcome) for closing in closings if closing.is_flat)
    assert pnl == outcomes + Fraction(position.outcome or 0)


@given(sizes, prices, fees, st.lists(st.integers(1, 9), min_size=1, max_size=5), multipliers)
def test_a_part_closed_at_the_opening_price_breaks_even(
    signed: Decimal, price: Decimal, fee: Decimal, weights: list[int], multiplier: Decimal
) -> None:
    position = AverageCostPosition(multiplier)
    position.apply(signed, price)
    for weight in weights:
        part = D(int(Fraction(position.quantity) * weight / 10 * 10**18)).scaleb(-18, EXACT)
        if part:
            closing = position.apply(part.copy_negate(), price)
            assert closing is not None and (closing.pnl, closing.outcome) == (0, 0)


def test_the_open_quantity_carries_its_opening_fees() -> None:
    position = AverageCostPosition()
    position.apply(D(4), D(10), D("1.00"))
    assert position.apply(D(-1), D(12), D("0.10")) == Closing(D(2), D("1.65"), D("1.65"), is_flat=False)
    assert (position.open_fees, position.realized) == (D("0.75"), D("0.90"))
    assert position.apply(D(-3), D(12), D("0.30")) == Closing(D(6), D("4.95"), D("6.60"), is_flat=True)
    assert (position.open_fees, position.realized, position.outcome) == (D(0), D("6.60"), None)


def test_a_fill_through_zero_shares_its_fee_by_quantity() -> None:
    position = AverageCostPosition()
    position.apply(D(2), D(10), D("0.20"))
    assert position.apply(D(-6), D(11), D("0.90")) == Closing(D(2), D("1.50"), D("1.50"), is_flat=True)
    assert (position.quantity, position.open_fees, position.outcome) == (D(-4), D("0.60"), None)
    assert position.apply(D(4), D(11), D("0.40")) == Closing(D(0), D("-1.00"), D("-1.00"), is_flat=True)


@given(fills)
def test_a_flat_position_has_no_cost(sequence: list[tuple[Decimal, Decimal, Decimal]]) -> None:
    position = AverageCostPosition()
    for fill in sequence:
        position.apply(*fill)
    if position.quantity:
        position.apply(position.quantity.copy_negate(), D(7))
    assert (position.quantity, position.open_cost, position.avg_price) == (D(0), D(0), None)


def test_adding_to_a_position_averages_its_price() -> None:
    position = AverageCostPosition()
    assert position.apply(D(100), D("10.00")) is None
    assert position.apply(D(300), D("11.00")) is None
    assert (position.quantity, position.avg_price) == (D(400), D("10.75"))


def test_closing_a_part_realises_against_the_average_and_keeps_it() -> None:
    position = AverageCostPosition()
    position.apply(D(3), D(10))
    position.apply(D(3), D(20))
    assert position.apply(D(-2), D(18)) == Closing(D(6), D(6), D(6), is_flat=False)
    assert (position.quantity, position.avg_price, position.unrealized(D(16))) == (D(4), D(15), D(4))


def test_a_short_position_gains_when_the_price_falls() -> None:
    position = AverageCostPosition()
    position.apply(D(-10), D(50))
    assert (position.avg_price, position.unrealized(D(45))) == (D(50), D(50))
    assert position.apply(D(4), D(45)) == Closing(D(20), D(20), D(20), is_flat=False)


def test_a_flip_realises_the_whole_and_opens_the_rest_at_its_price() -> None:
    position = AverageCostPosition()
    position.apply(D(5), D(100))
    assert position.apply(D(-8), D(110)) == Closing(D(50), D(50), D(50), is_flat=True)
    assert (position.quantity, position.avg_price) == (D(-3), D(110))


def test_fees_reduce_the_net_result_only() -> None:
    position = AverageCostPosition()
    position.apply(D(1), D(100), D("0.10"))
    assert position.realized == D("-0.10")
    position.apply(D(-1), D(105), D("0.15"))
    assert (position.realized_gross, position.fees, position.realized) == (D(5), D("0.25"), D("4.75"))


def test_an_average_that_no_decimal_holds_loses_nothing() -> None:
    position = AverageCostPosition()
    position.apply(D(3), D("33.333333333333333333"))
    position.apply(D(4), D("1"))
    for _ in range(7):
        position.apply(D(-1), D(20))
    assert (position.quantity, position.open_cost) == (D(0), D(0))
    assert position.realized_gross == 140 - D("99.999999999999999999") - 4


def test_the_value_of_a_contract_includes_its_multiplier() -> None:
    position = AverageCostPosition(D(50))
    position.apply(D(2), D(5000))
    assert (position.avg_price, position.value(D(5001)), position.unrealized(D(5001))) == (D(5000), D(500_100), D(100))


@given(st.lists(st.tuples(sizes, prices, fees, st.lists(st.integers(1, 9), min_size=1, max_size=5)), max_size=15))
def test_splitting_fills_changes_nothing(sequence: list[tuple[Decimal, Decimal, Decimal, list[int]]]) -> None:
    whole, split = AverageCostPosition(D("0.01")), AverageCostPosition(D("0.01"))
    outcomes: dict[int, list[Decimal]] = {id(whole): [], id(split): []}

    def apply(position: AverageCostPosition, signed: Decimal, price: Decimal, rate: Decimal, number: int) -> None:
        # A venue charges each part by its quantity.
        closing = position.apply(signed, price, EXACT.multiply(rate, signed.copy_abs()), number)
        if closing is not None and closing.is_flat:
            outcomes[id(position)].append(closing.outcome)

    for number, (signed, price, rate, weights) in enumerate(sequence):
        apply(whole, signed, price, rate, number)
        rest = Fraction(signed)
        for weight in weights[1:]:
            # Parts of 18 digits, as a venue would report them; the last one is the remainder.
            part = D(int(rest * weight / 10 * 10**18)).scaleb(-18, EXACT)
            if part:
                apply(split, part, price, rate, number)
                rest -= Fraction(part)
        apply(split, D(int(rest * 10**18)).scaleb(-18, EXACT), price, rate, number)
    assert split == whole
    assert outcomes[id(split)] == outcomes[id(whole)]


def test_closing_in_parts_leaves_the_cost_of_closing_at_once() -> None:
    whole, split = AverageCostPosition(), AverageCostPosition()
    for position in (whole, split):
        position.apply(D(7), D(1))
        position.apply(D(4), D("0.333333333333333333"))
    whole.apply(D(-6), D(2))
    for _ in range(6):
        split.apply(D(-1), D(2))
    assert split == whole


def test_sums_stay_exact_over_many_fills() -> None:
    position = AverageCostPosition()
    random = Random(5)
    cash = quantity = 0
    price = D("50000.000000000000000001")
    for number in range(100_000):
        signed = random.randint(-9, 9) or 1
        position.apply(D(signed), price, _CENT, number)
        cash -= signed * (50_000 * 10**18 + 1)
        quantity += signed
    assert position.quantity == quantity
    assert Fraction(position.realized_gross) - Fraction(position.open_cost) == Fraction(cash, 10**18)
    assert position.fees == 1000


def test_sums_have_room_for_a_quadrillion_of_the_widest_fills() -> None:
    widest = D("1" * 18 + "." + "1" * 18)
    count = 10**15
    position = AverageCostPosition(widest)
    position.quantity = EXACT.multiply(widest, D(count))
    position.open_cost = position.added_cost = EXACT.multiply(EXACT.power(widest, 3), D(count))
    position.apply(widest, widest)
    assert Fraction(position.open_cost) == Fraction(widest) ** 3 * (count + 1)
    assert Fraction(position.value(widest)) == Fraction(widest) ** 3 * (count + 1)
    position.apply(EXACT.multiply(position.quantity, D("-0.5")), widest)
    assert (
        Fraction(position.realized_gross) - Fraction(position.open_cost) == -(Fraction(widest) ** 3) * (count + 1) / 2
    )


def test_holding_time_is_that_of_the_closed_quantity() -> None:
    position = AverageCostPosition()
    position.apply(D(1), D(10), ts_ns=100)
    position.apply(D(3), D(10), ts_ns=200)
    position.apply(D(-2), D(10), ts_ns=375)
    # The average entry is at (100 + 3 * 200) / 4 = 175; two were held for 200 each.
    assert (position.held_time, position.closed_quantity) == (400, 2)
    position.apply(D(-5), D(10), ts_ns=475)
    assert (position.held_time, position.closed_quantity) == (1000, 4)
    position.apply(D(3), D(10), ts_ns=500)
    assert (position.held_time, position.closed_quantity, position.quantity) == (1075, 7, 0)
