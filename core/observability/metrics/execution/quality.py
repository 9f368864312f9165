"""Execution quality: the definition of every figure, computed from the counts and exact sums of one set of orders.

- fill_rate: quantity filled / quantity ordered, over accepted orders of known quantity, open ones included. Of one
  symbol only: quantities of several have no common unit.
- fill_rate_orders: orders filled completely / orders accepted. fill_rate_terminal: orders filled completely / orders
  that ended (filled, cancelled, rejected, expired). An order is accepted once it is acknowledged other than by a
  reject.
- replaced: orders closed because another one goes on for them, see `order.py`. They count in no rate but that of their
  fills: the successor counts in their place.
- reject_rate, cancel_rate: rejected or cancelled orders / all orders.
- arrival_slippage_bps: average price against the engine's arrival price, weighted by notional at that price; a cost is
  positive. It is the trading part of the shortfall, but over open orders too.
- implementation_shortfall: see `shortfall.py`; over orders that ended. The decision price is the mid at `decision_ts`;
  an order without one counts as decided when it arrives, so its delay is 0. The arrival price is the engine's, else the
  mid when the order was first reported. The end price is the mid when the order ended. In bps of the quantity ordered
  at the decision price.
- vwap_deviation_bps: average price against the VWAP of the market's prints from the order's first report to its last
  fill, weighted by notional at the VWAP; a cost is positive. S. Berkowitz, D. Logue and E. Noser, "The Total Cost of
  Transactions on the NYSE", Journal of Finance 43(1), 1988. The market's prints include those of our own fills.
- effective_spread, markouts: see `markouts.py`; `price` in quote currency per unit.
- standard_error_bps of a markout: that of a ratio of sums, clustered by order. With cost C and notional N of each of k
  orders and m = sum(C) / sum(N) it is sqrt(k / (k - 1) * sum((C - m * N)**2)) / sum(N). W. Cochran, "Sampling
  Techniques", 3rd edition, 1977, section 6.3.

`n` counts the orders or fills behind a figure, `left_out` those that could not be measured, by reason. Every quotient
is divided only once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final, NamedTuple

from observability.clocks.timestamps import NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.events import BPS
from observability.metrics.arithmetic.decimals import ONE, ROUNDED, TWO, ZERO, to_float
from observability.metrics.arithmetic.ledger import why_missing
from observability.metrics.execution.amounts import Sums

HORIZONS_NS: Final = {
    "50ms": 50 * NS_PER_MS,
    "1s": NS_PER_S,
    "10s": 10 * NS_PER_S,
    "1m": NS_PER_MINUTE,
    "5m": 300 * NS_PER_S,
}
"""How long after a fill each markout is measured."""
ENDED: Final = ("filled", "canceled", "rejected", "expired")
_PARTS: Final = ("total", "delay", "trading", "opportunity", "fees")
_MINUS_ONE = Decimal(-1)

SEVERAL_SYMBOLS: Final = "several symbols: their quantities have no common unit"
"""Why a figure in units is None."""

FEW_ORDERS: Final = "fewer than two orders"
NOT_OBSERVED: Final = (
    "some fills are in another currency, of an inverse contract, counted by an earlier version, or corrected later "
    "than their order was kept"
)
"""Why a mean has no standard error."""

Counts = Mapping[str, int]


def ratio(part: Decimal | int, whole: Decimal | int) -> float | None:
    """Returns the nearest double of a quotient; None if the whole is zero."""
    return float(ROUNDED.divide(Decimal(part), Decimal(whole))) + 0.0 if whole else None


def ended(counts: Counts) -> int:
    """Returns how many orders have ended."""
    return sum(counts.get(status, 0) for status in ENDED)


def cost_bps(amounts: Sums, name: str, factor: Decimal = BPS) -> float | None:
    """Returns a cost relative to its notional; None unless the notional is known and positive."""
    return _relative(amounts.money(f"{name}_money"), amounts.money(f"{name}_notional"), factor)


def shortfall_bps(amounts: Sums, part: str = "total") -> float | None:
    """Returns the shortfall, or a part of it, relative to the notional; None unless that is known and positive."""
    return _relative(amounts.money(f"money_{part}"), amounts.money("money_notional"), BPS)


def _relative(money: Decimal | None, notional: Decimal | None, factor: Decimal) -> float | None:
    if money is None or notional is None or notional <= 0:
        return None
    return ratio(ROUNDED.multiply(money, factor), notional)


def quality_of(counts: Counts, amounts: Sums, *, is_mixed: bool, reporting: str = "") -> dict[str, Any]:
    """Returns every figure except the latencies. `is_mixed` is whether the amounts are of several symbols: quantities
    and prices of different units have no sum or average, so these are None, with the reason."""
    n = counts.get
    orders, accepted, n_ended = n("orders", 0), n("accepted", 0), ended(counts)
    unpriced = _left_out(counts, "fill")
    units = _Units(amounts, is_mixed)
    return {
        "orders": orders,
        "replaced": n("replaced", 0),
        "fills": n("fills", 0),
        "notional": amounts.money_json("money_traded"),
        "commission": amounts.money_json("commission"),
        "fill_rate": {"value": units.quotient("executed", "ordered"), "n": accepted, "reason": units.reason},
        "fill_rate_orders": {"value": ratio(n("filled", 0), accepted), "n": accepted},
        "fill_rate_terminal": {"value": ratio(n("filled", 0), n_ended), "n": n_ended},
        "reject_rate": {"value": ratio(n("rejected", 0), orders), "n": orders},
        "cancel_rate": {"value": ratio(n("canceled", 0), orders), "n": orders},
        "arrival_slippage_bps": {
            "value": cost_bps(amounts, "slippage"),
            "n": n("slippage", 0),
            **units.weights("slippage"),
        },
        "implementation_shortfall": {
            **{part: amounts.money_json(f"money_{part}") for part in _PARTS},
            **{f"{part}_bps": shortfall_bps(amounts, part) for part in _PARTS},
            "notional": amounts.money_json("money_notional"),
            "n": n("shortfall", 0),
            "left_out": _left_out(counts, "shortfall"),
        },
        "vwap_deviation_bps": {
            "value": cost_bps(amounts, "vwap"),
            "n": n("vwap", 0),
            **units.weights("vwap"),
            "left_out": _left_out(counts, "vwap"),
        },
        "effective_spread": {
            "price": units.quotient("effective_cost", "effective_quantity", TWO),
            "bps": cost_bps(amounts, "effective", TWO * BPS),
            "n": n("effective", 0),
            **units.weights("effective"),
            "left_out": {why: count for why, count in unpriced.items() if why != "too_many_pending"},
            "reason": units.reason,
        },
        "markouts": {horizon: _markout(counts, units, f"markout_{horizon}", unpriced) for horizon in HORIZONS_NS},
        "unconverted_reason": why_missing(amounts.currencies_missing, reporting),
        "missing_reports": {
            "orders_without_report": n("without_report", 0),
            "orders_without_send": n("without_send", 0),
            "orders_without_ack": n("without_ack", 0),
            "orders_without_fills": n("without_fills", 0),
            "cancels_unacknowledged": n("cancel_unacknowledged", 0),
        },
    }


def _markout(counts: Counts, units: _Units, name: str, unpriced: dict[str, int]) -> dict[str, Any]:
    error, why_none = _standard_error(counts, units.amounts, name)
    return {
        "price": units.quotient(f"{name}_cost", f"{name}_quantity", _MINUS_ONE),
        "bps": cost_bps(units.amounts, name, _MINUS_ONE * BPS),
        "realized_spread": units.quotient(f"{name}_cost", f"{name}_quantity", TWO),
        "realized_spread_bps": cost_bps(units.amounts, name, TWO * BPS),
        "standard_error_bps": error,
        "orders": counts.get(f"{name}_orders", 0),
        "standard_error_reason": why_none,
        "n": counts.get(name, 0),
        **units.weights(name),
        "left_out": unpriced | _left_out(counts, name),
        "reason": units.reason,
    }


def _standard_error(counts: Counts, amounts: Sums, name: str) -> tuple[float | None, str | None]:
    """Returns the standard error of a mean cost in bps, or why there is none."""
    k = counts.get(f"{name}_orders", 0)
    money, notional = amounts.money(f"{name}_money"), amounts.money(f"{name}_notional")
    if money is None or notional is None or amounts.get(f"{name}_observed", ZERO) != notional:
        return None, NOT_OBSERVED
    if k < 2:
        return None, FEW_ORDERS
    cc, cn, nn = (amounts.get(f"{name}_{what}", ZERO) for what in ("cc", "cn", "nn"))
    mean = ROUNDED.divide(money, notional)
    squares = ROUNDED.add(cc, ROUNDED.multiply(mean, ROUNDED.subtract(ROUNDED.multiply(mean, nn), ROUNDED.add(cn, cn))))
    variance = ROUNDED.divide(ROUNDED.multiply(max(squares, ZERO), k), k - 1)
    return ratio(ROUNDED.multiply(ROUNDED.sqrt(variance), BPS), notional), None


def _left_out(counts: Counts, name: str) -> dict[str, int]:
    prefix = f"{name}:"
    return {label.removeprefix(prefix): n for label, n in counts.items() if n and label.startswith(prefix)}


class _Units(NamedTuple):
    """The amounts that are in units of a symbol."""

    amounts: Sums
    is_mixed: bool

    @property
    def reason(self) -> str | None:
        """Why figures in units are None."""
        return SEVERAL_SYMBOLS if self.is_mixed else None

    def quotient(self, part: str, whole: str, factor: Decimal = ONE) -> float | None:
        if self.is_mixed:
            return None
        return ratio(ROUNDED.multiply(self.amounts.get(part, ZERO), factor), self.amounts.get(whole, ZERO))

    def weights(self, name: str) -> dict[str, float | None]:
        """Returns the quantity and the notional behind a figure."""
        quantity = None if self.is_mixed else to_float(self.amounts.get(f"{name}_quantity", ZERO))
        return {"quantity": quantity, "notional": self.amounts.money_json(f"{name}_notional")}
