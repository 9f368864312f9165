"""The events that a trading system sends: one Struct each, tagged by `type` on the wire.

Times: `ts` (ts_event) is the engine's or exchange's time, `ts_init` the time of arrival; both are integer nanoseconds
since the epoch once an event is on the bus. On the wire `ts` may also be ISO 8601, or absent (then it is `ts_init`).
Prices and sizes of quotes and prints are floats, as feeds carry them; quantities, prices and fees of orders, fills,
positions and equity are Decimal, because they are summed as money.

A Struct describes one way of writing an event, the strictest. `ingest/dialects.py` reads the others.
"""

from __future__ import annotations

import re
from decimal import Context, Decimal, InvalidOperation, Rounded
from typing import Annotated, Any, Final, Literal

import msgspec

from observability.clocks.timestamps import MAX_NS, parse_iso_ns
from observability.encoding import encode_json
from observability.errors import EventError

# The values of FIX OrdStatus (39) that a report may carry.
OrderStatus = Literal[
    "pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "expired", "replaced",
    "pending_cancel", "pending_replace",
]  # fmt: skip
TERMINAL_STATUSES: frozenset[str] = frozenset({"filled", "canceled", "rejected", "expired"})
Side = Literal["buy", "sell"]
PositionSide = Literal["long", "short", "both", ""]
"""In hedge mode the side of a position; `both`, or none, in one-way mode (`metrics/trades/position_side.py`)."""
Severity = Literal["info", "warning", "critical"]
InstrumentKind = Literal["equity", "spot", "future", "perpetual", "option", "fx"]
Contract = Literal["linear", "inverse", "quanto"]
CashReason = Literal["deposit", "withdrawal", "transfer", "interest", "rebate", "fee", "other"]

MAX_SYMBOL_LENGTH: Final = 128
MAX_NAME_LENGTH: Final = 128
"""Of an id, and of the name of a strategy, a venue, a component, ..."""
MAX_CURRENCY_LENGTH: Final = 32
MAX_KEY_LENGTH: Final = 256
MAX_LOGGER_LENGTH: Final = 256
MAX_TITLE_LENGTH: Final = 200
MAX_TEXT_LENGTH: Final = 4096
MAX_LABELS: Final = 8
MAX_LABEL_LENGTH: Final = 128
MAX_ALERT_LABELS: Final = 32
MAX_ALERT_LABEL_LENGTH: Final = 1024
MAX_LINKS: Final = 8
MAX_LINK_LENGTH: Final = 2048
MAX_FIELDS_BYTES: Final = 16 * 1024
"""Of the fields of a `log` event, as JSON."""

BPS: Final = Decimal(10_000)
"""The number of basis points in 1; every name that ends in `_bps` is in this unit."""

Symbol = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SYMBOL_LENGTH)]
# A price or size is smaller than this, as are the decimals of money, so that sums of products stay exact.
MAX_MAGNITUDE: Final = 1e18
# A price or size is at least this, or zero: money has 18 decimals.
MIN_MAGNITUDE: Final = 1e-18

Price = Annotated[float, msgspec.Meta(gt=-MAX_MAGNITUDE, lt=MAX_MAGNITUDE)]
Size = Annotated[float, msgspec.Meta(ge=0, lt=MAX_MAGNITUDE)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
Identifier = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME_LENGTH)]
OptionalName = Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_LENGTH)]
Label = Annotated[str, msgspec.Meta(max_length=MAX_LABEL_LENGTH)]
AlertLabel = Annotated[str, msgspec.Meta(max_length=MAX_ALERT_LABEL_LENGTH)]
Link = Annotated[str, msgspec.Meta(max_length=MAX_LINK_LENGTH)]
# Of a page: nothing else may stand behind a link that people follow.
LINK: Final = re.compile(r"https?://[A-Za-z0-9\[][!-~]*")
# A code of ISO 4217, or what an exchange calls an asset; read in any case.
Currency = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CURRENCY_LENGTH)]
OptionalCurrency = Annotated[str, msgspec.Meta(max_length=MAX_CURRENCY_LENGTH)]

Finite = Annotated[float, msgspec.Meta(ge=-1.7976931348623157e308, le=1.7976931348623157e308)]

# No trading was recorded in nanoseconds before 1973-03-03, and a smaller integer is the time of today in another unit:
# microseconds have 16 digits now, milliseconds 13, seconds 10.
MIN_NS: Final = 10**17
# Integer nanoseconds since the epoch, or ISO 8601 until the event is decoded.
Time = Annotated[int, msgspec.Meta(ge=MIN_NS, le=MAX_NS)] | str

# Summing a Decimal with more digits could exhaust the server.
MAX_DECIMAL_EXPONENT: Final = 18
QUANTUM: Final = Decimal(1).scaleb(-MAX_DECIMAL_EXPONENT)
NO_COMMISSION: Final = Decimal(0)
_quantize = Context(prec=2 * MAX_DECIMAL_EXPONENT + 1, traps=[Rounded, InvalidOperation]).quantize


# The same money under another code: ISO 4217 style codes of BitMEX and Kraken, Kraken's own names of assets, and the
# common name of the yuan. Codes of parts (XBt, GBp) and of claims on something (WBTC, CNH) are other currencies.
CURRENCY_ALIASES: Final = {
    "XBT": "BTC", "XXBT": "BTC", "XDG": "DOGE", "XXDG": "DOGE", "XETH": "ETH", "XETC": "ETC", "XLTC": "LTC",
    "XXLM": "XLM", "XXMR": "XMR", "XXRP": "XRP", "XZEC": "ZEC", "ZAUD": "AUD", "ZCAD": "CAD", "ZEUR": "EUR",
    "ZGBP": "GBP", "ZJPY": "JPY", "ZUSD": "USD", "MIOTA": "IOTA", "RMB": "CNY",
}  # fmt: skip


def code_of(currency: str) -> str:
    """Returns a currency as it is kept: `usd` is USD and XBT is BTC, but GBp, the penny of London, is not GBP."""
    code = currency.upper() if currency.islower() else currency
    return CURRENCY_ALIASES.get(code, code)


def _are_positive(value: Decimal, other: Decimal) -> bool:
    """Returns whether two numbers are above zero and have no digits too many, in less time than checking each
    takes."""
    # hot: once per order and twice per fill (benchmarks/bench_intake.py)
    try:
        return bool(_quantize(value, QUANTUM) > NO_COMMISSION and _quantize(other, QUANTUM) > NO_COMMISSION)
    except (Rounded, InvalidOperation):
        return False


def _check_decimal(name: str, value: Decimal) -> None:
    """Raises ValueError, to which msgspec adds the path of the event."""
    try:
        # A quarter of the time that looking at the digits takes.
        if not _quantize(value, QUANTUM).is_nan() and (value or value.adjusted() >= -MAX_DECIMAL_EXPONENT):
            return
    except (Rounded, InvalidOperation):
        pass
    if not value.is_finite():
        raise ValueError(f"{name}: expected a finite number, got {value}")
    raise ValueError(f"{name}: expected at most {MAX_DECIMAL_EXPONENT} digits on either side of the point")


def _check_positive(name: str, value: Decimal) -> None:
    """Raises ValueError for a number that is not above zero."""
    _check_decimal(name, value)
    if value <= 0:
        raise ValueError(f"{name}: expected more than 0, got {value}")


class Event(msgspec.Struct, tag_field="type", kw_only=True, gc=False, forbid_unknown_fields=True):
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
    venue: OptionalName = ""


class Print(Event, tag="print", kw_only=False, gc=False):
    """A trade in the market (not ours). `aggressor_side` is the side that took liquidity."""

    symbol: Symbol
    price: Price
    size: Size
    aggressor_side: Side | None = None
    trade_id: OptionalName | int | None = None
    venue: OptionalName = ""


class Order(Event, tag="order", kw_only=False, gc=False):
    """A report about one of our orders, by FIX OrdStatus; `quantity` is the whole order's, not the remainder."""

    order_id: Identifier
    symbol: Symbol
    side: Side
    quantity: Decimal
    status: OrderStatus
    price: Decimal | None = None
    order_type: OptionalName = ""
    strategy: OptionalName = ""
    venue: OptionalName = ""
    client_order_id: OptionalName = ""
    reason: Text = ""
    arrival_price: Decimal | None = None
    decision_ts: Time | None = None
    replaces: OptionalName = ""
    """Id of the order in whose place this one goes on."""

    def __post_init__(self) -> None:
        price = self.price
        if price is None or not _are_positive(self.quantity, price):
            _check_positive("quantity", self.quantity)
            if price is not None:
                _check_decimal("price", price)
        if self.arrival_price is not None:
            _check_decimal("arrival_price", self.arrival_price)


class Fill(Event, tag="fill", kw_only=False, gc=False):
    """An execution of one of our orders; `metrics/trades/trade.py` says what identifies it. `commission` is in
    `commission_asset`, by default the currency that the instrument is settled in. Without `order_id` it is of no order
    of ours: a liquidation, auto-deleveraging, a settlement."""

    trade_id: Identifier
    symbol: Symbol
    side: Side
    quantity: Decimal
    price: Decimal
    order_id: OptionalName = ""
    commission: Decimal = NO_COMMISSION
    liquidity: Literal["maker", "taker", ""] = ""
    strategy: OptionalName = ""
    venue: OptionalName = ""
    latency_ms: Finite | None = None
    position_side: PositionSide = ""
    reason: OptionalName = ""
    """Why it was filled, if no order of ours did it: `liquidation`, `adl`, `settlement`, ..."""
    commission_asset: OptionalCurrency = ""
    corrects: OptionalName = ""
    """The id of the fill in whose place this one counts: a correction of it, which gives it another id."""

    def __post_init__(self) -> None:
        if not _are_positive(self.quantity, self.price):
            _check_positive("quantity", self.quantity)
            _check_decimal("price", self.price)
        if self.commission is not NO_COMMISSION:
            _check_decimal("commission", self.commission)
        if self.commission_asset:
            self.commission_asset = code_of(self.commission_asset)


class Position(Event, tag="position", kw_only=False, gc=False):
    """The engine's own view of a position; quantity is signed. A difference from our view is reported, not hidden. With
    `adopt` the position is taken over instead: it was opened before the first fill.

    Without `position_side` it is about all that is held in the symbol. The quantity of a short side may also be
    without its sign.
    """

    symbol: Symbol
    quantity: Decimal
    avg_price: Decimal
    strategy: OptionalName = ""
    position_side: PositionSide = ""
    adopt: bool = False

    def __post_init__(self) -> None:
        _check_decimal("quantity", self.quantity)
        _check_decimal("avg_price", self.avg_price)
        if self.adopt and not self.quantity:
            raise ValueError("quantity: expected other than 0 for a position to adopt")
        if self.position_side == "long" and self.quantity < 0:
            raise ValueError(f"quantity: expected 0 or more on the long side, got {self.quantity}")
        if self.position_side == "short" and self.quantity > 0:
            self.quantity = self.quantity.copy_negate()


class Signal(Event, tag="signal", kw_only=False, gc=False):
    """A strategy's decision, such as to buy, before any order."""

    strategy: Name
    symbol: Symbol
    action: Name
    confidence: Finite | None = None


class Equity(Event, tag="equity", kw_only=False, gc=False):
    """The engine's equity: the first report determines the starting capital, later ones are shown beside our own."""

    value: Decimal
    strategy: OptionalName = ""

    def __post_init__(self) -> None:
        _check_decimal("value", self.value)


class Log(Event, tag="log", kw_only=False, gc=True):
    """A line of the engine's log."""

    level: Literal["debug", "info", "warning", "error", "critical"]
    message: Text
    logger: Annotated[str, msgspec.Meta(max_length=MAX_LOGGER_LENGTH)] = ""
    fields: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not self.fields:
            return
        try:
            size = len(encode_json(self.fields))
        except TypeError:
            # An integer of more than 64 bits: the line is worth keeping without its fields (`logs/log_ring.py`).
            return
        if size > MAX_FIELDS_BYTES:
            raise ValueError(f"fields: expected at most {MAX_FIELDS_BYTES} bytes of JSON, got {size}")


class Alert(Event, tag="alert", kw_only=False, gc=True):
    """An alert that the engine raises or resolves; events with the same `key` are about the same alert."""

    severity: Severity
    title: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TITLE_LENGTH)]
    detail: Text = ""
    key: Annotated[str, msgspec.Meta(max_length=MAX_KEY_LENGTH)] = ""
    state: Literal["raised", "resolved"] = "raised"
    labels: Annotated[dict[Label, AlertLabel], msgspec.Meta(max_length=MAX_ALERT_LABELS)] = {}
    links: Annotated[dict[Label, Link], msgspec.Meta(max_length=MAX_LINKS)] = {}
    """Pages that help, by a word for each."""

    def __post_init__(self) -> None:
        for name, link in self.links.items():
            if LINK.fullmatch(link) is None:
                raise ValueError(f"links: {name}: expected http:// or https:// and a host, got {link!r}")


class Heartbeat(Event, tag="heartbeat", kw_only=False, gc=False):
    """A sign of life from a component. It does not refresh any price or position."""

    component: Name
    status: Literal["ok", "degraded", "down"] = "ok"
    detail: Text = ""


class Metric(Event, tag="metric", kw_only=False, gc=True):
    """Any number that the user wants to see."""

    name: Name
    value: Finite
    labels: Annotated[dict[Label, Label], msgspec.Meta(max_length=MAX_LABELS)] = {}


class Instrument(Event, tag="instrument", kw_only=False, gc=False):
    """What a symbol stands for. It holds from its own arrival on, at one venue if it names one."""

    symbol: Symbol
    kind: InstrumentKind
    quote_currency: Currency
    venue: OptionalName = ""
    base_currency: OptionalCurrency = ""
    settlement_currency: OptionalCurrency = ""
    multiplier: Decimal | None = None
    contract: Contract = "linear"
    tick_size: Decimal | None = None
    lot_size: Decimal | None = None
    expiry: Time | None = None
    calendar: OptionalName = ""
    """The exchange whose sessions it trades in, by its code (ISO 10383)."""

    def __post_init__(self) -> None:
        self.quote_currency = code_of(self.quote_currency)
        self.base_currency = code_of(self.base_currency)
        self.settlement_currency = code_of(self.settlement_currency)
        for name, size in (
            ("multiplier", self.multiplier), ("tick_size", self.tick_size), ("lot_size", self.lot_size)
        ):  # fmt: skip
            if size is not None:
                _check_positive(name, size)
        if isinstance(self.expiry, str):
            try:
                self.expiry = parse_iso_ns(self.expiry)
            except EventError as error:
                raise ValueError(f"expiry: {error}") from None


class Rate(Event, tag="rate", kw_only=False, gc=False):
    """A rate of exchange: one `base` is `rate` `quote`."""

    base: Currency
    quote: Currency
    rate: Decimal

    def __post_init__(self) -> None:
        self.base, self.quote = code_of(self.base), code_of(self.quote)
        _check_positive("rate", self.rate)
        if self.base == self.quote:
            raise ValueError(f"quote: expected another currency than the base, got {self.quote}")


class Cash(Event, tag="cash", kw_only=False, gc=False):
    """Money that comes in (+) or goes out (-) without a fill. Deposits, withdrawals and transfers are no performance;
    everything else is P&L. Without `currency` it is the reporting currency."""

    amount: Decimal
    reason: CashReason
    currency: OptionalCurrency = ""
    cash_id: OptionalName = ""
    strategy: OptionalName = ""

    def __post_init__(self) -> None:
        self.currency = code_of(self.currency)
        _check_decimal("amount", self.amount)
        if self.reason == "withdrawal":
            # Some systems write what goes out, others the change; it cannot mean anything else.
            self.amount = self.amount.copy_abs().copy_negate()
        elif self.reason in ("deposit", "rebate"):
            if self.amount < 0:
                raise ValueError(f"amount: expected more than 0 for a {self.reason}, got {self.amount}")
        elif self.reason == "fee" and self.amount > 0:
            raise ValueError(
                f"amount: expected less than 0 for a fee (what is paid back is a rebate), got {self.amount}"
            )


class Funding(Event, tag="funding", kw_only=False, gc=False):
    """A funding payment of a perpetual: + received, - paid."""

    symbol: Symbol
    amount: Decimal
    funding_id: OptionalName = ""
    currency: OptionalCurrency = ""
    strategy: OptionalName = ""
    venue: OptionalName = ""

    def __post_init__(self) -> None:
        self.currency = code_of(self.currency)
        _check_decimal("amount", self.amount)


class Dividend(Event, tag="dividend", kw_only=False, gc=False):
    """A dividend, on the quantity held when it arrives: + for long positions, - for short ones. `amount` is what was
    paid in all, for systems that do not know it per share."""

    symbol: Symbol
    amount_per_share: Decimal | None = None
    amount: Decimal | None = None
    dividend_id: OptionalName = ""
    currency: OptionalCurrency = ""
    strategy: OptionalName = ""

    def __post_init__(self) -> None:
        self.currency = code_of(self.currency)
        if (self.amount_per_share is None) == (self.amount is None):
            raise ValueError("amount_per_share: expected either this or amount")
        if self.amount_per_share is not None:
            _check_decimal("amount_per_share", self.amount_per_share)
        if self.amount is not None:
            _check_decimal("amount", self.amount)


class Split(Event, tag="split", kw_only=False, gc=False):
    """A split: `denominator` shares become `numerator`. 2 and 1 double the quantity, 1 and 10 make a reverse split."""

    symbol: Symbol
    numerator: Decimal
    denominator: Decimal = Decimal(1)
    split_id: OptionalName = ""

    def __post_init__(self) -> None:
        _check_positive("numerator", self.numerator)
        _check_positive("denominator", self.denominator)


class Settlement(Event, tag="settlement", kw_only=False, gc=False):
    """The final price of a contract that has ended; it closes every position in the symbol."""

    symbol: Symbol
    price: Decimal
    settlement_id: OptionalName = ""
    venue: OptionalName = ""

    def __post_init__(self) -> None:
        _check_decimal("price", self.price)


class Bust(Event, tag="bust", kw_only=False, gc=False):
    """The cancellation of a fill, named by its key; without `order_id` and `side`, of a print of the market."""

    trade_id: Identifier
    symbol: Symbol
    order_id: OptionalName = ""
    side: Side | None = None
    venue: OptionalName = ""


class Correct(Event, tag="correct", kw_only=False, gc=False):
    """The correction of a fill, named by its key, with the values that change; without `order_id` and `side`, of a
    print of the market."""

    trade_id: Identifier
    symbol: Symbol
    order_id: OptionalName = ""
    side: Side | None = None
    venue: OptionalName = ""
    quantity: Decimal | None = None
    price: Decimal | None = None
    commission: Decimal | None = None
    new_trade_id: OptionalName = ""
    """The id that the fill has from now on; empty if it keeps the one it has."""

    def __post_init__(self) -> None:
        if self.quantity is not None:
            _check_positive("quantity", self.quantity)
        for name, value in (("price", self.price), ("commission", self.commission)):
            if value is not None:
                _check_decimal(name, value)


BookingEvent = Instrument | Rate | Cash | Funding | Dividend | Split | Settlement | Bust | Correct
"""What changes the book and is no fill."""
BOOKING_TYPES: tuple[type[BookingEvent], ...] = (
    Instrument, Rate, Cash, Funding, Dividend, Split, Settlement, Bust, Correct
)  # fmt: skip
AnyEvent = Quote | Print | Order | Fill | Position | Signal | Equity | Log | Alert | Heartbeat | Metric | BookingEvent
EVENT_TYPES: tuple[type[Event], ...] = (
    Quote, Print, Order, Fill, Position, Signal, Equity, Log, Alert, Heartbeat, Metric, *BOOKING_TYPES
)  # fmt: skip
TYPE_NAMES: dict[type[Event], str] = {kind: str(kind.__struct_config__.tag) for kind in EVENT_TYPES}


def as_counted(event: Event) -> Event:
    """Returns a fill that corrects another one as the correction of that one; any other event as it is."""
    if event.__class__ is not Fill or not event.corrects or event.corrects == event.trade_id:
        return event
    return Correct(
        event.corrects, event.symbol, event.order_id, event.side, event.venue, event.quantity, event.price,
        event.commission, event.trade_id, ts=event.ts, ts_init=event.ts_init,
    )  # fmt: skip


def event_time_ns(event: Event) -> int:
    """Returns `ts` (ts_event), or `ts_init` if `ts` is absent or was never parsed."""
    return event.ts if isinstance(event.ts, int) else event.ts_init
