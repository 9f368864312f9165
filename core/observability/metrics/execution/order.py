"""The state of one order of ours, from reports that may be late, repeated, out of order or missing.

A report never moves an order backwards. Statuses rise along

    pending_new < new, replaced < partially_filled < filled, canceled, rejected, expired

and the last four are final. `pending_cancel` and `pending_replace` are requests: they are noted but do not change the
status. Fills count whenever they arrive, even after a cancel: the exchange has decided that race.

A `replaced` report that changes quantity or price goes on under the same id (FIX 4.4). One that changes nothing waits
for a successor (Alpaca, Binance): the order that names it in `replaces`, else the next new order of its symbol, side
and strategy. The successor closes it, and counts in its place.
"""

from __future__ import annotations

from decimal import Decimal
from typing import get_args

import msgspec

from observability.events import BPS, TERMINAL_STATUSES, Fill, Order, OrderStatus, Side
from observability.instruments.instrument import Terms
from observability.metrics.arithmetic.decimals import ROUNDED, ZERO, add, multiply, quotient, subtract
from observability.metrics.execution.order_market import OrderMarket
from observability.metrics.market.time_order import happened_ns
from observability.metrics.trades.trade import DEFAULT_STRATEGY, Trade

_RANK: dict[str, int] = {
    "pending_cancel": -1, "pending_replace": -1, "pending_new": 0, "new": 1, "replaced": 1, "partially_filled": 2
} | dict.fromkeys(TERMINAL_STATUSES, 3)  # fmt: skip
_ACKNOWLEDGED = frozenset({"new", "rejected"})
_NOT_YET_ACCEPTED = frozenset({"pending_new", "rejected", "pending_cancel", "pending_replace"})
# Reports that do not change the status; they are late only once the order has ended.
_REQUESTS = frozenset({"pending_cancel", "pending_replace", "replaced"})

# Reports that show that an order has not ended.
_ALIVE = frozenset({"new", "partially_filled", "filled"})

_STATUS_NUMBERS = {status: number for number, status in enumerate(get_args(OrderStatus))}

_DESCRIPTION = (
    "seq", "n_reports", "n_fills", "order_type", "client_order_id", "reason", "created_ns", "updated_ns", "marks"
)  # fmt: skip

# Reports per order that are recognised when they are delivered again.
_MAX_MARKS = 256
_MAX_REASON_LENGTH = 256
# Fills per order of which it is known what the market had traded: about 120 bytes each.
_MAX_TURNOVERS = 64

# Fills per order that are remembered until the order's arrival price is known.
_MAX_WAITING_TRADES = 16


class MarkoutSum(msgspec.Struct, array_like=True, gc=False):
    """Sums over the fills of an order at one horizon."""

    n: int = 0
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    """Quantity times the distance of price and mid; a cost is positive."""
    notional: Decimal = ZERO
    """Quantity times the mid at the fill."""

    def add(self, quantity: Decimal, cost: Decimal, notional: Decimal) -> None:
        # What a correction takes back is below zero.
        self.n += 1 if quantity > 0 else -1
        self.quantity = add(self.quantity, quantity)
        self.cost = add(self.cost, cost)
        self.notional = add(self.notional, notional)


class OrderState(msgspec.Struct, array_like=True, gc=False):
    """The state of one order, which checkpoints hold packed. An order known only by its fills has neither quantity nor
    status. What most orders have none of is None, because an empty list takes time to make and to collect."""

    order_id: str
    symbol: str
    side: Side
    strategy: str
    venue: str
    session: int
    """Number of the session in which the first report arrived."""
    status: OrderStatus | None = None
    quantity: Decimal | None = None
    quantity_ns: int = 0
    """Time of the report that the quantity is from."""
    filled: Decimal = ZERO
    notional: Decimal = ZERO
    fees: Decimal = ZERO
    is_accepted: bool = False
    # Prices. The mids are the market's: at `decision_ts`, when the order was first reported, and when it ended.
    arrival_price: Decimal | None = None
    decision_mid: Decimal | None = None
    first_mid: Decimal | None = None
    end_mid: Decimal | None = None
    # Turnover of the market when the order was first reported, and at its last fill.
    volume_start: Decimal | None = None
    notional_start: Decimal | None = None
    volume_end: Decimal | None = None
    notional_end: Decimal | None = None
    # Times by `ts`, or by the arrival of what is dated ahead.
    decided_ns: int | None = None
    sent_ns: int | None = None
    acked_ns: int | None = None
    first_fill_ns: int | None = None
    last_fill_ns: int | None = None
    cancel_ns: int | None = None
    """When its cancel was first requested."""
    canceled_ns: int | None = None
    ended_ns: int | None = None
    """When it ended: the time of the first final report, or of the last fill if that is later."""
    is_latency_known: bool = False
    legs_known: int = 0
    """One bit per leg that was measured."""
    waiting: list[tuple[str, str]] | None = None
    """Trade id and venue of fills without arrival slippage."""

    price: Decimal | None = None
    """The price of the newest report that has one."""
    replaces: str = ""
    """The order that its own reports name as the one it goes on for."""
    successor: str = ""
    """The order that goes on for this one, once it is closed as replaced."""
    replaced_ns: int | None = None
    """When it was reported replaced with nothing changed, so that it waits for a successor."""
    is_replaced: bool = False
    """Whether it is closed because a successor goes on for it."""
    quantity_status: OrderStatus | None = None
    """Status of the report that the quantity is from."""
    # What people look an order up for.
    seq: int = 0
    """Number of its first report or fill, by which orders are listed; 0 until it has one."""
    n_reports: int = 0
    n_fills: int = 0
    order_type: str = ""
    client_order_id: str = ""
    reason: str = ""
    """The newest reason that a report has given, cut to 256 characters."""
    created_ns: int = 0
    """Time of its first report or fill."""
    updated_ns: int = 0
    """The latest time of a report or fill."""
    marks: list[int] | None = None
    """What identifies the reports that have arrived; those without a time of their own have none."""
    is_reject_counted: bool = False
    markouts: dict[str, MarkoutSum] | None = None
    """By horizon, what the market did after its fills; `effective` is their cost against the mid at the fill."""

    terms: Terms | None = None
    """How its amounts are computed, as of its first report or fill; None for a linear contract in the reporting
    currency, whose multiplier is in CONTRACT_MULTIPLIERS."""
    reciprocal: Decimal = ZERO
    """The sum of quantity / price of the fills, for an inverse contract."""
    unvalued_fees: int = 0
    """Fills whose fee had no rate into the currency of the amounts."""
    # What the reports alone make of it: the rest follows from the fills (`recount.py`).
    reported_status: OrderStatus | None = None
    reported_end_ns: int | None = None
    reported_end_rank: int = 0
    """How many fills had arrived when it was reported to have ended."""
    first_report_rank: int = 0
    """How many fills had arrived when it was reported first."""
    first_report_ns: int = 0
    first_report_mid: Decimal | None = None
    """The mid at its first report; known if fills had arrived before."""
    is_reported_ended_first: bool = False
    """Whether its first report was that it has ended."""
    n_arrived: int = 0
    """How many fills have arrived, busted ones included."""
    turnovers: list[tuple[Decimal, Decimal]] | None = None
    """The turnover of the market at each fill, of the first ones without a gap."""
    reported_end_mid: Decimal | None = None
    is_reported_accepted: bool = False
    latency_seq: int = 0
    """The trade whose latency counts for it; 0 if none does."""
    latency_ns: int = 0
    """The latency that counts for it."""
    fill_legs: dict[str, int] | None = None
    """The legs that were measured and that depend on its fills, in nanoseconds."""
    fees_apart: dict[str, Decimal] | None = None
    """These fees by their own currency; they are not among `fees`."""
    currency: str = ""
    """That of `fees`, by the first fill; empty if it is not known."""

    @property
    def is_new(self) -> bool:
        """Whether nothing is known of it yet."""
        return self.status is None and not self.filled

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL_STATUSES

    @property
    def is_open(self) -> bool:
        return self.status is not None and self.status not in TERMINAL_STATUSES and not self.is_replaced

    @property
    def executed(self) -> Decimal:
        """Quantity filled: the sum of the fills, or the whole quantity of a filled order with missing fills."""
        if self.status == "filled" and self.quantity is not None and self.quantity > self.filled:
            return self.quantity
        return self.filled

    def take_strategy(self, name: str) -> bool:
        """Sets the strategy if a report or fill is the first to name one; returns whether it does."""
        if self.strategy != DEFAULT_STRATEGY or name in ("", DEFAULT_STRATEGY):
            return False
        self.strategy = name
        return True

    def begin(self, market: OrderMarket | None, now_ns: int) -> None:
        """Notes the market at the first report."""
        if market is not None:
            self.first_mid = market.mid(now_ns)
            self.volume_start, self.notional_start = market.traded()

    def report(self, event: Order, market: OrderMarket | None) -> bool:
        """Applies one report; returns whether it came too late to change the status."""
        # hot: once per order report (benchmarks/bench_intake.py)
        ts_ns = happened_ns(event)
        status = event.status
        self._note_times(status, ts_ns)
        self._describe(event, ts_ns)
        if not self.is_reported_accepted and status not in _NOT_YET_ACCEPTED:
            self.is_accepted = self.is_reported_accepted = True
        if self.decided_ns is None and isinstance(event.decision_ts, int):
            self.decided_ns = event.decision_ts
            if market is not None:
                self.decision_mid = market.mid_at(event.decision_ts)
        if event.arrival_price is not None and self.arrival_price is None:
            self.arrival_price = event.arrival_price
        if event.replaces:
            self.replaces = event.replaces
        if status == "replaced" or self.replaced_ns is not None:
            self._note_replacement(event, ts_ns)
        if self.quantity is None or ts_ns >= self.quantity_ns:
            self.quantity = event.quantity
            self.quantity_ns = ts_ns
            self.quantity_status = status
            self.price = self.price if event.price is None else event.price
        current = self.status
        is_terminal = status in TERMINAL_STATUSES
        if self.is_replaced and is_terminal:
            # Some venues also report what was replaced as cancelled.
            return False
        reported = self.reported_status
        was_ended = self.ended_ns is not None
        is_ended = current in TERMINAL_STATUSES
        if current is None or (not is_ended and _RANK[status] >= _RANK[current]):
            self.status = status
            is_late = False
        else:
            # A report of the current status is not late, and a replacement does not change a partly filled order.
            is_late = status != current and (is_ended or status not in _REQUESTS)
        if self.filled:
            self._complete()
        if self.ended_ns is None and self.status in TERMINAL_STATUSES:
            self._note_end(ts_ns, market, event.ts_init)
        if reported is None:
            self.first_report_rank = self.n_arrived
            self.first_report_ns = ts_ns
            self.is_reported_ended_first = is_terminal
            if self.n_arrived and market is not None:
                self.first_report_mid = market.mid(event.ts_init)
        if reported is None or (reported not in TERMINAL_STATUSES and _RANK[status] >= _RANK[reported]):
            self.reported_status = status
            if is_terminal:
                self.reported_end_ns, self.reported_end_rank = ts_ns, self.n_arrived
                # Mostly it ends with this report.
                self.reported_end_mid = market.mid(event.ts_init) if was_ended and market is not None else self.end_mid
        return is_late

    def is_repeated_by(self, event: Order) -> bool:
        """Returns whether a report of the same status, time, quantity and price has arrived before, which this one adds
        nothing to, and remembers it. A report without a time of its own cannot be told from a later one."""
        # hot: once per order report (benchmarks/bench_intake.py)
        if event.ts.__class__ is not int or event.ts == event.ts_init:
            return False
        # The hash of numbers is the same in every process. A Decimal keeps its own, so that of an equal one that was
        # hashed before is at hand.
        quantity, price = event.quantity, event.price or 0
        if self.quantity is not None and quantity == self.quantity:
            quantity = self.quantity
        if self.price is not None and price == self.price:
            price = self.price
        mark = hash((event.ts, _STATUS_NUMBERS[event.status], quantity, price))
        marks = self.marks
        if marks is None:
            self.marks = [mark]
            return False
        if mark in marks:
            return not (
                (self.strategy == DEFAULT_STRATEGY and event.strategy not in ("", DEFAULT_STRATEGY))
                or (self.arrival_price is None and event.arrival_price is not None)
                or (self.decided_ns is None and event.decision_ts is not None)
                or event.replaces not in ("", self.replaces)
            )
        if len(marks) >= _MAX_MARKS:
            del marks[0]
        marks.append(mark)
        return False

    def is_contradicted_by(self, event: Order) -> bool:
        """Returns whether a report is the one that the quantity is from (of the same status and time), with another
        quantity or price. A report without a time of its own cannot be told from a later one."""
        # hot: once per order report (benchmarks/bench_intake.py)
        return (
            event.ts == self.quantity_ns != event.ts_init
            and event.status == self.quantity_status
            and (
                event.quantity != self.quantity
                or (event.price is not None and self.price is not None and event.price != self.price)
            )
        )

    def fill(self, event: Fill, trade: Trade, market: OrderMarket | None) -> None:
        """Applies one fill."""
        # hot: once per fill (benchmarks/bench_intake.py)
        ts_ns = happened_ns(event)
        self.n_fills += 1
        self.created_ns = self.created_ns or ts_ns
        if ts_ns > self.updated_ns:
            self.updated_ns = ts_ns
        self.is_accepted = True
        self.n_arrived += 1
        self.add_amounts(trade)
        if self.first_fill_ns is None or ts_ns < self.first_fill_ns:
            self.first_fill_ns = ts_ns
        if self.last_fill_ns is None or ts_ns > self.last_fill_ns:
            self.last_fill_ns = ts_ns
        if market is not None:
            turnover = self.volume_end, self.notional_end = market.traded()
            if self.turnovers is None:
                self.turnovers = []
            if len(self.turnovers) == self.n_arrived - 1 < _MAX_TURNOVERS:
                self.turnovers.append(turnover)
        if self.arrival_price is None:
            if self.waiting is None:
                self.waiting = [(trade.trade_id, trade.venue)]
            elif len(self.waiting) < _MAX_WAITING_TRADES:
                self.waiting.append((trade.trade_id, trade.venue))
        if self.quantity is not None:
            self._complete()
        if self.ended_ns is None and self.status in TERMINAL_STATUSES:
            self._note_end(self.last_fill_ns, market, event.ts_init)

    def add_amounts(self, trade: Trade) -> None:
        """Adds what a fill adds to quantity, notional and fees."""
        quantity, price = trade.quantity, trade.price
        self.filled = add(self.filled, quantity)
        self.notional = add(self.notional, multiply(quantity, price))
        if not self.currency:
            self.currency = trade.currency
        asset = trade.commission_asset
        if not asset or asset == trade.currency:
            self.fees = add(self.fees, trade.commission)
        elif trade.fee_value is None:
            self.unvalued_fees += 1
            if self.fees_apart is None:
                self.fees_apart = {}
            self.fees_apart[asset] = add(self.fees_apart.get(asset, ZERO), trade.commission)
        else:
            self.fees = add(self.fees, trade.fee_value)
        if self.terms is not None and self.terms.is_inverse:
            self.reciprocal = add(self.reciprocal, quotient(quantity, price))

    def measure(self, trade: Trade) -> None:
        """Writes the arrival slippage of one fill into its trade."""
        arrival = self.arrival_price
        if arrival is not None and arrival > 0:
            bps = ROUNDED.divide(multiply(subtract(trade.price, arrival), BPS), arrival)
            trade.slippage_bps = float(bps if self.side == "buy" else bps.copy_negate()) + 0.0

    def describe_as(self, other: OrderState) -> None:
        """Takes from `other` what people look an order up for."""
        for name in _DESCRIPTION:
            setattr(self, name, getattr(other, name))

    def _describe(self, event: Order, ts_ns: int) -> None:
        self.created_ns = self.created_ns or ts_ns
        if ts_ns > self.updated_ns:
            self.updated_ns = ts_ns
        if event.order_type:
            self.order_type = event.order_type
        if event.client_order_id:
            self.client_order_id = event.client_order_id
        if event.reason:
            self.reason = event.reason[:_MAX_REASON_LENGTH]

    def _note_times(self, status: OrderStatus, ts_ns: int) -> None:
        if status == "pending_new":
            self.sent_ns = ts_ns if self.sent_ns is None else self.sent_ns
        elif status in _ACKNOWLEDGED:
            self.acked_ns = ts_ns if self.acked_ns is None else self.acked_ns
        elif status == "pending_cancel":
            self.cancel_ns = ts_ns if self.cancel_ns is None else self.cancel_ns
        elif status == "canceled":
            self.canceled_ns = ts_ns if self.canceled_ns is None else self.canceled_ns

    def _note_replacement(self, event: Order, ts_ns: int) -> None:
        """Notes whether the order waits for a successor. A replacement with another quantity or price goes on under the
        same id, as in FIX 4.4; so does an order that later reports itself alive."""
        if event.status == "replaced":
            is_changed = (self.quantity is not None and event.quantity != self.quantity) or (
                self.price is not None and event.price is not None and event.price != self.price
            )
            if not is_changed:
                self.replaced_ns = ts_ns
                return
        elif event.status not in _ALIVE or self.replaced_ns is None or ts_ns <= self.replaced_ns:
            return
        self.replaced_ns = None
        self.is_replaced = False
        self.successor = ""

    def _complete(self) -> None:
        """Raises the status to what the fills imply, when reports lag behind them."""
        if self.quantity is None or self.status is None or self.is_terminal:
            return
        if self.filled >= self.quantity:
            self.status = "filled"
            self.is_replaced = False
        elif self.filled and self.status != "partially_filled":
            self.status = "partially_filled"

    def _note_end(self, ts_ns: int, market: OrderMarket | None, now_ns: int) -> None:
        # The completing fills may have arrived before the report of the quantity.
        self.ended_ns = ts_ns if self.last_fill_ns is None else max(ts_ns, self.last_fill_ns)
        if market is not None:
            self.end_mid = market.mid(now_ns)


def new_order(event: Order | Fill, session: int) -> OrderState:
    """Returns the state of an order before its first report or fill, `event`, which gives its strategy, unless a later
    one does, and its venue."""
    return OrderState(
        event.order_id, event.symbol, event.side, event.strategy or DEFAULT_STRATEGY, event.venue, session
    )
