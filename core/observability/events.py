"""The events that a trading system sends: one Struct each, tagged by `type` on the wire.

Times: `ts` (ts_event) is the engine's or exchange's time, `ts_init` the time of arrival; both are integer nanoseconds
since the epoch once an event is on the bus. On the wire `ts` may also be ISO 8601, or absent (then it is `ts_init`).
Prices and sizes of quotes and prints are floats, as feeds carry them; quantities, prices and fees of orders, fills,
positions and equity are Decimal, because they are summed as money.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import msgspec

from observability.clocks.timestamps import MAX_NS

# The values of FIX OrdStatus (39) that a report may carry.
OrderStatus = Literal[
    "pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "expired", "replaced",
    "pending_cancel", "pending_replace",
]  # fmt: skip
TERMINAL_STATUSES: frozenset[str] = frozenset({"filled", "canceled", "rejected", "expired"})
Side = Literal["buy", "sell"]
Severity = Literal["info", "warning", "critical"]

MAX_SYMBOL_LENGTH: Final = 32
BPS: Final = Decimal(10_000)
"""The number of basis points in 1; every name that ends in `_bps` is in this unit."""

Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SYMBOL_LENGTH)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=4096)]
# A price or size is smaller than this, as are the decimals of money, so that sums of products stay exact.
MAX_MAGNITUDE: Final = 1e18
# A price or size is at least this, or zero: money has 18 decimals.
MIN_MAGNITUDE: Final = 1e-18

Price = Annotated[float, msgspec.Meta(gt=-MAX_MAGNITUDE, lt=MAX_MAGNITUDE)]
Size = Annotated[float, msgspec.Meta(ge=0, lt=MAX_MAGNITUDE)]

# Integer nanoseconds since the epoch, or ISO 8601 until the event is decoded.
Time = Annotated[int, msgspec.Meta(ge=0, le=MAX_NS)] | str

# A Decimal with more digits is an error of the sender, and summing it could exhaust the server.
MAX_DECIMAL_EXPONENT = 18


def _check_decimal(name: str, value: Decimal) -> None:
    """Raises ValueError, to which msgspec adds the path of the field."""
    if not value.is_finite():
        raise ValueError(f"{name}: expected a finite number, got {value}")
    exponent = value.as_tuple().exponent
    assert isinstance(exponent, int)
    if exponent < -MAX_DECIMAL_EXPONENT or (value and value.adjusted() > MAX_DECIMAL_EXPONENT):
        raise ValueError(f"{name}: expected at most {MAX_DECIMAL_EXPONENT} digits on either side of the point")


class Event(msgspec.Struct, tag_field="type", kw_only=True, gc=False):
    """The fields that every event has."""

    ts: Time | None = None
    ts_init: int = 0


class Quote(Event, tag="quote", kw_only=False, gc=False):
    """The touch: best bid and ask. A side without orders is null; a bid at or above the ask is valid and kept."""

    symbol: Symbol
    bid: Price | None
    ask: Price | None
    bid_size: Size | None = None
    ask_size: Size | None = None
    venue: str = ""


class Print(Event, tag="print", kw_only=False, gc=False):
    """A trade in the market (not ours). `aggressor_side` is the side that took liquidity."""

    symbol: Symbol
    price: Price
    size: Size
    aggressor_side: Side | None = None
    trade_id: str | int | None = None
    venue: str = ""


class Order(Event, tag="order", kw_only=False, gc=False):
    """A report about one of our orders, by FIX OrdStatus; `quantity` is the whole order's, not the remainder."""

    order_id: Identifier
    symbol: Symbol
    side: Side
    quantity: Decimal
    status: OrderStatus
    price: Decimal | None = None
    order_type: str = ""
    strategy: str = ""
    venue: str = ""
    client_order_id: str = ""
    reason: Text = ""
    arrival_price: Decimal | None = None
    decision_ts: Time | None = None

    def __post_init__(self) -> None:
        _check_decimal("quantity", self.quantity)
        if self.quantity <= 0:
            raise ValueError(f"quantity: expected more than 0, got {self.quantity}")
        if self.price is not None:
            _check_decimal("price", self.price)
        if self.arrival_price is not None:
            _check_decimal("arrival_price", self.arrival_price)


class Fill(Event, tag="fill", kw_only=False, gc=False):
    """An execution of one of our orders; its key is (venue, symbol, trade_id). `commission` is in quote currency."""

    trade_id: Identifier
    order_id: Identifier
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    commission: Decimal = Decimal(0)
    liquidity: Literal["maker", "taker", ""] = ""
    strategy: str = ""
    venue: str = ""
    latency_ms: float | None = None

    def __post_init__(self) -> None:
        _check_decimal("quantity", self.quantity)
        if self.quantity <= 0:
            raise ValueError(f"quantity: expected more than 0, got {self.quantity}")
        _check_decimal("price", self.price)
        _check_decimal("commission", self.commission)


class Position(Event, tag="position", kw_only=False, gc=False):
    """The engine's own view of a position; quantity is signed. A difference from our view is reported, not hidden."""

    symbol: Symbol
    quantity: Decimal
    avg_price: Decimal
    strategy: str = ""

    def __post_init__(self) -> None:
        _check_decimal("quantity", self.quantity)
        _check_decimal("avg_price", self.avg_price)


class Signal(Event, tag="signal", kw_only=False, gc=False):
    """A strategy's decision, such as to buy, before any order."""

    strategy: Name
    symbol: Symbol
    action: Name
    confidence: float | None = None


class Equity(Event, tag="equity", kw_only=False, gc=False):
    """The engine's equity: the first report determines the starting capital, later ones are shown beside our own."""

    value: Decimal
    strategy: str = ""

    def __post_init__(self) -> None:
        _check_decimal("value", self.value)


class Log(Event, tag="log", kw_only=False, gc=True):
    """A line of the engine's log."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    message: Text
    logger: str = ""
    fields: dict[str, Any] = {}


class Alert(Event, tag="alert", kw_only=False, gc=False):
    """An alert that the engine raises or resolves; events with the same `key` are about the same alert."""

    severity: Severity
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    detail: Text = ""
    key: str = ""
    state: Literal["raised", "resolved"] = "raised"


class Heartbeat(Event, tag="heartbeat", kw_only=False, gc=False):
    """A sign of life from a component. It does not refresh any price or position."""

    component: Name
    status: Literal["ok", "degraded", "down"] = "ok"
    detail: Text = ""


class Metric(Event, tag="metric", kw_only=False, gc=True):
    """Any number that the user wants to see."""

    name: Name
    value: float
    labels: dict[str, str] = {}


AnyEvent = Quote | Print | Order | Fill | Position | Signal | Equity | Log | Alert | Heartbeat | Metric
EVENT_TYPES: tuple[type[Event], ...] = (
    Quote, Print, Order, Fill, Position, Signal, Equity, Log, Alert, Heartbeat, Metric
)  # fmt: skip
TYPE_NAMES: dict[type[Event], str] = {kind: str(kind.__struct_config__.tag) for kind in EVENT_TYPES}


def event_time_ns(event: Event) -> int:
    """Returns `ts` (ts_event), or `ts_init` if `ts` is absent or was never parsed."""
    return event.ts if isinstance(event.ts, int) else event.ts_init
