"""The events: which values are accepted from the wire, and what a refusal says."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import EVENT_TYPES, TYPE_NAMES, AnyEvent, Event, Fill, Order, Quote

EVENTS: dict[str, dict[str, Any]] = {
    "quote": {"symbol": "AAPL", "bid": 1.0, "ask": 2.0},
    "print": {"symbol": "AAPL", "price": 1.5, "size": 100},
    "order": {"order_id": "o1", "symbol": "AAPL", "side": "buy", "quantity": 10, "status": "new"},
    "fill": {"trade_id": "t1", "symbol": "AAPL", "side": "sell", "quantity": "0.1", "price": 585.33},
    "position": {"symbol": "AAPL", "quantity": -5, "avg_price": 1},
    "signal": {"strategy": "paper", "symbol": "AAPL", "action": "buy"},
    "equity": {"value": 100000},
    "log": {"level": "info", "message": "hello"},
    "alert": {"severity": "warning", "title": "late"},
    "heartbeat": {"component": "engine"},
    "instrument": {"symbol": "BTCUSDT", "kind": "spot", "quote_currency": "usdt"},
    "rate": {"base": "EUR", "quote": "USD", "rate": "1.1"},
    "cash": {"amount": 5, "reason": "deposit"},
    "funding": {"symbol": "BTCUSDT", "amount": -5},
    "dividend": {"symbol": "AAPL", "amount_per_share": "0.24"},
    "split": {"symbol": "AAPL", "numerator": 2},
    "settlement": {"symbol": "ESZ5", "price": 6000},
    "bust": {"trade_id": "t1", "symbol": "AAPL"},
    "correct": {"trade_id": "t1", "symbol": "AAPL", "price": 10},
    "metric": {"name": "queue_depth", "value": 3},
}


def decode(kind: str, **changes: object) -> AnyEvent:
    event: AnyEvent = msgspec.json.decode(orjson.dumps({"type": kind, **EVENTS[kind], **changes}), type=AnyEvent)
    return event


def refusal(kind: str, **changes: object) -> str:
    with pytest.raises(msgspec.ValidationError) as raised:
        decode(kind, **changes)
    return str(raised.value)


def test_every_event_has_a_type_of_its_own_on_the_wire() -> None:
    assert set(TYPE_NAMES.values()) == EVENTS.keys()
    assert len(TYPE_NAMES) == len(EVENT_TYPES)


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_with_only_its_required_fields_is_accepted(kind: str) -> None:
    assert TYPE_NAMES[type(decode(kind))] == kind


# Of these one of several must be there.
ONE_OF_SEVERAL = {("dividend", "amount_per_share"), ("correct", "price")}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind, fields in EVENTS.items() for name in fields if (kind, name) not in ONE_OF_SEVERAL],
)
def test_a_refusal_names_the_required_field_that_is_missing(kind: str, name: str) -> None:
    fields = {"type": kind, **EVENTS[kind]}
    del fields[name]
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{name}`"):
        msgspec.json.decode(orjson.dumps(fields), type=AnyEvent)


@pytest.mark.parametrize("kind", EVENTS)
def test_an_unknown_field_does_not_decode_as_it_stands(kind: str) -> None:
    assert "something_else" in refusal(kind, something_else=[1, 2])


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("quote", "symbol", ""),
        ("quote", "symbol", "x" * 129),
        ("quote", "bid", "1.0"),
        ("quote", "bid_size", -1),
        ("quote", "bid", 1e308),
        ("quote", "ask", -1e18),
        ("quote", "bid_size", 1e18),
        ("quote", "ts", -1),
        ("quote", "ts", 10**17 - 1),
        ("quote", "ts", 2**63),
        ("quote", "ts", 1.5),
        ("print", "size", -1),
        ("print", "aggressor_side", "long"),
        ("order", "side", "hold"),
        ("order", "status", "working"),
        ("order", "order_id", "x" * 129),
        ("order", "reason", "x" * 4097),
        ("fill", "price", "ten"),
        ("log", "level", "loud"),
        ("alert", "title", ""),
        ("alert", "severity", "fatal"),
        ("alert", "state", "over"),
        ("heartbeat", "status", "fine"),
        ("metric", "labels", {"a": 1}),
        ("metric", "labels", {f"label{n}": "" for n in range(9)}),
        ("metric", "labels", {"x" * 129: ""}),
        ("metric", "labels", {"a": "x" * 129}),
    ],
)
def test_an_invalid_value_is_refused_with_its_path(kind: str, name: str, value: object) -> None:
    assert f"$.{name}" in refusal(kind, **{name: value})


def _texts() -> list[tuple[str, str]]:
    """Returns every field of every event whose value may be a string of the sender's choice."""
    found = []
    for kind in EVENT_TYPES:
        for field in msgspec.structs.fields(kind):
            described = msgspec.inspect.type_info(field.type)
            types = described.types if isinstance(described, msgspec.inspect.UnionType) else (described,)
            is_time = field.name in ("ts", "decision_ts", "expiry")
            if not is_time and any(isinstance(each, msgspec.inspect.StrType) for each in types):
                found.append((TYPE_NAMES[kind], field.name))
    return found


@pytest.mark.parametrize(("kind", "name"), _texts())
def test_every_string_of_every_event_has_a_maximum_length(kind: str, name: str) -> None:
    assert f"$.{name}" in refusal(kind, **{name: "x" * 4097})


def test_ids_and_symbols_have_up_to_128_characters() -> None:
    event = decode("fill", trade_id="t" * 128, order_id="o" * 128, symbol="s" * 128)
    assert isinstance(event, Fill)
    assert (len(event.trade_id), len(event.order_id), len(event.symbol)) == (128, 128, 128)


def test_the_fields_of_a_log_line_have_a_maximum_size() -> None:
    decode("log", fields={"a": "x" * 16_000})
    assert "fields: expected at most 16384 bytes" in refusal("log", fields={"a": ["x" * 4096] * 4})


def test_an_unknown_type_is_refused_with_its_path() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"'gossip'.*\$\.type"):
        msgspec.json.decode(b'{"type":"gossip"}', type=AnyEvent)


def test_a_fault_in_an_array_includes_the_index() -> None:
    data = orjson.dumps([{"type": "quote", **EVENTS["quote"]}, {"type": "quote", **EVENTS["quote"], "bid": "x"}])
    with pytest.raises(msgspec.ValidationError, match=r"\$\[1\]\.bid"):
        msgspec.json.decode(data, type=list[AnyEvent])


def test_crossed_and_one_sided_quotes_are_kept() -> None:
    crossed, one_sided = decode("quote", bid=2.0, ask=1.0), decode("quote", bid=None)
    assert isinstance(crossed, Quote)
    assert isinstance(one_sided, Quote)
    assert (crossed.bid, crossed.ask, one_sided.bid) == (2.0, 1.0, None)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_a_price_is_a_finite_number(number: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(b'{"type":"quote","symbol":"A","ask":1,"bid":' + number + b"}", type=AnyEvent)


# -- money


@given(st.decimals(min_value="0.000001", max_value="1000000000", places=6))
def test_a_quantity_is_kept_to_the_last_digit_as_number_or_text(quantity: Decimal) -> None:
    for written in (f"{quantity:f}", f'"{quantity:f}"'):
        data = orjson.dumps({"type": "fill", **EVENTS["fill"], "quantity": orjson.Fragment(written)})
        event = msgspec.json.decode(data, type=AnyEvent)
        assert isinstance(event, Fill)
        assert str(event.quantity) == f"{quantity:f}"


MONEY = [
    ("order", "quantity"), ("order", "price"), ("order", "arrival_price"), ("fill", "quantity"), ("fill", "price"),
    ("fill", "commission"), ("position", "quantity"), ("position", "avg_price"), ("equity", "value"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), MONEY)
@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "1e19", "1e1000000", "1e-19"])
def test_money_is_finite_and_of_bounded_length(kind: str, name: str, value: str) -> None:
    assert name in refusal(kind, **{name: value})


@pytest.mark.parametrize(("kind", "name"), MONEY)
@pytest.mark.parametrize("value", ["999999999999999999", "0.000000000000000001"])
def test_money_of_eighteen_digits_on_either_side_is_kept(kind: str, name: str, value: str) -> None:
    assert getattr(decode(kind, **{name: value}), name) == Decimal(value)


@pytest.mark.parametrize("kind", ["order", "fill"])
@pytest.mark.parametrize("quantity", [0, -1, "0.0"])
def test_orders_and_fills_have_a_quantity_above_zero(kind: str, quantity: object) -> None:
    assert "expected more than 0" in refusal(kind, quantity=quantity)


def test_prices_and_commissions_may_be_negative() -> None:
    event = decode("fill", price="-37.63", commission="-0.01")
    assert isinstance(event, Fill)
    assert (event.price, event.commission) == (Decimal("-37.63"), Decimal("-0.01"))


def test_an_order_status_is_one_of_fix() -> None:
    statuses = [
        "pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "expired", "replaced",
        "pending_cancel", "pending_replace",
    ]  # fmt: skip
    events = [decode("order", status=status) for status in statuses]
    assert [event.status for event in events if isinstance(event, Order)] == statuses


@pytest.mark.parametrize("kind", EVENT_TYPES)
def test_events_without_containers_are_not_tracked_by_the_gc(kind: type[Event]) -> None:
    holds_objects = TYPE_NAMES[kind] in ("alert", "log", "metric")
    assert kind.__struct_config__.gc is holds_objects
