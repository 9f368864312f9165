"""The messages of NautilusTrader's message bus, as it writes them into Redis streams.

    topic     events.order.EMA-CROSS-001
    type      OrderEventAny                  version 2 only, as is `encoding`
    encoding  json | msgpack
    payload   {"type": "OrderFilled", "instrument_id": "BTCUSDT-PERP.BINANCE", "last_px": "61837.60", ...}

Version 2 encodes enums as Rust does, a level deeper: {"PositionChanged": {...}}. Numbers are text, or doubles where the
engine computes with doubles; times are nanoseconds, as numbers or text, or ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Union

import msgspec

from observability.errors import EventError
from observability.events import (
    MAX_NAME_LENGTH,
    MAX_SYMBOL_LENGTH,
    TYPE_NAMES,
    Identifier,
    Name,
    OptionalName,
    OrderStatus,
    Price,
    Size,
    Time,
)

_HEARTBEAT_TOPIC: Final = b"health:heartbeat"
# How an object begins in MessagePack: by its number of members.
_MAPS: Final = frozenset(bytes([sign]) for sign in (*range(0x80, 0x90), 0xDE, 0xDF))
_BRACKETS: Final = (b"{", b"[")
_OUR_TYPES: Final = frozenset(TYPE_NAMES.values())

_LongName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SYMBOL_LENGTH + 1 + MAX_NAME_LENGTH)]


class BusMessage(msgspec.Struct, tag_field="type", kw_only=True, gc=False):
    """What every message has."""

    ts_event: Time | None = None


class QuoteTick(BusMessage, tag="QuoteTick", gc=False):
    instrument_id: _LongName
    bid_price: Price
    ask_price: Price
    bid_size: Size
    ask_size: Size


class TradeTick(BusMessage, tag="TradeTick", gc=False):
    instrument_id: _LongName
    price: Price
    size: Size
    aggressor_side: str
    trade_id: Identifier


class OrderMessage(BusMessage, kw_only=True, gc=False):
    strategy_id: Name
    instrument_id: _LongName
    client_order_id: Identifier
    reason: str | None = None


class _Options(msgspec.Struct, gc=False):
    price: Decimal | None = None


class OrderInitialized(OrderMessage, tag="OrderInitialized", kw_only=True, gc=False):
    order_side: str
    order_type: Name
    quantity: Decimal
    quote_quantity: bool = False
    price: Decimal | None = None
    options: _Options | None = None


class OrderUpdated(OrderMessage, tag="OrderUpdated", kw_only=True, gc=False):
    quantity: Decimal
    price: Decimal | None = None
    is_quote_quantity: bool = False


class OrderFilled(BusMessage, tag="OrderFilled", kw_only=True, gc=False):
    strategy_id: Name
    instrument_id: _LongName
    client_order_id: OptionalName | None = None
    """None for what the venue itself has done to a position, such as a liquidation."""
    trade_id: Identifier
    order_side: str
    last_qty: Decimal
    last_px: Decimal
    currency: str
    commission: str | None = None
    liquidity_side: str = ""
    reconciliation: bool = False


class PositionMessage(BusMessage, kw_only=True, gc=False):
    strategy_id: Name
    instrument_id: _LongName
    position_id: Identifier
    side: str
    quantity: Decimal
    avg_px_open: Decimal
    ts_closed: Time | None = None


class _Balance(msgspec.Struct, gc=False):
    currency: str
    total: str


class AccountState(BusMessage, tag="AccountState", kw_only=True, gc=False):
    account_id: Name
    balances: list[_Balance]
    base_currency: str | None = None


class ComponentStateChanged(BusMessage, tag="ComponentStateChanged", gc=False):
    component_id: Name
    state: str


class TradingStateChanged(BusMessage, tag="TradingStateChanged", gc=False):
    trader_id: Name
    state: str


def _kinds(base: type[BusMessage], *names: str) -> dict[str, Any]:
    """Returns a struct for each name, with the fields of `base`."""
    return {name: msgspec.defstruct(f"_{name}", [], bases=(base,), tag=name, gc=False) for name in names}


_STATUSES: Final[Mapping[str, OrderStatus]] = {
    "OrderDenied": "rejected",
    "OrderSubmitted": "pending_new",
    "OrderAccepted": "new",
    "OrderRejected": "rejected",
    "OrderCanceled": "canceled",
    "OrderExpired": "expired",
    "OrderPendingUpdate": "pending_replace",
    "OrderPendingCancel": "pending_cancel",
    # The order goes on as it was.
    "OrderModifyRejected": "new",
    "OrderCancelRejected": "new",
}
_ORDER_KINDS = _kinds(OrderMessage, *_STATUSES)
STATUS_OF: Final[Mapping[type, OrderStatus]] = {_ORDER_KINDS[name]: status for name, status in _STATUSES.items()}
_POSITION_KINDS = _kinds(PositionMessage, "PositionOpened", "PositionChanged", "PositionClosed")
# Messages that become no event. Named, they are skipped without being decoded; so are unknown ones, but slower.
_SKIPPED_KINDS = _kinds(
    BusMessage, "OrderEmulated", "OrderReleased", "OrderTriggered", "Bar", "OrderBookDelta", "OrderBookDeltas",
    "OrderBookDepth10", "MarkPriceUpdate", "IndexPriceUpdate", "FundingRateUpdate", "InstrumentStatus",
    "InstrumentClose",
)  # fmt: skip
_SKIPPED: Final = frozenset(_SKIPPED_KINDS.values())
_OTHER_KINDS: Final = (
    QuoteTick, TradeTick, OrderInitialized, OrderUpdated, OrderFilled, AccountState, ComponentStateChanged,
    TradingStateChanged,
)  # fmt: skip
_BY_NAME: Final[Mapping[str, Any]] = {
    **_ORDER_KINDS, **_POSITION_KINDS, **_SKIPPED_KINDS,
    **{str(kind.__struct_config__.tag): kind for kind in _OTHER_KINDS}
}  # fmt: skip
_ANY: Final[Any] = Union[tuple(_BY_NAME.values())]  # noqa: UP007 - built from a tuple

# Not strict, because numbers are text.
_JSON = msgspec.json.Decoder(_ANY, strict=False)
_MSGPACK = msgspec.msgpack.Decoder(_ANY, strict=False)

Message = BusMessage | bytes
"""A message of the engine, or an event in our own JSON."""


def decode(topic: bytes, payload: bytes, kind: str = "", encoding: str = "") -> Message | None:
    """Returns the message of an entry; None for one that becomes no event. Raises EventError."""
    # hot: once per entry (benchmarks/bench_redis.py)
    if encoding not in ("", "json", "msgpack"):
        raise EventError(f"encoding {encoding[:20]!r}: expected json or msgpack")
    begin = payload[:1]
    is_json = begin == b"{"
    if not is_json and (encoding == "json" or begin not in _MAPS):
        return _decode_bare(topic, payload)
    try:
        message: BusMessage = (_JSON if is_json else _MSGPACK).decode(payload)
    except msgspec.ValidationError as error:
        return _decode_otherwise(payload, kind, is_json, error)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise EventError(str(error)) from None
    return None if message.__class__ in _SKIPPED else message


def _decode_bare(topic: bytes, payload: bytes) -> Message | None:
    """Reads what is no object: the engine's heartbeat, a signal, or an event of ours with space before it."""
    if topic == _HEARTBEAT_TOPIC:
        return BusMessage()
    if not topic or payload.lstrip()[:1] in _BRACKETS:
        # Whatever it is, it is read as an event, and refused as one.
        return payload
    return None


def _decode_otherwise(payload: bytes, kind: str, is_json: bool, fault: msgspec.ValidationError) -> Message | None:
    """Reads what has no `type` of its own, and tells a message that becomes no event from one with a fault."""
    try:
        content: Any = (msgspec.json if is_json else msgspec.msgpack).decode(payload)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise EventError(str(error)) from None
    name = content.get("type")
    if name is None and len(content) == 1:
        # An enum of Rust: {"PositionChanged": {...}}, {"Filled": {"type": "OrderFilled", ...}}.
        (kind, content), *_ = content.items()
        if not isinstance(content, dict):
            return None
        name = content.get("type")
    if name is None and kind in _BY_NAME:
        name = content["type"] = kind
    if is_json and isinstance(name, str) and name.lower() in _OUR_TYPES:
        return payload
    if not isinstance(name, str) or name not in _BY_NAME:
        return None
    if content.get("type") == name:
        try:
            message: BusMessage = msgspec.convert(content, _ANY, strict=False)
        except msgspec.ValidationError as error:
            fault = error
        else:
            return None if message.__class__ in _SKIPPED else message
    raise EventError(f"{name}: {fault}")
