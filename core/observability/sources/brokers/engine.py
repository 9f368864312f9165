"""The dialect of a trading engine in Rust: JSON messages with `type` inside, as its crate `common` declares them
(https://github.com/SamoraDC/RustAlgorithmTrading, rust/common/src/messaging.rs and types.rs; its Python bridge adds a
few names of its own).

    OrderBookUpdate     quote: the best of the levels that have a quantity
    TradeUpdate         print; `side` is the aggressor's
    SignalGenerated     signal
    OrderRequest        order; and a fill, if `filled_quantity` has grown since the last message about the order
    OrderResponse       order, of the request with its `client_order_id`: new, or rejected with the error
    PositionUpdate      position, negative for `side` Ask
    RiskCheckResult     a log line, if it is a refusal
    Heartbeat           heartbeat
    Shutdown            a log line
    BarUpdate           nothing: bars are made of prints here
    RiskCheck           nothing: the answer says what matters

The engine sends no fills, only how much of an order is filled and at which average price. A fill is therefore what an
order has gained; its id is made of the order's id and the quantity filled, so that a message that comes again repeats
the same fill. A message that is lost merges two fills into one, and no quantity is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from observability import events
from observability.clocks.timestamps import NS_PER_MS
from observability.events import MAX_TEXT_LENGTH, TYPE_NAMES, Event, Fill, Log, Order, Position, Print, Quote, Signal
from observability.ingest.dialects import read_values

# Orders that are partially filled, those that are filled whole, and requests that wait for their response; the oldest
# are forgotten beyond.
MAX_ORDERS: Final = 10_000
# The engine's own resolution of a price (orderbook.rs): finer digits of a price computed from averages are noise.
PRICE_QUANTUM: Final = Decimal("1e-8")
# A message that is not about an order names no strategy.
ANY_STRATEGY: Final = "engine"

_SIDES: Final = {"Bid": "buy", "Ask": "sell"}
_STATUSES: Final = {
    "Pending": "pending_new",
    "PartiallyFilled": "partially_filled",
    "Filled": "filled",
    "Cancelled": "canceled",
    "Rejected": "rejected",
}
_ORDER_TYPES: Final = {"Market": "market", "Limit": "limit", "StopMarket": "stop_market", "StopLimit": "stop_limit"}
_SIGNAL_ACTIONS: Final = {"long": "buy", "short": "sell", "neutral": "hold"}

Time = str | int
Values = dict[str, Any]


class _Message(msgspec.Struct, tag_field="type", kw_only=True):
    pass


class _Level(msgspec.Struct):
    price: float
    quantity: float


class OrderBookUpdate(_Message, tag="OrderBookUpdate"):
    symbol: str
    bids: list[_Level]
    asks: list[_Level]
    timestamp: Time | None = None
    sequence: int | None = None
    """Of the book's changes, of which a message may have several."""


class TradeUpdate(_Message, tag="TradeUpdate"):
    symbol: str
    price: float
    quantity: float
    side: str
    timestamp: Time | None = None
    trade_id: str | None = None


class BarUpdate(_Message, tag="BarUpdate"):
    pass


class SignalGenerated(_Message, tag="SignalGenerated"):
    symbol: str
    action: str = ""
    confidence: float | None = None
    timestamp: Time | None = None
    # Of the Python bridge.
    direction: str = ""
    strength: float | None = None
    metadata: dict[str, Any] | None = None


class OrderRequest(_Message, tag="OrderRequest", kw_only=True):
    """What the engine says of an order, at first and later."""

    order_id: str
    symbol: str
    side: str
    quantity: Decimal
    status: str
    client_order_id: str = ""
    order_type: str = ""
    price: Decimal | None = None
    filled_quantity: Decimal = Decimal(0)
    average_price: Decimal | None = None
    created_at: Time | None = None
    updated_at: Time | None = None


class OrderResponse(_Message, tag="OrderResponse"):
    order_id: str
    success: bool
    client_order_id: str = ""
    error: str | None = None


class PositionUpdate(_Message, tag="PositionUpdate"):
    symbol: str
    quantity: Decimal
    side: str = "Bid"
    entry_price: Decimal | None = None
    avg_entry_price: Decimal | None = None
    updated_at: Time | None = None
    timestamp: Time | None = None


class RiskCheck(_Message, tag="RiskCheck"):
    pass


class RiskCheckResult(_Message, tag="RiskCheckResult"):
    approved: bool
    reason: str | None = None


class Heartbeat(_Message, tag="Heartbeat"):
    component: str
    timestamp: Time | None = None


class Shutdown(_Message, tag="Shutdown"):
    pass


Message = (
    OrderBookUpdate | TradeUpdate | BarUpdate | SignalGenerated | OrderRequest | OrderResponse | PositionUpdate
    | RiskCheck | RiskCheckResult | Heartbeat | Shutdown
)  # fmt: skip

TYPES: Final = frozenset(
    {
        b"OrderBookUpdate", b"TradeUpdate", b"BarUpdate", b"SignalGenerated", b"OrderRequest", b"OrderResponse",
        b"PositionUpdate", b"RiskCheck", b"RiskCheckResult", b"Heartbeat", b"Shutdown",
    }
)  # fmt: skip


class EngineState(msgspec.Struct):
    """What must survive so that no fill is made twice: of each partially filled order what is filled, and its cost."""

    filled: dict[str, tuple[Decimal, Decimal]] = {}


class EngineDialect:
    """Translates the messages of one engine."""

    def __init__(self, strategy: str = "") -> None:
        """`strategy` is that of all its orders."""
        self.state = EngineState()
        self._strategy = strategy
        self._requests: dict[str, OrderRequest] = {}
        # Of orders that are filled whole, the same as in the state; they are too many to be stored with each commit.
        self._complete: dict[str, tuple[Decimal, Decimal]] = {}
        self._decode = msgspec.json.Decoder(Message).decode
        self._readers: Mapping[type, Callable[[Any], list[Event]]] = {
            OrderBookUpdate: self._book,
            TradeUpdate: self._trade,
            SignalGenerated: self._signal,
            OrderRequest: self._order,
            OrderResponse: self._response,
            PositionUpdate: self._position,
            RiskCheckResult: self._risk,
            Heartbeat: self._heartbeat,
            Shutdown: self._shutdown,
        }

    def read(self, data: bytes) -> tuple[list[Event], Message]:
        """Returns the events of a message, and the message. Raises ValueError, of which msgspec's errors are one, with
        what is wrong."""
        # hot: once per message (benchmarks/bench_sources.py)
        try:
            message: Message = self._decode(data)
            reader = self._readers.get(type(message))
            return ([] if reader is None else reader(message)), message
        except (ArithmeticError, RecursionError) as error:
            raise ValueError(f"numbers too large, or nested too deep ({type(error).__name__})") from None

    def _book(self, book: OrderBookUpdate) -> list[Event]:
        bid = max((level for level in book.bids if level.quantity), key=_price, default=None)
        ask = min((level for level in book.asks if level.quantity), key=_price, default=None)
        return [
            Quote(
                book.symbol,
                None if bid is None else bid.price,
                None if ask is None else ask.price,
                None if bid is None else bid.quantity,
                None if ask is None else ask.quantity,
                ts=_ns(book.timestamp),
            )
        ]

    def _trade(self, trade: TradeUpdate) -> list[Event]:
        return [
            Print(
                trade.symbol,
                trade.price,
                trade.quantity,
                _word("side", trade.side, _SIDES),  # type: ignore[arg-type]
                trade.trade_id,
                ts=_ns(trade.timestamp),
            )
        ]

    def _signal(self, signal: SignalGenerated) -> list[Event]:
        named = (signal.metadata or {}).get("strategy")
        action = signal.action or signal.direction
        return [
            _event(
                Signal,
                strategy=named if isinstance(named, str) and named else self._strategy or ANY_STRATEGY,
                symbol=signal.symbol,
                action=_SIGNAL_ACTIONS.get(action, action.lower()),
                confidence=signal.strength if signal.confidence is None else signal.confidence,
                ts=_ns(signal.timestamp),
            )
        ]

    def _order(self, order: OrderRequest) -> list[Event]:
        _check_finite(order.filled_quantity, order.average_price)
        for key in filter(None, (order.order_id, order.client_order_id)):
            _remember(self._requests, key, order)
        return [self._report(order, _word("status", order.status, _STATUSES)), *self._fill(order)]

    def _report(self, order: OrderRequest, status: str, reason: str = "") -> Event:
        return _event(
            Order,
            order_id=order.order_id,
            client_order_id=order.client_order_id,
            symbol=order.symbol,
            side=_word("side", order.side, _SIDES),
            quantity=order.quantity,
            price=order.price,
            order_type=_ORDER_TYPES.get(order.order_type, order.order_type),
            status=status,
            strategy=self._strategy,
            reason=reason[:MAX_TEXT_LENGTH],
            ts=_ns(order.updated_at if order.updated_at is not None else order.created_at),
        )

    def _fill(self, order: OrderRequest) -> list[Event]:
        """Returns the fill that an order has gained, if it has."""
        filled, average = order.filled_quantity, order.average_price
        known = self.state.filled.get(order.order_id) or self._complete.get(order.order_id)
        before, cost_before = known or (Decimal(0), Decimal(0))
        if filled <= before:
            return []
        if average is None:
            raise ValueError(f"order {order.order_id}: {filled} filled, but no average price")
        cost = average * filled
        price = average if not before else ((cost - cost_before) / (filled - before)).quantize(PRICE_QUANTUM)
        fill = _event(
            Fill,
            trade_id=f"{order.order_id}:{filled.normalize():f}",
            order_id=order.order_id,
            symbol=order.symbol,
            side=_word("side", order.side, _SIDES),
            quantity=filled - before,
            price=price,
            strategy=self._strategy,
            ts=_ns(order.updated_at),
        )
        # The order is remembered only now: what a fill that is refused would have told, the next message tells.
        if filled < order.quantity:
            _remember(self.state.filled, order.order_id, (filled, cost))
        else:
            self.state.filled.pop(order.order_id, None)
            _remember(self._complete, order.order_id, (filled, cost))
        return [fill]

    def _response(self, response: OrderResponse) -> list[Event]:
        order = self._requests.get(response.client_order_id) or self._requests.get(response.order_id)
        if order is None:
            raise ValueError(f"OrderResponse: no request of order {response.order_id} has come")
        # The response has no time of its own.
        report = self._report(order, "new" if response.success else "rejected", response.error or "")
        report.ts = None
        return [report]

    def _position(self, position: PositionUpdate) -> list[Event]:
        price = position.avg_entry_price if position.entry_price is None else position.entry_price
        if position.side not in ("Bid", "Ask") or price is None:
            raise ValueError(f"PositionUpdate of {position.symbol}: expected side Bid or Ask, and entry_price")
        return [
            _event(
                Position,
                symbol=position.symbol,
                quantity=position.quantity if position.side == "Bid" else -position.quantity,
                avg_price=price,
                strategy=self._strategy,
                ts=_ns(position.timestamp if position.updated_at is None else position.updated_at),
            )
        ]

    def _risk(self, result: RiskCheckResult) -> list[Event]:
        return [] if result.approved else [_log("risk", f"risk check refused: {result.reason or 'no reason given'}")]

    def _shutdown(self, _: Shutdown) -> list[Event]:
        return [_log("system", "the engine shuts down")]

    def _heartbeat(self, heartbeat: Heartbeat) -> list[Event]:
        return [_event(events.Heartbeat, component=heartbeat.component, ts=_ns(heartbeat.timestamp))]


def _event(kind: type[Event], **values: Any) -> Event:
    """Returns an event of the engine's values; a number with more digits than are kept is rounded as a sender's is."""
    try:
        return kind(**values)
    except ValueError:
        return read_values({"type": TYPE_NAMES[kind], **values}).event


def _check_finite(*numbers: Decimal | None) -> None:
    """Raises ValueError for a number that is infinite or NaN."""
    for number in numbers:
        if number is not None and not number.is_finite():
            raise ValueError(f"{number}: expected a number")


def _word(name: str, theirs: str, words: Mapping[str, str]) -> str:
    """Returns our word for one of the engine's. Raises ValueError."""
    ours = words.get(theirs)
    if ours is None:
        raise ValueError(f"{name}: {theirs!r}, expected one of {', '.join(words)}")
    return ours


def _log(logger: str, message: str) -> Event:
    return Log("warning", message[:MAX_TEXT_LENGTH], logger)


def _price(level: _Level) -> float:
    return level.price


def _ns(time: Time | None) -> Time | None:
    """Returns a time as our events have it; the Python bridge sends integers of milliseconds."""
    return time * NS_PER_MS if isinstance(time, int) else time


def _remember(known: dict[str, Any], key: str, value: Any) -> None:
    """Makes an entry the newest one, and forgets the oldest beyond `MAX_ORDERS`."""
    known.pop(key, None)
    known[key] = value
    if len(known) > MAX_ORDERS:
        del known[next(iter(known))]
