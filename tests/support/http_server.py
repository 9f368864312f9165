"""An HTTP server on uvloop in a thread of its own, and the fixtures that start one."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
import uvloop

from fake_clock import FakeClock
from http_application import HttpApplication, receive_all
from observability.connections.listener import HttpListener
from observability.routing.application import Application

WAIT_SECONDS = 60.0


class HttpServer:
    """A running `HttpListener`."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.listener: HttpListener
        self.loop_errors: list[dict[str, Any]] = []
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._started.wait(WAIT_SECONDS)
        self.port = self.call(lambda: self.listener.port)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.loop.set_exception_handler(lambda _, context: self.loop_errors.append(context))
        self._stop = asyncio.Event()
        self.listener = HttpListener(self.application)
        await self.listener.start()
        self._started.set()
        await self._stop.wait()
        await self.listener.close(grace_seconds=0.05)

    def call(self, function: Callable[[], Any]) -> Any:
        """Returns the result of `function`, called inside the loop."""

        async def inside() -> Any:
            return function()

        return asyncio.run_coroutine_threadsafe(inside(), self.loop).result(WAIT_SECONDS)

    def begin(self, coroutine: Any) -> Future[Any]:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Any) -> Any:
        return self.begin(coroutine).result(WAIT_SECONDS)

    def wait_until(self, predicate: Callable[[], bool]) -> None:
        """Waits until `predicate`, called inside the loop, is true."""
        until = time.monotonic() + WAIT_SECONDS
        while not self.call(predicate):
            assert time.monotonic() < until, "the condition was not met"

    def sweep(self) -> None:
        self.call(self.listener.sweep)

    def connect(self) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def exchange(self, data: bytes) -> bytes:
        """Sends `data`, closes the sending side, and returns everything until the server has closed its own."""
        with self.connect() as sock:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            return receive_all(sock)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(WAIT_SECONDS)
        assert not self._thread.is_alive()
        assert self.loop_errors == []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def serve() -> Iterator[Callable[[Application], HttpServer]]:
    """Starts a server for an application. It is stopped after the test, and its loop must have reported no error."""
    servers: list[HttpServer] = []

    def start(application: Application) -> HttpServer:
        servers.append(HttpServer(application))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def served(clock: Any) -> HttpApplication:
    return HttpApplication(clock)


@pytest.fixture
def server(serve: Callable[[Application], Any], served: HttpApplication) -> Any:
    return serve(served.application)
