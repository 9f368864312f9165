"""The messages of NautilusTrader become our events, with the numbers and times that the engine wrote."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nautilus_bus as bus
from nautilus_bus import T0
from observability.errors import EventError
from observability.events import Alert, Equity, Event, Fill, Heartbeat, Log, Metric, Order, Position, Print, Quote
from observability.sources.brokers.nautilus import MAX_ORDERS, CodecState, NautilusCodec
from observability.sources.brokers.nautilus_messages import BusMessage, decode

each_encoding = pytest.mark.parametrize("encoding", ["json", "msgpack"])
each_version = pytest.mark.parametrize("version", [1, 2])
DECIDED = T0


def translate(codec: NautilusCodec, *messages: dict[str, Any], encoding: str = "json", version: int = 1) -> list[Event]:
    events: list[Event] = []
    for message in messages:
        fields = bus.entry(message, encoding=encoding, version=version)
        read = decode(
            fields["topic"], fields["payload"], fields.get("type", b"").decode(), fields.get("encoding", b"").decode()
        )
        assert read is None or isinstance(read, BusMessage)
        if read is not None:
            events += codec.translate(read, "trader-TESTER-001:stream")
    return events


def statuses(events: Sequence[Event]) -> list[str]:
    return [event.status for event in events if isinstance(event, Order)]


@each_version
@each_encoding
def test_a_quote_and_a_trade_keep_their_numbers_and_times(encoding: str, version: int) -> None:
    quote, trade = translate(NautilusCodec(), bus.quote(), bus.trade(7), encoding=encoding, version=version)
    assert quote == Quote("BTCUSDT-PERP", 61837.6, 61837.7, 1.5, 2.0, "BINANCE", ts=T0)
    assert trade == Print("BTCUSDT-PERP", 61837.7, 0.25, "buy", "M7", "BINANCE", ts=T0 + 7)


@each_version
@each_encoding
def test_an_order_is_reported_with_what_only_its_first_message_has(encoding: str, version: int) -> None:
    events = translate(
        NautilusCodec(),
        bus.initialized(),
        bus.order("OrderSubmitted"),
        bus.order("OrderAccepted"),
        bus.order("OrderPendingUpdate"),
        bus.order("OrderUpdated", quantity="3.000", price="61001.20", trigger_price=None),
        bus.order("OrderPendingCancel"),
        bus.order("OrderCanceled"),
        encoding=encoding,
        version=version,
    )
    assert statuses(events) == ["pending_new", "new", "pending_replace", "replaced", "pending_cancel", "canceled"]
    first, last = events[0], events[-1]
    assert first == Order(
        bus.ORDER, "BTCUSDT-PERP", "buy", Decimal("2.000"), "pending_new", Decimal("61000.10"), "limit", bus.STRATEGY,
        "BINANCE", decision_ts=DECIDED, ts=T0 + 1000,
    )  # fmt: skip
    assert isinstance(last, Order)
    assert (last.quantity, last.price) == (Decimal(3), Decimal("61001.20"))


@each_version
@each_encoding
def test_a_fill_keeps_its_decimals_and_needs_no_order(encoding: str, version: int) -> None:
    (fill,) = translate(NautilusCodec(), bus.filled("T1"), encoding=encoding, version=version)
    assert fill == Fill(
        "T1", "BTCUSDT-PERP", "buy", Decimal("1.000"), Decimal("61000.10"), bus.ORDER, Decimal("12.20002000"), "maker",
        bus.STRATEGY, "BINANCE", ts=T0 + 1000,
    )  # fmt: skip
    assert isinstance(fill, Fill) and str(fill.price) == "61000.10"


@each_version
@each_encoding
@pytest.mark.parametrize("order_id", [None, ""])
def test_a_fill_without_an_order_is_read_as_one(order_id: Any, encoding: str, version: int) -> None:
    liquidated = bus.filled("T1", order_id, reconciliation=True)
    codec = NautilusCodec(counts_reconciled=True)
    (fill,) = translate(codec, liquidated, encoding=encoding, version=version)
    assert isinstance(fill, Fill) and (fill.order_id, fill.quantity) == ("", Decimal(1))
    assert len(translate(NautilusCodec(), liquidated, encoding=encoding, version=version)) == 2


def test_an_order_that_is_denied_is_reported_rejected_with_its_reason() -> None:
    (event,) = translate(NautilusCodec(), bus.initialized(), bus.order("OrderDenied", reason="NOTIONAL_EXCEEDS"))
    assert isinstance(event, Order)
    assert (event.status, event.reason) == ("rejected", "NOTIONAL_EXCEEDS")


def test_an_update_of_the_trigger_alone_is_no_replacement() -> None:
    update = bus.order("OrderUpdated", quantity="2.000", price="61000.10", trigger_price="60000.00")
    assert statuses(translate(NautilusCodec(), bus.initialized(), update)) == ["new"]


def test_an_order_whose_cancel_is_rejected_goes_on_as_it_was() -> None:
    codec = NautilusCodec()
    translate(codec, bus.initialized())
    assert statuses(translate(codec, bus.order("OrderCancelRejected", reason="TOO_LATE"))) == ["new"]
    translate(codec, bus.filled("T1"))
    assert statuses(translate(codec, bus.order("OrderModifyRejected", reason="NO"))) == ["partially_filled"]


def test_an_order_that_has_ended_is_forgotten() -> None:
    codec = NautilusCodec()
    translate(codec, bus.initialized(), bus.filled("T1"))
    assert list(codec.to_state().orders) == [bus.ORDER]
    translate(codec, bus.filled("T2"))
    assert not codec.to_state().orders
    translate(codec, bus.initialized(), bus.order("OrderExpired"))
    assert not codec.to_state().orders


def test_a_report_about_an_unknown_order_is_refused_with_the_reason() -> None:
    with pytest.raises(EventError, match=f"order {bus.ORDER}: not known, its OrderInitialized was not read"):
        translate(NautilusCodec(), bus.order("OrderAccepted"))


def test_the_oldest_order_makes_room_for_a_new_one() -> None:
    codec = NautilusCodec()
    for number in range(MAX_ORDERS + 1):
        translate(codec, bus.initialized(f"O{number}"))
    assert len(codec.to_state().orders) == MAX_ORDERS
    with pytest.raises(EventError, match="O0: not known"):
        translate(codec, bus.order("OrderAccepted", "O0"))
    assert statuses(translate(codec, bus.order("OrderAccepted", "O1"))) == ["new"]


def test_an_order_in_quote_currency_is_not_reported_until_it_is_converted() -> None:
    codec = NautilusCodec()
    translate(codec, bus.initialized(quantity="100", quote_quantity=True))
    with pytest.raises(EventError, match="its quantity is in quote currency"):
        translate(codec, bus.order("OrderSubmitted"))
    (event,) = translate(codec, bus.order("OrderUpdated", quantity="0.0016", price=None))
    assert isinstance(event, Order)
    assert (event.status, event.quantity) == ("new", Decimal("0.0016"))


def test_a_restored_codec_reports_the_orders_that_were_open() -> None:
    codec, restored = NautilusCodec(), NautilusCodec()
    translate(codec, bus.initialized(), bus.filled("T1"), bus.position("PositionOpened"), bus.account())
    saved = msgspec.json.encode(codec.to_state())
    restored.load_state(msgspec.json.decode(saved, type=CodecState))
    assert restored.to_state() == codec.to_state()
    assert statuses(translate(restored, bus.order("OrderModifyRejected", reason="NO"))) == ["partially_filled"]


@each_encoding
def test_a_reconciled_fill_is_logged_and_counted_and_no_fill(encoding: str) -> None:
    codec = NautilusCodec()
    messages = bus.initialized(), bus.filled("R1", reconciliation=True), bus.filled("R2", reconciliation=True)
    log, metric, report, _, second, last = translate(codec, *messages, encoding=encoding)
    assert isinstance(log, Log) and log.level == "warning"
    assert log.message == "reconciled, not counted: buy 1.000 BTCUSDT-PERP.BINANCE at 61000.10"
    assert log.fields["trade_id"] == "R1" and log.fields["price"] == "61000.10"
    assert metric == Metric("nautilus.reconciled_fills", 1, ts=T0 + 1000)
    assert isinstance(second, Metric) and second.value == 2
    assert isinstance(report, Order) and isinstance(last, Order)
    assert (report.status, last.status) == ("partially_filled", "filled")


def test_a_reconciled_fill_counts_if_that_is_asked_for() -> None:
    (fill,) = translate(NautilusCodec(counts_reconciled=True), bus.filled("R1", reconciliation=True))
    assert isinstance(fill, Fill) and fill.trade_id == "R1"


def test_a_commission_in_base_currency_is_converted_at_the_price_of_its_fill() -> None:
    spot = {"instrument_id": "BTCUSDT.BINANCE", "commission": "0.001 BTC"}
    (fill,) = translate(NautilusCodec(), bus.filled("T1", **spot))
    assert isinstance(fill, Fill) and fill.commission == Decimal("61.0001")


def test_a_commission_in_a_third_currency_keeps_it() -> None:
    (fill,) = translate(NautilusCodec(), bus.filled("T1", commission="0.01 BNB"))
    assert isinstance(fill, Fill)
    assert (fill.commission, fill.commission_asset) == (Decimal("0.01"), "BNB")
    (fill,) = translate(NautilusCodec(), bus.filled("T1", commission="0.01 USDT"))
    assert isinstance(fill, Fill) and fill.commission_asset == ""


@each_version
@each_encoding
def test_a_position_is_signed_and_exact(encoding: str, version: int) -> None:
    opened = bus.position("PositionOpened", side="SHORT", signed_qty=-0.3, quantity="0.300", avg_px_open=0.1)
    short, flat = translate(NautilusCodec(), opened, bus.closed(), encoding=encoding, version=version)
    assert short == Position("BTCUSDT-PERP", Decimal("-0.300"), Decimal("0.1"), bus.STRATEGY, ts=T0 + 2000)
    assert flat == Position("BTCUSDT-PERP", Decimal(0), Decimal(0), bus.STRATEGY, ts=T0 + 3000)


def test_hedged_positions_are_one_sum_at_the_price_of_the_larger_side() -> None:
    *_, event = translate(
        NautilusCodec(),
        bus.position("PositionOpened", position_id="A", quantity="1", avg_px_open=100.0),
        bus.position("PositionOpened", position_id="B", quantity="3", avg_px_open=104.0),
        bus.position("PositionOpened", position_id="C", quantity="2", side="SHORT", avg_px_open=90.0),
        bus.position("PositionOpened", position_id="D", strategy_id="OTHER-001", quantity="9"),
        bus.position("PositionChanged", position_id="A", quantity="1", avg_px_open=100.0),
    )
    assert isinstance(event, Position)
    assert (event.quantity, event.avg_price) == (Decimal(2), Decimal(103))


@each_version
@each_encoding
def test_an_account_state_is_equity(encoding: str, version: int) -> None:
    (event,) = translate(NautilusCodec(), bus.account("1000000.10"), encoding=encoding, version=version)
    assert event == Equity(Decimal("1000000.10"), ts=T0)


def test_the_currency_of_equity_is_that_of_the_account_or_the_one_asked_for() -> None:
    balances = [bus.balance("5.0", "BTC"), bus.balance("70.0", "USDT")]
    (based,) = translate(NautilusCodec(), bus.account(balances=balances, base_currency="BTC"))
    (chosen,) = translate(NautilusCodec(currency="USDT"), bus.account(balances=balances))
    assert isinstance(based, Equity) and isinstance(chosen, Equity)
    assert (based.value, chosen.value) == (Decimal(5), Decimal(70))
    with pytest.raises(EventError, match="2 balances, choose that of equity with currency="):
        translate(NautilusCodec(), bus.account(balances=balances))


def test_the_equity_of_a_second_account_is_refused_unless_one_is_chosen() -> None:
    codec = NautilusCodec()
    translate(codec, bus.account())
    with pytest.raises(EventError, match="account BYBIT-001 beside BINANCE-001"):
        translate(codec, bus.account(account_id="BYBIT-001"))
    chosen = NautilusCodec(account="BYBIT-001")
    assert len(translate(chosen, bus.account(), bus.account(account_id="BYBIT-001"))) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("PositionChanged", bus.position("PositionChanged")),
        ("Filled", bus.filled("T1")),
        ("Canceled", bus.order("OrderCanceled")),
    ],
)
@each_encoding
def test_an_enum_of_version_2_is_read_a_level_deeper(name: str, message: dict[str, Any], encoding: str) -> None:
    codec, other = NautilusCodec(), NautilusCodec()
    plain = translate(other, bus.initialized(), message)
    translate(codec, bus.initialized())
    inner = dict(message)
    if name == "PositionChanged":
        del inner["type"]
    encode: Any = (msgspec.json if encoding == "json" else msgspec.msgpack).encode
    read = decode(b"events", encode({name: inner}), bus.kind_of(message["type"]), encoding)
    assert isinstance(read, BusMessage)
    assert list(codec.translate(read, "stream")) == plain


def test_an_account_of_version_2_is_read_by_the_type_of_its_entry() -> None:
    message = {**bus.account(), "balances": [{"currency": "USDT", "total": "12.50 USDT", "locked": "0.00 USDT"}]}
    del message["type"]
    read = decode(b"events.account.X", msgspec.json.encode(message), "AccountState", "json")
    assert isinstance(read, BusMessage)
    (event,) = NautilusCodec().translate(read, "stream")
    assert isinstance(event, Equity) and event.value == Decimal("12.50")


def test_the_heartbeat_of_the_bus_is_one_of_its_trader() -> None:
    read = decode(b"health:heartbeat", b"2026-11-29T13:04:04.526010452+00:00")
    assert isinstance(read, BusMessage)
    (event,) = NautilusCodec().translate(read, "trader-TESTER-001:stream:health:heartbeat")
    assert event == Heartbeat("trader-TESTER-001")


def test_a_faulted_component_raises_an_alert_that_ends_when_it_runs() -> None:
    def component(state: str) -> dict[str, Any]:
        return {"type": "ComponentStateChanged", "component_id": "RiskEngine", "state": state, "ts_event": T0}

    events = translate(NautilusCodec(), component("FAULTED"), component("STOPPED"), component("RUNNING"))
    assert [(event.severity, event.state, event.key) for event in events if isinstance(event, Alert)] == [
        ("critical", "raised", "nautilus.component:RiskEngine"),
        ("info", "resolved", "nautilus.component:RiskEngine"),
    ]


def test_halted_trading_raises_an_alert_that_ends_when_it_is_active() -> None:
    def trading(state: str) -> dict[str, Any]:
        return {"type": "TradingStateChanged", "trader_id": "TESTER-001", "state": state, "config": {}, "ts_event": T0}

    halted, active = translate(NautilusCodec(), trading("HALTED"), trading("ACTIVE"))
    assert isinstance(halted, Alert) and isinstance(active, Alert)
    assert (halted.title, halted.state, active.state) == ("TESTER-001: trading is halted", "raised", "resolved")
    assert halted.key == active.key


@pytest.mark.parametrize("name", ["Bar", "OrderBookDeltas", "OrderTriggered", "SomethingOfMyOwn", "CurrencyPair"])
@each_encoding
def test_a_message_without_an_event_of_ours_is_skipped(name: str, encoding: str) -> None:
    assert translate(NautilusCodec(), {"type": name, "ts_event": T0}, encoding=encoding) == []


@pytest.mark.parametrize("payload", [b'"hello"', b"1.5", b"\xcb?\xf8\x00\x00\x00\x00\x00\x00"])
def test_a_signal_which_is_a_bare_value_is_skipped(payload: bytes) -> None:
    assert decode(b"signal", payload) is None


def test_times_are_read_as_numbers_as_text_and_as_iso_8601() -> None:
    iso = "2026-11-29T13:00:00.000000001Z"
    times = [T0 + 1, str(T0 + 1), iso]
    events = [translate(NautilusCodec(), bus.quote(ts_event=time), version=2)[0].ts for time in times]
    assert events == [T0 + 1] * 3


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (bus.quote(ts_event="0"), "time 0: expected nanoseconds"),
        (bus.quote(bid_price="NaN"), "QuoteTick: "),
        (bus.quote(bid_size="-1"), "QuoteTick: "),
        (bus.quote(instrument_id="BTCUSDT"), "instrument_id 'BTCUSDT': expected SYMBOL.VENUE"),
        (bus.initialized(order_side="NO_ORDER_SIDE"), "order_side 'NO_ORDER_SIDE'"),
        (bus.initialized(quantity="0"), "quantity: expected more than 0"),
        (bus.initialized(options={"price": "NaN"}), "price: expected a finite number"),
        (bus.filled("T1", last_qty="1e400"), "quantity: expected at most 18 digits"),
        (bus.filled("T1", commission="some USDT"), "'some': expected a number"),
        (bus.filled("", last_qty="1"), "OrderFilled: "),
        (bus.position("PositionOpened", side="BOTH"), "side 'BOTH'"),
        (bus.position("PositionOpened", avg_px_open="Infinity"), "avg_price: expected a finite number"),
        (bus.account("much"), "'much': expected a number"),
    ],
)
def test_a_message_with_a_fault_is_refused_with_the_reason_and_changes_nothing(
    message: dict[str, Any], fault: str
) -> None:
    codec = NautilusCodec()
    with pytest.raises((EventError, ValueError), match=fault):
        translate(codec, message)
    assert codec.to_state() == CodecState()


def test_an_encoding_that_is_not_read_is_named() -> None:
    with pytest.raises(EventError, match="encoding 'sbe': expected json or msgpack"):
        decode(b"data.quotes", b"\x00\x01", "QuoteTick", "sbe")


@given(st.binary(max_size=200), st.sampled_from(["", "json", "msgpack"]))
def test_any_bytes_are_read_or_refused(payload: bytes, encoding: str) -> None:
    with suppress(EventError):
        decode(b"topic", payload, "QuoteTick", encoding)


JSON_VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.just("1e999999999")


MESSAGES = [
    bus.quote(), bus.trade(), bus.initialized(), bus.order("OrderUpdated"), bus.filled("T1"), bus.account(),
    bus.position("PositionOpened"),
]  # fmt: skip


@given(st.sampled_from(MESSAGES), st.data())
def test_any_message_is_translated_or_refused(message: dict[str, Any], data: st.DataObject) -> None:
    damaged = {**message, data.draw(st.sampled_from(sorted(message))): data.draw(JSON_VALUES)}
    with suppress(EventError, ValueError, ArithmeticError):
        read = decode(b"topic", msgspec.json.encode(damaged), "")
        if isinstance(read, BusMessage):
            NautilusCodec().translate(read, "stream")
