"""Implementation shortfall: what an order cost against the decision to trade, and where.

No market data and no orders' states here; the prices are handed in (see `order_figures.py`).

A. F. Perold, "The Implementation Shortfall: Paper versus Reality", Journal of Portfolio Management 14(3), 1988: the
paper portfolio trades the whole quantity Q at the price of the decision and is worth what the market says at the end;
the shortfall is by how much the real one ends behind it. With the side s (buy 1, sell -1), F filled at prices p_i:

    total  =  s * Q * (end - decision)  -  (s * sum of q_i * (end - p_i) - fees)

It is told in the parts of R. Kissell, "The Expanded Implementation Shortfall", Journal of Trading 1(3), 2006:

    delay        s * Q * (arrival - decision)            the market moved before the order was there
    trading      s * sum of q_i * (p_i - arrival)        spread, impact and timing
    opportunity  s * (Q - F) * (end - arrival)           what was not filled
    fees         commissions

Positive is a cost. The parts sum to the total exactly.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from observability.events import Side
from observability.metrics.arithmetic.decimals import EXACT


class Shortfall(NamedTuple):
    """Costs in quote currency. `notional` is the quantity at the price of the decision, which makes them relative."""

    total: Decimal
    delay: Decimal
    trading: Decimal
    opportunity: Decimal
    fees: Decimal
    notional: Decimal


def implementation_shortfall(
    side: Side,
    quantity: Decimal,
    filled: Decimal,
    filled_notional: Decimal,
    fees: Decimal,
    decision: Decimal,
    arrival: Decimal,
    end: Decimal,
) -> Shortfall:
    """Returns the shortfall of one order; `filled_notional` is the sum of quantity * price over its fills."""
    multiply, subtract = EXACT.multiply, EXACT.subtract
    paper = multiply(quantity, subtract(end, decision))
    real = subtract(multiply(filled, end), filled_notional)
    delay = multiply(quantity, subtract(arrival, decision))
    trading = subtract(filled_notional, multiply(filled, arrival))
    opportunity = multiply(subtract(quantity, filled), subtract(end, arrival))
    total = subtract(paper, real)
    if side == "sell":
        # A minus sign would round to the digits of the thread's context.
        total, delay, trading, opportunity = (
            part.copy_negate() for part in (total, delay, trading, opportunity)
        )  # fmt: skip
    return Shortfall(EXACT.add(total, fees), delay, trading, opportunity, fees, multiply(quantity, decision))
