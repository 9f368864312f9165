"""The ways of writing an event: what the systems of others send is read, and what cannot be meant is refused."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, get_args

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import EventError
from observability.events import EVENT_TYPES, TYPE_NAMES, OrderStatus, Split
from observability.ingest.decoder import EventDecoder
from observability.ingest.dialects import SYNONYMS, TYPE_SYNONYMS, Reading, nearest_name, read_event

NOW_NS = 1_700_000_000_123_456_789
EVENTS: dict[str, dict[str, Any]] = {
    "quote": {"symbol": "A", "bid": 1, "ask": 2},
    "print": {"symbol": "A", "price": 1, "size": 1},
    "order": {"order_id": "o", "symbol": "A", "side": "buy", "quantity": 1, "status": "new"},
    "fill": {"trade_id": "t", "symbol": "A", "side": "buy", "quantity": 1, "price": 1},
    "position": {"symbol": "A", "quantity": 1, "avg_price": 1},
    "signal": {"strategy": "s", "symbol": "A", "action": "buy"},
    "equity": {"value": 1},
    "log": {"level": "info", "message": "m"},
    "alert": {"severity": "info", "title": "t"},
    "heartbeat": {"component": "c"},
    "metric": {"name": "n", "value": 1},
    "instrument": {"symbol": "A", "kind": "spot", "quote_currency": "USD"},
    "rate": {"base": "EUR", "quote": "USD", "rate": 1},
    "cash": {"amount": 1, "reason": "deposit"},
    "funding": {"symbol": "A", "amount": 1},
    "dividend": {"symbol": "A", "amount_per_share": 1},
    "split": {"symbol": "A", "numerator": 2},
    "settlement": {"symbol": "A", "price": 1},
    "bust": {"trade_id": "t", "symbol": "A"},
    "correct": {"trade_id": "t", "symbol": "A", "price": 1},
}
TIMES = [(kind, "ts") for kind in EVENTS] + [("order", "decision_ts")]


def read(kind: str, **fields: object) -> Any:
    """Returns the event, through the decoder of the gate. Raises EventError."""
    found = read_whole(kind, **fields)
    return found.event if isinstance(found, Reading) else found


def read_whole(kind: str, **fields: object) -> Any:
    data = orjson.dumps({"type": kind, **EVENTS.get(kind.lower(), {}), **fields})
    found = EventDecoder().decode_element(data, 3, NOW_NS)
    if isinstance(found, EventError):
        raise found
    return found


def refusal(kind: str, **fields: object) -> str:
    with pytest.raises(EventError) as raised:
        read(kind, **fields)
    return str(raised.value)


# -- times


@pytest.mark.parametrize(("kind", "name"), TIMES)
@pytest.mark.parametrize(
    ("value", "digits", "unit"),
    [
        (1_700_000_000, 10, "seconds"),
        (1_700_000_000.25, 10, "seconds"),
        ("1700000000", 10, "seconds"),
        (1_340_285_400_275, 13, "milliseconds"),
        ("1340285400275", 13, "milliseconds"),
        (1_700_000_000_123_456, 16, "microseconds"),
        (915_148_800_000, 12, "milliseconds"),
    ],
)
def test_a_time_in_another_unit_is_refused_with_its_path_and_unit(
    kind: str, name: str, value: object, digits: int, unit: str
) -> None:
    fault = refusal(kind, **{name: value})
    assert f"{digits} digits look like {unit}" in fault
    assert f"$[3].{name}" in fault


@pytest.mark.parametrize(("kind", "name"), TIMES)
@pytest.mark.parametrize("value", [0, -1, 5, 2**63, 10**30, 1.5, "0", True, "soon", "2012-06-21T13:30:00"])
def test_what_is_no_time_is_refused_with_its_path(kind: str, name: str, value: object) -> None:
    assert f"$[3].{name}" in refusal(
        kind, **{name: value} if value != 10**30 else {name: orjson.Fragment(b"1" + b"0" * 30)}
    )


@pytest.mark.parametrize(("kind", "name"), TIMES)
@pytest.mark.parametrize(
    "value",
    [
        1_340_285_400_275_016_159,
        "1340285400275016159",
        "2012-06-21T13:30:00.275016159Z",
        "2012-06-21T09:30:00.275016159-04:00",
    ],
)
def test_a_time_of_2012_is_read_in_every_form(kind: str, name: str, value: object) -> None:
    assert getattr(read(kind, **{name: value}), name) == 1_340_285_400_275_016_159


def test_nanoseconds_that_a_double_prints_are_read() -> None:
    assert read("quote", ts=orjson.Fragment(b"1.7000000001234568e+18")).ts == 1_700_000_000_123_456_800


# -- numbers


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        ("quote", "bid", "585.25", 585.25),
        ("quote", "ask_size", "0", 0.0),
        ("print", "price", " 585.26 ", 585.26),
        ("print", "size", "+1.", 1.0),
        ("fill", "latency_ms", "3.5", 3.5),
        ("fill", "quantity", "0.1", Decimal("0.1")),
        ("fill", "price", ".5", Decimal("0.5")),
        ("order", "arrival_price", "1e3", Decimal(1000)),
        ("position", "quantity", "-5", Decimal(-5)),
        ("signal", "confidence", "0.7", 0.7),
        ("metric", "value", "1e-7", 1e-7),
    ],
)
def test_a_number_may_be_a_string(kind: str, name: str, value: str, expected: object) -> None:
    assert getattr(read(kind, **{name: value}), name) == expected


@pytest.mark.parametrize(
    ("kind", "name"),
    [("quote", "bid"), ("print", "size"), ("fill", "price"), ("fill", "latency_ms"), ("metric", "value")],
)
@pytest.mark.parametrize("value", ["NaN", "nan", "inf", "-Infinity", "ten", "", "1,000", "0x10", True, [1], {}])
def test_what_is_no_number_is_refused_with_its_path(kind: str, name: str, value: object) -> None:
    assert f"$[3].{name}" in refusal(kind, **{name: value})


@pytest.mark.parametrize("value", ["1e30", "-1e19", "1e400", "1e-400", "-1e-400"])
@pytest.mark.parametrize("name", ["quantity", "price", "commission"])
@pytest.mark.parametrize("is_bare", [True, False])
def test_a_number_that_no_double_could_be_is_refused_with_its_path(name: str, value: str, *, is_bare: bool) -> None:
    written = orjson.Fragment(value if is_bare else f'"{value}"')
    assert f"$[3].{name}" in refusal("fill", **{name: written})


@pytest.mark.parametrize("name", ["price", "size"])
@pytest.mark.parametrize("value", ["1e-400", "1E-324"])
@pytest.mark.parametrize("is_bare", [True, False])
def test_a_print_that_is_0_only_as_a_double_is_refused(name: str, value: str, *, is_bare: bool) -> None:
    written = orjson.Fragment(value if is_bare else f'"{value}"')
    assert "$[3]" in refusal("print", **{name: written})


@pytest.mark.parametrize("value", ["0", "0.000", "-0.0", "0e-500"])
def test_a_print_may_be_at_0(value: str) -> None:
    assert read("print", price=orjson.Fragment(value), size=orjson.Fragment(f'"{value.lstrip("-")}"')).price == 0


def test_the_dust_of_doubles_is_rounded_half_even_and_counted() -> None:
    reading = read_whole("fill", commission=0.0123 * 0.1, quantity=0.1 + 0.2, price="0.0000000000000000025")
    assert reading.event.commission == Decimal("0.00123")
    assert reading.event.quantity == Decimal("0.30000000000000004")
    assert reading.event.price == Decimal("0.000000000000000002")
    assert reading.rounded == 2


@given(st.floats(1e-6, 1e15))
def test_every_double_of_a_plausible_size_is_taken_as_a_quantity(quantity: float) -> None:
    assert abs(read("fill", quantity=quantity).quantity - Decimal(repr(quantity))) <= Decimal("5e-19")


def test_zeros_after_the_last_digit_are_no_rounding() -> None:
    fill = read("fill", quantity="1.50000000000000000000000000")
    assert str(fill.quantity) == "1.500000000000000000"


def test_a_fee_may_round_to_zero_but_a_price_or_quantity_may_not() -> None:
    assert read("fill", commission=5e-324).commission == 0
    assert "$[3].price" in refusal("fill", price=1e-20)
    assert "$[3].quantity" in refusal("fill", quantity=1e-20)


# -- words


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("FILLED", "filled"),
        ("New", "new"),
        ("PartiallyFilled", "partially_filled"),
        ("Partially Filled", "partially_filled"),
        ("PARTIALLY-FILLED", "partially_filled"),
        ("cancelled", "canceled"),
        ("CANCELLED", "canceled"),
        ("done_for_day", "expired"),
        ("suspended", "new"),
        ("accepted", "new"),
        ("PreSubmitted", "pending_new"),
        ("EXPIRED_IN_MATCH", "expired"),
        ("pending_cancel", "pending_cancel"),
    ],
)
def test_a_status_is_read_in_any_case_and_by_the_words_of_other_systems(status: str, expected: str) -> None:
    assert read("order", status=status).status == expected


@pytest.mark.parametrize(
    ("kind", "name", "value", "expected"),
    [
        ("fill", "side", "BUY", "buy"),
        ("fill", "side", "S", "sell"),
        ("order", "side", "SellShort", "sell"),
        ("print", "aggressor_side", "Sell", "sell"),
        ("fill", "liquidity", "MAKER", "maker"),
        ("fill", "liquidity", "removed", "taker"),
        ("log", "level", "WARN", "warning"),
        ("alert", "severity", "Error", "critical"),
        ("alert", "state", "OK", "resolved"),
        ("heartbeat", "status", "UP", "ok"),
    ],
)
def test_other_words_are_read_likewise(kind: str, name: str, value: str, expected: str) -> None:
    assert getattr(read(kind, **{name: value}), name) == expected


def test_the_type_is_read_in_any_case() -> None:
    assert TYPE_NAMES[type(read("Quote"))] == "quote"


@pytest.mark.parametrize("word", TYPE_SYNONYMS)
def test_the_type_of_another_system_is_read_as_what_it_means(word: str) -> None:
    kind, meant = TYPE_SYNONYMS[word]
    fields = EVENTS[kind] | {"amount": -5 if word in ("fee", "withdrawal") else 5} if kind == "cash" else EVENTS[kind]
    fields = {name: value for name, value in fields.items() if name not in meant}
    reading = read_event(orjson.dumps({"type": word.upper(), **fields}))
    assert TYPE_NAMES[type(reading.event)] == kind
    assert [getattr(reading.event, name) for name in meant] == list(meant.values())


def test_the_ratio_of_a_split_is_new_shares_for_one_old() -> None:
    split = read_event(b'{"type":"split","symbol":"AAPL","ratio":"1.5"}').event
    assert isinstance(split, Split)
    assert (split.numerator, split.denominator) == (Decimal("1.5"), 1)


@pytest.mark.parametrize("value", ["working on it", "", 7, None, "done"])
def test_a_refused_word_is_answered_with_the_words_that_are_allowed(value: object) -> None:
    fault = refusal("order", status=value)
    assert "$[3].status" in fault
    assert value is None or all(status in fault for status in get_args(OrderStatus))


def test_an_unknown_type_is_answered_with_the_types_that_are_allowed() -> None:
    fault = refusal("trade")
    assert "$[3].type" in fault
    assert all(kind in fault for kind in EVENTS)


def _synonyms() -> list[tuple[str, str, str, str]]:
    """Returns every synonym with a type that has its field: type, field, word, meaning."""
    found = []
    for place, words in SYNONYMS.items():
        kind, _, name = place.rpartition(".")
        kind = kind or next(kind for kind in ("order", "fill", "log", "alert") if name in _fields(kind))
        found += [(kind, name, word, meaning) for word, meaning in words.items()]
    return found


def _fields(kind: str) -> tuple[str, ...]:
    return next(each.__struct_fields__ for each in EVENT_TYPES if TYPE_NAMES[each] == kind)


@pytest.mark.parametrize(("kind", "name", "word", "meaning"), _synonyms())
def test_every_synonym_stands_for_a_word_of_its_field(kind: str, name: str, word: str, meaning: str) -> None:
    assert getattr(read(kind, **{name: word.upper()}), name) == meaning


# -- ids, names, absent values


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("fill", "trade_id"),
        ("fill", "order_id"),
        ("order", "client_order_id"),
        ("quote", "symbol"),
        ("fill", "strategy"),
    ],
)
def test_an_id_or_a_name_may_be_an_integer(kind: str, name: str) -> None:
    assert getattr(read(kind, **{name: 283_194_212}), name) == "283194212"


@pytest.mark.parametrize("value", [True, 1.5, ["t"], None])
def test_an_id_is_nothing_else(value: object) -> None:
    assert "$[3].trade_id" in refusal("fill", trade_id=value)


@pytest.mark.parametrize("kind", EVENTS)
def test_null_stands_for_the_default_of_every_optional_field(kind: str) -> None:
    (event_type,) = (each for each in EVENT_TYPES if TYPE_NAMES[each] == kind)
    fields = msgspec.structs.fields(event_type)
    optional = [field.name for field in fields if not field.required and field.name not in EVENTS[kind]]
    assert read(kind, **dict.fromkeys(optional)) == read(kind)


def test_the_fields_of_a_log_line_stay_plain_json() -> None:
    fields = {"a": 1.5, "b": [0.1, {"c": 2.5}]}
    assert read("log", level="INFO", fields=fields).fields == fields


# -- unknown fields


@pytest.mark.parametrize(
    ("kind", "name", "near"),
    [
        ("fill", "comission", "commission"),
        ("fill", "orderId", "order_id"),
        ("fill", "Strategy", "strategy"),
        ("quote", "bidsize", "bid_size"),
        ("order", "decision_time", "decision_ts"),
        ("metric", "label", "labels"),
        ("heartbeat", "colour", None),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_known_one(kind: str, name: str, near: str | None) -> None:
    reading = read_whole(kind, **{name: 1})
    assert reading.event == read(kind)
    assert reading.unknown == (name,)
    assert nearest_name(type(reading.event), name) == near


def test_a_missing_field_is_answered_with_the_misspelled_one() -> None:
    fields = {name: value for name, value in EVENTS["fill"].items() if name != "price"}
    found = EventDecoder().decode_element(orjson.dumps({"type": "fill", **fields, "Prize": 1}), 0, NOW_NS)
    assert "missing required field `price`: is it `Prize`?" in str(found)


def test_unknown_fields_are_refused_where_the_setting_says_so() -> None:
    data = orjson.dumps({"type": "fill", **EVENTS["fill"], "comission": 1})
    found = EventDecoder(refuse_unknown_fields=True).decode_element(data, 3, NOW_NS)
    assert str(found) == "Unknown field: comission: did you mean commission? - at `$[3].comission`"


@given(
    st.sampled_from(sorted(EVENTS)),
    st.dictionaries(
        st.sampled_from(["ts", "symbol", "side", "status", "price", "quantity", "bid", "value", "labels", "x", "type"]),
        st.recursive(
            st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=5,
        ),
    ),
)
def test_whatever_an_object_holds_it_is_an_event_or_refused(kind: str, fields: dict[str, Any]) -> None:
    data = orjson.dumps({"type": kind, **EVENTS[kind], **fields})
    found = EventDecoder().decode_element(data, 0, NOW_NS)
    assert found is not None
