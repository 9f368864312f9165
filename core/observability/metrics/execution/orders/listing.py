"""An order as it is listed, and the filter that selects some of many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import NS_PER_MS, format_iso_ms
from observability.events import BPS
from observability.metrics.arithmetic.decimals import EXACT, ROUNDED, ZERO, to_float, to_float_or_none
from observability.metrics.execution.figures import cost_of
from observability.metrics.execution.order import OrderState


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Selects orders; a field that is None accepts every order. start_ns <= time of the first record < end_ns."""

    is_open: bool | None = None
    status: str | None = None
    strategy: str | None = None
    symbol: str | None = None
    venue: str | None = None
    start_ns: int | None = None
    end_ns: int | None = None

    def predicate(self) -> Callable[[OrderState], bool]:
        """Returns the test for one order."""
        tests: list[Callable[[OrderState], bool]] = []
        for name in ("symbol", "strategy", "venue", "is_open"):
            wanted = getattr(self, name)
            if wanted is not None:
                tests.append(lambda order, name=name, wanted=wanted: getattr(order, name) == wanted)  # type: ignore[misc]
        status, start_ns, end_ns = self.status, self.start_ns, self.end_ns
        if status is not None:
            tests.append(lambda order: status_of(order) == status)
        if start_ns is not None:
            tests.append(lambda order: order.created_ns >= start_ns)
        if end_ns is not None:
            tests.append(lambda order: order.created_ns < end_ns)
        return lambda order: all(test(order) for test in tests)


def status_of(order: OrderState) -> str | None:
    """Returns the status that people see: `replaced` once another order goes on for it. None if only fills are
    known."""
    return "replaced" if order.is_replaced else order.status


def average_price(order: OrderState) -> Decimal | None:
    """Returns the average price of the fills, that of an inverse contract by the amounts in its currency; None without
    any."""
    if order.terms is not None and order.terms.is_inverse and order.reciprocal:
        return ROUNDED.divide(order.filled, order.reciprocal)
    return ROUNDED.divide(order.notional, order.filled) if order.filled else None


def commission(order: OrderState) -> Decimal | None:
    """Returns the fees of an order in its own currency; None if some of them have no value in it."""
    return None if order.fees_apart else order.fees


def slippage_bps(order: OrderState) -> float | None:
    """Returns the average price against the arrival price, in bps; a cost is positive. None without fills or without an
    arrival price above zero."""
    arrival = order.arrival_price
    if arrival is None or arrival <= 0 or not order.filled:
        return None
    cost = EXACT.multiply(cost_of(order.side, order.filled, order.notional, arrival), BPS)
    return to_float(ROUNDED.divide(cost, EXACT.multiply(arrival, order.filled)))


def remaining(order: OrderState) -> Decimal | None:
    """Returns the quantity that may still be filled: 0 once the order has ended; None if its quantity is not known."""
    if order.quantity is None:
        return None
    return max(EXACT.subtract(order.quantity, order.executed), ZERO) if order.is_open else ZERO


def latency_ms(order: OrderState) -> float | None:
    """Returns how long the venue took to acknowledge or reject the order; None if that is not known."""
    return between_ms(order.sent_ns, order.acked_ns)


def between_ms(start_ns: int | None, end_ns: int | None) -> float | None:
    """Returns the milliseconds from one moment to another; None while one of them is not known."""
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / NS_PER_MS


def legs_ms(order: OrderState) -> dict[str, float | None]:
    """Returns how long each leg of an order took, in milliseconds; None while an end of it is not known."""
    sent_ns, acked_ns, first_fill_ns = order.sent_ns, order.acked_ns, order.first_fill_ns
    return {
        "decision_to_send": between_ms(order.decided_ns, sent_ns),
        "send_to_ack": between_ms(sent_ns, acked_ns),
        "ack_to_first_fill": between_ms(acked_ns, first_fill_ns),
        "send_to_first_fill": between_ms(sent_ns, first_fill_ns),
        "send_to_complete": between_ms(sent_ns, order.ended_ns),
        "cancel_to_ack": between_ms(order.cancel_ns, order.canceled_ns),
    }


def order_json(order: OrderState) -> dict[str, Any]:
    """Returns an order as it is listed."""
    return {
        "order_id": order.order_id,
        "client_order_id": order.client_order_id,
        "symbol": order.symbol,
        "side": order.side,
        "strategy": order.strategy,
        "venue": order.venue,
        "status": status_of(order),
        "open": order.is_open,
        "order_type": order.order_type,
        "quantity": to_float_or_none(order.quantity),
        "price": to_float_or_none(order.price),
        "filled_quantity": to_float(order.filled),
        "remaining_quantity": to_float_or_none(remaining(order)),
        "average_price": to_float_or_none(average_price(order)),
        "commission": to_float_or_none(commission(order)),
        "currency": order.currency or None,
        "unvalued_fees": {asset: to_float(fee) for asset, fee in (order.fees_apart or {}).items()},
        "arrival_price": to_float_or_none(order.arrival_price),
        "slippage_bps": slippage_bps(order),
        "latency_ms": latency_ms(order),
        "latency": legs_ms(order),
        "reason": order.reason,
        "replaces": order.replaces,
        "replaced_by": order.successor,
        "n_reports": order.n_reports,
        "n_fills": order.n_fills,
        "created": format_iso_ms(order.created_ns),
        "updated": format_iso_ms(order.updated_ns),
    }
