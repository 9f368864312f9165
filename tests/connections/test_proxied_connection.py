"""Connections that begin with a PROXY header, if a setting says that trusted proxies send one."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import pytest

from certified import FIRST
from http_application import HELLO, HttpApplication, bodies, get, receive_all
from observability.access.addresses import TrustedProxies
from observability.access.rates import RequestRate
from observability.connections.listener import HttpListener
from observability.connections.proxied_connection import HEADER_SECONDS
from observability.connections.tls import Certificate
from observability.http11.messages import Request, Response
from observability.http11.proxy_protocol import PROXY_V2_SIGNATURE
from observability.routing.application import Application

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.2 56324 80\r\n"
V2 = PROXY_V2_SIGNATURE + b"\x21\x11\x00\x0c" + bytes((192, 0, 2, 7, 192, 0, 2, 2, 0, 1, 0, 2))
LOCAL = PROXY_V2_SIGNATURE + b"\x20\x00\x00\x00"
WRITE = b"POST /write HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def application(clock: Any, trusted: str = "127.0.0.0/8", **options: Any) -> Application:
    made = HttpApplication(clock).application

    def who(request: Request) -> Response:
        return Response(body=request.client_address.encode())

    made.router.add("GET", "/who", who)
    made.router.add("POST", "/write", who)
    return replace(made, proxies=TrustedProxies([ip_network(trusted)]), takes_proxy_protocol=True, **options)


@pytest.mark.parametrize(
    ("header", "client"),
    [(V1, b"192.0.2.7"), (V2, b"192.0.2.7"), (LOCAL, b"127.0.0.1"), (b"PROXY UNKNOWN\r\n", b"127.0.0.1")],
)
def test_a_header_of_a_trusted_proxy_names_the_client(
    serve: Callable[..., Any], clock: Any, header: bytes, client: bytes
) -> None:
    server = serve(application(clock))
    assert bodies(server.exchange(header + get(b"/who") * 2)) == [(200, client)] * 2
    with server.connect() as sock:
        for byte in header + get(b"/who", b"Connection: close"):
            sock.sendall(bytes((byte,)))
        assert bodies(receive_all(sock)) == [(200, client)]
    server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_forwarding_field_counts_if_the_named_address_is_a_trusted_proxy_too(
    serve: Callable[..., Any], clock: Any
) -> None:
    field = b"X-Forwarded-For: 198.51.100.9"
    assert bodies(serve(application(clock)).exchange(V1 + get(b"/who", field))) == [(200, b"192.0.2.7")]
    header = b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n"
    assert bodies(serve(application(clock)).exchange(header + get(b"/who", field))) == [(200, b"198.51.100.9")]


def test_nobody_behind_a_proxy_is_local(serve: Callable[..., Any], clock: Any) -> None:
    server = serve(application(clock))
    for header in (V1, LOCAL, b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n"):
        assert bodies(server.exchange(header + WRITE))[0][0] == 403


def test_a_rate_holds_for_the_client_and_not_for_the_proxy(serve: Callable[..., Any], clock: Any) -> None:
    server = serve(application(clock, request_rate=RequestRate(1)))
    statuses = [status for status, _ in bodies(server.exchange(V1 + get(b"/who") * 3))]
    assert statuses == [200, 200, 429]
    assert bodies(server.exchange(V1.replace(b"2.7", b"2.8") + get(b"/who")))[0][0] == 200


@pytest.mark.parametrize("data", [HELLO, b"PROXY TCP4 nowhere\r\n" + HELLO, b"\x16\x03\x01\x00"])
def test_a_trusted_proxy_that_sends_no_header_is_refused(
    serve: Callable[..., Any], clock: Any, data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = serve(application(clock))
    assert server.exchange(data).startswith(b"HTTP/1.1 400")
    assert "PROXY" in caplog.text
    server.wait_until(lambda: server.listener.connection_count == 0)


def test_others_need_no_header_and_may_not_send_one(serve: Callable[..., Any], clock: Any) -> None:
    server = serve(application(clock, trusted="198.51.100.0/24"))
    assert bodies(server.exchange(get(b"/who"))) == [(200, b"127.0.0.1")]
    for header in (V1, V2):
        ((status, body),) = bodies(server.exchange(header + get(b"/who")))
        assert (status, b"PROXY protocol" in body) == (400, True)
    assert bodies(server.exchange(WRITE))[0][0] in (200, 403)


def test_a_header_has_a_deadline(serve: Callable[..., Any], clock: Any) -> None:
    server = serve(application(clock))
    with server.connect() as sock:
        sock.sendall(V1[:10])
        server.wait_until(lambda: [bool(c._received) for c in server.listener._connections] == [True])
        clock.advance(HEADER_SECONDS + 1)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_tls_begins_behind_the_header(serve: Callable[..., Any], clock: Any) -> None:
    server = serve(application(clock, is_tls=True))
    cert, key = FIRST

    async def start() -> HttpListener:
        listener = HttpListener(server.application)
        await listener.start(certificate=Certificate(cert, key))
        return listener

    listener: HttpListener = server.run(start())
    context = ssl.create_default_context(cafile=str(cert))
    server.port, plain = listener.port, server.port
    with server.connect() as sock:
        sock.sendall(V2)
        with context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(get(b"/who", b"Connection: close"))
            data = b""
            while part := tls.recv(65536):
                data += part
    assert bodies(data) == [(200, b"192.0.2.7")]
    server.run(listener.close(0.05))
    server.port = plain
