"""The deadlines of a connection, and peers that do not read their answers."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from http_application import HELLO, LARGE, HttpApplication, bodies, get, in_state, only_connection, receive, receive_all
from observability.access.limits import Limits
from observability.config.config import Config
from observability.connections import listener as listener_module
from observability.connections.states import ConnectionState

# Peers that do not read


def test_a_peer_that_pipelines_but_never_reads_is_not_served_further(server: Any, served: HttpApplication) -> None:
    answer = server.exchange(get(b"/large"))
    served.answers.clear()
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.sendall(get(b"/large") * 200)
        server.wait_until(in_state(server, ConnectionState.STALLED))
        connection = only_connection(server)
        assert server.call(connection._transport.get_write_buffer_size) < 2 * len(LARGE)
        assert len(served.answers) < 150
        assert not server.call(lambda: connection._transport.is_reading())
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == answer * 200


def test_a_peer_that_never_reads_is_cut_off(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/large") * 200)
        server.wait_until(in_state(server, ConnectionState.STALLED))
        clock.advance(29)
        server.sweep()
        assert server.listener.connection_count == 1
        clock.advance(2)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_peer_that_reads_slowly_is_not_cut_off(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/large") * 200)
        server.wait_until(in_state(server, ConnectionState.STALLED))
        connection = only_connection(server)
        server.call(lambda: setattr(connection, "_unsent_bytes", connection._unsent_bytes + 32 * 1024))
        clock.advance(31)
        server.sweep()
        assert server.listener.connection_count == 1


# Deadlines


def test_a_head_that_arrives_slowly_is_refused_with_408(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        server.wait_until(lambda: not only_connection(server)._parser.is_idle)
        clock.advance(9)
        server.sweep()
        sock.sendall(b"Host: a\r\n")
        server.wait_until(lambda: only_connection(server)._parser.leftover().endswith(b"a\r\n"))
        clock.advance(2)
        server.sweep()
        assert bodies(receive_all(sock))[0][0] == 408


def test_later_heads_of_a_connection_have_the_same_deadline(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/echo/one"))
        receive(sock, b"one")
        clock.advance(60)
        sock.sendall(b"G")
        server.wait_until(in_state(server, ConnectionState.HEAD))
        clock.advance(11)
        server.sweep()
        assert bodies(receive_all(sock))[0][0] == 408


def test_content_that_arrives_slowly_is_refused_with_408(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        server.wait_until(in_state(server, ConnectionState.BODY))
        clock.advance(29)
        server.sweep()
        sock.sendall(b"def")
        server.wait_until(lambda: only_connection(server)._parser.leftover() == b"abcdef")
        clock.advance(2)
        server.sweep()
        assert bodies(receive_all(sock))[0][0] == 408


@pytest.mark.parametrize(("sent", "seconds"), [(HELLO, 121), (b"", 11), (b"\r\n", 11)], ids=["idle", "silent", "CRLF"])
def test_a_connection_without_a_request_is_closed_silently(server: Any, clock: Any, sent: bytes, seconds: int) -> None:
    with server.connect() as sock:
        sock.sendall(sent)
        server.wait_until(in_state(server, ConnectionState.IDLE if sent == HELLO else ConnectionState.HEAD))
        clock.advance(seconds)
        server.sweep()
        assert len(bodies(receive_all(sock))) == (sent == HELLO)


def test_an_idle_connection_outlives_the_pools_of_proxies(server: Any, clock: Any) -> None:
    # Go, Traefik and cloudflared keep theirs for 90 s: a request at the end of that must find ours open.
    assert Limits().idle_seconds == Config().http_idle_timeout
    with server.connect() as sock:
        sock.sendall(HELLO)
        receive(sock, b"127.0.0.1")
        clock.advance(91)
        server.sweep()
        sock.sendall(HELLO)
        assert receive(sock, b"127.0.0.1")


def test_a_handler_has_no_deadline(server: Any, served: HttpApplication, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow"))
        server.wait_until(lambda: bool(served.gates))
        clock.advance(1000)
        server.sweep()
        server.call(lambda: served.gates[0].set_result(None))
        assert receive(sock, b"slow")


def test_a_listener_sweeps_while_there_are_connections_and_sleeps_without(
    server: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "SWEEP_SECONDS", 0.001)
    for _ in range(2):
        with server.connect():
            server.wait_until(lambda: server.listener.connection_count == 1)
            clock.advance(3600)
            # By its own timer: nothing here calls `sweep`.
            server.wait_until(lambda: server.listener.connection_count == 0)
        server.wait_until(lambda: server.listener._sweep_timer is None)
