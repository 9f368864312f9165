"""Roles and tokens, through the application that enforces them."""

from __future__ import annotations

import logging
import os
from ipaddress import ip_network
from typing import Any

import orjson
import pytest

from observability.access.addresses import TrustedProxies
from observability.access.authorization import AccessPolicy, HostCheck, OriginCheck, chosen_subprotocol
from observability.config.access import ApiToken
from observability.http11.cors import CorsPolicy
from observability.http11.heads import parse_head
from observability.http11.messages import Request, Response
from observability.http11.refusals import Refusal
from observability.routing.application import Application
from observability.routing.router import Router

WRITE = ApiToken("write", "writer-0123456789")
READ = ApiToken("read", "reader-0123456789")
BEARER_WRITE = b"Authorization: Bearer writer-0123456789"
BEARER_READ = b"Authorization: Bearer reader-0123456789"


def request(
    line: bytes,
    *fields: bytes,
    host: bytes = b"localhost:8000",
    peer: str = "127.0.0.1",
    user: int | None = os.geteuid(),
    version: bytes = b"1.1",
) -> Request:
    """Returns a request of a program of our own, unless told otherwise."""
    lines = [line + b" HTTP/" + version, b"Host: " + host, *fields, b"", b""]
    asked = Request(parse_head(b"\r\n".join(lines)), b"", peer)
    asked.peer_user = lambda: user
    return asked


def succeed(request: Request) -> Response:
    return Response()


def answer(application: Application, asked: Request) -> Response:
    _, response = application.dispatch(asked)
    assert isinstance(response, Response)
    return response


@pytest.fixture
def make_application(clock: Any) -> Any:
    def make(*tokens: ApiToken, origins: tuple[str, ...] = ()) -> Application:
        router = Router()
        router.add("GET", "/data", succeed)
        router.add("POST", "/data", succeed)
        router.add("POST", "/query", succeed, role="read")
        router.add("GET", "/health", succeed, role="open")
        router.add_websocket("/ws")
        return Application(
            router, clock, access=AccessPolicy(tokens, OriginCheck(CorsPolicy(origins))), upgrade=lambda *_: None
        )

    return make


# -- without tokens


def test_everybody_may_read_without_tokens(make_application: Any) -> None:
    asked = request(b"GET /data", host=b"public.example", peer="192.0.2.1")
    assert answer(make_application(), asked).status == 200


def test_this_machine_may_write_without_tokens(make_application: Any) -> None:
    for host in (b"localhost", b"127.0.0.1:8000", b"[::1]:8000"):
        assert answer(make_application(), request(b"POST /data", host=host)).status == 200


@pytest.mark.parametrize(
    "asked",
    [
        request(b"POST /data", peer="192.0.2.1"),
        request(b"POST /data", peer=""),
        request(b"POST /data", host=b"evil.example"),
        request(b"POST /data", b"Origin: http://evil.example"),
        request(b"POST /data", b"Origin: null"),
        request(b"POST /data", b"Origin: http://localhost:3000"),
        request(b"POST /data", b"Origin: http://[:::"),
        request(b"POST /data", b"X-Forwarded-For: 127.0.0.1"),
        request(b"POST /data", b"Forwarded: for=127.0.0.1"),
        request(b"POST /data", b"X-Real-IP: 127.0.0.1"),
        request(b"POST /data", b"Via: 1.1 proxy"),
        request(b"POST /data", b"X-Forwarded-Proto: https"),
        request(b"POST /data", b"X-Forwarded-Host:"),
        # What a proxy leaves unchanged: its user, and the version that nginx speaks by default.
        request(b"POST /data", user=os.geteuid() + 1),
        request(b"POST /data", user=None),
        request(b"POST /data", version=b"1.0"),
        request(b"POST /data", BEARER_WRITE, peer="192.0.2.1"),
    ],
)
def test_other_machines_proxies_and_pages_may_not_write_without_tokens(make_application: Any, asked: Request) -> None:
    assert answer(make_application(), asked).status == 403


def test_a_program_of_another_user_may_write_with_a_token(make_application: Any) -> None:
    asked = request(b"POST /data", BEARER_WRITE, user=os.geteuid() + 1, version=b"1.0")
    assert answer(make_application(WRITE), asked).status == 200


def test_nobody_writes_without_a_token_if_a_setting_says_so(clock: Any) -> None:
    router = Router()
    router.add("POST", "/data", succeed)
    for tokens, fields, status in (((), (), 403), ((WRITE,), (BEARER_WRITE,), 200)):
        application = Application(router, clock, access=AccessPolicy(tokens, takes_local_writes=False))
        assert answer(application, request(b"POST /data", *fields)).status == status


# -- names of a server that only this machine can reach


def named(clock: Any, *origins: str, tokens: tuple[ApiToken, ...] = (), proxies: str = "192.0.2.1") -> Application:
    router = Router()
    router.add("GET", "/data", succeed)
    router.add("GET", "/health", succeed, role="open")
    router.add_websocket("/ws")
    hosts = HostCheck(origins, TrustedProxies([ip_network(proxies)]))
    return Application(router, clock, access=AccessPolicy(tokens, hosts=hosts), upgrade=lambda *_: None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        (b"localhost", 200), (b"LOCALHOST:8000", 200), (b"localhost.:8000", 200), (b"app.localhost", 200),
        (b"127.0.0.1:8000", 200), (b"127.1.2.3", 200), (b"[::1]:8000", 200), (b"[::ffff:127.0.0.1]", 200),
        (b"dash.example.com:8000", 200),
        (b"evil.example", 421), (b"evil.example:8000", 421), (b"localhost.evil.example", 421), (b"192.168.1.5", 421),
        (b"evillocalhost", 421), (b"127.0.0.1.evil.example", 421), (b"[fe80::1]", 421), (b"0.0.0.0", 421),
        # It has the form of a host, and is no address.
        (b"[:::]", 421),
    ],
)  # fmt: skip
def test_data_is_read_under_names_of_this_machine_and_listed_ones(clock: Any, host: bytes, status: int) -> None:
    application = named(clock, "https://dash.example.com")
    for _ in range(2):
        refused = answer(application, request(b"GET /data", host=host))
        assert refused.status == status
        assert answer(application, request(b"GET /health", host=host)).status == 200
    assert upgrade(application, b"GET /ws", host=host) == (101 if status == 200 else status)
    if status != 200:
        assert b"CORS_ORIGINS" in refused.body


def test_a_request_without_a_host_comes_from_no_browser(clock: Any) -> None:
    asked = Request(parse_head(b"GET /data HTTP/1.0\r\n\r\n"), b"", "127.0.0.1")
    assert answer(named(clock), asked).status == 200


def test_any_name_is_read_if_any_origin_is_listed(clock: Any) -> None:
    assert answer(named(clock, "*"), request(b"GET /data", host=b"evil.example")).status == 200


def test_a_trusted_proxy_forwards_requests_under_its_own_name(clock: Any) -> None:
    forwarded = b"X-Forwarded-For: 198.51.100.9"
    for peer, fields, status in (
        ("192.0.2.1", (forwarded,), 200), ("192.0.2.1", (), 421), ("192.0.2.2", (forwarded,), 421),
    ):  # fmt: skip
        asked = request(b"GET /data", *fields, host=b"dash.example.com", peer=peer)
        assert answer(named(clock), asked).status == status


def test_a_token_is_as_good_as_a_name(clock: Any) -> None:
    application = named(clock, tokens=(WRITE,))
    assert answer(application, request(b"GET /data", host=b"evil.example")).status == 421
    assert answer(application, request(b"GET /data", BEARER_WRITE, host=b"evil.example")).status == 200
    unknown = b"Authorization: Bearer nobody-0123456789"
    assert answer(application, request(b"GET /data", unknown, host=b"evil.example")).status == 421


def test_the_servers_own_page_may_write_without_tokens(make_application: Any) -> None:
    assert answer(make_application(), request(b"POST /data", b"Origin: http://LOCALHOST:8000")).status == 200


# -- with tokens


def test_a_write_token_alone_leaves_reading_open(make_application: Any) -> None:
    assert answer(make_application(WRITE), request(b"GET /data")).status == 200
    assert answer(make_application(WRITE), request(b"POST /query")).status == 200


def test_this_machine_needs_a_token_too_once_there_are_tokens(make_application: Any) -> None:
    response = answer(make_application(WRITE), request(b"POST /data"))
    assert response.status == 401
    # RFC 6750 section 3.1: no error where there were no credentials.
    assert response.headers == ((b"WWW-Authenticate", b'Bearer realm="observability"'),)


@pytest.mark.parametrize(
    "asked",
    [
        request(b"POST /data", BEARER_WRITE, peer="192.0.2.1", host=b"public.example"),
        request(b"POST /data", b"Authorization: bEARER  writer-0123456789"),
        request(b"POST /data?token=writer-0123456789"),
        request(b"POST /data?a=b&%74oken=writer%2D0123456789"),
        request(b"POST /data?token=writer-0123456789", b"Authorization: Basic bWU6eA=="),
        request(b"POST /data", BEARER_WRITE, b"X-Forwarded-For: 192.0.2.9"),
    ],
)
def test_a_write_token_may_write_from_anywhere(make_application: Any, asked: Request) -> None:
    assert answer(make_application(READ, WRITE), asked).status == 200


@pytest.mark.parametrize("fields", [(BEARER_READ,), (BEARER_WRITE,)])
def test_read_tokens_and_write_tokens_may_read(make_application: Any, fields: tuple[bytes, ...]) -> None:
    assert answer(make_application(READ, WRITE), request(b"GET /data", *fields)).status == 200


@pytest.mark.parametrize("line", [b"GET /data", b"HEAD /data", b"POST /query"])
def test_reading_needs_a_token_once_there_is_a_read_token(make_application: Any, line: bytes) -> None:
    assert answer(make_application(READ), request(line)).status == 401


def test_an_open_route_ignores_malformed_credentials(make_application: Any) -> None:
    assert answer(make_application(READ), request(b"GET /health", b"Authorization: Bearer nonsense")).status == 200


def test_a_preflight_needs_no_token(make_application: Any) -> None:
    assert answer(make_application(READ), request(b"OPTIONS /data")).status == 204


def test_a_read_token_may_not_write(make_application: Any) -> None:
    response = answer(make_application(READ, WRITE), request(b"POST /data", BEARER_READ))
    assert response.status == 403
    assert b'error="insufficient_scope"' in response.headers[0][1]


@pytest.mark.parametrize("token", [b"writer-012345678", b"writer-01234567890", b"WRITER-0123456789", b"x", b"a/b+c=="])
def test_an_unknown_token_is_answered_with_401(make_application: Any, token: bytes) -> None:
    response = answer(make_application(READ, WRITE), request(b"POST /data", b"Authorization: Bearer " + token))
    assert response.status == 401
    assert b'error="invalid_token"' in response.headers[0][1]


@pytest.mark.parametrize(
    "asked",
    [
        request(b"POST /data?token=writer-0123456789", BEARER_WRITE),
        request(b"POST /data?token=writer-0123456789&token=writer-0123456789"),
        request(b"POST /data", BEARER_WRITE, BEARER_WRITE),
        request(b"POST /data", b"Authorization: Bearer"),
        request(b"POST /data", b"Authorization: Bearer a b"),
    ],
)
def test_ambiguous_credentials_are_answered_with_400(make_application: Any, asked: Request) -> None:
    response = answer(make_application(READ, WRITE), asked)
    assert response.status == 400
    assert b'error="invalid_request"' in response.headers[0][1]


def test_a_page_with_a_token_may_write_if_its_origin_is_allowed(make_application: Any) -> None:
    application = make_application(WRITE, origins=("http://localhost:3000",))
    assert answer(application, request(b"POST /data", BEARER_WRITE, b"Origin: http://localhost:3000")).status == 200
    assert answer(application, request(b"POST /data", BEARER_WRITE, b"Origin: http://localhost:8000")).status == 200
    assert answer(application, request(b"POST /data", BEARER_WRITE, b"Origin: http://evil.example")).status == 403
    anybody = make_application(WRITE, origins=("*",))
    assert answer(anybody, request(b"POST /data", BEARER_WRITE, b"Origin: http://evil.example")).status == 200


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        (None, True),
        (b"http://localhost:8000", True),
        (b"https://LocalHost:8000", True),
        (b"http://dash.example:3000", True),
        (b"HTTP://Dash.Example:3000", True),
        (b"http://dash.example", False),
        (b"http://localhost:3000", False),
        (b"http://localhost:8000.evil.example", False),
        (b"null", False),
        (b"", False),
        (b"http://[:::", False),
        (b"\xff", False),
    ],
)
def test_only_own_pages_and_pages_of_listed_origins_pass_the_origin_check(
    origin: bytes | None, is_allowed: bool
) -> None:
    check = OriginCheck(CorsPolicy(["http://dash.example:3000"]))
    asked = request(b"GET /ws", *(() if origin is None else (b"Origin: " + origin,)))
    if is_allowed:
        check.check(asked)
    else:
        with pytest.raises(Refusal, match="403"):
            check.check(asked)


def test_a_request_without_a_host_has_no_pages_of_its_own() -> None:
    asked = Request(parse_head(b"POST /data HTTP/1.0\r\nOrigin: null\r\n\r\n"), b"")
    with pytest.raises(Refusal, match="403"):
        OriginCheck().check(asked)


def test_every_page_passes_the_origin_check_if_a_star_is_listed() -> None:
    OriginCheck(CorsPolicy(["*"])).check(request(b"GET /ws", b"Origin: http://evil.example"))


# -- the roles of routes


def test_a_route_needs_the_role_of_its_method_by_default() -> None:
    router = Router()
    roles = {method: router.add(method, "/a", succeed).role for method in ("GET", "POST", "PUT", "PATCH", "DELETE")}
    assert roles == {"GET": "read", "POST": "write", "PUT": "write", "PATCH": "write", "DELETE": "write"}


def test_a_request_without_access_is_refused_before_its_content_comes(make_application: Any) -> None:
    refusal = make_application(WRITE).admit(request(b"POST /data")).refusal
    assert refusal is not None
    assert refusal.status == 401


# -- WebSocket


def upgrade(application: Application, line: bytes, *fields: bytes, host: bytes = b"localhost:8000") -> int:
    asked = request(line, b"Connection: Upgrade", b"Upgrade: websocket", *fields, host=host)
    try:
        application.begin_upgrade(asked, None, b"", None)  # type: ignore[arg-type]  # not reached
    except Refusal as refusal:
        return refusal.status
    return 101


def test_an_upgrade_needs_the_role_of_its_path(make_application: Any) -> None:
    assert upgrade(make_application(), b"GET /ws") == 101
    assert upgrade(make_application(READ), b"GET /ws") == 401
    assert upgrade(make_application(READ), b"GET /ws", BEARER_READ) == 101
    assert upgrade(make_application(READ), b"GET /ws?token=reader-0123456789") == 101
    assert upgrade(make_application(READ), b"GET /ws?token=reader") == 401


@pytest.mark.parametrize(
    ("offered", "status"),
    [
        (b"observability, bearer.reader-0123456789", 101),
        (b"bearer.reader-0123456789,observability", 101),
        (b"observability, bearer.READER-0123456789", 401),
        (b"observability, bearer.", 401),
        (b"observability", 401),
        (b"bearer.reader-0123456789, bearer.reader-0123456789", 400),
    ],
)
def test_a_subprotocol_of_an_upgrade_may_be_a_token(make_application: Any, offered: bytes, status: int) -> None:
    assert upgrade(make_application(READ), b"GET /ws", b"Sec-WebSocket-Protocol: " + offered) == status


def test_a_subprotocol_of_a_plain_request_is_not_a_token(make_application: Any) -> None:
    asked = request(b"GET /data", b"Sec-WebSocket-Protocol: bearer.reader-0123456789")
    assert answer(make_application(READ), asked).status == 401


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (b"observability, bearer.abc", "observability"),
        (b"bearer.abc", None),
        (b"Observability", None),
        (b"", None),
    ],
)
def test_the_chosen_subprotocol_is_never_a_token(offered: bytes, chosen: str | None) -> None:
    assert chosen_subprotocol(request(b"GET /ws", b"Sec-WebSocket-Protocol: " + offered)) == chosen


# -- the log


def test_a_refusal_is_logged_in_one_line_without_the_token(
    make_application: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for line, *fields in (
        (b"POST /data?token=hunter2",),
        (b"POST /data", b"Authorization: Bearer hunter2"),
        (b"POST /data?token=hunter2&token=hunter2",),
        (b"POST /data", b"Authorization: Bearer hunter2 hunter2"),
    ):
        caplog.clear()
        response = answer(make_application(WRITE), request(line, *fields))
        assert len(caplog.messages) == 1 and caplog.messages[0].startswith("refused 127.0.0.1: 40")
        assert "hunter2" not in caplog.text
        assert b"hunter2" not in response.body and b"hunter2" not in response.headers[0][1]
        assert orjson.loads(response.body)["detail"] in caplog.messages[0]
