"""The arithmetic of a split: `denominator` shares become `numerator`, at prices in inverse proportion.

    10 shares at 100, split 2:1     20 at 50
    10 shares at 100, split 1:3     3.333333333333333333 at 300.00000000000000003: what is held stays worth 1000

A quantity is rounded to the digits that one may have in an event, so that a fill can close it; the price is then made
of the value, which never changes. A ratio whose decimals end rounds nothing.
"""

from __future__ import annotations

from decimal import Decimal
from math import isfinite
from typing import NamedTuple

from observability.events import MAX_MAGNITUDE, MIN_MAGNITUDE, QUANTUM
from observability.metrics.arithmetic.decimals import EXACT, ROUNDED, exact_decimal, quotient, to_float


class Ratio(NamedTuple):
    """The ratio of a split."""

    numerator: Decimal
    denominator: Decimal

    def of_sum(self, amount: Decimal) -> Decimal:
        """Returns a sum over quantities, such as of their times, in new shares."""
        return quotient(EXACT.multiply(amount, self.numerator), self.denominator)

    def of_quantity(self, quantity: Decimal) -> Decimal:
        """Returns a quantity in new shares."""
        exact = ROUNDED.divide(EXACT.multiply(quantity, self.numerator), self.denominator)
        rounded = exact.quantize(QUANTUM, context=ROUNDED)
        return rounded.normalize(EXACT) if rounded else rounded

    def of_price(self, price: Decimal) -> Decimal:
        """Returns a price for one new share."""
        return quotient(ROUNDED.multiply(price, self.denominator), self.numerator)

    def of_quoted(self, price: float | None) -> float | None:
        """Returns the price of a feed for one new share; None for one that no feed could send."""
        if price is None or not isfinite(price):
            return price
        scaled = to_float(self.of_price(exact_decimal(price)))
        return scaled if not scaled or MIN_MAGNITUDE <= abs(scaled) < MAX_MAGNITUDE else None

    def of_size(self, size: float | None) -> float | None:
        """Returns the size of a feed in new shares."""
        if size is None or not isfinite(size):
            return size
        return to_float(quotient(EXACT.multiply(exact_decimal(size), self.numerator), self.denominator))
