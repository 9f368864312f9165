"""Drawdown: how far the P&L is below its peak, in currency and, given a capital, in percent of the peak equity.

Money that is paid in or out is neither gain nor loss. In currency it changes nothing. In percent it scales the peak
with the equity, so that the fall from it stays the same part, as does that of the value of one share of a fund:

    equity        100 ... 120 ... 108    deposit of 108: 216 ... 162
    peak          100     120     120                    240     240
    drawdown      0 %     0 %     10 %                   10 %    32.5 %
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec

from observability.clocks.timestamps import iso_or_none
from observability.metrics.arithmetic.decimals import ROUNDED, ZERO, add, multiply, subtract, to_float, to_float_or_none
from observability.metrics.strategy.capital import NO_CAPITAL

_PERCENT = Decimal(100)

NO_PEAK_EQUITY = "equity was never above zero"

# Finer than any amount, so that what is scaled can be added exactly.
_SCALED_QUANTUM = Decimal("1e-60")


class Dip(msgspec.Struct, frozen=True):
    """One fall from a peak: its depth so far, and its times."""

    peak: Decimal = ZERO
    peak_ns: int = 0
    depth: Decimal = ZERO
    trough_ns: int = 0
    recovered_ns: int | None = None
    """When the peak was reached again; None if it has not been yet."""
    flows: Decimal = ZERO
    """What had been paid in by the time of the peak, less what had been paid out."""

    def percent(self, capital: Decimal | None) -> Decimal | None:
        """Returns the depth in percent of the peak equity; None without a capital or without a peak above zero."""
        if capital is None:
            return None
        peak_equity = add(add(capital, self.flows), self.peak)
        return ROUNDED.divide(multiply(self.depth, _PERCENT), peak_equity) if peak_equity > 0 else None

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
    flows: Decimal = ZERO
    """What was paid in so far, less what was paid out."""
    peak_flows: Decimal = ZERO
    """The same at the time of the peak."""
    scaled: Drawdown | None = None
    """The equity less the capital, with its peak in proportion to what was paid in and out; None before the first."""

    @property
    def maximum(self) -> Decimal:
        return self.deepest.depth

    def observe(self, total: Decimal, now_ns: int) -> None:
        """Adds the total P&L of one moment; the first one is that of the first fill."""
        # hot: once per fill, and per event that moves the mark of an open position (benchmarks/bench_intake.py)
        if self.scaled is not None:
            self.scaled.observe(add(total, self.flows), now_ns)
        if self.peak_ns is None:
            self.peak_ns = now_ns
        if total >= self.peak:
            if self.current:
                self._recover(now_ns)
            if total > self.peak or self.current:
                self.peak = total
                self.peak_ns = now_ns
                self.peak_flows = self.flows
                self.current = ZERO
            return
        self.current = current = subtract(self.peak, total)
        if current > self.dip.depth:
            self.dip = dip = Dip(self.peak, self.peak_ns, current, now_ns, None, self.peak_flows)
            if current > self.deepest.depth:
                self.deepest = dip
            if self.capital is not None:
                self._offer_percent(dip)

    def look(self, total: Decimal, now_ns: int) -> None:
        """Observes the total P&L that a mark or a rate has made, unless nothing has been earned yet."""
        if total or self.peak_ns is not None:
            self.observe(total, now_ns)

    def set_capital(self, capital: Decimal | None) -> None:
        """Sets the capital. If it has changed, only two of the past falls are known and counted again."""
        if capital == self.capital:
            return
        self.capital = capital
        if self.scaled is not None or self.flows:
            self.scaled = None if capital is None else self._begin_scaled()
        self.deepest_percent = Dip()
        self._offer_percent(self.deepest)
        self._offer_percent(self.dip)

    def add_flow(self, amount: Decimal, total: Decimal, now_ns: int) -> None:
        """Adds money that was paid in or out when the total P&L was `total`."""
        capital = self.capital
        if capital is not None:
            if self.scaled is None:
                self.scaled = self._begin_scaled()
            before = add(add(capital, self.flows), total)
            self.scaled._scale(capital, before, add(before, amount), now_ns)
        self.flows = add(self.flows, amount)

    def _begin_scaled(self) -> Drawdown:
        """Returns the drawdown of the equity: what it was until now if nothing has been paid in or out, else one that
        begins now."""
        if not self.flows:
            return Drawdown(
                self.peak, self.peak_ns, self.current, self.dip, self.deepest, self.deepest_percent, self.capital
            )
        now = add(subtract(self.peak, self.current), self.flows)
        return Drawdown(peak=now, peak_ns=self.peak_ns, capital=self.capital)

    def _scale(self, capital: Decimal, before: Decimal, after: Decimal, now_ns: int) -> None:
        """Scales the peak as the equity is changed from `before` to `after` by money that is paid in or out."""
        peak_equity = add(capital, self.peak)
        if before <= 0 or after <= 0 or peak_equity <= before:
            # There is no fall, or none that is a part of anything.
            self.peak, self.current, self.dip = subtract(after, capital), ZERO, Dip()
            self.peak_ns = now_ns if self.peak_ns is None or before <= 0 or after <= 0 else self.peak_ns
            return
        self.peak = subtract(_scaled(peak_equity, after, before), capital)
        self.current = subtract(add(capital, self.peak), after)
        if self.dip.depth:
            depth = _scaled(self.dip.depth, after, before)
            self.dip = Dip(self.peak, self.dip.peak_ns, depth, self.dip.trough_ns)

    def current_pct(self) -> Decimal | None:
        """Returns the current fall in percent of the peak equity; None without a capital or a peak above zero."""
        found = self.scaled or self
        return Dip(found.peak, 0, found.current).percent(self.capital)

    def maximum_pct(self) -> Decimal | None:
        """Returns the deepest fall in percent of the peak equity before it; None as for `current_pct`."""
        return (self.scaled or self).deepest_percent.percent(self.capital)

    def to_json(self) -> dict[str, Any]:
        """Returns the current fall, the deepest one in currency and the deepest one in percent."""
        trough_ns = self.dip.trough_ns if self.current else 0
        now = Dip(self.peak, self.peak_ns or 0, self.current, trough_ns, None, self.peak_flows).to_json(self.capital)
        if self.scaled is not None:
            now["percent"] = to_float_or_none(self.current_pct())
        return {
            "current": now,
            "maximum": self.deepest.to_json(self.capital),
            "maximum_percent": (self.scaled or self).deepest_percent.to_json(self.capital),
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


def _scaled(value: Decimal, after: Decimal, before: Decimal) -> Decimal:
    return ROUNDED.divide(ROUNDED.multiply(value, after), before).quantize(_SCALED_QUANTUM, context=ROUNDED)
