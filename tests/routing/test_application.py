"""The way from a request to an answer: errors of handlers, unknown paths, OPTIONS, unknown methods."""

from __future__ import annotations

import logging
from ipaddress import ip_network
from typing import Any

import orjson
import pytest

from observability.access.addresses import TrustedProxies
from observability.http11.cors import CorsPolicy
from observability.http11.heads import parse_head
from observability.http11.messages import Request, Response
from observability.http11.refusals import Refusal
from observability.routing.application import Application, method_label
from observability.routing.router import Parameter, RouteDescription, Router


def request(line: bytes = b"GET / HTTP/1.1", *fields: bytes) -> Request:
    return Request(parse_head(b"\r\n".join([line, b"Host: a", *fields, b"", b""])), b"", "192.0.2.1")


def succeed(request: Request) -> Response:
    return Response()


def inject(request: Request) -> Response:
    return Response(headers=((b"X", b"a\r\nb"),))


def fail(request: Request) -> Response:
    raise RuntimeError("s3cret")


@pytest.fixture
def application(clock: Any) -> Application:
    router = Router()
    router.add("GET", "/", succeed)
    router.add("POST", "/", succeed)
    router.add("GET", "/fail", fail)
    router.add("GET", "/inject", inject)
    return Application(router, clock, CorsPolicy(["http://a"]))


def answer(application: Application, asked: Request) -> tuple[str, Response]:
    pattern, response = application.dispatch(asked)
    assert isinstance(response, Response)
    return pattern, response


def test_a_handler_that_raises_is_answered_with_500_and_no_details(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    pattern, response = answer(application, request(b"GET /fail HTTP/1.1"))
    assert (pattern, response.status, application.handler_errors) == ("/fail", 500, 1)
    assert b"s3cret" not in response.body
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is not None


def test_a_failed_answer_has_the_id_of_its_line_in_the_log(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    _, response = answer(application, request(b"GET /fail HTTP/1.1"))
    assert orjson.loads(response.body)["request_id"] == caplog.records[0].__dict__["ids"]["request"]
    _, response = answer(application, request(b"GET /fail HTTP/1.1", b"X-Request-ID: 8c1f"))
    assert orjson.loads(response.body)["request_id"] == "8c1f" == caplog.records[1].__dict__["ids"]["request"]


def test_an_answer_that_cannot_be_encoded_becomes_a_500(
    application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    asked = request(b"GET /inject HTTP/1.1")
    pattern, response = application.dispatch(asked)
    assert isinstance(response, Response)
    status, data, _ = application.encode(asked, pattern, response, True)
    assert (status, data[:12]) == (500, b"HTTP/1.1 500")


def test_an_unknown_path_is_answered_with_404_and_counted_as_unmatched(application: Application) -> None:
    pattern, response = answer(application, request(b"GET /none HTTP/1.1"))
    assert (pattern, response.status) == ("unmatched", 404)
    assert orjson.loads(response.body)["title"] == "Not Found"


@pytest.mark.parametrize(
    ("target", "allow"),
    [(b"/", b"GET, HEAD, OPTIONS, POST"), (b"*", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")],
)
def test_options_is_answered_for_every_path_and_the_server(
    application: Application, target: bytes, allow: bytes
) -> None:
    _, response = answer(application, request(b"OPTIONS " + target + b" HTTP/1.1"))
    assert (response.status, response.headers) == (204, ((b"Allow", allow),))


def test_the_answer_to_a_preflight_lists_methods_and_fields(application: Application) -> None:
    asked = request(b"OPTIONS / HTTP/1.1", b"Origin: http://a", b"Access-Control-Request-Method: POST")
    _, response = answer(application, asked)
    assert dict(response.headers)[b"Access-Control-Allow-Methods"] == b"GET, HEAD, OPTIONS, POST"
    assert b"Authorization" in dict(response.headers)[b"Access-Control-Allow-Headers"]


def test_an_unknown_method_is_labelled_other() -> None:
    assert method_label("GET") == "GET"
    assert method_label("X" * 20) == "other"


@pytest.mark.parametrize(
    "line", [b"GET https://a/ HTTP/1.1", b"OPTIONS HTTPS://a HTTP/1.1", b"GET https://a/ws HTTP/1.1"]
)
def test_a_request_for_an_https_uri_is_misdirected_without_tls(clock: Any, line: bytes) -> None:
    def status(**options: Any) -> int:
        router = Router()
        router.add("GET", "/", succeed)
        router.add_websocket("/ws")
        application = Application(router, clock, upgrade=lambda *_: Response(204), **options)
        if line.endswith(b"/ws HTTP/1.1"):
            try:
                return application.begin_upgrade(request(line), None, b"", None).status  # type: ignore[arg-type, union-attr]
            except Refusal as refusal:
                return refusal.status
        return answer(application, request(line))[1].status

    assert status() == 421
    assert status(is_tls=True) < 300
    # RFC 9110 section 7.4: a trusted gateway may ask for it.
    assert status(proxies=TrustedProxies([ip_network("192.0.2.0/24")])) < 300


def test_a_route_of_the_api_refuses_parameters_that_it_does_not_have(
    clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    router = Router()
    router.add("GET", "/api/none", succeed)
    router.add("POST", "/api/post", succeed, role="open")
    router.add("GET", "/api/some", succeed, description=RouteDescription(parameters=(Parameter("symbol"),)))
    router.add("GET", "/page", succeed)
    application = Application(router, clock)
    statuses = [
        answer(application, request(line + b" HTTP/1.1"))[1].status
        for line in (
            b"GET /api/none?symbol=A", b"POST /api/post?symbol=A", b"GET /api/none?token=s3cret&_=1", b"GET /api/none?",
            b"GET /api/some?symbol=A", b"GET /page?v=1",
        )
    ]  # fmt: skip
    assert statuses == [422, 422, 200, 200, 200, 200]
    assert caplog.messages[0] == "refused 192.0.2.1: 422 symbol: unknown; this path has no parameters (GET /api/none)"
    assert "s3cret" not in caplog.text


def test_an_http_uri_is_never_misdirected(clock: Any) -> None:
    router = Router()
    router.add("GET", "/", succeed)
    for is_tls in (False, True):
        assert answer(Application(router, clock, is_tls=is_tls), request(b"GET http://a/ HTTP/1.1"))[1].status == 200
