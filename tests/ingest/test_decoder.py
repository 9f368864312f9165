"""The decoder of events: a fault costs its own event only and is named by its path."""

from __future__ import annotations

from decimal import Decimal

import orjson
import pytest

from observability.errors import MAX_FAULT_CHARACTERS, EventError
from observability.events import Fill, Order, Quote
from observability.ingest.decoder import MAX_EVENT_BYTES, MAX_SMALL_BYTES, EventDecoder
from observability.ingest.dialects import Reading

NOW_NS = 1_700_000_000_000_000_000
QUOTE = {"type": "quote", "symbol": "AAPL", "bid": 1.0, "ask": 2.0}
PRINT = {"type": "print", "symbol": "AAPL", "price": 1.0, "size": 1.0}
ORDER = {"type": "order", "order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": 1, "status": "new"}


def decode(*events: object) -> tuple[list[object], list[tuple[int, str]]]:
    """Returns the events of an array that can be decoded, and index and fault of each of the others."""
    return decode_bytes(orjson.dumps(events))


def decode_bytes(data: bytes) -> tuple[list[object], list[tuple[int, str]]]:
    decoder = EventDecoder()
    events: list[object] = []
    faults = []
    for index, element in enumerate(decoder.split(data, is_lines=None)):
        found = decoder.decode_element(element, index, NOW_NS)
        if isinstance(found, EventError):
            faults.append((index, str(found)))
        else:
            events.append(found.event if isinstance(found, Reading) else found)
    return events, faults


def test_an_event_without_a_time_gets_its_arrival_time() -> None:
    (event,), _ = decode(QUOTE)
    assert isinstance(event, Quote)
    assert (event.ts, event.ts_init) == (NOW_NS, NOW_NS)


@pytest.mark.parametrize(
    "ts", [1_340_285_400_275_016_159, "2012-06-21T13:30:00.275016159Z", "2012-06-21T09:30:00.275016159-04:00"]
)
def test_a_time_is_exact_to_the_nanosecond_in_every_format(ts: object) -> None:
    (event,), _ = decode({**QUOTE, "ts": ts})
    assert isinstance(event, Quote)
    assert event.ts == 1_340_285_400_275_016_159


@pytest.mark.parametrize(
    ("event", "is_plain"),
    [
        (QUOTE, True),
        ({**ORDER, "decision_ts": "2012-06-21T13:30:00Z"}, True),
        ({**PRINT, "ts": "2012-06-21T13:30:00Z"}, True),
        ({**PRINT, "price": 1e-20}, False),
        ({**PRINT, "ts": "yesterday"}, False),
        ({**ORDER, "status": "NEW"}, False),
        ({**QUOTE, "colour": "red"}, False),
        ({**QUOTE, "venue": "x" * MAX_SMALL_BYTES}, False),
    ],
)
def test_a_batch_is_decoded_at_once_if_every_event_is_as_it_stands(event: dict[str, object], is_plain: bool) -> None:
    data = orjson.dumps([QUOTE, event, PRINT])
    at_once = EventDecoder().decode_all(data, NOW_NS)
    assert at_once == (decode_bytes(data)[0] if is_plain else None)


def test_the_sender_cannot_choose_the_arrival_time() -> None:
    (event,), _ = decode({**QUOTE, "ts_init": 5})
    assert isinstance(event, Quote)
    assert event.ts_init == NOW_NS


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        ({**QUOTE, "bid": "x"}, "$[1].bid"),
        ({**QUOTE, "symbol": ""}, "$[1].symbol"),
        ({**QUOTE, "type": "quotes"}, "quotes"),
        ({**QUOTE, "ts": "yesterday"}, "yesterday"),
        ({**QUOTE, "ts": "2012-06-21T13:30:00"}, "offset"),
        ({**QUOTE, "ts": -1}, "$[1].ts"),
        ({**QUOTE, "ts": "9999-01-01T00:00:00Z"}, "2262"),
        ({"type": "fill", "trade_id": "1"}, "`symbol` - at `$[1]`"),
        ({"type": "log", "level": "loud", "message": ""}, "$[1].level"),
        (7, "object"),
    ],
)
def test_a_bad_event_is_rejected_alone_with_the_path_of_its_fault(bad: object, fault: str) -> None:
    events, rejected = decode(QUOTE, bad, QUOTE)
    assert len(events) == 2
    ((index, message),) = rejected
    assert index == 1
    assert fault in message


@pytest.mark.parametrize(
    ("event", "name"),
    [(QUOTE, "bid"), (QUOTE, "ask"), (QUOTE, "ask_size"), (PRINT, "price"), (PRINT, "size")],
)
@pytest.mark.parametrize("number", [1e308, 1e18])
def test_a_number_of_the_market_that_is_too_large_is_rejected(
    event: dict[str, object], name: str, number: float
) -> None:
    events, rejected = decode({**event, name: number}, {**event, name: 9.9e17})
    assert (len(events), rejected) == (1, [(0, rejected[0][1])])
    assert "< 1e+18" in rejected[0][1] and f"$[0].{name}" in rejected[0][1]


@pytest.mark.parametrize(("name", "number"), [("price", 9e-19), ("price", -5e-324), ("size", 1e-300)])
def test_a_print_that_is_too_small_is_rejected(name: str, number: float) -> None:
    events, rejected = decode({**PRINT, name: number}, {**PRINT, name: 1e-18}, {**PRINT, name: 0})
    assert len(events) == 2
    assert rejected == [(0, f"Expected 0 or at least 1e-18, got {number!r} - at `$[0].{name}`")]


@pytest.mark.parametrize("quantity", ["NaN", "Infinity", "1e999999999", "1e-40", 0, -5])
def test_a_quantity_that_cannot_be_summed_is_rejected(quantity: object) -> None:
    fill = {"type": "fill", "trade_id": "1", "order_id": "1", "symbol": "A", "side": "buy", "quantity": 1, "price": 1}
    _, rejected = decode({**fill, "quantity": quantity})
    assert len(rejected) == 1
    assert "quantity" in rejected[0][1]


def test_quantities_and_prices_of_fills_are_exact_decimals() -> None:
    (fill,), _ = decode_bytes(
        b'{"type":"fill","trade_id":"1","order_id":"1","symbol":"A","side":"buy",'
        b'"quantity":0.1,"price":123456789.123456789}'
    )
    assert isinstance(fill, Fill)
    assert (fill.quantity, fill.price) == (Decimal("0.1"), Decimal("123456789.123456789"))


def test_the_decision_time_of_an_order_may_be_an_iso_time() -> None:
    order = {"type": "order", "order_id": "1", "symbol": "A", "side": "buy", "quantity": 1, "status": "new"}
    (event,), _ = decode({**order, "decision_ts": "1970-01-01T00:00:01Z"})
    assert isinstance(event, Order)
    assert event.decision_ts == 1_000_000_000


def test_an_event_that_is_not_utf_8_is_rejected_alone() -> None:
    data = b'[{"type":"quote","symbol":"\xff","bid":1,"ask":2},{"type":"quote","symbol":"A","bid":1,"ask":2}]'
    events, rejected = decode_bytes(data)
    assert len(events) == 1
    assert [index for index, _ in rejected] == [0]


@pytest.mark.parametrize("data", [b"{}", b"null", b"7"])
def test_json_that_is_no_event_is_rejected_at_index_0(data: bytes) -> None:
    events, ((index, _),) = decode_bytes(data)
    assert (events, index) == ([], 0)


@pytest.mark.parametrize("data", [b"", b"[" * 100_000, b"[", b"[1,", b"\xff"])
def test_bytes_that_are_not_json_are_refused_whole(data: bytes) -> None:
    with pytest.raises(EventError, match="array"):
        list(EventDecoder().split(data, is_lines=None))


def test_a_fault_is_shortened_however_long_the_value_is() -> None:
    _, ((_, fault),) = decode({"type": "x" * 10_000})
    assert len(fault) < MAX_FAULT_CHARACTERS + len(" - at `$[0].type`")
    assert "$[0]" in fault


def test_a_huge_event_is_refused_before_it_is_decoded() -> None:
    events, rejected = decode({**QUOTE, "note": "x" * MAX_EVENT_BYTES}, QUOTE)
    assert len(events) == 1
    ((index, fault),) = rejected
    assert index == 0
    assert f"at most {MAX_EVENT_BYTES} bytes" in fault
