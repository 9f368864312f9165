"""Requests as handlers see them, and responses as bytes."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import orjson
import pytest

from observability.clocks.timestamps import NS_PER_S
from observability.http11.cors import CorsPolicy
from observability.http11.heads import parse_head
from observability.http11.messages import HttpDate, Request, Response, ResponseEncoder, json_response, problem_response
from observability.http11.refusals import MethodNotAllowed, Unprocessable, UpgradeRequired


def request(line: bytes = b"GET / HTTP/1.1", *fields: bytes) -> Request:
    return Request(parse_head(b"\r\n".join([line, b"Host: a", *fields, b"", b""])), b"")


@pytest.fixture
def encoder(clock: Any) -> ResponseEncoder:
    return ResponseEncoder(clock, CorsPolicy(["http://a"]))


def test_an_answer_carries_date_type_length_and_vary(encoder: ResponseEncoder) -> None:
    assert encoder.encode(request(), Response(200, b"{}"), keep_alive=True) == (
        b"HTTP/1.1 200 OK\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\nVary: Origin, Accept-Encoding\r\nX-Content-Type-Options: nosniff\r\n"
        b"Referrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin\r\n\r\n{}"
    )


@pytest.mark.parametrize("second", [0, 68169599, 951782400, 1_700_000_000, 4_102_444_799])
def test_the_date_field_equals_that_of_the_standard_library(second: int, clock: Any) -> None:
    clock.now_ns = second * NS_PER_S + 999_999_999
    assert HttpDate(clock).now().decode() == formatdate(second, usegmt=True)


def test_the_date_field_follows_the_clock(clock: Any) -> None:
    date = HttpDate(clock)
    first = date.now()
    assert date.now() is first
    clock.advance(1)
    assert date.now() == b"Tue, 14 Nov 2023 22:13:21 GMT"


def test_the_answer_to_head_is_that_to_get_without_content(encoder: ResponseEncoder) -> None:
    get = encoder.encode(request(), Response(200, b"body"), keep_alive=True)
    head = encoder.encode(request(b"HEAD / HTTP/1.1"), Response(200, b"body"), keep_alive=True)
    assert head + b"body" == get


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_content_has_no_content_fields(encoder: ResponseEncoder, status: int) -> None:
    data = encoder.encode(request(), Response(status, b"ignored"), keep_alive=True)
    assert data.endswith(b"\r\n\r\n")
    assert b"\r\nContent-" not in data


@pytest.mark.parametrize(
    ("line", "keep_alive", "expected"),
    [
        (b"GET / HTTP/1.1", True, None),
        (b"GET / HTTP/1.1", False, b"close"),
        (b"GET / HTTP/1.0", True, b"keep-alive"),
        (b"GET / HTTP/1.0", False, b"close"),
    ],
)
def test_the_connection_field_is_sent_where_the_version_does_not_imply_it(
    encoder: ResponseEncoder, line: bytes, keep_alive: bool, expected: bytes | None
) -> None:
    data = encoder.encode(request(line), Response(), keep_alive=keep_alive)
    fields = dict(field.split(b": ", 1) for field in data.split(b"\r\n")[1:] if field)
    assert fields.get(b"Connection") == expected


def test_an_allowed_origin_is_echoed_without_allowing_credentials(encoder: ResponseEncoder) -> None:
    allowed = encoder.encode(request(b"GET / HTTP/1.1", b"Origin: http://a"), Response(), keep_alive=True)
    unknown = encoder.encode(request(b"GET / HTTP/1.1", b"Origin: http://b"), Response(), keep_alive=True)
    assert b"\r\nAccess-Control-Allow-Origin: http://a\r\n" in allowed
    assert b"Credentials" not in allowed
    assert b"Access-Control" not in unknown


@pytest.mark.parametrize("value", [b"a\r\nSet-Cookie: b", b"a\nb", b"a\rb", b"a\0b"])
def test_a_field_value_that_would_end_its_line_is_refused(encoder: ResponseEncoder, value: bytes) -> None:
    with pytest.raises(ValueError, match="may not contain"):
        encoder.encode(request(), Response(headers=((b"X", value),)), keep_alive=True)


def test_a_refusal_becomes_problem_details() -> None:
    response = problem_response(Unprocessable([{"name": "limit", "error": "expected 1..1000, got 0"}]))
    assert (response.status, response.content_type) == (422, b"application/problem+json")
    assert orjson.loads(response.body) == {
        "type": "about:blank",
        "title": "Unprocessable Content",
        "status": 422,
        "detail": "1 invalid parameter(s)",
        "errors": [{"name": "limit", "error": "expected 1..1000, got 0"}],
    }


def test_a_405_carries_allow_and_a_426_carries_upgrade() -> None:
    assert (b"Allow", b"GET, HEAD") in problem_response(MethodNotAllowed("GET, HEAD")).headers
    assert (b"Upgrade", b"websocket") in problem_response(UpgradeRequired()).headers


def test_fields_are_found_by_name_in_any_case() -> None:
    asked = request(b"GET / HTTP/1.1", b"X-Request-ID: a", b"Accept: b, C", b"accept: d")
    assert asked.header(b"X-REQUEST-id") == b"a"
    assert asked.header(b"x-none") is None
    assert asked.header_list(b"Accept") == (b"b", b"c", b"d")
    assert asked.header_list(b"x-none") == ()


def test_query_parameters_are_decoded() -> None:
    assert request(b"GET /?a=b%20c&a=d+e HTTP/1.1").query_parameters() == [("a", "b c"), ("a", "d e")]


def test_a_json_response_has_type_status_and_body() -> None:
    assert json_response({"a": None}, 201) == Response(201, b'{"a":null}', b"application/json")
