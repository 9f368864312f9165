"""Drawdown: how far the P&L is below its peak, in currency and, given a capital, in percent of the peak equity."""

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
    """One fall from a peak: its depth so far, and its times."""

    peak: Decimal = ZERO
    peak_ns: int = 0
    depth: Decimal = ZERO
    trough_ns: int = 0
    recovered_ns: int | None = None
    """When the peak was reached again; None if it has not been yet."""

    def percent(self, capital: Decimal | None) -> Decimal | None:
        """Returns the depth in percent of the peak equity; None without a capital or without a peak above zero."""
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
    """The drawdown of a total P&L. The first peak is zero, the P&L before any trade. Checkpoints store all of it.

    A peak's time is when its height was last reached. The deepest falls in currency and in percent may be different
    ones, because the same amount is a smaller part of a larger equity.
    """

    peak: Decimal = ZERO
    peak_ns: int | None = None
    current: Decimal = ZERO
    dip: Dip = Dip()
    """The current fall, of depth zero at the peak; its trough is the lowest point so far."""
    deepest: Dip = Dip()
    deepest_percent: Dip = Dip()
    capital: Decimal | None = None

    @property
    def maximum(self) -> Decimal:
        return self.deepest.depth

    def observe(self, total: Decimal, now_ns: int) -> None:
        """Adds the total P&L of one moment; the first one is that of the first fill."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        if self.peak_ns is None:
            self.peak_ns = now_ns
        if total >= self.peak:
            if self.current:
                self._recover(now_ns)
            if total > self.peak or self.current:
                self.peak = total
                self.peak_ns = now_ns
                self.current = ZERO
            return
        self.current = current = EXACT.subtract(self.peak, total)
        if current > self.dip.depth:
            self.dip = dip = Dip(self.peak, self.peak_ns, current, now_ns)
            if current > self.deepest.depth:
                self.deepest = dip
            if self.capital is not None:
                self._offer_percent(dip)

    def set_capital(self, capital: Decimal | None) -> None:
        """Sets the capital. If it has changed, only two of the past falls are known and counted again."""
        if capital == self.capital:
            return
        self.capital = capital
        self.deepest_percent = Dip()
        self._offer_percent(self.deepest)
        self._offer_percent(self.dip)

    def current_pct(self) -> Decimal | None:
        """Returns the current fall in percent of the peak equity; None without a capital or a peak above zero."""
        return Dip(self.peak, 0, self.current).percent(self.capital)

    def maximum_pct(self) -> Decimal | None:
        """Returns the deepest fall in percent of the peak equity before it; None as for `current_pct`."""
        return self.deepest_percent.percent(self.capital)

    def to_json(self) -> dict[str, Any]:
        """Returns the current fall, the deepest one in currency and the deepest one in percent."""
        now = Dip(self.peak, self.peak_ns or 0, self.current, self.dip.trough_ns if self.current else 0)
        return {
            "current": now.to_json(self.capital),
            "maximum": self.deepest.to_json(self.capital),
            "maximum_percent": self.deepest_percent.to_json(self.capital),
        }

    def _recover(self, now_ns: int) -> None:
        # An earlier fall has recovered already, or there would have been no new peak to fall from.
        if self.deepest.recovered_ns is None:
            self.deepest = msgspec.structs.replace(self.deepest, recovered_ns=now_ns)
        if self.deepest_percent.depth and self.deepest_percent.recovered_ns is None:
            self.deepest_percent = msgspec.structs.replace(self.deepest_percent, recovered_ns=now_ns)
        self.dip = Dip()

    def _offer_percent(self, dip: Dip) -> None:
        percent = dip.percent(self.capital)
        if percent is not None and percent > (self.deepest_percent.percent(self.capital) or ZERO):
            self.deepest_percent = dip
