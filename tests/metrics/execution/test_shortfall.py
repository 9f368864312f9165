"""Implementation shortfall: its parts sum to the total, which is the paper portfolio minus the real one."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from observability.metrics.execution.shortfall import implementation_shortfall

D = Decimal

prices = st.decimals("-1000000", "1000000", places=8)
quantities = st.decimals("0.00000001", "1000000000", places=8)
fills = st.lists(st.tuples(quantities, prices), max_size=8)
sides: st.SearchStrategy[Literal["buy", "sell"]] = st.sampled_from(["buy", "sell"])


@given(sides, st.decimals(0, 10**9, places=8), fills, prices, prices, prices, prices)
def test_the_parts_sum_to_the_difference_of_paper_and_real(
    side: Literal["buy", "sell"],
    unfilled: Decimal,
    fills: list[tuple[Decimal, Decimal]],
    fees: Decimal,
    decision: Decimal,
    arrival: Decimal,
    end: Decimal,
) -> None:
    exact = [(Fraction(quantity), Fraction(price)) for quantity, price in fills]
    filled = sum((quantity for quantity, _ in exact), Fraction(0))
    notional = sum((quantity * price for quantity, price in exact), Fraction(0))
    quantity = filled + Fraction(unfilled)
    shortfall = implementation_shortfall(
        side, _decimal(quantity), _decimal(filled), _decimal(notional), fees, decision, arrival, end
    )
    parts = (shortfall.delay, shortfall.trading, shortfall.opportunity, shortfall.fees)
    assert sum(map(Fraction, parts)) == Fraction(shortfall.total)
    sign = 1 if side == "buy" else -1
    paper = sign * quantity * (Fraction(end) - Fraction(decision))
    real = sum((sign * q * (Fraction(end) - p) for q, p in exact), Fraction(0)) - Fraction(fees)
    assert Fraction(shortfall.total) == paper - real


def _decimal(value: Fraction) -> Decimal:
    """Returns the exact decimal: sums and products of numbers with 8 decimals have at most 16."""
    scaled = value * 10**16
    assert scaled.denominator == 1
    return D(f"{scaled.numerator}e-16")


def test_a_buy_in_a_rising_market_has_a_cost_in_each_part() -> None:
    # 1000 decided at 20.00; the order arrives at 20.10, 800 are bought at 20.20 with fees of 16, the rest ends at
    # 21.00.
    shortfall = implementation_shortfall("buy", D(1000), D(800), D(16160), D(16), D("20.00"), D("20.10"), D("21.00"))
    assert (shortfall.delay, shortfall.trading, shortfall.opportunity, shortfall.fees) == (100, 80, 180, 16)
    assert (shortfall.total, shortfall.notional) == (376, 20000)


def test_a_sell_gains_where_a_buy_loses() -> None:
    shortfall = implementation_shortfall("sell", D(10), D(10), D(1010), D(1), D(100), D(100), D(0))
    assert (shortfall.total, shortfall.trading, shortfall.opportunity) == (-9, -10, 0)
