"""A connection: the order of answers, its end, failing handlers, upgrades, and clients of other projects."""

from __future__ import annotations

import http.client
import logging
import shutil
import socket
import subprocess
import threading
from typing import Any

import pytest

from http_application import (
    HELLO,
    LARGE,
    HttpApplication,
    bodies,
    get,
    in_state,
    only_connection,
    receive,
    receive_all,
    upgrade,
)
from observability.connections.connection import LINGER_BYTES
from observability.connections.states import ConnectionState
from server_process import TIMEOUT_SECONDS

# The order of answers


def test_pipelined_requests_are_answered_in_order(server: Any) -> None:
    data = b"".join(get(b"/echo/%d" % number) for number in range(500))
    assert bodies(server.exchange(data)) == [(200, b"%d" % number) for number in range(500)]


def test_a_request_after_a_slow_one_waits_for_its_answer(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow") + HELLO)
        server.wait_until(lambda: bool(served.gates))
        sock.sendall(get(b"/echo/third"))
        assert served.answers == []
        server.call(lambda: served.gates[0].set_result(None))
        assert bodies(receive(sock, b"third")) == [(200, b"slow"), (200, b"hello 127.0.0.1"), (200, b"third")]


def test_answers_to_the_requests_of_one_segment_are_one_write(server: Any) -> None:
    with server.connect() as sock:
        server.wait_until(in_state(server, ConnectionState.HEAD))
        writes = []

        def count_writes() -> None:
            connection = only_connection(server)
            transport = connection._transport

            class Counting:
                def __getattr__(self, name: str) -> Any:
                    return getattr(transport, name)

                def write(self, data: bytes) -> None:
                    writes.append(data)
                    transport.write(data)

            connection._transport = Counting()  # type: ignore[assignment]

        server.call(count_writes)
        sock.sendall(HELLO * 5 + get(b"/echo/last"))
        receive(sock, b"last")
    assert len(writes) == 1


def test_requests_before_a_bad_one_are_answered(server: Any) -> None:
    answers = bodies(server.exchange(HELLO + get(b"/slow-not-there") + b"GET / HTTP/9.9\r\nHost: a\r\n\r\n" + HELLO))
    assert [status for status, _ in answers] == [200, 404, 505]


def test_requests_after_connection_close_are_not_answered(server: Any) -> None:
    data = server.exchange(HELLO + get(b"/hello", b"Connection: x, close") + HELLO)
    assert [status for status, _ in bodies(data)] == [200, 200]
    assert data.count(b"Connection: close\r\n") == 1


def test_other_connections_are_served_during_a_flood_of_requests(server: Any, served: HttpApplication) -> None:
    with server.connect() as flood, server.connect() as other:
        server.wait_until(lambda: server.listener.connection_count == 2)
        release = threading.Event()
        server.loop.call_soon_threadsafe(release.wait)
        flood.sendall(HELLO * 3000)
        other.sendall(get(b"/echo/other"))
        release.set()
        receive(other, b"other")
        assert served.answers.index(("GET", "/echo/{word}", 200)) <= 256


# The end of a connection


def test_answers_that_are_due_are_sent_after_the_peer_half_closes(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow") + HELLO)
        server.wait_until(lambda: bool(served.gates))
        sock.shutdown(socket.SHUT_WR)
        server.wait_until(lambda: only_connection(server)._peer_done)
        server.call(lambda: served.gates[0].set_result(None))
        assert [status for status, _ in bodies(receive_all(sock))] == [200, 200]
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_peer_that_is_still_sending_gets_the_refusal_and_no_reset(server: Any) -> None:
    content = b"x" * (LINGER_BYTES // 2)
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n")
        sock.sendall(content)
        assert bodies(receive_all(sock))[0][0] == 413


def test_a_peer_that_never_stops_sending_is_cut_off(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"\x00")
        # Reset or broken pipe: which one depends on what the kernel sees first.
        with pytest.raises(ConnectionError):
            sock.sendall(b"x" * 64 * 1024 * 1024)


def test_a_peer_that_does_not_close_after_the_last_answer_is_cut_off(
    server: Any, served: HttpApplication, clock: Any
) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/hello", b"Connection: close"))
        receive_all(sock)
        server.wait_until(in_state(server, ConnectionState.LINGER))
        clock.advance(served.application.limits.linger_seconds + 1)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_tls_handshake_on_a_plain_port_is_refused_with_the_reason(
    server: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "observability")
    answer = server.exchange(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300))
    assert bodies(answer)[0][0] == 400
    assert [message for message in caplog.messages if "TLS" in message] == [
        "refused 127.0.0.1: 400 a TLS handshake; this port speaks plain HTTP"
    ]


def test_the_handler_of_a_lost_connection_is_cancelled(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(get(b"/slow"))
        server.wait_until(lambda: bool(served.gates))
    server.wait_until(lambda: served.gates[0].cancelled())


# Handlers that fail


@pytest.mark.parametrize(
    ("path", "status"), [(b"/fail", 500), (b"/fail-later", 500), (b"/refuse-later", 409), (b"/ws", 426)]
)
def test_a_failing_handler_affects_only_its_own_request(server: Any, path: bytes, status: int) -> None:
    answers = bodies(server.exchange(get(path) + HELLO))
    assert [answer[0] for answer in answers] == [status, 200]
    assert b"s3cret" not in answers[0][1]


def test_the_request_hook_gets_labels_from_bounded_sets(server: Any, served: HttpApplication) -> None:
    server.exchange(get(b"/echo/a") + get(b"/none/at/all") + b"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    server.exchange(b"\x00")
    assert served.answers == [
        ("GET", "/echo/{word}", 200),
        ("GET", "unmatched", 404),
        ("other", "unmatched", 501),
        ("other", "unmatched", 400),
    ]


# HTTP/1.0


def test_an_http_1_0_connection_stays_open_only_on_request(server: Any) -> None:
    once = server.exchange(get(b"/hello", version=b"1.0") * 2)
    kept = server.exchange(get(b"/hello", b"Connection: keep-alive", version=b"1.0") * 2)
    assert (len(bodies(once)), len(bodies(kept))) == (1, 2)
    assert kept.count(b"Connection: keep-alive\r\n") == 2


# Upgrades


def test_an_upgrade_hands_over_the_transport_and_the_bytes_after_it(
    server: Any, served: HttpApplication, clock: Any
) -> None:
    with server.connect() as sock:
        sock.sendall(HELLO + upgrade(b"/ws") + b"early")
        assert receive(sock, b"<early>").startswith(b"HTTP/1.1 200")
        assert server.listener.connection_count == 0
        clock.advance(1000)
        server.sweep()
        sock.sendall(b"late")
        receive(sock, b"<late>")
    assert served.answers == [("GET", "/hello", 200), ("GET", "/ws", 101)]


@pytest.mark.parametrize(("query", "status"), [(b"full", 503), (b"forbidden", 403), (b"broken", 500)])
def test_a_refused_upgrade_is_answered_and_the_connection_stays_open(server: Any, query: bytes, status: int) -> None:
    answers = bodies(server.exchange(upgrade(b"/ws?" + query) + HELLO))
    assert [answer[0] for answer in answers] == [status, 200]


def test_an_upgrade_that_fails_after_the_handover_cuts_the_connection(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.sendall(upgrade(b"/ws?broken-late"))
        assert receive_all(sock) == b""
    server.wait_until(lambda: server.listener.connection_count == 0)
    assert served.answers == [("GET", "/ws", 500)]


def test_an_upgrade_of_a_path_without_websocket_is_ignored(server: Any) -> None:
    assert bodies(server.exchange(upgrade(b"/hello")))[0][0] == 200


# Clients of other projects


def test_the_client_of_the_standard_library_is_served(server: Any) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(2):
        client.request(
            "POST", "/echo", body=iter([b"ab", b"cd"]), headers={"Transfer-Encoding": "chunked"}, encode_chunked=True
        )
        response = client.getresponse()
        assert (response.status, response.read()) == (200, b"abcd")
        client.request("HEAD", "/large")
        response = client.getresponse()
        assert (response.getheader("Content-Length"), response.read()) == (str(len(LARGE)), b"")
    client.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_is_served(server: Any) -> None:
    url = f"http://127.0.0.1:{server.port}"

    def curl(*arguments: str, stdin: bytes = b"") -> bytes:
        command = ["curl", "--silent", "--show-error", "--max-time", str(TIMEOUT_SECONDS), *arguments]
        return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout

    assert curl(f"{url}/echo/a", f"{url}/echo/b") == b"ab"
    assert curl("--compressed", f"{url}/large") == LARGE
    assert curl("--http1.0", f"{url}/echo/a") == b"a"
    assert curl("--head", f"{url}/hello").startswith(b"HTTP/1.1 200 OK\r\n")
    assert curl("--data-binary", "@-", "-H", "Expect: 100-continue", f"{url}/echo", stdin=LARGE) == LARGE
    assert curl("--data-binary", "@-", "-H", "Transfer-Encoding: chunked", f"{url}/echo", stdin=LARGE) == LARGE
    assert curl("--http2", f"{url}/echo/h2c") == b"h2c"
    assert curl("--write-out", "%{http_code}", "--output", "/dev/null", "--path-as-is", f"{url}/a/../hello") == b"404"
