"""The paper venue: acknowledges, fills, cancels and rejects orders against the book and the trades of a market.

All of it happens in event time, and without market impact: the market does not react to the orders.
- An order arrives after a modelled latency, not a measured one: log-normal around 1 ms, seeded. So does a cancel.
- On arrival a limit order takes what the opposite touch displays, at the touch's price; the rest stays in the book.
- A resting order fills at its limit from a print through its price, or at its price by the other side, up to the
  print's size; and when the opposite touch reaches its price, up to the displayed size. The queue is not modelled: the
  order is always first in it.
- Displayed size that was taken does not come back until that side of the touch changes. A side without a size displays
  nothing.
- Rejected are orders that meet a one-sided book, whose price is off the tick or beyond the collar around the opposite
  touch, whose quantity is off the lot, or that could take the position beyond its limit.
"""

from __future__ import annotations

import heapq
import math
import random
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Literal

from observability.clocks.timestamps import MAX_NS, NS_PER_MS
from observability.events import BPS, Event, Fill, Order, OrderStatus, Print, Quote, Side

PAPER_VENUE = "PAPER"

_ZERO = Decimal(0)
_COMMISSION_STEP = Decimal("0.00000001")
_NEVER_NS = MAX_NS


@dataclass(frozen=True, slots=True)
class VenueRules:
    """Fees in basis points of the notional, and how far from the opposite touch a price may be."""

    maker_fee_bps: Decimal = Decimal("0.5")
    taker_fee_bps: Decimal = Decimal("1.5")
    collar_bps: Decimal = Decimal(20)


class LatencyModel:
    """One-way latencies to the paper venue: log-normal, the same for the same seed."""

    _MIN_MS, _MAX_MS = 0.05, 100.0

    def __init__(self, seed: int, median_ms: float = 1.0, sigma: float = 0.5) -> None:
        self._random = random.Random(seed)
        self._mu = math.log(median_ms)
        self._sigma = sigma

    def draw_ns(self) -> int:
        latency_ms = self._random.lognormvariate(self._mu, self._sigma)
        return int(min(max(latency_ms, self._MIN_MS), self._MAX_MS) * NS_PER_MS)


class PaperOrder:
    """A limit order and its state at the venue."""

    __slots__ = (
        "ack_ns", "arrival_price", "decision_ns", "fill_count", "is_buy", "limit", "market", "order_id", "price",
        "quantity", "remaining", "side", "status", "strategy",
    )  # fmt: skip

    def __init__(
        self, order_id: str, market: PaperMarket, side: Side, quantity: Decimal, price: Decimal, decision_ns: int,
        strategy: str,
    ) -> None:  # fmt: skip
        self.order_id = order_id
        self.market = market
        self.side: Side = side
        self.is_buy = side == "buy"
        self.quantity = quantity
        self.remaining = quantity
        self.price = price
        self.limit = float(price)
        self.decision_ns = decision_ns
        self.arrival_price = market.mid()
        self.strategy = strategy
        self.status: OrderStatus = "pending_new"
        self.ack_ns = 0
        self.fill_count = 0


class PaperMarket:
    """One symbol: the touch, how much of it was taken, the resting orders, best price first, and the position."""

    __slots__ = (
        "ask", "ask_size", "ask_taken", "bid", "bid_size", "bid_taken", "live_orders", "lot", "position",
        "position_limit", "resting", "symbol", "tick",
    )  # fmt: skip

    def __init__(self, symbol: str, tick: Decimal, lot: Decimal) -> None:
        self.symbol = symbol
        self.tick = tick
        self.lot = lot
        self.bid: float | None = None
        self.ask: float | None = None
        self.bid_size: float | None = None
        self.ask_size: float | None = None
        self.bid_taken = _ZERO
        self.ask_taken = _ZERO
        self.resting: list[PaperOrder] = []
        self.live_orders = 0
        """Orders that have not ended, including those that have not arrived."""
        self.position = _ZERO
        self.position_limit: Decimal | None = None

    def mid(self) -> Decimal | None:
        """Returns the exact mid; None while a side is missing."""
        if self.bid is None or self.ask is None:
            return None
        return (Decimal(repr(self.bid)) + Decimal(repr(self.ask))) / 2

    def whole_lots(self, size: float | None) -> Decimal:
        """Returns a market size rounded down to a multiple of the lot."""
        if size is None or not math.isfinite(size):
            return _ZERO
        return self.round_down(Decimal(repr(size)))

    def round_down(self, quantity: Decimal) -> Decimal:
        return (quantity / self.lot).to_integral_value(ROUND_DOWN) * self.lot


class PaperVenue:
    """Handles the orders of all symbols. Reports are appended to `reports`, for the caller to publish."""

    def __init__(self, latency: LatencyModel, rules: VenueRules | None = None, id_prefix: str = "P") -> None:
        self.reports: list[Event] = []
        self.next_due_ns = _NEVER_NS
        """When the next order or cancel arrives."""
        self._latency = latency
        self._rules = VenueRules() if rules is None else rules
        self._id_prefix = id_prefix
        self._order_count = 0
        # (time, number, order, kind); the number orders arrivals of the same time.
        self._due: list[tuple[int, int, PaperOrder, Literal["arrival", "cancel"]]] = []
        self._due_count = 0
        self._now_ns = 0

    def submit(
        self, market: PaperMarket, side: Side, quantity: Decimal, price: Decimal, *, now_ns: int,
        time_in_force_ns: int, strategy: str = "",
    ) -> PaperOrder:  # fmt: skip
        """Sends a limit order that was decided at `now_ns`, and a cancel `time_in_force_ns` later."""
        self._now_ns = max(self._now_ns, now_ns)
        self._order_count += 1
        # The time makes the ids of two runs differ, and those of a repeated replay equal.
        order_id = f"{self._id_prefix}{now_ns:x}-{self._order_count}"
        order = PaperOrder(order_id, market, side, quantity, price, now_ns, strategy)
        market.live_orders += 1
        self._report(order, "pending_new", now_ns)
        arrival_ns = now_ns + self._latency.draw_ns()
        self._schedule(arrival_ns, order, "arrival")
        self._schedule(max(now_ns + time_in_force_ns + self._latency.draw_ns(), arrival_ns), order, "cancel")
        return order

    def advance(self, now_ns: int) -> None:
        """Lets orders and cancels arrive up to `now_ns`, against the current book; call it before the book changes."""
        self._now_ns = max(self._now_ns, now_ns)
        due = self._due
        while due and due[0][0] <= now_ns:
            at_ns, _, order, what = heapq.heappop(due)
            if what == "arrival":
                self._arrive(order, at_ns)
            elif order.status in ("new", "partially_filled"):
                order.market.resting.remove(order)
                self._end(order, "canceled", at_ns, "time in force")
        self.next_due_ns = due[0][0] if due else _NEVER_NS

    def on_quote(self, market: PaperMarket, quote: Quote) -> None:
        """Replaces the touch and fills the resting orders that it reaches."""
        # hot: once per quote
        if quote.bid != market.bid or quote.bid_size != market.bid_size:
            market.bid, market.bid_size, market.bid_taken = quote.bid, quote.bid_size, _ZERO
        if quote.ask != market.ask or quote.ask_size != market.ask_size:
            market.ask, market.ask_size, market.ask_taken = quote.ask, quote.ask_size, _ZERO
        if market.resting:
            self._now_ns = max(self._now_ns, quote.ts_init)
            for order in tuple(market.resting):
                self._take(order, quote.ts_init, order.price, "maker")

    def on_print(self, market: PaperMarket, trade: Print) -> None:
        """Fills resting orders from a trade of the market, up to its size in total."""
        self._now_ns = max(self._now_ns, trade.ts_init)
        left = market.whole_lots(trade.size)
        for order in tuple(market.resting):
            beyond = order.limit - trade.price if order.is_buy else trade.price - order.limit
            if beyond > 0 or (beyond == 0 and trade.aggressor_side != order.side):
                quantity = min(left, order.remaining)
                if quantity > 0:
                    left -= quantity
                    self._fill(order, quantity, order.price, trade.ts_init, "maker")

    def _schedule(self, at_ns: int, order: PaperOrder, what: Literal["arrival", "cancel"]) -> None:
        self._due_count += 1
        heapq.heappush(self._due, (at_ns, self._due_count, order, what))
        self.next_due_ns = self._due[0][0]

    def _arrive(self, order: PaperOrder, at_ns: int) -> None:
        market = order.market
        order.ack_ns = at_ns
        refusal = self._refusal(order)
        if refusal:
            self._end(order, "rejected", at_ns, refusal)
            return
        self._report(order, "new", at_ns)
        market.resting.append(order)
        market.resting.sort(key=_best_price_first)
        touch = market.ask if order.is_buy else market.bid
        self._take(order, at_ns, Decimal(repr(touch)), "taker")

    def _refusal(self, order: PaperOrder) -> str:
        market, price, quantity = order.market, order.price, order.quantity
        if market.bid is None or market.ask is None:
            return "book: one side is empty"
        if quantity <= 0 or quantity % market.lot:
            return f"quantity {quantity}: expected a multiple of the lot {market.lot}"
        if price <= 0 or price % market.tick:
            return f"price {price}: expected a multiple of the tick {market.tick}"
        collar = self._rules.collar_bps / BPS
        if order.is_buy:
            bound = Decimal(repr(market.ask)) * (1 + collar)
            is_outside = price > bound
        else:
            bound = Decimal(repr(market.bid)) * (1 - collar)
            is_outside = price < bound
        if is_outside:
            return f"price {price}: beyond the collar at {float(bound):.10g}"
        if market.position_limit is not None:
            open_quantity = sum((other.remaining for other in market.resting if other.is_buy is order.is_buy), _ZERO)
            held = market.position if order.is_buy else -market.position
            if held + open_quantity + quantity > market.position_limit:
                return f"position limit {market.position_limit}: holds {held}, open {open_quantity}, asked {quantity}"
        return ""

    def _take(self, order: PaperOrder, at_ns: int, price: Decimal, liquidity: Literal["maker", "taker"]) -> None:
        """Fills `order` at `price` from the remaining size of the opposite touch, if the touch is within its limit."""
        market = order.market
        if order.is_buy:
            if market.ask is None or market.ask > order.limit:
                return
            quantity = min(order.remaining, market.whole_lots(market.ask_size) - market.ask_taken)
            if quantity > 0:
                market.ask_taken += quantity
                self._fill(order, quantity, price, at_ns, liquidity)
        else:
            if market.bid is None or market.bid < order.limit:
                return
            quantity = min(order.remaining, market.whole_lots(market.bid_size) - market.bid_taken)
            if quantity > 0:
                market.bid_taken += quantity
                self._fill(order, quantity, price, at_ns, liquidity)

    def _fill(
        self, order: PaperOrder, quantity: Decimal, price: Decimal, at_ns: int, liquidity: Literal["maker", "taker"]
    ) -> None:
        market = order.market
        order.remaining -= quantity
        order.fill_count += 1
        market.position += quantity if order.is_buy else -quantity
        fee_bps = self._rules.maker_fee_bps if liquidity == "maker" else self._rules.taker_fee_bps
        # The fill comes first, because the report that ends the order may make subscribers forget it.
        self.reports.append(
            Fill(
                f"{order.order_id}.{order.fill_count}", market.symbol, order.side, quantity, price, order.order_id,
                (quantity * price * fee_bps / BPS).quantize(_COMMISSION_STEP), liquidity, order.strategy, PAPER_VENUE,
                (order.ack_ns - order.decision_ns) / NS_PER_MS,
                ts=at_ns, ts_init=self._now_ns,
            )
        )  # fmt: skip
        if order.remaining:
            self._report(order, "partially_filled", at_ns)
        else:
            market.resting.remove(order)
            self._end(order, "filled", at_ns)

    def _end(self, order: PaperOrder, status: OrderStatus, at_ns: int, reason: str = "") -> None:
        order.market.live_orders -= 1
        self._report(order, status, at_ns, reason)

    def _report(self, order: PaperOrder, status: OrderStatus, at_ns: int, reason: str = "") -> None:
        order.status = status
        self.reports.append(
            Order(
                order.order_id, order.market.symbol, order.side, order.quantity, status, order.price, "limit",
                order.strategy, PAPER_VENUE, "", reason, order.arrival_price, order.decision_ns,
                ts=at_ns, ts_init=self._now_ns,
            )
        )  # fmt: skip


def _best_price_first(order: PaperOrder) -> float:
    return -order.limit if order.is_buy else order.limit
