"""Relayed requests: the answer is the one that the hub's own handler gives."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal

import pytest

from observability.errors import HubUnavailable
from observability.http11.documents import ReadyDocument
from observability.http11.heads import parse_head
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Unavailable
from observability.ingest.answers import IngestAnswer
from observability.routing.router import Router
from observability.server.relay import HubCalls, Relay, RelayedGate


class Gate:
    """Remembers what it was given."""

    def __init__(self) -> None:
        self.taken: list[tuple[Any, ...]] = []

    async def take(
        self, data: bytes, *, source: Literal["http", "ws"], is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        self.taken.append((data, source, is_lines, key))
        return IngestAnswer(200, b"{}", is_replayed=True, retry_after_seconds=3)


class World:
    """A worker's relay and a hub's desk, with nothing between them."""

    def __init__(self) -> None:
        self.router = Router()
        self.gate = Gate()
        desk = HubCalls(self.router, self.gate)
        self.call = desk.answer
        self.refused: list[tuple[str, str]] = []
        self.relay = Relay(desk.answer, lambda address, reason: self.refused.append((address, reason)))

    def ask(self, text: str, body: bytes = b"") -> Response:
        head = parse_head(text.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        return run(self.relay.handle(Request(head, body, "10.0.0.9")))


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(coroutine, 5))


def test_the_handler_sees_the_request_as_it_was_sent() -> None:
    world = World()
    seen: list[Request] = []

    def handler(request: Request, name: str) -> Response:
        seen.append(request)
        return json_response({"name": name, "query": request.query_parameters()})

    world.router.add("POST", "/things/{name}", handler)
    answer = world.ask(
        "POST /things/a%2Fb?x=1&x=%C3%A4 HTTP/1.1\nHost: h\nContent-Type: text/x\nIdempotency-Key: k\n"
        "Expect: 100-continue\nContent-Length: 5",
        b"12345",
    )
    assert answer.body == '{"name":"a/b","query":[["x","1"],["x","ä"]]}'.encode()
    (request,) = seen
    assert (request.method, request.body, request.peer) == ("POST", b"12345", "10.0.0.9")
    assert request.header(b"idempotency-key") == b"k"
    assert request.header(b"content-type") == b"text/x"


def test_status_headers_and_type_come_back_as_they_are() -> None:
    world = World()
    given = Response(202, b"x", b"text/plain", ((b"X-A", b"1"), (b"X-A", b"2")), closes=True)
    world.router.add("GET", "/a", lambda _request: given)
    assert world.ask("GET /a HTTP/1.1\nHost: h") == given


def test_an_answer_that_takes_time_is_waited_for() -> None:
    world = World()

    async def handler(request: Request) -> Response:
        await asyncio.sleep(0)
        return json_response({"late": True})

    world.router.add("GET", "/a", handler)
    assert world.ask("GET /a HTTP/1.1\nHost: h").body == b'{"late":true}'


def test_a_refusal_comes_back_as_a_problem_and_is_logged_where_the_client_is() -> None:
    world = World()

    def handler(request: Request) -> Response:
        raise NotFound("no such thing")

    world.router.add("GET", "/a", handler)
    answer = world.ask("GET /a HTTP/1.1\nHost: h")
    assert (answer.status, answer.content_type) == (404, b"application/problem+json")
    assert world.refused == [("10.0.0.9", "404 no such thing")]


def test_a_handler_that_fails_is_500_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    world = World()

    def handler(request: Request) -> Response:
        raise RuntimeError("a secret")

    world.router.add("GET", "/a", handler)
    answer = world.ask("GET /a HTTP/1.1\nHost: h")
    assert answer.status == 500
    assert b"secret" not in answer.body
    assert "failed" in caplog.text


def test_a_ready_document_is_sent_whole() -> None:
    world = World()
    world.router.add("GET", "/a", lambda _request: ReadyDocument(b"{}", b'"1"'))
    answer = world.ask('GET /a HTTP/1.1\nHost: h\nIf-None-Match: "1"')
    assert (answer.status, answer.body, answer.headers) == (200, b"{}", ((b"ETag", b'"1"'),))


def test_a_request_of_http_1_0_needs_no_host() -> None:
    world = World()
    world.router.add("GET", "/a", lambda _request: json_response({}))
    assert world.ask("GET /a HTTP/1.0").status == 200


async def gone(message: bytes) -> bytes:
    raise HubUnavailable("it has ended before it answered")


def test_without_a_hub_the_answer_is_503_with_a_time_to_try_again() -> None:
    relay = Relay(gone, lambda _address, _reason: None)
    with pytest.raises(Unavailable) as refused:
        run(relay.handle(Request(parse_head(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n"), b"")))
    assert refused.value.status == 503
    assert refused.value.headers == ((b"Retry-After", b"1"),)


def test_a_batch_of_events_goes_to_the_hubs_gate() -> None:
    world = World()
    answer = run(RelayedGate(world.call).take(b"[1]", source="ws", is_lines=None, key="k"))
    assert world.gate.taken == [(b"[1]", "ws", None, "k")]
    assert answer == IngestAnswer(200, b"{}", is_replayed=True, retry_after_seconds=3)


def test_a_batch_that_the_hub_does_not_answer_may_be_sent_again() -> None:
    answer = run(RelayedGate(gone).take(b"[1]", source="ws"))
    assert (answer.status, answer.retry_after_seconds) == (503, 1)
