"""Our orders: the open ones, a memory of recent ones, and the totals of the session.

No fills' records here (see `trade_log.py`) and no JSON (see `execution_collector.py`).
"""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Final

from observability.core.events import Fill, Order
from observability.core.timestamps import NS_PER_MS
from observability.metrics.histogram import DurationHistogram
from observability.metrics.money import EXACT, ROUNDED, ZERO, finite_or_none
from observability.metrics.order_state import OrderState
from observability.metrics.trade_log import Trade

logger = logging.getLogger(__name__)

Key = tuple[str, str]

_PERCENTILES: Final = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class OrderTotals:
    """Sums over the orders of one session; an order is taken out before a report changes it and put back after."""

    __slots__ = (
        "accepted",
        "cancelled",
        "executed",
        "expired",
        "filled",
        "measured",
        "measured_quantity",
        "ordered",
        "orders",
        "partially_filled",
        "rejected",
        "slippage",
    )

    def __init__(self) -> None:
        self.orders = 0
        self.accepted = 0
        self.filled = 0
        self.partially_filled = 0
        self.cancelled = 0
        self.rejected = 0
        self.expired = 0
        self.ordered = ZERO
        """Quantity of accepted orders, as far as it is known."""
        self.executed = ZERO
        """Quantity filled of the same orders."""
        self.measured = 0
        """Orders with fills and an arrival price."""
        self.measured_quantity = ZERO
        self.slippage = ZERO
        """Sum of quantity * slippage in bps over the measured orders."""

    def count(self, order: OrderState, sign: int) -> None:
        """Puts an order in (1) or takes it out (-1)."""
        status = order.status
        add = EXACT.add if sign > 0 else EXACT.subtract
        self.orders += sign
        self.partially_filled += sign * (status == "partially_filled")
        self.cancelled += sign * (status == "canceled")
        self.rejected += sign * (status == "rejected")
        self.expired += sign * (status == "expired")
        self.filled += sign * (status == "filled")
        if order.is_accepted:
            self.accepted += sign
            if order.quantity is not None:
                self.ordered = add(self.ordered, order.quantity)
                self.executed = add(self.executed, order.executed)
        slippage = order.slippage
        if slippage is not None:
            self.measured += sign
            self.measured_quantity = add(self.measured_quantity, order.filled)
            self.slippage = add(self.slippage, slippage)


class OrderLedger:
    """Follows every order by (symbol, order id), since exchanges number orders per symbol.

    At most `max_open` orders are open: beyond, the oldest is no longer counted as open (`evicted`). Of the others,
    `max_recent` are remembered for late and repeated reports; a report of one forgotten would count as a new order.
    """

    def __init__(self, max_open: int, max_recent: int) -> None:
        self.open: dict[Key, OrderState] = {}
        self.evicted = 0
        self.late_reports = 0
        self.overfilled = 0
        """Fills that brought an order above its quantity."""
        self.totals = OrderTotals()
        self.fills = 0
        self.commission = ZERO
        self.latency = DurationHistogram()
        """One per order: sent to acknowledged, else what its first fill reports."""
        self.legs = {
            "decision_to_send": DurationHistogram(),
            "send_to_ack": DurationHistogram(),
            "send_to_first_fill": DurationHistogram(),
            "reported_by_fills": DurationHistogram(),
        }
        self._recent: dict[Key, OrderState] = {}
        self._max_open = max_open
        self._max_recent = max_recent
        self._session = 0

    def begin_session(self) -> None:
        """Starts all totals and latencies anew. Orders still open stay open; what becomes of them is no longer counted,
        except for their fills."""
        self._session += 1
        self.totals = OrderTotals()
        self.fills = 0
        self.commission = ZERO
        self.latency.clear()
        for leg in self.legs.values():
            leg.clear()

    def report(self, event: Order) -> None:
        """Takes one report of an order."""
        key = (event.symbol, event.order_id)
        order = self._take(key, event)
        self.late_reports += order.report(event)
        self._put(key, order)

    def fill(self, event: Fill, trade: Trade) -> None:
        """Takes one fill, which must not be a repeated one."""
        key = (event.symbol, event.order_id)
        order = self._take(key, event)
        order.fill(event, trade)
        if order.quantity is not None and order.filled > order.quantity:
            self.overfilled += 1
        self.fills += 1
        self.commission = EXACT.add(self.commission, event.commission)
        latency_ms = finite_or_none(event.latency_ms)
        if latency_ms is not None:
            latency_ns = round(latency_ms * NS_PER_MS)
            self.legs["reported_by_fills"].record(latency_ns)
            if not order.is_latency_known:
                order.is_latency_known = True
                self.latency.record(latency_ns)
        self._put(key, order)

    def _take(self, key: Key, event: Order | Fill) -> OrderState:
        order = self.open.get(key) or self._recent.get(key)
        if order is None:
            return OrderState(event, self._session)
        if order.session == self._session:
            self.totals.count(order, -1)
        return order

    def _put(self, key: Key, order: OrderState) -> None:
        if order.session == self._session:
            self.totals.count(order, 1)
            self._measure_legs(order)
        if order.is_open:
            self._recent.pop(key, None)
            self._keep_open(key, order)
        else:
            self.open.pop(key, None)
            self._remember(key, order)

    def _keep_open(self, key: Key, order: OrderState) -> None:
        if key not in self.open and len(self.open) >= self._max_open:
            oldest = next(iter(self.open))
            self._remember(oldest, self.open.pop(oldest))
            self.evicted += 1
            if self.evicted == 1:
                logger.warning("more than %d orders are open: the oldest no longer count as open", self._max_open)
        self.open[key] = order

    def _remember(self, key: Key, order: OrderState) -> None:
        if key not in self._recent and len(self._recent) >= self._max_recent:
            del self._recent[next(iter(self._recent))]
        self._recent[key] = order

    def _measure_legs(self, order: OrderState) -> None:
        sent, acked = order.sent_ns, order.acked_ns
        if sent is not None and acked is not None and not order.is_latency_known:
            order.is_latency_known = True
            self.latency.record(acked - sent)
        self._measure(order, "decision_to_send", order.decided_ns, sent)
        self._measure(order, "send_to_ack", sent, acked)
        self._measure(order, "send_to_first_fill", sent, order.first_fill_ns)

    def _measure(self, order: OrderState, leg: str, start_ns: int | None, end_ns: int | None) -> None:
        if start_ns is not None and end_ns is not None and leg not in order.legs_known:
            order.legs_known.add(leg)
            self.legs[leg].record(end_ns - start_ns)


def ratio(part: Decimal | int, whole: Decimal | int) -> float | None:
    """Returns the nearest double of a quotient; None without a whole."""
    return float(ROUNDED.divide(Decimal(part), Decimal(whole))) + 0.0 if whole else None


def latency_summary(histogram: DurationHistogram) -> dict[str, float | int | None]:
    """Returns count, mean, percentiles by nearest rank and maximum, in milliseconds."""
    return {
        "n": histogram.count,
        "n_negative": histogram.negative,
        "mean_ms": histogram.mean_ms,
        **{f"{name}_ms": histogram.percentile_ms(percent) for name, percent in _PERCENTILES.items()},
        "max_ms": histogram.max_ms,
    }
