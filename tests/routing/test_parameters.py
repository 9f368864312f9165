"""Parameters: queries and JSON bodies become Structs, or are refused with all their faults."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import pytest

from observability.http11.messages import Request
from observability.http11.parser import RequestParser
from observability.http11.refusals import Refusal, Unprocessable
from observability.routing.parameters import (
    MAX_FAULT_CHARACTERS,
    MAX_NAME_CHARACTERS,
    MAX_UNKNOWN_LISTED,
    TimeNs,
    check_no_query,
    parse_body,
    parse_query,
)


class Wanted(msgspec.Struct, frozen=True):
    quantity: Decimal | None = None
    at: TimeNs | None = None
    limit: int = 10


def request(query: str = "", body: bytes = b"") -> Request:
    parser = RequestParser()
    parser.feed(f"POST /?{query} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    parsed = parser.next_request()
    assert parsed is not None
    return parsed


def faults(query: str) -> list[dict[str, Any]]:
    with pytest.raises(Unprocessable) as caught:
        parse_query(request(query), Wanted)
    errors: list[dict[str, Any]] = caught.value.members["errors"]
    return errors


def test_a_query_becomes_a_struct() -> None:
    wanted = parse_query(request("quantity=1.50&at=1970-01-01T00:00:01Z&limit=5&token=x&token=y&_=1700000000"), Wanted)
    assert wanted == Wanted(Decimal("1.50"), TimeNs(1_000_000_000), 5)


class Words(msgspec.Struct, frozen=True):
    side: Literal["buy", "sell"] | None = None
    status: Literal["canceled", "filled", "partially_filled"] | None = None
    range: Literal["1h", "30d"] = "1h"


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("side=BUY", Words(side="buy")),
        ("side=%20Sell_Short", Words(side="sell")),
        ("side=buy&status=cancelled", Words("buy", "canceled")),
        ("status=CANCELED", Words(status="canceled")),
        ("status=PartiallyFilled&range=30D", Words(None, "partially_filled", "30d")),
    ],
)
def test_a_word_is_read_in_any_spelling_in_which_an_event_may_have_it(query: str, wanted: Words) -> None:
    assert parse_query(request(query), Words) == wanted


def test_a_word_that_is_unknown_is_answered_with_those_that_are_allowed() -> None:
    with pytest.raises(Unprocessable) as caught:
        parse_query(request("side=long&status=new"), Words)
    assert [fault["error"] for fault in caught.value.members["errors"]] == [
        "Invalid enum value 'long', expected one of buy, sell",
        "Invalid enum value 'new', expected one of canceled, filled, partially_filled",
    ]


@pytest.mark.parametrize(("number", "unit"), [("1700000000", "seconds"), ("1700000000000", "milliseconds")])
def test_a_time_that_cannot_be_nanoseconds_is_refused_with_its_unit(number: str, unit: str) -> None:
    (fault,) = faults(f"at={number}")
    assert fault["parameter"] == "at"
    assert fault["error"].endswith(f"{len(number)} digits look like {unit}")


def test_a_time_may_be_the_epoch_or_nanoseconds() -> None:
    assert parse_query(request("at=0"), Wanted).at == 0
    assert parse_query(request("at=1700000000000000001"), Wanted).at == 1_700_000_000_000_000_001


def test_all_faults_of_a_query_are_reported_at_once() -> None:
    assert [fault["parameter"] for fault in faults("limit=5&limit=x&quantity=much&at=now")] == [
        "limit",
        "quantity",
        "at",
        "limit",
    ]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("quantities", "did you mean quantity?"),
        ("Limit", "did you mean limit?"),
        ("lmit", "did you mean limit?"),
        ("colour", "expected one of quantity, at, limit"),
        ("x" * 5000, "expected one of quantity, at, limit"),
    ],
)
def test_an_unknown_parameter_is_refused_with_what_may_have_been_meant(name: str, hint: str) -> None:
    fault = {"parameter": name[:MAX_NAME_CHARACTERS], "error": f"unknown; {hint}"}
    assert faults(f"{name}=1&limit=5") == [fault]
    with pytest.raises(Unprocessable) as caught:
        parse_body(request(body=msgspec.json.encode({"limit": 5, name: 1})), Wanted)
    assert caught.value.members["errors"] == [fault]


def test_unknown_parameters_are_reported_beside_other_faults() -> None:
    assert [fault["parameter"] for fault in faults("lmit=5&at=now")] == ["lmit", "at"]


def test_of_many_unknown_parameters_some_are_listed_and_all_are_counted() -> None:
    body = msgspec.json.encode({f"quantit{number}": number for number in range(50_000)})
    with pytest.raises(Unprocessable) as caught:
        parse_body(request(body=body), Wanted)
    *listed, further = caught.value.members["errors"]
    assert len(listed) == MAX_UNKNOWN_LISTED
    assert further["error"] == f"{50_000 - MAX_UNKNOWN_LISTED} further unknown parameters"


def test_a_route_without_parameters_has_those_of_every_route() -> None:
    check_no_query(request("token=x&_=1"))
    check_no_query(request())
    with pytest.raises(Unprocessable) as caught:
        check_no_query(request("symbol=AAPL"))
    assert caught.value.members["errors"] == [{"parameter": "symbol", "error": "unknown; this path has no parameters"}]


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_quantity_that_is_not_finite_is_refused(value: str) -> None:
    assert faults(f"quantity={value}") == [{"parameter": "quantity", "error": "expected a finite number"}]


@pytest.mark.parametrize("value", ["x" * 3000, "1" * 3000])
def test_a_fault_does_not_repeat_a_long_value_whole(value: str) -> None:
    for fault in faults(f"at={quote(value)}&limit={value}"):
        assert len(fault["error"]) <= MAX_FAULT_CHARACTERS


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"limit":"\xff"}', b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b'{"limit":1}x'],
    ids=["nothing", "unfinished", "not UTF-8 within", "not UTF-8", "deep list", "deep object", "trailing bytes"],
)
def test_a_body_that_is_not_json_is_refused_with_400(body: bytes) -> None:
    with pytest.raises(Refusal) as caught:
        parse_body(request(body=body), Wanted)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"[]", b"1", b"null", b'{"limit":"5"}', b'{"limit":1.5}', b'{"quantity":"NaN"}'])
def test_a_body_of_wrong_types_is_refused_with_422(body: bytes) -> None:
    with pytest.raises(Unprocessable):
        parse_body(request(body=body), Wanted)
