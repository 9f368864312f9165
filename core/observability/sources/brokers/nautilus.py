"""The messages of NautilusTrader (`nautilus_messages.py`), translated into our events.

    entry --> decode --> message --> translate --> events
                                         ^
                                         |  orders, positions and the account so far: what messages do not repeat

Only an order's first message has its side and quantity, so open orders are kept, and saved with the position in the
stream. An order of which that message was not read cannot be reported; its fills can, because they have all they need.

A fill with `reconciliation: true` was not executed live: the engine derived it from the venue's reports, and earlier
versions of the engine give it a new id at each start. It does not count as a fill, unless that is asked for: it becomes
a line of the log and a user metric, and the engine's positions, which contain it, show what is missing in ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final

import msgspec

from observability.clocks.timestamps import MAX_NS, parse_iso_ns
from observability.errors import EventError
from observability.events import (
    MAX_NAME_LENGTH,
    MAX_SYMBOL_LENGTH,
    MAX_TEXT_LENGTH,
    MIN_NS,
    NO_COMMISSION,
    QUANTUM,
    TERMINAL_STATUSES,
    Alert,
    Equity,
    Event,
    Fill,
    Heartbeat,
    Log,
    Metric,
    Order,
    OrderStatus,
    Position,
    Print,
    Quote,
    Side,
)
from observability.sources.brokers.nautilus_messages import (
    STATUS_OF,
    AccountState,
    BusMessage,
    ComponentStateChanged,
    OrderFilled,
    OrderInitialized,
    OrderMessage,
    OrderUpdated,
    PositionMessage,
    QuoteTick,
    TradeTick,
    TradingStateChanged,
)

# Kept with the position in the stream, and so written with every commit: 60 bytes for each open order.
MAX_ORDERS: Final = 2_000
MAX_POSITIONS: Final = 2_000
RECONCILED_METRIC: Final = "nautilus.reconciled_fills"
LOGGER: Final = "nautilus"


_ZERO: Final = Decimal(0)
_MAX_INSTRUMENTS: Final = 10_000
_DIGITS: Final = re.compile(r"[0-9]{1,19}")
# For two numbers of an event, of 36 digits each, and for sums.
_WIDE: Final = Context(prec=80, rounding=ROUND_HALF_EVEN)
_SIDES: Final[Mapping[str, Side]] = {"BUY": "buy", "SELL": "sell"}
_ALERT_STATES: Final[Mapping[str, str]] = {"FAULTED": "critical", "DEGRADED": "warning", "RUNNING": ""}


class OrderInfo(msgspec.Struct, array_like=True, gc=False):
    """What later messages about an order do not repeat. `quantity` is None if it is in quote currency."""

    side: Side
    quantity: Decimal | None
    price: Decimal | None
    order_type: str
    decided_ns: int | None
    filled: Decimal = _ZERO


class CodecState(msgspec.Struct, gc=False):
    """What a codec knows, to be saved."""

    orders: dict[str, OrderInfo] = {}
    positions: dict[str, tuple[str, str, Decimal, Decimal]] = {}
    """Strategy, symbol, signed quantity and average price of each open position by its id."""
    account: str = ""
    reconciled: int = 0


class NautilusCodec:
    """Translates the messages of one bus. `account` and `currency` choose whose equity is taken, and in what."""

    def __init__(self, *, account: str = "", currency: str = "", counts_reconciled: bool = False) -> None:
        self._account = account
        self._currency = currency
        self._counts_reconciled = counts_reconciled
        self._instruments: dict[str, tuple[str, str]] = {}
        self._state = CodecState()

    def to_state(self) -> CodecState:
        return self._state

    def load_state(self, state: CodecState) -> None:
        self._state = state

    def translate(self, message: BusMessage, stream: str) -> Sequence[Event]:
        """Returns the events of a message. Raises EventError, ValueError or ArithmeticError, and has then learnt
        nothing."""
        # hot: once per message (benchmarks/bench_redis.py)
        kind = message.__class__
        ts = _ns(message.ts_event)
        events: Sequence[Event]
        if isinstance(message, QuoteTick):
            symbol, venue = self._instrument(message.instrument_id)
            return (
                Quote(symbol, message.bid_price, message.ask_price, message.bid_size, message.ask_size, venue, ts=ts),
            )
        if isinstance(message, TradeTick):
            symbol, venue = self._instrument(message.instrument_id)
            side: Side | None = {"BUYER": "buy", "SELLER": "sell"}.get(message.aggressor_side)  # type: ignore[assignment]
            return (Print(symbol, message.price, message.size, side, message.trade_id, venue, ts=ts),)
        if isinstance(message, OrderFilled):
            events = self._fill(message, ts)
        elif isinstance(message, OrderInitialized):
            events = self._begin(message, ts)
        elif isinstance(message, OrderUpdated):
            events = self._update(message)
        elif isinstance(message, OrderMessage):
            events = self._report(message, STATUS_OF[kind])
        elif isinstance(message, PositionMessage):
            ts = _ns(message.ts_closed) if ts is None else ts
            events = self._position(message)
        elif isinstance(message, AccountState):
            events = self._equity(message)
        elif isinstance(message, ComponentStateChanged):
            events = _component(message)
        elif isinstance(message, TradingStateChanged):
            events = _trading(message)
        else:
            events = (Heartbeat(stream.partition(":stream")[0][:MAX_NAME_LENGTH]),)
        for event in events:
            event.ts = ts
        return events

    def _instrument(self, instrument_id: str) -> tuple[str, str]:
        """Returns the symbol and the venue of `SYMBOL.VENUE`; a symbol may have dots."""
        known = self._instruments.get(instrument_id)
        if known is None:
            symbol, dot, venue = instrument_id.rpartition(".")
            if not dot or not 0 < len(symbol) <= MAX_SYMBOL_LENGTH or not 0 < len(venue) <= MAX_NAME_LENGTH:
                raise EventError(f"instrument_id {instrument_id[:40]!r}: expected SYMBOL.VENUE")
            if len(self._instruments) >= _MAX_INSTRUMENTS:
                self._instruments.clear()
            known = self._instruments[instrument_id] = symbol, venue
        return known

    def _begin(self, message: OrderInitialized, ts: int | None) -> Sequence[Event]:
        """Remembers an order. It is reported once it is sent, or denied."""
        price = message.price
        if price is None and message.options is not None:
            price = message.options.price
        side, kind = _side(message.order_side), message.order_type.lower()
        # Raises ValueError for what no report could say.
        Order(message.client_order_id, message.instrument_id, side, message.quantity, "new", price, kind)
        orders = self._state.orders
        orders.pop(message.client_order_id, None)
        if len(orders) >= MAX_ORDERS:
            del orders[next(iter(orders))]
        quantity = None if message.quote_quantity else message.quantity
        orders[message.client_order_id] = OrderInfo(side, quantity, price, kind, ts)
        return ()

    def _update(self, message: OrderUpdated) -> Sequence[Event]:
        order = self._order(message)
        quantity = order.quantity if message.is_quote_quantity else message.quantity
        price = order.price if message.price is None else message.price
        # A replacement that changes neither would wait for a successor.
        is_changed = order.quantity not in (None, quantity) or price != order.price
        updated = msgspec.structs.replace(order, quantity=quantity, price=price)
        event = self._event(message, updated, "replaced" if is_changed else "new")
        self._state.orders[message.client_order_id] = updated
        return (event,)

    def _report(self, message: OrderMessage, status: OrderStatus) -> Sequence[Event]:
        event = self._event(message, self._order(message), status)
        if status in TERMINAL_STATUSES:
            del self._state.orders[message.client_order_id]
        return (event,)

    def _event(self, message: OrderMessage | OrderFilled, order: OrderInfo, status: OrderStatus) -> Order:
        if order.quantity is None:
            raise EventError(f"order {message.client_order_id}: its quantity is in quote currency")
        if status == "new" and order.filled:
            status = "partially_filled"
        symbol, venue = self._instrument(message.instrument_id)
        reason = message.reason if isinstance(message, OrderMessage) else None
        return Order(
            message.client_order_id or "", symbol, order.side, order.quantity, status, order.price, order.order_type,
            message.strategy_id, venue, reason=(reason or "")[:MAX_TEXT_LENGTH], decision_ts=order.decided_ns,
        )  # fmt: skip

    def _order(self, message: OrderMessage) -> OrderInfo:
        order = self._state.orders.get(message.client_order_id)
        if order is None:
            raise EventError(
                f"order {message.client_order_id}: not known, its OrderInitialized was not read, or it has ended"
            )
        return order

    def _fill(self, message: OrderFilled, ts: int | None) -> Sequence[Event]:
        symbol, venue = self._instrument(message.instrument_id)
        commission, asset = _commission(message, symbol)
        order_id = message.client_order_id or ""
        fill = Fill(
            message.trade_id, symbol, _side(message.order_side), message.last_qty, message.last_px, order_id,
            commission, {"MAKER": "maker", "TAKER": "taker"}.get(message.liquidity_side, ""),  # type: ignore[arg-type]
            message.strategy_id, venue, commission_asset=asset,
        )  # fmt: skip
        events: list[Event] = [fill]
        if message.reconciliation and not self._counts_reconciled:
            events = self._set_apart(message, fill)
        order = self._state.orders.get(order_id)
        if order is not None:
            order.filled = _WIDE.add(order.filled, message.last_qty)
            is_complete = order.quantity is not None and order.filled >= order.quantity
            if order.quantity is not None and events[0] is not fill:
                # No fill moves it on, so a report must.
                events.append(self._event(message, order, "filled" if is_complete else "partially_filled"))
            if is_complete:
                del self._state.orders[order_id]
        return events

    def _set_apart(self, message: OrderFilled, fill: Fill) -> list[Event]:
        """Returns what stands for a fill that does not count."""
        self._state.reconciled += 1
        fields = {
            "trade_id": fill.trade_id, "order_id": fill.order_id, "symbol": fill.symbol, "venue": fill.venue,
            "side": fill.side, "quantity": str(fill.quantity), "price": str(fill.price),
            "commission": message.commission, "strategy": fill.strategy,
        }  # fmt: skip
        text = f"reconciled, not counted: {fill.side} {fill.quantity} {message.instrument_id} at {fill.price}"
        return [
            Log("warning", text, LOGGER, fields),
            Metric(RECONCILED_METRIC, self._state.reconciled),
        ]

    def _position(self, message: PositionMessage) -> Sequence[Event]:
        """Returns the sum of the open positions of a strategy in a symbol: with hedging there may be several."""
        symbol, _ = self._instrument(message.instrument_id)
        signs = {"LONG": 1, "SHORT": -1, "FLAT": 0}
        if message.side not in signs:
            raise EventError(f"side {message.side[:20]!r}: expected LONG, SHORT or FLAT")
        signed = _WIDE.multiply(message.quantity, Decimal(signs[message.side]))
        average = _rounded(message.avg_px_open)
        # Raises ValueError for what no report could say.
        report = Position(symbol, signed, average if signed else _ZERO, message.strategy_id)
        positions = self._state.positions
        positions.pop(message.position_id, None)
        others = [part for part in positions.values() if part[0] == message.strategy_id and part[1] == symbol]
        if signed:
            if len(positions) >= MAX_POSITIONS:
                del positions[next(iter(positions))]
            part = positions[message.position_id] = message.strategy_id, symbol, signed, average
            others.append(part)
        return (_net(report, others) if others else report,)

    def _equity(self, message: AccountState) -> Sequence[Event]:
        state = self._state
        if self._account and message.account_id != self._account:
            return ()
        if not self._account and message.account_id != (state.account or message.account_id):
            raise EventError(
                f"account {message.account_id} beside {state.account}: equity is that of one, choose it with account="
            )
        currency = self._currency or message.base_currency or ""
        balances = [balance for balance in message.balances if currency in ("", balance.currency)]
        if not balances and self._currency:
            return ()
        if len(balances) != 1:
            raise EventError(
                f"account {message.account_id}: {len(message.balances)} balances, choose that of equity with currency="
            )
        event = Equity(_decimal(balances[0].total.partition(" ")[0]))
        state.account = message.account_id
        return (event,)


def _net(report: Position, parts: Sequence[tuple[str, str, Decimal, Decimal]]) -> Position:
    """Returns the sum of open positions in a symbol."""
    total, value, weight = _ZERO, _ZERO, _ZERO
    for part in parts:
        total = _WIDE.add(total, part[2])
    for _, _, quantity, price in parts:
        # Those on the other side offset quantity, and have no part in the price at which the rest was opened.
        if (quantity > 0) is (total > 0):
            weight = _WIDE.add(weight, quantity)
            value = _WIDE.add(value, _WIDE.multiply(quantity, price))
    average = _rounded(_WIDE.divide(value, weight)) if total else _ZERO
    return Position(report.symbol, total, average, report.strategy)


def _component(message: ComponentStateChanged) -> Sequence[Event]:
    severity = _ALERT_STATES.get(message.state)
    if severity is None:
        return ()
    title = f"{message.component_id} is {message.state.lower()}"
    key = f"nautilus.component:{message.component_id}"
    if not severity:
        return (Alert("info", title, "", key, "resolved"),)
    return (Alert(severity, title, "", key),)  # type: ignore[arg-type]


def _trading(message: TradingStateChanged) -> Sequence[Event]:
    state = message.state.lower()[:20]
    key = f"nautilus.trading:{message.trader_id}"
    return (
        Alert(
            "warning",
            f"{message.trader_id}: trading is {state}",
            "",
            key,
            "resolved" if state == "active" else "raised",
        ),
    )


def _commission(message: OrderFilled, symbol: str) -> tuple[Decimal, str]:
    """Returns the commission and its currency, which is empty for the quote currency."""
    text = message.commission
    if not text:
        return NO_COMMISSION, ""
    amount_text, _, currency = text.partition(" ")
    amount = _decimal(amount_text)
    if not amount or currency in ("", message.currency):
        return amount, ""
    base, _, _ = symbol.partition("-")
    if base.replace("/", "") == currency + message.currency:
        # At the price of this fill.
        return _rounded(_WIDE.multiply(amount, message.last_px)), ""
    return amount, currency


def _side(text: str) -> Side:
    side = _SIDES.get(text)
    if side is None:
        raise EventError(f"order_side {text[:20]!r}: expected BUY or SELL")
    return side


def _decimal(text: str) -> Decimal:
    try:
        return msgspec.convert(text.replace("_", ""), Decimal, strict=False)
    except msgspec.ValidationError:
        raise EventError(f"{text[:40]!r}: expected a number") from None


def _rounded(value: Decimal) -> Decimal:
    """Returns a number with at most the 18 digits after the point that are kept."""
    if value.is_finite() and value.adjusted() < 20 and value != value.quantize(QUANTUM, context=_WIDE):
        return value.quantize(QUANTUM, context=_WIDE)
    return value


def _ns(time: int | str | None) -> int | None:
    """Returns nanoseconds since the epoch; the engine also writes them as text, or as ISO 8601. Raises EventError."""
    if not isinstance(time, str):
        return time
    if not _DIGITS.fullmatch(time):
        return parse_iso_ns(time)
    ns = int(time)
    if not MIN_NS <= ns <= MAX_NS:
        raise EventError(f"time {time}: expected nanoseconds since the epoch")
    return ns
