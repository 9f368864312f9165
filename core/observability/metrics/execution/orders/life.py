"""The whole life of one order as a document: its reports, its fills, what it cost, and how long each leg took."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from observability.events import BPS
from observability.metrics.arithmetic.decimals import ROUNDED, TWO
from observability.metrics.execution.order import MarkoutSum
from observability.metrics.execution.orders.listing import order_json
from observability.metrics.execution.orders.queries import OrderLife
from observability.metrics.execution.quality import HORIZONS_NS, ratio

# A markout is a gain, what is summed a cost.
MINUS_ONE: Final = Decimal(-1)


def life_json(life: OrderLife) -> dict[str, Any]:
    """Returns the document; a figure that is not known is None."""
    order, markouts = life.order, life.order.markouts or {}
    return {
        **order_json(order),
        "effective_spread": _markout(markouts.get("effective"), TWO),
        "markouts": {horizon: _markout(markouts.get(horizon), MINUS_ONE) for horizon in HORIZONS_NS},
        "chain": life.chain,
        "reports": [report.life_json() | {"seq": report.seq} for report in life.reports],
        "fills": [trade.to_json() for trade in life.trades],
        "complete": life.is_complete,
    }


def _markout(sums: MarkoutSum | None, factor: Decimal) -> dict[str, Any]:
    """Returns a cost times `factor`, per unit and relative to the notional, and the fills behind it."""
    if sums is None:
        return {"price": None, "bps": None, "n": 0}
    return {
        "price": ratio(ROUNDED.multiply(sums.cost, factor), sums.quantity),
        "bps": ratio(ROUNDED.multiply(ROUNDED.multiply(sums.cost, factor), BPS), sums.notional),
        "n": sums.n,
    }
