"""One order of ours, pieced together from reports that may be late, repeated, out of order or missing.

No totals here (see `order_ledger.py`).

A report never takes an order back: statuses rise along

    pending_new < new, replaced < partially_filled < filled, canceled, rejected, expired

and the last four are final. Fills count whenever they arrive, after a cancel too: a race that the exchange decided.
"""

from __future__ import annotations

from decimal import Decimal

from observability.core.events import TERMINAL_STATUSES, Fill, Order, OrderStatus
from observability.metrics.money import EXACT, ROUNDED, ZERO
from observability.metrics.sessions import event_time_ns
from observability.metrics.trade_log import Trade

_RANK: dict[str, int] = {"pending_new": 0, "new": 1, "replaced": 1, "partially_filled": 2} | dict.fromkeys(
    TERMINAL_STATUSES, 3
)
_ACKNOWLEDGED = frozenset({"new", "rejected"})
_NOT_YET_ACCEPTED = frozenset({"pending_new", "rejected"})
_BPS = Decimal(10_000)
_SLIPPAGE_QUANTUM = Decimal("1e-18")

# Records of fills that arrived before their order's arrival price, kept per order to be completed.
_MAX_WAITING_TRADES = 16


class OrderState:
    """What is known of one order. An order known by its fills alone has neither quantity nor status."""

    __slots__ = (
        "_quantity_ns",
        "_waiting",
        "acked_ns",
        "arrival_price",
        "decided_ns",
        "filled",
        "first_fill_ns",
        "is_accepted",
        "is_latency_known",
        "legs_known",
        "notional",
        "order_id",
        "quantity",
        "sent_ns",
        "session",
        "side",
        "status",
        "symbol",
    )

    def __init__(self, event: Order | Fill, session: int) -> None:
        self.order_id = event.order_id
        self.symbol = event.symbol
        self.side = event.side
        self.session = session
        """Number of the session in which the first report arrived."""
        self.status: OrderStatus | None = None
        self.quantity: Decimal | None = None
        self.filled = ZERO
        self.notional = ZERO
        self.arrival_price: Decimal | None = None
        self.is_accepted = False
        # Times by `ts`.
        self.decided_ns: int | None = None
        self.sent_ns: int | None = None
        self.acked_ns: int | None = None
        self.first_fill_ns: int | None = None
        self.is_latency_known = False
        self.legs_known: set[str] = set()
        self._quantity_ns = 0
        self._waiting: list[Trade] = []

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def is_open(self) -> bool:
        return self.status is not None and not self.is_terminal

    @property
    def executed(self) -> Decimal:
        """Quantity filled: what the fills say, or the whole order if it is reported filled and fills are missing."""
        if self.status == "filled" and self.quantity is not None and self.quantity > self.filled:
            return self.quantity
        return self.filled

    @property
    def slippage(self) -> Decimal | None:
        """Sum of quantity * arrival slippage in bps over the fills, positive when it cost; None if not known."""
        arrival = self.arrival_price
        if not self.filled or arrival is None or arrival <= 0:
            return None
        cost = EXACT.subtract(self.notional, EXACT.multiply(arrival, self.filled))
        signed_cost = cost if self.side == "buy" else cost.copy_negate()
        return ROUNDED.divide(EXACT.multiply(signed_cost, _BPS), arrival).quantize(_SLIPPAGE_QUANTUM, context=ROUNDED)

    def report(self, event: Order) -> bool:
        """Takes one report; returns whether it came too late to change the status."""
        ts_ns = event_time_ns(event)
        status = event.status
        if status == "pending_new":
            self.sent_ns = ts_ns if self.sent_ns is None else self.sent_ns
        elif status in _ACKNOWLEDGED and self.acked_ns is None:
            self.acked_ns = ts_ns
        if status not in _NOT_YET_ACCEPTED:
            self.is_accepted = True
        if isinstance(event.decision_ts, int) and self.decided_ns is None:
            self.decided_ns = event.decision_ts
        if event.arrival_price is not None and self.arrival_price is None:
            self.arrival_price = event.arrival_price
            for trade in self._waiting:
                self.measure(trade)
            self._waiting = []
        if self.quantity is None or ts_ns >= self._quantity_ns:
            self.quantity = event.quantity
            self._quantity_ns = ts_ns
        current = self.status
        if current is None or (not self.is_terminal and _RANK[status] >= _RANK[current]):
            self.status = status
            is_late = False
        else:
            # A report of what is known already is not late, and a replacement leaves a partly filled order what it is.
            is_late = status != current and (self.is_terminal or status != "replaced")
        self._complete()
        return is_late

    def fill(self, event: Fill, trade: Trade) -> None:
        """Adds one fill."""
        ts_ns = event_time_ns(event)
        self.is_accepted = True
        self.filled = EXACT.add(self.filled, event.quantity)
        self.notional = EXACT.add(self.notional, EXACT.multiply(event.quantity, event.price))
        if self.first_fill_ns is None or ts_ns < self.first_fill_ns:
            self.first_fill_ns = ts_ns
        if self.arrival_price is not None:
            self.measure(trade)
        elif len(self._waiting) < _MAX_WAITING_TRADES:
            self._waiting.append(trade)
        self._complete()

    def measure(self, trade: Trade) -> None:
        """Writes the arrival slippage of one fill into its record."""
        arrival = self.arrival_price
        if arrival is not None and arrival > 0:
            bps = ROUNDED.divide(EXACT.multiply(EXACT.subtract(trade.price, arrival), _BPS), arrival)
            trade.slippage_bps = float(bps if self.side == "buy" else bps.copy_negate()) + 0.0

    def _complete(self) -> None:
        """Draws the conclusion from the quantities when the reports are behind the fills."""
        if self.quantity is None or self.status is None or self.is_terminal:
            return
        if self.filled >= self.quantity:
            self.status = "filled"
        elif self.filled and self.status != "partially_filled":
            self.status = "partially_filled"
