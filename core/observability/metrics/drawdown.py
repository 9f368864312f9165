"""Drawdown of equity: how far the P&L is below its peak, in currency and, when a starting capital is known, in percent.

No P&L is computed here.
"""

from __future__ import annotations

from decimal import Decimal

from observability.metrics.money import EXACT, ROUNDED, ZERO

_PERCENT = Decimal(100)


class Drawdown:
    """Follows the total P&L; the peak starts at zero, the equity of a start without trades."""

    __slots__ = ("_max_peak", "current", "maximum", "peak")

    def __init__(self) -> None:
        self.peak = ZERO
        self.current = ZERO
        self.maximum = ZERO
        self._max_peak = ZERO

    def observe(self, total: Decimal) -> None:
        """Takes the total P&L of one moment."""
        if total > self.peak:
            self.peak = total
        self.current = EXACT.subtract(self.peak, total)
        if self.current > self.maximum:
            self.maximum = self.current
            self._max_peak = self.peak

    def current_pct(self, capital: Decimal | None) -> Decimal | None:
        """Percent of the peak equity; None without a capital or with a peak of nothing."""
        return _percent(self.current, self.peak, capital)

    def maximum_pct(self, capital: Decimal | None) -> Decimal | None:
        """Percent of the peak equity before the deepest drawdown in currency."""
        return _percent(self.maximum, self._max_peak, capital)


def _percent(drawdown: Decimal, peak: Decimal, capital: Decimal | None) -> Decimal | None:
    if capital is None:
        return None
    peak_equity = EXACT.add(capital, peak)
    return ROUNDED.divide(EXACT.multiply(drawdown, _PERCENT), peak_equity) if peak_equity > 0 else None
