"""Execution quality: the definition of every figure, computed from the counts and exact sums of one set of orders.

- fill_rate: quantity filled / quantity ordered, over accepted orders of known quantity, open ones included.
- fill_rate_orders: orders filled completely / orders accepted. fill_rate_terminal: orders filled completely / orders
  that ended (filled, cancelled, rejected, expired). An order is accepted once it is acknowledged other than by a
  reject.
- reject_rate, cancel_rate: rejected or cancelled orders / all orders.
- arrival_slippage_bps: average price against the engine's arrival price, weighted by quantity; a cost is positive. It
  is the trading part of the shortfall, but over open orders too.
- implementation_shortfall: see `shortfall.py`; over orders that ended. The decision price is the mid at `decision_ts`;
  an order without one counts as decided when it arrives, so its delay is 0. The arrival price is the engine's, else the
  mid when the order was first reported. The end price is the mid when the order ended. In bps of the quantity ordered
  at the decision price.
- vwap_deviation_bps: average price against the VWAP of the market's prints from the order's first report to its last
  fill, weighted by quantity; a cost is positive. S. Berkowitz, D. Logue and E. Noser, "The Total Cost of Transactions
  on the NYSE", Journal of Finance 43(1), 1988. The market's prints include those of our own fills.
- effective_spread, markouts: see `markouts.py`; `price` in quote currency per unit.

`n` counts the orders or fills behind a figure, `left_out` those that could not be measured, by reason. Every quotient
is divided only once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_MINUTE, NS_PER_MS, NS_PER_S
from observability.events import BPS
from observability.metrics.arithmetic.decimals import ROUNDED, TWO, ZERO, to_float

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

Counts = Mapping[str, int]
Amounts = Mapping[str, Decimal]


def ratio(part: Decimal | int, whole: Decimal | int) -> float | None:
    """Returns the nearest double of a quotient; None if the whole is zero."""
    return float(ROUNDED.divide(Decimal(part), Decimal(whole))) + 0.0 if whole else None


def ended(counts: Counts) -> int:
    """Returns how many orders have ended."""
    return sum(counts.get(status, 0) for status in ENDED)


def shortfall_bps(amounts: Amounts, part: str = "total") -> float | None:
    """Returns the shortfall, or a part of it, relative to the notional; None unless the notional is positive."""
    notional = amounts.get("shortfall_notional", ZERO)
    if notional <= 0:
        return None
    return ratio(ROUNDED.multiply(amounts.get(f"shortfall_{part}", ZERO), BPS), notional)


def quality_of(counts: Counts, amounts: Amounts) -> dict[str, Any]:
    """Returns every figure except the latencies."""
    n = counts.get
    orders, accepted, n_ended = n("orders", 0), n("accepted", 0), ended(counts)
    unpriced = _left_out(counts, "fill")
    return {
        "orders": orders,
        "fills": n("fills", 0),
        "fill_rate": {"value": _quotient(amounts, "executed", "ordered"), "n": accepted},
        "fill_rate_orders": {"value": ratio(n("filled", 0), accepted), "n": accepted},
        "fill_rate_terminal": {"value": ratio(n("filled", 0), n_ended), "n": n_ended},
        "reject_rate": {"value": ratio(n("rejected", 0), orders), "n": orders},
        "cancel_rate": {"value": ratio(n("canceled", 0), orders), "n": orders},
        "arrival_slippage_bps": {
            "value": _quotient(amounts, "slippage", "slippage_quantity"),
            "n": n("slippage", 0),
            "quantity": to_float(amounts.get("slippage_quantity", ZERO)),
        },
        "implementation_shortfall": {
            **{part: to_float(amounts.get(f"shortfall_{part}", ZERO)) for part in _PARTS},
            **{f"{part}_bps": shortfall_bps(amounts, part) for part in _PARTS},
            "notional": to_float(amounts.get("shortfall_notional", ZERO)),
            "n": n("shortfall", 0),
            "left_out": _left_out(counts, "shortfall"),
        },
        "vwap_deviation_bps": {
            "value": _quotient(amounts, "vwap", "vwap_quantity"),
            "n": n("vwap", 0),
            "quantity": to_float(amounts.get("vwap_quantity", ZERO)),
            "left_out": _left_out(counts, "vwap"),
        },
        "effective_spread": {
            "price": _quotient(amounts, "effective_cost", "effective_quantity", TWO),
            "bps": _quotient(amounts, "effective_bps", "effective_quantity", TWO),
            "n": n("effective", 0),
            "quantity": to_float(amounts.get("effective_quantity", ZERO)),
            "left_out": {why: count for why, count in unpriced.items() if why != "too_many_pending"},
        },
        "markouts": {horizon: _markout(counts, amounts, f"markout_{horizon}", unpriced) for horizon in HORIZONS_NS},
        "missing_reports": {
            "orders_without_report": n("without_report", 0),
            "orders_without_send": n("without_send", 0),
            "orders_without_ack": n("without_ack", 0),
            "orders_without_fills": n("without_fills", 0),
            "cancels_unacknowledged": n("cancel_unacknowledged", 0),
        },
    }


def _markout(counts: Counts, amounts: Amounts, name: str, unpriced: dict[str, int]) -> dict[str, Any]:
    quantity = f"{name}_quantity"
    return {
        "price": _quotient(amounts, f"{name}_cost", quantity, _MINUS_ONE),
        "bps": _quotient(amounts, f"{name}_bps", quantity, _MINUS_ONE),
        "realized_spread": _quotient(amounts, f"{name}_cost", quantity, TWO),
        "realized_spread_bps": _quotient(amounts, f"{name}_bps", quantity, TWO),
        "n": counts.get(name, 0),
        "quantity": to_float(amounts.get(quantity, ZERO)),
        "left_out": unpriced | _left_out(counts, name),
    }


def _left_out(counts: Counts, name: str) -> dict[str, int]:
    prefix = f"{name}:"
    return {label.removeprefix(prefix): n for label, n in counts.items() if n and label.startswith(prefix)}


def _quotient(amounts: Amounts, part: str, whole: str, factor: Decimal | None = None) -> float | None:
    value = amounts.get(part, ZERO)
    return ratio(value if factor is None else ROUNDED.multiply(value, factor), amounts.get(whole, ZERO))
