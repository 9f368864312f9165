"""Implementation shortfall: the cost of an order against the decision to trade, and its parts.

A. F. Perold, "The Implementation Shortfall: Paper versus Reality", Journal of Portfolio Management 14(3), 1988: the
paper portfolio trades the whole quantity Q at the decision price and is valued at the market's price at the end; the
shortfall is the amount by which the real portfolio falls short of it. With the side s (buy 1, sell -1), F filled in
parts q_i at prices p_i:

    total  =  s * Q * (end - decision)  -  (s * sum of q_i * (end - p_i) - fees)

Its parts are those of R. Kissell, "The Expanded Implementation Shortfall", Journal of Trading 1(3), 2006:

    delay        s * Q * (arrival - decision)            the market moved before the order arrived
    trading      s * sum of q_i * (p_i - arrival)        spread, impact and timing
    opportunity  s * (Q - F) * (end - arrival)           the quantity that was not filled
    fees         commissions

A cost is positive. The parts sum to the total exactly.
"""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

from observability.events import Side
from observability.metrics.arithmetic.decimals import EXACT


class Shortfall(NamedTuple):
    """Costs in quote currency. `notional` is the quantity at the decision price; costs in bps are relative to it."""

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
        # A unary minus would round to the precision of the thread's context.
        total, delay, trading, opportunity = (
            part.copy_negate() for part in (total, delay, trading, opportunity)
        )  # fmt: skip
    return Shortfall(EXACT.add(total, fees), delay, trading, opportunity, fees, multiply(quantity, decision))
