"""Decimal arithmetic that is exact or raises, and the way from and to the floats outside.

No accounting here (see `positions.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Context, Decimal, DivisionByZero, Inexact, InvalidOperation, Overflow

# How sums stay exact over any number of events: an event's Decimal has at most 19 digits before and 18 behind the point
# (observability.events), a product of two at most 38 and 36, with a contract's multiplier 57 and 54. The rest of
# these 128 digits is room for 10**17 such products. Rounding would be a defect of ours, so it raises.
EXACT = Context(prec=128, traps=[Inexact, InvalidOperation, DivisionByZero, Overflow])

# For quotients, which have no last digit; whoever divides decides where to round.
ROUNDED = Context(prec=128, traps=[InvalidOperation, DivisionByZero, Overflow])

ZERO = Decimal(0)


def total_of(values: Iterable[Decimal]) -> Decimal:
    """Returns the exact sum."""
    total = ZERO
    for value in values:
        total = EXACT.add(total, value)
    return total


def to_float(value: Decimal) -> float:
    """Returns the nearest double; adding 0.0 turns a negative zero into zero."""
    return float(value) + 0.0


def to_float_or_none(value: Decimal | None) -> float | None:
    return None if value is None else float(value) + 0.0


def quotient_or_none(numerator: Decimal, denominator: Decimal) -> float | None:
    """Returns the nearest double, None for a division by zero: it is undefined, not infinite."""
    return to_float(ROUNDED.divide(numerator, denominator)) if denominator else None


def finite_or_none(value: float | None) -> float | None:
    """Returns what JSON can carry of a float of unknown origin."""
    return None if value is None or not math.isfinite(value) else float(value)


def to_nan(value: float | None) -> float:
    """Returns what a history row can carry of a number that may be undefined."""
    return math.nan if value is None else value


# Beyond this a double is nobody's price, and sums with real prices would no longer fit EXACT.
MAX_MAGNITUDE = 1e18
_SMALLEST = Decimal("1e-18")


def price_or_none(value: float | None) -> Decimal | None:
    """Returns a feed's price as a Decimal with at most 18 digits on either side of the point; None if it is none."""
    if value is None or not -MAX_MAGNITUDE < value < MAX_MAGNITUDE:
        return None
    price = exact_decimal(value)
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)
    return price if exponent >= -18 else price.quantize(_SMALLEST, context=ROUNDED)


def exact_decimal(value: float) -> Decimal:
    """Returns the decimal that was sent: the shortest one that reads back as this double."""
    return Decimal(repr(float(value)))
