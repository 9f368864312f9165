"""The touch of a symbol, its best bid and ask: mid, spread, and the mark at which positions are valued.

All are those of the decimals that the venue sent, not of their doubles:

    24.78 and 24.82: a spread of 0.04, not of 0.03999999999999915
"""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, InvalidOperation
from typing import Literal

import msgspec

from observability.events import BPS
from observability.metrics.arithmetic.decimals import EXACT, HALF, TWO, price_or_none, to_float
from observability.metrics.arithmetic.turnover import MAX_DECIMALS, PROOF_LIMIT

_INT_BPS = int(BPS)

# Twice as many digits as a double has, so that rounding to these and then to a double gives the nearest double.
_CONTEXT = Context(prec=34, traps=[InvalidOperation, DivisionByZero])

MarkSource = Literal["mid", "last", "fill"]

Mark = tuple[Decimal, MarkSource]


class Touch:
    """The figures of the newest touch, computed again only when a side has moved; None while a side is missing."""

    __slots__ = ("_scale", "_sides", "mid", "spread", "spread_bps")

    def __init__(self) -> None:
        self.mid: float | None = None
        self.spread: float | None = None
        """Ask - bid, negative while crossed."""
        self.spread_bps: float | None = None
        """The spread relative to the mid; None also for a mid of zero or less, to which a spread cannot be compared.
        """
        self._sides: tuple[float | None, float | None] = (None, None)
        # A power of ten that makes the prices so far integers.
        self._scale = 1

    def update(self, bid: float | None, ask: float | None) -> None:
        """Sets both sides; each is finite or None."""
        # hot: once per tick and symbol that has an event (benchmarks/bench_tick.py)
        if (bid, ask) == self._sides:
            return
        self._sides = (bid, ask)
        if bid is None or ask is None:
            self.mid = self.spread = self.spread_bps = None
            return
        scale = self._scale
        if -PROOF_LIMIT < bid * scale < PROOF_LIMIT and -PROOF_LIMIT < ask * scale < PROOF_LIMIT:
            low, high = round(bid * scale), round(ask * scale)
            if low / scale == bid and high / scale == ask:
                # Quotients of integers are the nearest doubles.
                total = low + high
                self.mid = total / (2 * scale)
                self.spread = (high - low) / scale
                self.spread_bps = (high - low) * 2 * _INT_BPS / total if total > 0 else None
                return
        self._derive_from_decimals(Decimal(repr(bid)), Decimal(repr(ask)))

    def _derive_from_decimals(self, low: Decimal, high: Decimal) -> None:
        """Computes the same for prices that the scale is too small for, or that no scale fits."""
        mid = _CONTEXT.divide(_CONTEXT.add(low, high), TWO)
        spread = _CONTEXT.subtract(high, low)
        self.mid = to_float(mid)
        self.spread = to_float(spread)
        self.spread_bps = to_float(_CONTEXT.divide(_CONTEXT.multiply(spread, BPS), mid)) if mid > 0 else None
        decimals = -min(int(price.as_tuple().exponent) for price in (low, high))
        if 0 < decimals <= MAX_DECIMALS:
            self._scale = max(self._scale, 10**decimals)


def mark_of(bid: float | None, ask: float | None, last_price: float | None) -> Mark | None:
    """Returns the exact mid if both sides are quoted, else the last price."""
    exact_bid, exact_ask = price_or_none(bid), price_or_none(ask)
    if exact_bid is not None and exact_ask is not None:
        return EXACT.multiply(EXACT.add(exact_bid, exact_ask), HALF), "mid"
    last = price_or_none(last_price)
    return None if last is None else (last, "last")


class ClosingTouch(msgspec.Struct, frozen=True):
    """The prices of a symbol when a session or day ended, which stood until its first event afterwards."""

    end_ns: int
    next_ns: int
    bid: float | None
    ask: float | None
    last_price: float | None

    def stood_at(self, boundary_ns: int) -> bool:
        return self.end_ns <= boundary_ns <= self.next_ns
