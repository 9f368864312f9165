"""Mid and spread of a touch as the decimals make them that the venue has sent, not as their doubles do.

    24.78 and 24.82: a spread of 0.04, and not of 0.03999999999999915

No quotes are taken here (see `symbol_state.py`); why a double is a decimal, `exact.py` says.
"""

from __future__ import annotations

from decimal import Context, Decimal, DivisionByZero, InvalidOperation

from observability.events import BPS
from observability.metrics.arithmetic.decimals import TWO, to_float
from observability.metrics.arithmetic.turnover import MAX_DECIMALS, PROOF_LIMIT

# Twice as many digits as a double has: what is rounded here is the nearest double all the same.
_CONTEXT = Context(prec=34, traps=[InvalidOperation, DivisionByZero])


class Touch:
    """The figures of the newest touch; None where one of its sides is. Made again only when a side has moved."""

    __slots__ = ("_scale", "_sides", "mid", "spread", "spread_bps")

    def __init__(self) -> None:
        self.mid: float | None = None
        self.spread: float | None = None
        """Ask - bid, negative while crossed."""
        self.spread_bps: float | None = None
        """The spread relative to the mid; None where that is zero or less, and it says nothing."""
        self._sides: tuple[float | None, float | None] = (None, None)
        # A power of ten that makes integers of the prices so far.
        self._scale = 1

    def update(self, bid: float | None, ask: float | None) -> None:
        """Takes the sides over; each is finite or None."""
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
                self.spread_bps = (high - low) * 2 * BPS / total if total > 0 else None
                return
        self._derive_from_decimals(Decimal(repr(bid)), Decimal(repr(ask)))

    def _derive_from_decimals(self, low: Decimal, high: Decimal) -> None:
        """Does the same for prices that the scale is too small for, or for which there is none."""
        mid = _CONTEXT.divide(_CONTEXT.add(low, high), TWO)
        spread = _CONTEXT.subtract(high, low)
        self.mid = to_float(mid)
        self.spread = to_float(spread)
        self.spread_bps = to_float(_CONTEXT.divide(_CONTEXT.multiply(spread, BPS), mid)) if mid > 0 else None
        decimals = -min(int(price.as_tuple().exponent) for price in (low, high))
        if 0 < decimals <= MAX_DECIMALS:
            self._scale = max(self._scale, 10**decimals)
