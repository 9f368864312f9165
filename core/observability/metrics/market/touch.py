"""The touch of a symbol, its best bid and ask: which sides there are, mid, spread, and the mark of positions.

Mid and spread are those of the decimals that the venue sent, not of their doubles:

    24.78 and 24.82: a spread of 0.04, not of 0.03999999999999915
"""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, InvalidOperation
from typing import Final, Literal

from observability.events import BPS, Quote
from observability.metrics.arithmetic.decimals import EXACT, HALF, TWO, price_or_none, to_float
from observability.metrics.arithmetic.turnover import MAX_DECIMALS, PROOF_LIMIT

_INT_BPS = int(BPS)

# Twice as many digits as a double has, so that rounding to these and then to a double gives the nearest double.
_CONTEXT = Context(prec=34, traps=[InvalidOperation, DivisionByZero])

MarkSource = Literal["mid", "last", "fill"]

Mark = tuple[Decimal, MarkSource]

MarkInputs = tuple[float | None, float | None, float | None, bool]
"""What a mark is made from; equal inputs give equal marks: bid, ask, last price, and whether the quote is fresh, or no
print has come after it."""

# Some feeds send this price, on both sides, where there is no market.
_NO_PRICE: Final = -1.0

Sides = tuple[float | None, float | None, float | None, float | None]
"""Bid, ask, bid size, ask size."""


def sides_of(event: Quote) -> Sides:
    """Returns the sides of a quote, both price and size None for one that is not there: null, a price or a size of 0,
    or a price of -1 on both sides without a size."""
    bid, ask, bid_size, ask_size = event.bid, event.ask, event.bid_size, event.ask_size
    if bid == ask == _NO_PRICE and not bid_size and not ask_size:
        return None, None, None, None
    if not bid or bid_size == 0:
        bid = bid_size = None
    if not ask or ask_size == 0:
        ask = ask_size = None
    return bid, ask, bid_size, ask_size


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


def mark_of(inputs: MarkInputs) -> Mark | None:
    """Returns the exact mid of a current quote with both sides, else the last price, else the mid of a quote that is
    not current; None without any of them."""
    # hot: once per event that moves the prices of an open position (benchmarks/bench_intake.py)
    low, high, last_price, is_mid_current = inputs
    bid, ask = price_or_none(low), price_or_none(high)
    if bid is not None and ask is not None and (is_mid_current or price_or_none(last_price) is None):
        return EXACT.multiply(EXACT.add(bid, ask), HALF), "mid"
    last = price_or_none(last_price)
    return None if last is None else (last, "last")
