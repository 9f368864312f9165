"""A connection: answers in order, their ends, failures, upgrades, and clients that nobody here wrote."""

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

# The order of answers


def test_pipelined_requests_are_answered_in_order(server: Any) -> None:
    data = b"".join(get(b"/echo/%d" % number) for number in range(500))
    assert bodies(server.exchange(data)) == [(200, b"%d" % number) for number in range(500)]


def test_a_request_behind_a_slow_one_waits_for_it(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow") + HELLO)
        server.wait_until(lambda: bool(served.gates))
        sock.sendall(get(b"/echo/third"))
        assert served.answers == []
        server.call(lambda: served.gates[0].set_result(None))
        assert bodies(receive(sock, b"third")) == [(200, b"slow"), (200, b"hello 127.0.0.1"), (200, b"third")]


def test_answers_of_one_segment_leave_in_one_write(server: Any) -> None:
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


def test_a_bad_request_does_not_swallow_the_answers_before_it(server: Any) -> None:
    answers = bodies(server.exchange(HELLO + get(b"/slow-not-there") + b"GET / HTTP/9.9\r\nHost: a\r\n\r\n" + HELLO))
    assert [status for status, _ in answers] == [200, 404, 505]


def test_nothing_is_answered_behind_close(server: Any) -> None:
    data = server.exchange(HELLO + get(b"/hello", b"Connection: x, close") + HELLO)
    assert [status for status, _ in bodies(data)] == [200, 200]
    assert data.count(b"Connection: close\r\n") == 1


def test_a_flood_of_requests_lets_others_have_their_turn(server: Any, served: HttpApplication) -> None:
    with server.connect() as flood, server.connect() as other:
        server.wait_until(lambda: server.listener.connection_count == 2)
        release = threading.Event()
        server.loop.call_soon_threadsafe(release.wait)
        flood.sendall(HELLO * 3000)
        other.sendall(get(b"/echo/other"))
        release.set()
        receive(other, b"other")
        assert served.answers.index(("GET", "/echo/{word}", 200)) <= 256


# Ends


def test_answers_that_are_due_go_out_after_a_half_close(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow") + HELLO)
        server.wait_until(lambda: bool(served.gates))
        sock.shutdown(socket.SHUT_WR)
        server.wait_until(lambda: only_connection(server)._peer_done)
        server.call(lambda: served.gates[0].set_result(None))
        assert [status for status, _ in bodies(receive_all(sock))] == [200, 200]
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_peer_that_is_still_sending_sees_the_refusal_and_not_a_reset(server: Any) -> None:
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


def test_a_peer_that_does_not_close_is_closed(server: Any, served: HttpApplication, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/hello", b"Connection: close"))
        receive_all(sock)
        server.wait_until(in_state(server, ConnectionState.LINGER))
        clock.advance(served.application.limits.linger_seconds + 1)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_tls_hello_is_refused_in_plain_words(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "observability")
    answer = server.exchange(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300))
    assert bodies(answer)[0][0] == 400
    assert [message for message in caplog.messages if "TLS" in message] == [
        "refused 127.0.0.1: 400 a TLS handshake; this port speaks plain HTTP"
    ]


def test_a_client_that_goes_away_cancels_what_it_asked_for(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.sendall(get(b"/slow"))
        server.wait_until(lambda: bool(served.gates))
    server.wait_until(lambda: served.gates[0].cancelled())


# Handlers that fail


@pytest.mark.parametrize(
    ("path", "status"), [(b"/fail", 500), (b"/fail-later", 500), (b"/refuse-later", 409), (b"/ws", 426)]
)
def test_a_failing_handler_costs_its_own_request_only(server: Any, path: bytes, status: int) -> None:
    answers = bodies(server.exchange(get(path) + HELLO))
    assert [answer[0] for answer in answers] == [status, 200]
    assert b"s3cret" not in answers[0][1]


def test_the_hook_is_told_labels_from_bounded_sets_only(server: Any, served: HttpApplication) -> None:
    server.exchange(get(b"/echo/a") + get(b"/none/at/all") + b"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    server.exchange(b"\x00")
    assert served.answers == [
        ("GET", "/echo/{word}", 200),
        ("GET", "unmatched", 404),
        ("other", "unmatched", 501),
        ("other", "unmatched", 400),
    ]


# 100-continue


def test_an_http_1_0_client_keeps_the_connection_only_if_it_asks(server: Any) -> None:
    once = server.exchange(get(b"/hello", version=b"1.0") * 2)
    kept = server.exchange(get(b"/hello", b"Connection: keep-alive", version=b"1.0") * 2)
    assert (len(bodies(once)), len(bodies(kept))) == (1, 2)
    assert kept.count(b"Connection: keep-alive\r\n") == 2


# Upgrades


def test_an_upgrade_hands_over_the_transport_and_what_came_behind(
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
def test_a_refused_upgrade_is_an_answer_like_any_other(server: Any, query: bytes, status: int) -> None:
    answers = bodies(server.exchange(upgrade(b"/ws?" + query) + HELLO))
    assert [answer[0] for answer in answers] == [status, 200]


def test_an_upgrade_that_fails_after_the_handover_cuts_the_connection(server: Any, served: HttpApplication) -> None:
    with server.connect() as sock:
        sock.sendall(upgrade(b"/ws?broken-late"))
        assert receive_all(sock) == b""
    server.wait_until(lambda: server.listener.connection_count == 0)
    assert served.answers == [("GET", "/ws", 500)]


def test_an_upgrade_of_another_path_is_ignored(server: Any) -> None:
    assert bodies(server.exchange(upgrade(b"/hello")))[0][0] == 200


# Foreign clients


def test_the_standard_library_is_served(server: Any) -> None:
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
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
        command = ["curl", "--silent", "--show-error", "--max-time", "5", *arguments]
        return subprocess.run(command, input=stdin, stdout=subprocess.PIPE, check=True).stdout

    assert curl(f"{url}/echo/a", f"{url}/echo/b") == b"ab"
    assert curl("--compressed", f"{url}/large") == LARGE
    assert curl("--http1.0", f"{url}/echo/a") == b"a"
    assert curl("--head", f"{url}/hello").startswith(b"HTTP/1.1 200 OK\r\n")
    assert curl("--data-binary", "@-", "-H", "Expect: 100-continue", f"{url}/echo", stdin=LARGE) == LARGE
    assert curl("--data-binary", "@-", "-H", "Transfer-Encoding: chunked", f"{url}/echo", stdin=LARGE) == LARGE
    assert curl("--http2", f"{url}/echo/h2c") == b"h2c"
    assert curl("--write-out", "%{http_code}", "--output", "/dev/null", "--path-as-is", f"{url}/a/../hello") == b"404"
