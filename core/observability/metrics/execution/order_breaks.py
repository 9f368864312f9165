"""Order reports that two deliveries, as of two sources, have with different content: the first one counts."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import format_iso_ms
from observability.events import Order, event_time_ns
from observability.logs.line_budget import LineBudget
from observability.metrics.arithmetic.decimals import to_float, to_float_or_none
from observability.metrics.execution.order import OrderState

logger = logging.getLogger(__name__)

MAX_SHOWN: Final = 100


class OrderBreak(msgspec.Struct, array_like=True, frozen=True):
    """Two reports of one order, status and time."""

    order_id: str
    symbol: str
    venue: str
    strategy: str
    status: str
    ts_ns: int
    quantity: Decimal | None
    other_quantity: Decimal
    price: Decimal | None
    other_price: Decimal | None

    def to_json(self) -> dict[str, Any]:
        has_other_price = None not in (self.price, self.other_price) and self.price != self.other_price
        return {
            "order_id": self.order_id,
            "symbol": self.symbol,
            "venue": self.venue,
            "strategy": self.strategy,
            "status": self.status,
            "timestamp": format_iso_ms(self.ts_ns),
            "counted": {"quantity": to_float_or_none(self.quantity), "price": to_float_or_none(self.price)},
            "delivered": {"quantity": to_float(self.other_quantity), "price": to_float_or_none(self.other_price)},
            "differs": ["quantity"] * (self.quantity != self.other_quantity) + ["price"] * has_other_price,
        }


class OrderBreaks:
    """The newest breaks, each once, and how many there were."""

    def __init__(self, count: int = 0, newest: Sequence[OrderBreak] = ()) -> None:
        self.count = count
        self.newest: deque[OrderBreak] = deque(newest, MAX_SHOWN)
        self._log_lines = LineBudget()

    def add(self, order: OrderState, event: Order) -> None:
        """Keeps a report apart that contradicts its order."""
        found = OrderBreak(
            order.order_id, order.symbol, order.venue, order.strategy, event.status, event_time_ns(event),
            order.quantity, event.quantity, order.price, event.price,
        )  # fmt: skip
        if found in self.newest:
            return
        self.count += 1
        self.newest.append(found)
        unlogged = self._log_lines.take()
        if unlogged is not None:
            logger.error(
                "a report of order %r of %s (%s) was delivered again with different content; the first delivery "
                "counts%s",
                order.order_id, order.symbol, event.status, f" ({unlogged} more were not logged)" if unlogged else "",
                extra={
                    "ids": {"order_id": order.order_id, "symbol": order.symbol, "strategy": order.strategy}
                },
            )  # fmt: skip

    def to_json(self) -> list[dict[str, Any]]:
        """Returns the newest ones, the newest first."""
        return [found.to_json() for found in reversed(self.newest)]
