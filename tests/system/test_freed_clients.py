"""A client that has gone is freed at once: nothing of it waits for the garbage collector, which would stop the loop and
delay a tick once thousands have gone."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

import cycle_finder
from certified import FIRST, trusting
from hosts import post, wait_until
from server_process import TIMEOUT_SECONDS, Server
from ws_client import CLOSE, TEXT, RawClient, ask, connect, frame, open_socket, receive, reset

# What a connection is made of.
OURS = re.compile(
    r"observability\.(connections|websocket|stream|senders|http11|routing)\.|picows|uvloop|builtins\.(frame|traceback)$"
)

QUOTE = {"type": "quote", "symbol": "X", "bid": 1, "ask": 2, "bid_size": 1, "ask_size": 1}
FILL = {"type": "fill", "trade_id": "1", "order_id": "1", "symbol": "X", "side": "buy", "quantity": "1", "price": "1"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(PYTHONPATH=cycle_finder.install(tmp_path_factory.mktemp("finder")))
    assert post(server, "/api/ingest", [QUOTE, FILL])["accepted"] == 2
    yield server
    server.stop()


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    cert, key = map(str, FIRST)
    path = cycle_finder.install(tmp_path_factory.mktemp("finder"))
    server = Server("--tls-cert", cert, "--tls-key", key, PYTHONPATH=path)
    yield server
    server.stop()


def stream(path: str) -> Callable[[int], None]:
    """Returns what reads a greeting and two snapshots, and resets the connection."""

    def visit(port: int) -> None:
        client = RawClient(port, path)
        for _ in range(3):
            assert client.next_frame() is not None
        reset(client.sock)

    return visit


def read_lanes(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/ws/metrics?channels=strategy,trades,alerts&lane_since=0"
    with connect(url, compression=None) as client:
        receive(client, "trade")


def read_compressed(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/ws/metrics", compression="deflate") as client:
        for _ in range(3):
            receive(client, "metrics_update")
        ask(client, type="subscribe", id=1, channels=["market_data", "trades"])
        receive(client, "subscribed")


def end_without_goodbye(port: int) -> None:
    with RawClient(port) as client:
        client.send(frame(TEXT, b"ping"))
        assert (TEXT, b"pong") in client.frames()


def say_goodbye(port: int) -> None:
    with RawClient(port) as client:
        client.send(frame(CLOSE, b"\x03\xe8"))
        assert client.close_code() == 1000


def break_the_protocol(port: int) -> None:
    with RawClient(port) as client:
        client.send(frame(TEXT, b"\xff"))
        assert client.close_code() == 1007


def leave_half_a_frame(port: int) -> None:
    client = RawClient(port)
    client.next_frame()
    client.send(frame(TEXT, b"ping")[:-1])
    client.next_frame()
    reset(client.sock)


def send_events(port: int) -> None:
    with RawClient(port, "/ws/ingest") as client:
        client.next_frame()
        client.send(frame(TEXT, b'[{"type":"metric","name":"m","value":1}]'))
        opcode, answer = client.next_frame() or (0, b"")
        assert opcode == TEXT and b'"accepted":1' in answer


def request(
    data: bytes, answer: bytes, leave: Callable[[socket.socket], None] = socket.socket.close
) -> Callable[[int], None]:
    """Returns what sends one request, reads up to `answer`, and leaves."""

    def visit(port: int) -> None:
        sock = open_socket(port)
        sock.sendall(data)
        received = b""
        while answer not in received:
            part = sock.recv(1 << 16)
            assert part, received
            received += part
        leave(sock)

    return visit


def cut_an_answer(port: int) -> None:
    sock = open_socket(port)
    sock.sendall(b"GET /api/trades/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert sock.recv(16)
    reset(sock)


def say_nothing(port: int) -> None:
    open_socket(port).close()


VISITS: dict[str, Callable[[int], None]] = {
    "snapshots": stream("/ws/metrics"),
    "one section": stream("/ws/metrics?channels=strategy"),
    "deltas": stream("/ws/metrics?mode=delta"),
    "lanes": read_lanes,
    "compressed": read_compressed,
    "no goodbye": end_without_goodbye,
    "goodbye": say_goodbye,
    "a fault": break_the_protocol,
    "half a frame": leave_half_a_frame,
    "a sender": send_events,
    "events": request(
        b"GET /stream?channels=trades,strategy&lane_since=0 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"event: trade\n"
    ),
    "a document": request(b"GET /api/metrics/current HTTP/1.1\r\nHost: localhost\r\n\r\n", b'"seq"'),
    "a batch": request(b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]", b'"accepted"'),
    "half a batch": request(
        b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n",
        b"100 Continue",
        reset,
    ),
    "a refusal": request(b"GET / HTTP/1.1\r\n\r\n", b" 400 "),
    "a refused handshake": request(
        b"GET /ws/metrics HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", b" 426 "
    ),
    "a cut answer": cut_an_answer,
    "silence": say_nothing,
}


def cycles_after(fetch: Callable[[], dict[str, Any]], visit: Callable[[], None]) -> dict[str, int]:
    """Returns how many objects a visit has left in cycles, by their types."""

    def count() -> dict[str, int]:
        """Waits until no client is there but the one that asks."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while True:
            found = fetch()[cycle_finder.NAME]
            clients: dict[str, int] = {"?": 1} if found is None else found["live"]
            if set(clients) <= {"HttpConnection", "SSLProtocol"} and max(clients.values(), default=0) <= 1:
                return {name: number for name, number in found["cycles"].items() if OURS.match(name)}
            assert time.monotonic() < deadline, f"these clients have not gone: {clients}"

    before = count()
    for _ in range(3):
        visit()
    return {name: number - before.get(name, 0) for name, number in count().items() if number > before.get(name, 0)}


@pytest.mark.parametrize("kind", VISITS)
def test_a_client_that_has_gone_leaves_no_cycle(server: Server, kind: str) -> None:
    assert cycles_after(server.next_snapshot, lambda: VISITS[kind](server.port)) == {}


@pytest.mark.parametrize("ends", ["properly", "by reset", "within the handshake", "without a handshake"])
def test_a_client_that_has_gone_leaves_no_cycle_under_tls(tls_server: Server, ends: str) -> None:
    port, context = tls_server.port, trusting(FIRST[0])

    def current() -> dict[str, Any]:
        connection = http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT_SECONDS, context=context)
        with closing(connection):
            connection.request("GET", "/api/metrics/current")
            document: dict[str, Any] = json.loads(connection.getresponse().read())
            return document

    def next_snapshot() -> dict[str, Any]:
        """Returns the snapshot of a tick that began after the call."""
        known = current()["seq"]
        found: dict[str, Any] = wait_until(lambda: document if (document := current())["seq"] > known + 1 else {})
        return found

    def visit() -> None:
        if ends == "properly":
            with connect(f"wss://localhost:{port}/ws/metrics", ssl=context) as client:
                receive(client, "metrics_update")
            return
        sock = open_socket(port)
        if ends == "by reset":
            wrapped = context.wrap_socket(sock, server_hostname="localhost")
            wrapped.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wrapped.recv(100)
            reset(wrapped)
        elif ends == "within the handshake":
            sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
            reset(sock)
        else:
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert b" 400 " in sock.recv(1 << 16)
            sock.close()

    assert cycles_after(next_snapshot, visit) == {}
