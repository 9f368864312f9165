"""Connections in their TLS handshake: they are counted, have a deadline, and are refused with a reason."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from observability.access.limits import Limits
from observability.connections.listener import REFUSAL_SLOTS, HttpListener
from observability.connections.tls import Certificate
from observability.connections.tls_connection import HANDSHAKE_SECONDS
from observability.http11.messages import Request, Response
from observability.routing.application import Application
from observability.routing.router import Router

CERTIFICATES = Path(__file__).parents[1] / "certificates"
CERT, KEY = CERTIFICATES / "first.crt", CERTIFICATES / "first.key"
# The start of a ClientHello: the first byte of a record of 512.
HELLO_BEGUN = b"\x16\x03\x01\x02\x00\x01"


class TlsServer:
    """A listener with a certificate, on the loop of the fixture's server."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.listener: HttpListener = server.run(self._start())

    async def _start(self) -> HttpListener:
        listener = HttpListener(self.server.application)
        await listener.start(certificate=Certificate(CERT, KEY))
        return listener

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.listener.port), timeout=60)

    def ask(self) -> bytes:
        context = ssl.create_default_context(cafile=str(CERT))
        with self.connect() as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            data = b""
            while part := tls.recv(65536):
                data += part
            return data

    def wait_for(self, connections: int) -> None:
        self.server.wait_until(lambda: self.listener.connection_count == connections)


def hello(request: Request) -> Response:
    return Response(body=b"hello")


@pytest.fixture
def start_tls(serve: Callable[[Application], Any], clock: Any) -> Iterator[Callable[..., TlsServer]]:
    started: list[TlsServer] = []

    def start(**limits: Any) -> TlsServer:
        router = Router()
        router.add("GET", "/", hello)
        started.append(TlsServer(serve(Application(router, clock, limits=Limits(**limits), is_tls=True))))
        return started[-1]

    yield start
    for tls in started:
        tls.server.run(tls.listener.close(0.05))


def test_a_silent_peer_is_closed_without_a_log_line(
    start_tls: Callable[..., TlsServer], clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tls = start_tls()
    with tls.connect():
        tls.wait_for(1)
        clock.advance(HANDSHAKE_SECONDS)
        tls.wait_for(0)
    assert caplog.messages == []


def test_a_handshake_that_takes_too_long_is_cut_and_logged(
    start_tls: Callable[..., TlsServer], clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tls = start_tls()
    with tls.connect() as slow:
        slow.sendall(HELLO_BEGUN)
        tls.wait_for(1)
        tls.server.wait_until(lambda: all(c._task is not None for c in tls.listener._connections))
        clock.advance(HANDSHAKE_SECONDS)
        tls.wait_for(0)
    assert caplog.messages == ["refused 127.0.0.1: TLS handshake: not complete within 10 s"]


def test_handshakes_count_as_connections(start_tls: Callable[..., TlsServer]) -> None:
    tls = start_tls(max_connections=2)
    with tls.connect(), tls.connect():
        tls.wait_for(2)
        assert tls.ask().startswith(b"HTTP/1.1 503")
    tls.wait_for(0)
    assert tls.ask().startswith(b"HTTP/1.1 200")


def test_one_address_cannot_take_every_handshake(start_tls: Callable[..., TlsServer]) -> None:
    tls = start_tls(max_connections_per_address=1)
    with tls.connect():
        tls.wait_for(1)
        assert tls.ask().startswith(b"HTTP/1.1 429")
    tls.wait_for(0)
    assert not tls.listener._per_address


def test_connections_far_beyond_the_limit_begin_no_handshake(start_tls: Callable[..., TlsServer]) -> None:
    tls = start_tls(max_connections=1)
    with ExitStack() as stack:
        for _ in range(REFUSAL_SLOTS + 6):
            stack.enter_context(tls.connect())
        tls.server.wait_until(lambda: tls.listener.refused == 5)
        assert tls.server.call(lambda: tls.listener.connection_count) == 1 + REFUSAL_SLOTS
    tls.wait_for(0)


def test_a_peer_that_leaves_during_its_handshake_is_released(
    start_tls: Callable[..., TlsServer], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    tls = start_tls()
    for sent in (b"", HELLO_BEGUN):
        with tls.connect() as sock:
            sock.sendall(sent)
            tls.wait_for(1)
        tls.wait_for(0)
    assert caplog.messages == []


def test_closing_cuts_unfinished_handshakes_at_once(start_tls: Callable[..., TlsServer]) -> None:
    tls = start_tls()
    with tls.connect(), tls.connect() as slow:
        slow.sendall(HELLO_BEGUN)
        tls.wait_for(2)
        tls.server.run(tls.listener.close(5.0))
        tls.wait_for(0)


def test_a_client_in_its_handshake_may_still_ask_during_close(start_tls: Callable[..., TlsServer]) -> None:
    tls = start_tls()
    context = ssl.create_default_context(cafile=str(CERT))
    with tls.connect() as sock:
        tls.wait_for(1)
        closing = tls.server.begin(tls.listener.close(5.0, newcomers_seconds=5.0))
        with context.wrap_socket(sock, server_hostname="localhost") as client:
            # The connection speaks HTTP from here on, and has not asked yet.
            tls.server.wait_until(lambda: tls.listener.accepted == 1)
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200 ")
    closing.result(5)
