"""The listener, over real sockets: its limits, its deadlines, and how it closes."""

from __future__ import annotations

import asyncio
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from observability.access.limits import Limits
from observability.connections.listener import REFUSAL_SLOTS, HttpListener
from observability.http11.messages import Request, Response
from observability.routing.application import Application
from observability.routing.router import Router
from server_process import TIMEOUT_SECONDS

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
ROOT = Path(__file__).parents[2]


class Gated:
    """An application with a route that answers at once and one that waits for the test."""

    def __init__(self, clock: Any, limits: Limits) -> None:
        self.gates: list[asyncio.Future[None]] = []
        router = Router()
        router.add("GET", "/hello", self.hello)
        router.add("GET", "/slow", self.slow)
        self.application = Application(router, clock, limits=limits)

    def hello(self, request: Request) -> Response:
        return Response(body=b"hello")

    async def slow(self, request: Request) -> Response:
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return Response(body=b"slow")


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(65536):
        data += part
    return data


def ask(sock: socket.socket) -> bytes:
    sock.sendall(HELLO)
    return sock.recv(65536)


def test_each_connection_that_goes_lets_what_is_due_be_done(serve: Callable[..., Any], clock: Any) -> None:
    left: list[int] = []
    application = Gated(clock, Limits()).application
    server = serve(application)
    application.keep_pace = lambda: left.append(server.listener.connection_count)

    def go() -> None:
        for sock in socks:
            sock.close()

    with ExitStack() as stack:
        socks = [stack.enter_context(server.connect()) for _ in range(3)]
        assert all(ask(sock) for sock in socks)
        server.call(go)
        server.wait_until(lambda: server.listener.connection_count == 0)
    assert left == [2, 1, 0]


def test_connections_beyond_the_limit_get_503_with_retry_after(serve: Callable[[Application], Any], clock: Any) -> None:
    server = serve(Gated(clock, Limits(max_connections=2)).application)
    with server.connect() as first, server.connect() as second:
        assert ask(first).startswith(b"HTTP/1.1 200")
        assert ask(second).startswith(b"HTTP/1.1 200")
        with server.connect() as third:
            answer = read_all(third)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 5\r\n" in answer
    server.wait_until(lambda: server.listener.connection_count == 0)
    with server.connect() as fourth:
        assert ask(fourth).startswith(b"HTTP/1.1 200")


def test_connections_far_beyond_the_limit_are_dropped_silently(serve: Callable[[Application], Any], clock: Any) -> None:
    server = serve(Gated(clock, Limits(max_connections=1)).application)
    with ExitStack() as stack:
        sockets = [stack.enter_context(server.connect()) for _ in range(REFUSAL_SLOTS + 6)]
        server.wait_until(lambda: server.listener.accepted == len(sockets))
        assert server.call(lambda: server.listener.connection_count) == 1 + REFUSAL_SLOTS
        assert server.listener.refused == REFUSAL_SLOTS + 5


def test_one_address_cannot_take_every_connection(serve: Callable[[Application], Any], clock: Any) -> None:
    server = serve(Gated(clock, Limits(max_connections_per_address=1)).application)
    with server.connect() as first:
        assert ask(first).startswith(b"HTTP/1.1 200")
        with server.connect() as second:
            assert read_all(second).startswith(b"HTTP/1.1 429")
    server.wait_until(lambda: server.listener.connection_count == 0)
    assert not server.listener._per_address


def test_closing_ends_idle_connections_and_lets_busy_ones_answer(
    serve: Callable[[Application], Any], clock: Any
) -> None:
    gated = Gated(clock, Limits())
    server = serve(gated.application)
    with server.connect() as idle, server.connect() as busy, server.connect() as silent:
        assert ask(idle).startswith(b"HTTP/1.1 200")
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_until(lambda: bool(gated.gates))
        closing = asyncio.run_coroutine_threadsafe(server.listener.close(5.0), server.loop)
        assert read_all(idle) == b""
        assert read_all(silent) == b""
        server.call(lambda: gated.gates[0].set_result(None))
        answer = read_all(busy)
        busy.close()
        closing.result(5)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"\r\nConnection: close\r\n" in answer
    with pytest.raises(ConnectionRefusedError):
        server.connect()


def test_closing_cuts_connections_that_do_not_end_within_the_grace(
    serve: Callable[[Application], Any], clock: Any
) -> None:
    gated = Gated(clock, Limits())
    server = serve(gated.application)
    with server.connect() as busy:
        busy.sendall(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        server.wait_until(lambda: bool(gated.gates))
        server.run(server.listener.close(0.01))
        assert busy.recv(1) == b""


def test_the_listener_accepts_on_sockets_it_is_given(serve: Callable[[Application], Any], clock: Any) -> None:
    server = serve(Gated(clock, Limits()).application)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]

    async def start() -> HttpListener:
        listener = HttpListener(server.application)
        await listener.start(socks=[sock])
        return listener

    listener = server.run(start())
    assert listener.port == port
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_SECONDS) as client:
        assert ask(client).startswith(b"HTTP/1.1 200")
    server.run(listener.close())


def test_the_listener_checks_deadlines_by_itself(serve: Callable[[Application], Any], clock: Any) -> None:
    server = serve(Gated(clock, Limits()).application)
    with server.connect() as silent:
        server.wait_until(lambda: server.listener.connection_count == 1)
        clock.advance(11)
        assert silent.recv(1) == b""


STARVED = """
import asyncio, resource, uvloop
from observability.routing.application import Application
from observability.connections.listener import HttpListener
from observability.http11.messages import Response
from observability.routing.router import Router

async def main():
    router = Router()
    router.add("GET", "/hello", lambda request: Response(body=b"hello"))
    listener = HttpListener(Application(router))
    await listener.start()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    print(listener.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, input)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, flush=True)

asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
"""


def answered(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=TIMEOUT_SECONDS) as client:
            return ask(client).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def test_a_server_without_file_descriptors_neither_stops_nor_spins() -> None:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 200:
        pytest.skip("this process may not open enough sockets")
    command = [sys.executable, "-c", STARVED]
    environment = {"PYTHONPATH": f"{ROOT / 'core'}:{ROOT / 'http'}"}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        address = ("127.0.0.1", int(process.stdout.readline()))
        with ExitStack() as stack:
            for _ in range(80):
                stack.enter_context(socket.create_connection(address, timeout=TIMEOUT_SECONDS))
        # Until the server has seen the other connections end, it drops new ones.
        until = time.monotonic() + TIMEOUT_SECONDS
        while not answered(address):
            assert time.monotonic() < until, "the server did not recover"
        process.stdin.write(b"\n")
        process.stdin.close()
        assert float(process.stdout.readline()) < 2.0
    assert process.returncode == 0


def test_a_turn_of_the_loop_accepts_several_connections(clock: Any) -> None:
    connections = 40

    async def turns_until_accepted() -> int:
        listener = HttpListener(Gated(clock, Limits()).application)
        await listener.start()
        turns = 0
        with ExitStack() as stack:
            for _ in range(connections):
                stack.enter_context(socket.create_connection(("127.0.0.1", listener.port)))
            while listener.accepted < connections:
                await asyncio.sleep(0)
                turns += 1
            await listener.close()
        return turns

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(turns_until_accepted()) < connections / 2
