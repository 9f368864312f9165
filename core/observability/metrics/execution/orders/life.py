"""The whole life of one order as a document: its reports, its fills, what it cost, and how long each leg took."""

from __future__ import annotations

from typing import Any

from observability.clocks.timestamps import NS_PER_MS
from observability.metrics.execution.order import OrderState
from observability.metrics.execution.orders.listing import order_json
from observability.metrics.execution.orders.queries import OrderLife


def life_json(life: OrderLife) -> dict[str, Any]:
    """Returns the document; a figure that is not known is None."""
    order = life.order
    return {
        **order_json(order),
        "latency": legs_ms(order),
        "reports": [report.life_json() | {"seq": report.seq} for report in life.reports],
        "fills": [trade.to_json() for trade in life.trades],
        "complete": life.is_complete,
    }


def legs_ms(order: OrderState) -> dict[str, float | None]:
    """Returns how long each leg of an order took, in milliseconds; None while an end of it is not known."""
    sent_ns, acked_ns, first_fill_ns = order.sent_ns, order.acked_ns, order.first_fill_ns
    return {
        "decision_to_send": _between_ms(order.decided_ns, sent_ns),
        "send_to_ack": _between_ms(sent_ns, acked_ns),
        "ack_to_first_fill": _between_ms(acked_ns, first_fill_ns),
        "send_to_first_fill": _between_ms(sent_ns, first_fill_ns),
        "send_to_complete": _between_ms(sent_ns, order.ended_ns),
        "cancel_to_ack": _between_ms(order.cancel_ns, order.canceled_ns),
    }


def _between_ms(start_ns: int | None, end_ns: int | None) -> float | None:
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / NS_PER_MS
