"""Decimal arithmetic that is exact or raises, and the conversion between Decimals and floats."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow
from functools import lru_cache
from math import isfinite
from typing import Final

from observability.events import MAX_MAGNITUDE

# Why sums stay exact over any number of events: an event's Decimal has at most 19 digits before and 18 after the point
# (observability.events), a product of two at most 38 and 36, with a contract's multiplier 57 and 54; a share of a sum
# is rounded to 60 after it. The rest of these 192 digits has room for the sum of 10**75 such amounts. Rounding would be
# a defect of ours, so it raises.
EXACT: Final = Context(prec=192, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])

# The same, bound once: looking a method up in its context takes as long as an addition.
add: Final = EXACT.add
subtract: Final = EXACT.subtract
multiply: Final = EXACT.multiply

# For quotients, which may have no last digit; the caller decides where to round.
ROUNDED: Final = Context(prec=192, traps=[InvalidOperation, DivisionByZero, Overflow])

ZERO: Final = Decimal(0)
HALF: Final = Decimal("0.5")
ONE: Final = Decimal(1)
TWO: Final = Decimal(2)

# Where a quotient of money is rounded: finer than any amount of a fill (54 digits after the point).
QUOTIENT_QUANTUM: Final = Decimal("1e-60")

_SMALLEST: Final = Decimal("1e-18")


def exact_sum(values: Iterable[Decimal]) -> Decimal:
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def shifted(total: Decimal, before: Decimal, after: Decimal) -> Decimal:
    """Returns a sum in which `after` takes the place of `before`."""
    return EXACT.add(EXACT.subtract(total, before), after)


def to_float(value: Decimal) -> float:
    """Returns the nearest double. Adding 0.0 turns a negative zero into zero."""
    return float(value) + 0.0


class ShownDecimal:
    """The double of a decimal that seldom changes, and is converted again only when it has."""

    __slots__ = ("_decimal", "_float")

    def __init__(self) -> None:
        self._decimal = ZERO
        self._float = 0.0

    def of(self, value: Decimal) -> float:
        """Returns the nearest double."""
        # hot: several times per account per tick in which it moved (benchmarks/bench_tick.py)
        if value is not self._decimal:
            self._decimal, self._float = value, to_float(value)
        return self._float


def to_float_or_none(value: Decimal | None) -> float | None:
    return None if value is None else float(value) + 0.0


def exact_text(value: Decimal) -> str:
    """Returns the digits of a decimal, without an exponent and rounded to 18 after the point."""
    rounded = value.quantize(_SMALLEST, context=ROUNDED)
    return f"{rounded.normalize(ROUNDED):f}" if rounded else "0"


def exact_text_or_none(value: Decimal | None) -> str | None:
    return None if value is None else exact_text(value)


def quotient_or_none(numerator: Decimal, denominator: Decimal) -> float | None:
    """Returns the double nearest to the quotient; None for a division by zero, which is undefined and not infinite."""
    return to_float(ROUNDED.divide(numerator, denominator)) if denominator else None


def quotient(numerator: Decimal, denominator: Decimal) -> Decimal:
    """Returns a quotient of money, rounded to QUOTIENT_QUANTUM."""
    # Without the zeros at the end, most sums stay as short as their amounts.
    return ROUNDED.divide(numerator, denominator).quantize(QUOTIENT_QUANTUM, context=ROUNDED).normalize(EXACT)


def exact_decimal(value: float) -> Decimal:
    """Returns the decimal that was sent: the shortest one that reads back as this double."""
    return Decimal(repr(float(value)))


# Prices repeat: looking one up takes a tenth of the time of converting it. An entry has 200 bytes.
@lru_cache(maxsize=8192)
def price_or_none(value: float | None) -> Decimal | None:
    """Returns the price that a feed sent, rounded to 18 decimals; None for NaN and from MAX_MAGNITUDE up."""
    if value is None or not -MAX_MAGNITUDE < value < MAX_MAGNITUDE:
        return None
    price = exact_decimal(value)
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)
    return price if exponent >= -18 else price.quantize(_SMALLEST, context=ROUNDED)


def finite_or_none(value: float | None) -> float | None:
    """Returns the value if JSON can carry it; None for NaN and the infinities."""
    return None if value is None or not isfinite(value) else float(value)


def nan_if_none(value: float | None) -> float:
    """Returns the value as a history row holds it: NaN if it is undefined."""
    return math.nan if value is None else value
