"""Expect: 100-continue (RFC 9110 section 10.1.1)."""

from __future__ import annotations

from typing import Any

from http_application import HELLO, bodies, in_state, only_connection, receive, receive_all
from observability.connections.states import ConnectionState


def test_a_client_that_waits_for_100_gets_it_before_its_answer(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(HELLO + b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert receive(sock, b"100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200")
        sock.sendall(b"abc")
        assert receive(sock, b"abc").startswith(b"HTTP/1.1 200")


def test_a_request_without_a_route_is_refused_before_its_content(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        answer = receive_all(sock)
    assert answer.startswith(b"HTTP/1.1 404")
    assert b"Connection: close" in answer


def test_every_request_that_waits_for_100_gets_one(server: Any) -> None:
    with server.connect() as sock:
        for _ in range(2):
            sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
            assert receive(sock, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"abc")
            receive(sock, b"abc")


def test_100_is_not_sent_if_the_content_has_arrived(server: Any) -> None:
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
    assert bodies(server.exchange(data)) == [(200, b"abc")]


def test_100_is_not_sent_if_the_content_has_begun_to_arrive(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\na")
        server.wait_until(in_state(server, ConnectionState.BODY))
        sock.sendall(b"bc")
        assert bodies(receive(sock, b"abc")) == [(200, b"abc")]


def test_100_is_sent_once_per_request(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        server.wait_until(in_state(server, ConnectionState.BODY))
        server.call(lambda: only_connection(server).pause_writing())
        server.call(lambda: only_connection(server).resume_writing())
        sock.sendall(b"abc")
        assert receive(sock, b"abc").count(b"100 Continue") == 1


def test_an_http_1_0_client_is_never_sent_100(server: Any) -> None:
    data = b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(data)
        server.wait_until(in_state(server, ConnectionState.BODY))
        sock.sendall(b"abc")
        assert bodies(receive_all(sock)) == [(200, b"abc")]
