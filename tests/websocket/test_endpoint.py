"""The base of WebSocket endpoints, tested through the echo over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.typing import Origin

from observability.access.authorization import OriginCheck
from observability.clocks.timestamps import NS_PER_S
from observability.http11.cors import CorsPolicy
from observability.http11.heads import parse_head
from observability.http11.messages import Request
from observability.routing.application import Application
from observability.routing.router import Router
from observability.websocket.connection import MAX_REFUSED_MESSAGES, WebSocketConnection
from observability.websocket.echo import MAX_MESSAGE_BYTES, MIN_FRAGMENT_BYTES, EchoClient, EchoEndpoint
from server_process import TIMEOUT_SECONDS
from ws_client import CLOSE, PING, RawClient, connect, frame, handshake, read_to_close

WAIT_SECONDS = TIMEOUT_SECONDS


class Echo:
    """A server with nothing but an echo."""

    def __init__(self, serve: Callable[[Application], Any], **options: Any) -> None:
        router = Router()
        router.add_websocket("/ws/echo", EchoEndpoint.role)
        application = Application(router)
        self.server = serve(application)
        self.endpoint: EchoEndpoint = self.server.call(
            lambda: EchoEndpoint(self.server.loop, **{"max_clients": 2, **options})
        )
        application.upgrade = self.endpoint.upgrade

    def raw_client(self) -> RawClient:
        return RawClient(self.server.port, "/ws/echo")

    @contextmanager
    def client(self, **options: Any) -> Iterator[ClientConnection]:
        with connect(f"ws://127.0.0.1:{self.server.port}/ws/echo", **options) as connection:
            yield connection

    def close(self, grace_seconds: float) -> None:
        self.server.run(self.endpoint.close(grace_seconds))


MakeEcho = Callable[..., Echo]


@pytest.fixture
def echoes(serve: Callable[[Application], Any]) -> Iterator[MakeEcho]:
    made: list[Echo] = []

    def make(**options: Any) -> Echo:
        made.append(Echo(serve, **options))
        return made[-1]

    yield make
    for each in made:
        each.close(0.05)


def test_a_client_more_than_allowed_is_refused_until_one_leaves(echoes: MakeEcho) -> None:
    echo = echoes(max_clients=2)
    with ExitStack() as opened:
        first = opened.enter_context(echo.client())
        opened.enter_context(echo.client())
        with pytest.raises(InvalidStatus) as refused:
            opened.enter_context(echo.client())
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["Retry-After"] == "5"
        first.close()
        echo.server.wait_until(lambda: len(echo.endpoint.clients) == 1)
        opened.enter_context(echo.client())


@pytest.mark.parametrize(
    ("origin", "status"),
    [("http://page.example", 101), ("http://other.example", 403), ("null", 403), ("http://127.0.0.1:{port}", 101)],
)
def test_a_page_connects_only_from_an_allowed_origin(echoes: MakeEcho, origin: str, status: int) -> None:
    echo = echoes(origins=OriginCheck(CorsPolicy(["http://page.example"])))
    try:
        with echo.client(origin=Origin(origin.format(port=echo.server.port))):
            answered = 101
    except InvalidStatus as refused:
        answered = refused.response.status_code
    assert answered == status


def test_a_shutdown_closes_every_client_with_1001(echoes: MakeEcho) -> None:
    echo = echoes()
    with echo.client() as first, echo.client() as second:
        closing = echo.server.begin(echo.endpoint.close(WAIT_SECONDS))
        assert [read_to_close(client) for client in (first, second)] == [([], 1001)] * 2
        closing.result(WAIT_SECONDS)
    assert not echo.endpoint.clients


def test_a_shutdown_aborts_clients_that_outstay_its_grace_period(echoes: MakeEcho) -> None:
    echo = echoes()
    with echo.raw_client():
        echo.server.wait_until(lambda: len(echo.endpoint.clients) == 1)
        echo.close(0.05)
        assert not echo.endpoint.clients


def test_the_heartbeat_closes_silent_clients_and_keeps_answering_ones(echoes: MakeEcho) -> None:
    echo = echoes(heartbeat_seconds=0.1)
    with echo.client(ping_interval=None) as answering, echo.raw_client() as silent:
        frames = list(silent.frames())
        assert frames[-1] == (CLOSE, b"\x03\xe9no sign of life")
        assert {opcode for opcode, _ in frames[:-1]} == {PING}
        answering.send("still here")
        assert answering.recv(WAIT_SECONDS) == "still here"


def test_a_client_that_says_goodbye_with_its_handshake_is_pinged_no_more(echoes: MakeEcho) -> None:
    echo = echoes(heartbeat_seconds=60)
    with RawClient(echo.server.port, "/ws/echo", behind=frame(CLOSE, b"\x03\xe8")) as client:
        assert client.close_code() == 1000
    pinger = echo.endpoint._pinger
    assert pinger is not None
    assert echo.server.call(lambda: (pinger._clients, [*filter(None, pinger._groups)])) == (0, [])


def test_a_client_that_is_only_pinged_needs_no_framing(echoes: MakeEcho) -> None:
    echo = echoes(heartbeat_seconds=0.1)
    with echo.raw_client() as silent:
        assert next(silent.frames()) == (PING, b"")
        (client,) = echo.endpoint.clients.values()
        assert client._ws is None


def test_nothing_is_written_by_way_of_a_transport_that_closes(echoes: MakeEcho) -> None:
    echo = echoes()
    with echo.raw_client() as raw:
        echo.server.wait_until(lambda: len(echo.endpoint.clients) == 1)
        (client,) = echo.endpoint.clients.values()

        def send_late() -> bool:
            client.transport.abort()
            client.send_text(b"late")
            # The descriptor may be that of another connection by now, and picows would know it.
            return client._ws is None

        assert echo.server.call(send_late)
        assert list(raw.frames()) == []


def test_refused_messages_are_counted_per_time_and_not_per_life(
    echoes: MakeEcho, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ns = [0]
    monkeypatch.setattr(WebSocketConnection, "_now_ns", lambda _: now_ns[0])
    echo = echoes()
    with echo.client() as client:
        (connection,) = echo.endpoint.clients.values()
        for _ in range(5 * MAX_REFUSED_MESSAGES):  # a client with a heartbeat of its own, which is not understood
            now_ns[0] += NS_PER_S
            echo.server.call(connection.count_refused)
        client.send("still here")
        assert client.recv(WAIT_SECONDS) == "still here"
        now_ns[0] += MAX_REFUSED_MESSAGES * NS_PER_S
        for _ in range(MAX_REFUSED_MESSAGES - 1):
            echo.server.call(connection.count_refused)
        assert not connection.is_closing
        echo.server.call(connection.count_refused)
        assert read_to_close(client) == ([], 1008)


def test_the_echo_takes_what_public_suites_send(echoes: MakeEcho) -> None:
    message = bytes(range(256)) * (MAX_MESSAGE_BYTES // 256)
    with echoes().client(max_size=None, compression=None) as client:
        client.send(message)
        assert client.recv(WAIT_SECONDS) == message
        parts = [message[at : at + MIN_FRAGMENT_BYTES] for at in range(0, 65_536, MIN_FRAGMENT_BYTES)]
        client.send(parts)
        assert client.recv(WAIT_SECONDS) == message[:65_536]
        client.send(message + b"x")
        assert read_to_close(client)[1] == 1009


class GoneTransport(asyncio.Transport):
    """A transport whose peer has reset the connection."""

    def is_closing(self) -> bool:
        return True


def test_a_client_that_is_gone_before_its_upgrade_is_not_registered(echoes: MakeEcho) -> None:
    endpoint = echoes().endpoint
    request = Request(parse_head(handshake("/ws/echo")), b"")
    endpoint.upgrade(request, GoneTransport(), b"", asyncio.Protocol())
    assert not endpoint.clients


def test_clients_whose_handshakes_differ_in_their_keys_get_answers_of_their_own(echoes: MakeEcho) -> None:
    echo = echoes(max_clients=3)
    with ExitStack() as stack:
        # Each client checks Sec-WebSocket-Accept.
        for number in range(3):
            client = stack.enter_context(echo.client())
            client.send(f"hello {number}")
            assert client.recv(WAIT_SECONDS) == f"hello {number}"


def test_a_fault_of_ours_in_a_message_closes_with_1011_and_spares_the_others(
    echoes: MakeEcho, monkeypatch: pytest.MonkeyPatch
) -> None:
    echo = echoes()

    def fail(client: WebSocketConnection, message: bytes, is_text: bool) -> None:
        raise RuntimeError("a fault of ours")

    with echo.client() as unlucky, echo.client() as other:
        with monkeypatch.context() as patch:
            patch.setattr(EchoClient, "on_message", fail)
            unlucky.send("x")
            assert read_to_close(unlucky)[1] == 1011
        other.send("y")
        assert other.recv(WAIT_SECONDS) == "y"


def test_a_client_that_comes_while_the_endpoint_closes_is_asked_to_leave_at_once(echoes: MakeEcho) -> None:
    echo = echoes()
    echo.close(0.05)
    with echo.client() as newcomer:
        with pytest.raises(ConnectionClosed) as closed:
            newcomer.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
