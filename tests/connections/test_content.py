"""Content of requests: what is refused by its head is never kept, and all that is kept has one bound."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from http_application import (
    ANY_TYPE,
    HELLO,
    HttpApplication,
    bodies,
    get,
    in_state,
    only_connection,
    receive,
    receive_all,
    upgrade,
)
from observability.access.limits import FREE_BYTES, Limits
from observability.connections.states import ConnectionState
from observability.http11.messages import Request, Response
from observability.http11.parser import DEFAULT_MAX_BODY_BYTES, MAX_DROPPED_BYTES
from observability.routing.application import Application
from observability.routing.router import Content

MEMORY = 400_000
TOO_MUCH = b"x" * (MEMORY + FREE_BYTES + 1)
JSON = b"application/json"


def post(path: bytes, content: bytes, *fields: bytes, size: int | None = None) -> bytes:
    length = b"Content-Length: %d" % (len(content) if size is None else size)
    return b"\r\n".join([b"POST %b HTTP/1.1" % path, b"Host: localhost", length, *fields, b"", content])


def chunked(path: bytes, framing: bytes) -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n" % path + framing


class Writing:
    """An application with a route that writes, one that reads, and little memory for what they are sent."""

    def __init__(self, clock: Any) -> None:
        self.served = HttpApplication(clock, Limits(max_content_memory=MEMORY))
        self.application: Application = self.served.application
        self.taken: list[int] = []
        router = self.application.router
        router.add("POST", "/write", self.take, content=Content(ANY_TYPE))
        router.add("POST", "/read", self.take, role="read", content=Content((JSON,)))
        router.add("POST", "/nothing", self.take)

    async def take(self, request: Request) -> Response:
        self.taken.append(len(request.body))
        return Response(body=b"taken")


@pytest.fixture
def writing(clock: Any) -> Writing:
    return Writing(clock)


@pytest.fixture
def server(serve: Callable[[Application], Any], writing: Writing) -> Iterator[Any]:
    server = serve(writing.application)
    yield server
    server.wait_until(lambda: server.listener.connection_count == 0)
    assert writing.application.content_memory.held_bytes == 0


def held(server: Any) -> int:
    return int(server.call(lambda: server.application.content_memory.held_bytes))


# -- decided at the head

REFUSED = [
    pytest.param(b"/none", (), 404, id="path"),
    pytest.param(b"/hello", (), 405, id="method"),
    pytest.param(b"/write", (b"Content-Type: text/csv",), 415, id="media type"),
    pytest.param(b"/write", (b"Content-Encoding: br",), 415, id="coding"),
    pytest.param(b"/write", (b"X-Forwarded-For: 192.0.2.1",), 403, id="role"),
    pytest.param(b"/ws", (b"Connection: Upgrade", b"Upgrade: websocket"), 405, id="upgrade"),
]


@pytest.mark.parametrize(("path", "fields", "status"), REFUSED)
def test_a_refusal_is_answered_before_the_content_comes_and_none_of_it_is_kept(
    server: Any, path: bytes, fields: tuple[bytes, ...], status: int
) -> None:
    with server.connect() as sock:
        sock.sendall(post(path, b"", *fields, size=DEFAULT_MAX_BODY_BYTES))
        assert receive(sock, b"}").startswith(b"HTTP/1.1 %d" % status)
        sock.sendall(b"x" * (DEFAULT_MAX_BODY_BYTES - 1))
        server.wait_until(lambda: only_connection(server)._parser._remaining == 1)
        assert (held(server), only_connection(server)._parser.held_bytes) == (0, 0)
        # The connection can be used again.
        sock.sendall(b"x" + HELLO)
        assert bodies(receive(sock, b"127.0.0.1")) == [(200, b"hello 127.0.0.1")]


def test_a_handshake_with_content_is_refused(server: Any) -> None:
    data = get(b"/ws", b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3") + b"abc" + HELLO
    assert [status for status, _ in bodies(server.exchange(data))] == [400, 200]


@pytest.mark.parametrize("query", [b"", b"?broken-late"])
def test_what_comes_behind_a_handshake_is_no_content_of_this_connection(server: Any, query: bytes) -> None:
    with server.connect() as sock:
        sock.sendall(upgrade(b"/ws" + query) + b"x" * 2 * FREE_BYTES)
        received = receive_all(sock) if query else receive(sock, b"x>")
        assert received.startswith(b"" if query else b"HTTP/1.1 101")
        assert held(server) == 0


@pytest.mark.parametrize("framing", [b"3\r\nabc\r\n0\r\n\r\n", b"0\r\nTrailer: a\r\n\r\n"])
def test_chunked_content_that_nobody_wants_is_read_to_its_end(server: Any, writing: Writing, framing: bytes) -> None:
    data = chunked(b"/none", framing) + chunked(b"/nothing", framing) + HELLO
    assert [status for status, _ in bodies(server.exchange(data))] == [404, 200, 200]
    assert writing.taken == [0]


@pytest.mark.parametrize(
    "framing",
    [b"3\nabc", b"%x\r\n" % (MAX_DROPPED_BYTES + 1), b"zz\r\n"],
    ids=["bare LF", "too large", "no size"],
)
def test_content_that_ends_nowhere_is_answered_once_and_ends_the_connection(server: Any, framing: bytes) -> None:
    with server.connect() as sock:
        sock.sendall(chunked(b"/none", framing) + HELLO)
        assert [status for status, _ in bodies(receive_all(sock))] == [404]


def test_content_too_large_to_be_dropped_ends_the_connection(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(post(b"/none", b"x" * 1000, size=MAX_DROPPED_BYTES + 1))
        answer = receive_all(sock)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"Connection: close" in answer


def test_refused_content_that_never_comes_ends_the_connection_without_a_second_answer(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(post(b"/none", b"x", size=10))
        server.wait_until(in_state(server, ConnectionState.BODY))
        clock.advance(31)
        server.sweep()
        assert [status for status, _ in bodies(receive_all(sock))] == [404]


# -- all of it together


def test_content_beyond_the_memory_of_all_connections_is_refused_with_503(server: Any, writing: Writing) -> None:
    part = b"x" * 250_000
    with server.connect() as first, server.connect() as second:
        first.sendall(post(b"/write", part, size=300_000))
        server.wait_until(lambda: writing.application.content_memory.held_bytes == len(part) - FREE_BYTES)
        second.sendall(post(b"/write", b"", size=300_000))
        refusal = receive(second, b"}")
        assert refusal.startswith(b"HTTP/1.1 503")
        assert b"\r\nRetry-After: 5\r\n" in refusal
        # What fits is taken, and the first is not disturbed.
        second.sendall(part + b"x" * 50_000 + post(b"/write", b"x" * 100_000))
        assert bodies(receive(second, b"taken")) == [(200, b"taken")]
        first.sendall(b"x" * 50_000)
        assert bodies(receive(first, b"taken")) == [(200, b"taken")]
        assert held(server) == 0
        assert writing.taken == [100_000, 300_000]


def test_a_refused_connection_lets_go_of_what_it_held(server: Any, writing: Writing) -> None:
    with server.connect() as sock:
        sock.sendall(chunked(b"/write", b"%x\r\n" % 1_000_000) + b"x" * 350_000)
        server.wait_until(lambda: writing.application.content_memory.held_bytes > 300_000)
        sock.sendall(b"x" * 200_000)
        server.wait_until(in_state(server, ConnectionState.LINGER))
        assert held(server) == 0
        assert [status for status, _ in bodies(receive_all(sock))] == [503]


def test_chunked_content_counts_as_it_comes(server: Any, writing: Writing) -> None:
    with server.connect() as first, server.connect() as second:
        for sock in (first, second):
            sock.sendall(chunked(b"/write", b"%x\r\n" % 300_000))
        first.sendall(b"x" * 250_000)
        server.wait_until(lambda: writing.application.content_memory.held_bytes > 200_000)
        second.sendall(b"x" * 250_000)
        assert [status for status, _ in bodies(receive_all(second))] == [503]
        first.sendall(b"x" * 50_000 + b"\r\n0\r\n\r\n")
        assert bodies(receive(first, b"taken")) == [(200, b"taken")]


def test_what_each_connection_may_hold_anyway_always_has_room(server: Any, writing: Writing) -> None:
    with server.connect() as first, server.connect() as second:
        first.sendall(post(b"/write", b"x" * MEMORY, size=MEMORY + FREE_BYTES))
        server.wait_until(lambda: writing.application.content_memory.held_bytes > MEMORY - 2 * FREE_BYTES)
        second.sendall(post(b"/read", b"x" * (FREE_BYTES - 1000)))
        assert bodies(receive(second, b"taken")) == [(200, b"taken")]


def test_reads_leave_half_of_the_memory_to_writes(server: Any, writing: Writing) -> None:
    with server.connect() as reading, server.connect() as sending:
        reading.sendall(post(b"/read", b"", size=MEMORY // 2 + FREE_BYTES + 1))
        assert receive(reading, b"}").startswith(b"HTTP/1.1 503")
        sending.sendall(post(b"/write", b"x" * (MEMORY // 2 + FREE_BYTES + 1)))
        assert bodies(receive(sending, b"taken")) == [(200, b"taken")]


def test_content_counts_until_it_has_been_answered(serve: Any, writing: Writing, server: Any) -> None:
    async def slow(request: Request) -> Response:
        return await writing.served.slow(request)

    writing.application.router.add("POST", "/slow", slow, content=Content(ANY_TYPE))
    with server.connect() as sock:
        sock.sendall(post(b"/slow", b"x" * 200_000))
        server.wait_until(lambda: bool(writing.served.gates))
        assert held(server) == 200_000 - FREE_BYTES
        server.call(lambda: writing.served.gates[0].set_result(None))
        receive(sock, b"slow")
        assert held(server) == 0


def test_what_is_pipelined_behind_an_unanswered_request_counts_too(server: Any, writing: Writing) -> None:
    with server.connect() as full, server.connect() as sock:
        full.sendall(post(b"/write", b"x" * MEMORY, size=MEMORY + FREE_BYTES))
        server.wait_until(lambda: writing.application.content_memory.held_bytes > MEMORY - 2 * FREE_BYTES)
        sock.sendall(get(b"/slow"))
        server.wait_until(lambda: bool(writing.served.gates))
        sock.sendall(HELLO * (100_000 // len(HELLO)))
        server.wait_until(lambda: only_connection_that_waits(server)._parser._last_refusal is not None)
        server.call(lambda: writing.served.gates[0].set_result(None))
        statuses = [status for status, _ in bodies(receive_all(sock))]
        assert (statuses[0], statuses[-1]) == (200, 503)


def only_connection_that_waits(server: Any) -> Any:
    (found,) = (each for each in server.listener._connections if each._pending is not None)
    return found


# -- compressed


def test_compressed_content_is_what_it_was(server: Any, writing: Writing) -> None:
    packed = gzip.compress(b"x" * 300_000) + gzip.compress(b"y" * 10_000)
    data = post(b"/write", packed, b"Content-Encoding: gzip") + HELLO
    assert [status for status, _ in bodies(server.exchange(data))] == [200, 200]
    assert writing.taken == [310_000]


def test_compressed_content_counts_as_large_as_it_really_is(server: Any, writing: Writing) -> None:
    for content, status in ((TOO_MUCH, 503), (b"x" * (DEFAULT_MAX_BODY_BYTES + 1), 503), (b"x" * 1000, 200)):
        with server.connect() as sock:
            sock.sendall(post(b"/write", gzip.compress(content), b"Content-Encoding: gzip"))
            assert receive(sock, b"}" if status == 503 else b"taken").startswith(b"HTTP/1.1 %d" % status)
    assert writing.taken == [1000]
