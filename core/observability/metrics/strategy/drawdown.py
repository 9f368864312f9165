"""Drawdown of equity: how far the P&L is below its peak, in currency and, with a capital, in parts of the peak equity.

No P&L is computed here.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from observability.clocks.timestamps import iso_or_none
from observability.metrics.arithmetic.decimals import EXACT, ROUNDED, ZERO, to_float, to_float_or_none
from observability.metrics.strategy.capital import NO_CAPITAL

_PERCENT = Decimal(100)

NO_PEAK_EQUITY = "equity was never above zero"


class Dip(msgspec.Struct, frozen=True):
    """One fall from a peak: its depth so far, and when."""

    peak: Decimal = ZERO
    peak_ns: int = 0
    depth: Decimal = ZERO
    trough_ns: int = 0
    recovered_ns: int | None = None
    """When the peak was reached again, None if it was not yet."""

    def percent(self, capital: Decimal | None) -> Decimal | None:
        """Depth in percent of the peak equity; None without a capital or with a peak of nothing."""
        if capital is None:
            return None
        peak_equity = EXACT.add(capital, self.peak)
        return ROUNDED.divide(EXACT.multiply(self.depth, _PERCENT), peak_equity) if peak_equity > 0 else None

    def to_json(self, capital: Decimal | None) -> dict[str, Any]:
        percent = self.percent(capital)
        reason = None if percent is not None else NO_CAPITAL if capital is None else NO_PEAK_EQUITY
        return {
            "value": to_float(self.depth),
            "percent": to_float_or_none(percent),
            "reason": reason,
            "peak_pnl": to_float(self.peak),
            "peak_time": iso_or_none(self.peak_ns),
            "trough_time": iso_or_none(self.trough_ns),
            "recovered_time": iso_or_none(self.recovered_ns),
        }


class Drawdown(msgspec.Struct):
    """Follows the total P&L; the peak starts at zero, the equity of a start without trades. All of it is state.

    A peak's time is when its height was reached, or last reached again. The deepest fall in currency and the deepest in
    percent may be two falls: the same amount is less of a larger equity.
    """

    peak: Decimal = ZERO
    peak_ns: int | None = None
    current: Decimal = ZERO
    dip: Dip = Dip()
    """The fall that lasts, of depth zero at the peak; its trough is the lowest point so far."""
    deepest: Dip = Dip()
    deepest_percent: Dip = Dip()
    capital: Decimal | None = None

    @property
    def maximum(self) -> Decimal:
        return self.deepest.depth

    def observe(self, total: Decimal, now_ns: int, capital: Decimal | None) -> None:
        """Takes the total P&L of one moment."""
        # hot: once per tick in which something moved (benchmarks/bench_tick.py)
        if self.peak_ns is None:
            self.peak_ns = now_ns
        if capital != self.capital:
            self._rebase(capital)
        if total >= self.peak:
            if self.current:
                self._recover(now_ns)
            if total > self.peak or self.current:
                self.peak = total
                self.peak_ns = now_ns
                self.current = ZERO
            return
        self.current = EXACT.subtract(self.peak, total)
        if self.current > self.dip.depth:
            self.dip = dip = Dip(self.peak, self.peak_ns, self.current, now_ns)
            if dip.depth > self.deepest.depth:
                self.deepest = dip
            self._offer_percent(dip)

    def current_pct(self) -> Decimal | None:
        """Percent of the peak equity; None without a capital or with a peak of nothing."""
        return Dip(self.peak, 0, self.current).percent(self.capital)

    def maximum_pct(self) -> Decimal | None:
        """The deepest fall in percent of the peak equity before it."""
        return self.deepest_percent.percent(self.capital)

    def to_json(self) -> dict[str, Any]:
        """Returns the fall that lasts, the deepest in currency and the deepest in percent."""
        now = Dip(self.peak, self.peak_ns or 0, self.current, self.dip.trough_ns if self.current else 0)
        return {
            "current": now.to_json(self.capital),
            "maximum": self.deepest.to_json(self.capital),
            "maximum_percent": self.deepest_percent.to_json(self.capital),
        }

    def _recover(self, now_ns: int) -> None:
        # A fall before this one has recovered already: there would be no new peak to fall from.
        if self.deepest.recovered_ns is None:
            self.deepest = msgspec.structs.replace(self.deepest, recovered_ns=now_ns)
        if self.deepest_percent.depth and self.deepest_percent.recovered_ns is None:
            self.deepest_percent = msgspec.structs.replace(self.deepest_percent, recovered_ns=now_ns)
        self.dip = Dip()

    def _rebase(self, capital: Decimal | None) -> None:
        """Takes a capital that was not known before, or another one: of the past, two falls are still there."""
        self.capital = capital
        self.deepest_percent = Dip()
        self._offer_percent(self.deepest)
        self._offer_percent(self.dip)

    def _offer_percent(self, dip: Dip) -> None:
        percent = dip.percent(self.capital)
        if percent is not None and percent > (self.deepest_percent.percent(self.capital) or ZERO):
            self.deepest_percent = dip
