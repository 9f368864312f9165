"""Answers that are made piece by piece: no faster than the peer reads, and never taken for whole when they are not."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from http_application import HELLO, HttpApplication, in_state, receive_all
from observability.connections.states import ConnectionState
from observability.http11.messages import Request, Response
from observability.routing.router import StreamedResponse

PIECE = b"x" * 64 * 1024
# Far more than the buffers of both sockets hold.
MANY = 2000


class Pieces:
    """The route `/pieces`: what it sends, how far it has come, and whether it was ended."""

    def __init__(self, served: HttpApplication) -> None:
        self.number = 3
        self.piece = b"piece"
        self.fails = False
        self.made = 0
        self.has_ended = False
        served.application.router.add("GET", "/pieces", self.answer)

    async def answer(self, request: Request) -> StreamedResponse:
        return StreamedResponse(Response(has_length=False, content_type=b"text/plain"), self._make())

    async def _make(self) -> AsyncGenerator[bytes, None]:
        try:
            for _ in range(self.number):
                self.made += 1
                yield self.piece
            if self.fails:
                raise RuntimeError("the rest cannot be made")
        finally:
            self.has_ended = True


@pytest.fixture
def pieces(served: HttpApplication) -> Pieces:
    return Pieces(served)


def ask(version: str = "1.1", *fields: str) -> bytes:
    return "\r\n".join((f"GET /pieces HTTP/{version}", "Host: a", *fields, "", "")).encode()


def test_pieces_are_chunks_and_the_next_request_is_answered(server: Any, pieces: Pieces, served: Any) -> None:
    head, _, rest = server.exchange(ask() + HELLO).partition(b"\r\n\r\n")
    assert b"\r\nTransfer-Encoding: chunked" in head and b"Content-Length" not in head
    content, _, following = rest.partition(b"0\r\n\r\n")
    assert content == b"5\r\npiece\r\n" * 3
    assert following.startswith(b"HTTP/1.1 200 ")
    assert served.answers == [("GET", "/pieces", 200), ("GET", "/hello", 200)]


def test_an_http_1_0_peer_gets_the_bare_pieces_until_the_end(server: Any, pieces: Pieces) -> None:
    with server.connect() as sock:
        sock.sendall(ask("1.0", "Connection: keep-alive"))
        head, _, content = receive_all(sock).partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head and b"\r\nConnection: close" in head
    assert content == b"piece" * 3


def test_a_piece_without_bytes_does_not_end_the_answer(server: Any, pieces: Pieces) -> None:
    pieces.piece = b""
    assert server.exchange(ask()).endswith(b"\r\n\r\n0\r\n\r\n")


def test_a_failure_cuts_the_answer(server: Any, pieces: Pieces, served: Any) -> None:
    pieces.fails = True
    with server.connect() as sock:
        sock.sendall(ask())
        try:
            data = receive_all(sock)
        except ConnectionResetError:
            data = b""
    assert not data.endswith(b"0\r\n\r\n")
    assert served.application.handler_errors == 1


def test_pieces_are_made_no_faster_than_the_peer_reads(server: Any, pieces: Pieces) -> None:
    pieces.number, pieces.piece = MANY, PIECE
    with server.connect() as sock:
        sock.sendall(ask())
        server.wait_until(in_state(server, ConnectionState.STALLED))
        made = pieces.made
        assert made < MANY // 2
        while pieces.made == made:
            assert sock.recv(1 << 20)
        rest = 0
        while data := sock.recv(1 << 20):
            rest += len(data)
            if data.endswith(b"\r\n0\r\n\r\n"):
                break
    assert pieces.made == MANY


def test_a_peer_that_stops_reading_pieces_is_cut_off(server: Any, clock: Any, pieces: Pieces) -> None:
    pieces.number, pieces.piece = MANY, PIECE
    with server.connect() as sock:
        sock.sendall(ask())
        server.wait_until(in_state(server, ConnectionState.STALLED))
        clock.advance(31)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0 and pieces.has_ended)
    assert pieces.made < MANY


def test_a_peer_that_leaves_ends_the_making(server: Any, pieces: Pieces) -> None:
    pieces.number, pieces.piece = MANY, PIECE
    with server.connect() as sock:
        sock.sendall(ask())
        server.wait_until(in_state(server, ConnectionState.STALLED))
    server.wait_until(lambda: pieces.has_ended)
    assert pieces.made < MANY
