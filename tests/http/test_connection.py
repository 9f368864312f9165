from __future__ import annotations

import asyncio
import http.client
import logging
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from observability.http.application import Application, Limits
from observability.http.connection import LINGER_BYTES, HttpConnection
from observability.http.documents import ReadyDocument
from observability.http.messages import Request, Response
from observability.http.phases import LINGER_SECONDS, Phase
from observability.http.refusals import Refusal
from observability.http.router import Router

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
# Of 64 such answers, what one turn may make, the kernel takes a part only.
LARGE = b"x" * 256 * 1024


class Served:
    """An application with handlers for what connections go through, and a record of what its hook was told."""

    def __init__(self, clock: Any, limits: Limits | None = None) -> None:
        self.answers: list[tuple[str, str, int]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.upgraded: list[bytes] = []
        router = Router()
        router.add("GET", "/hello", self.hello)
        router.add("GET", "/slow", self.slow)
        router.add("GET", "/large", self.large)
        router.add("GET", "/echo/{word}", self.echo)
        router.add("POST", "/echo", self.echo_body, role="open")
        router.add("GET", "/fail", self.fail)
        router.add("GET", "/fail-later", self.fail_later)
        router.add("GET", "/refuse-later", self.refuse_later)
        router.add_websocket("/ws")
        self.application = Application(
            router, clock, limits=limits or Limits(), upgrade=self.upgrade, on_request=self.count
        )

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        self.answers.append((method, route, status))

    def hello(self, request: Request) -> Response:
        return Response(body=b"hello " + request.peer.encode())

    async def slow(self, request: Request) -> Response:
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return Response(body=b"slow")

    def large(self, request: Request) -> ReadyDocument:
        return ReadyDocument(LARGE, b'"1"')

    def echo(self, request: Request, word: str) -> Response:
        return Response(body=word.encode())

    def echo_body(self, request: Request) -> Response:
        return Response(body=request.body)

    def fail(self, request: Request) -> Response:
        raise RuntimeError("s3cret")

    async def fail_later(self, request: Request) -> Response:
        raise RuntimeError("s3cret")

    async def refuse_later(self, request: Request) -> Response:
        raise Refusal(409, "two of them")

    def upgrade(
        self, request: Request, transport: asyncio.Transport, leftover: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        if request.query == "full":
            return Response(503, b"full")
        if request.query == "forbidden":
            raise Refusal(403, "origin")
        if request.query == "broken":
            raise RuntimeError("s3cret")
        taken = Taken(transport)
        transport.set_protocol(taken)
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        if leftover:
            taken.data_received(leftover)
        return None


class Taken(asyncio.Protocol):
    """What an upgrade hands the transport to: sends back what it gets, between brackets."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"<" + data + b">")


@pytest.fixture
def served(clock: Any) -> Served:
    return Served(clock)


@pytest.fixture
def server(serve: Callable[[Application], Any], served: Served) -> Any:
    return serve(served.application)


def get(path: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/" + version, b"Host: a", *fields, b"", b""])


def upgrade(target: bytes) -> bytes:
    return get(target, b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")


def bodies(data: bytes) -> list[tuple[int, bytes]]:
    """Returns status and content of each answer in `data`."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(fields.get(b"content-length", 0))
        answers.append((int(lines[0].split()[1]), data[:length]))
        data = data[length:]
    return answers


def receive(sock: socket.socket, ending: bytes) -> bytes:
    data = b""
    while not data.endswith(ending):
        part = sock.recv(65536)
        assert part, f"the server ended the connection after {data!r}"
        data += part
    return data


def receive_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while part := sock.recv(1 << 20):
        data += part
    return bytes(data)


def only_connection(server: Any) -> HttpConnection:
    (connection,) = server.listener._connections
    assert isinstance(connection, HttpConnection)
    return connection


def in_phase(server: Any, phase: Phase) -> Callable[[], bool]:
    return lambda: [connection._phase for connection in server.listener._connections] == [phase]


# The order of answers


def test_pipelined_requests_are_answered_in_order(server: Any) -> None:
    data = b"".join(get(b"/echo/%d" % number) for number in range(500))
    assert bodies(server.exchange(data)) == [(200, b"%d" % number) for number in range(500)]


def test_a_request_behind_a_slow_one_waits_for_it(server: Any, served: Served) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow") + HELLO)
        server.wait_until(lambda: bool(served.gates))
        sock.sendall(get(b"/echo/third"))
        assert served.answers == []
        server.call(lambda: served.gates[0].set_result(None))
        assert bodies(receive(sock, b"third")) == [(200, b"slow"), (200, b"hello 127.0.0.1"), (200, b"third")]


def test_answers_of_one_segment_leave_in_one_write(server: Any) -> None:
    with server.connect() as sock:
        server.wait_until(in_phase(server, Phase.HEAD))
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


def test_a_flood_of_requests_lets_others_have_their_turn(server: Any, served: Served) -> None:
    with server.connect() as flood, server.connect() as other:
        server.wait_until(lambda: server.listener.connection_count == 2)
        release = threading.Event()
        server.loop.call_soon_threadsafe(release.wait)
        flood.sendall(HELLO * 3000)
        other.sendall(get(b"/echo/other"))
        release.set()
        receive(other, b"other")
        assert served.answers.index(("GET", "/echo/{word}", 200)) <= 256


# Peers that do not read


def test_a_pipeliner_that_never_reads_is_not_served_into_memory(server: Any, served: Served) -> None:
    answer = server.exchange(get(b"/large"))
    served.answers.clear()
    with server.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        sock.sendall(get(b"/large") * 200)
        server.wait_until(in_phase(server, Phase.STALLED))
        connection = only_connection(server)
        assert server.call(connection._transport.get_write_buffer_size) < 2 * len(LARGE)
        assert len(served.answers) < 150
        assert not server.call(lambda: connection._transport.is_reading())
        sock.shutdown(socket.SHUT_WR)
        assert receive_all(sock) == answer * 200


def test_a_peer_that_never_reads_is_cut_off(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/large") * 200)
        server.wait_until(in_phase(server, Phase.STALLED))
        clock.advance(29)
        server.sweep()
        assert server.listener.connection_count == 1
        clock.advance(2)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_peer_that_reads_slowly_is_not_cut_off(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/large") * 200)
        server.wait_until(in_phase(server, Phase.STALLED))
        connection = only_connection(server)
        server.call(lambda: setattr(connection, "_unsent_bytes", connection._unsent_bytes + 32 * 1024))
        clock.advance(31)
        server.sweep()
        assert server.listener.connection_count == 1


# Deadlines


def test_a_head_has_an_absolute_deadline(server: Any, clock: Any) -> None:
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


def test_the_second_head_of_a_connection_has_the_same_deadline(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/echo/one"))
        receive(sock, b"one")
        clock.advance(60)
        sock.sendall(b"G")
        server.wait_until(in_phase(server, Phase.HEAD))
        clock.advance(11)
        server.sweep()
        assert bodies(receive_all(sock))[0][0] == 408


def test_content_has_an_absolute_deadline(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        server.wait_until(in_phase(server, Phase.BODY))
        clock.advance(29)
        server.sweep()
        sock.sendall(b"def")
        server.wait_until(lambda: only_connection(server)._parser.leftover() == b"abcdef")
        clock.advance(2)
        server.sweep()
        assert bodies(receive_all(sock))[0][0] == 408


@pytest.mark.parametrize(("sent", "seconds"), [(HELLO, 76), (b"", 11), (b"\r\n", 11)], ids=["idle", "silent", "CRLF"])
def test_a_connection_without_a_request_ends_without_a_word(server: Any, clock: Any, sent: bytes, seconds: int) -> None:
    with server.connect() as sock:
        sock.sendall(sent)
        server.wait_until(in_phase(server, Phase.IDLE if sent == HELLO else Phase.HEAD))
        clock.advance(seconds)
        server.sweep()
        assert len(bodies(receive_all(sock))) == (sent == HELLO)


def test_a_handler_has_as_long_as_it_needs(server: Any, served: Served, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/slow"))
        server.wait_until(lambda: bool(served.gates))
        clock.advance(1000)
        server.sweep()
        server.call(lambda: served.gates[0].set_result(None))
        assert receive(sock, b"slow")


# Ends


def test_answers_that_are_due_go_out_after_a_half_close(server: Any, served: Served) -> None:
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


def test_a_peer_that_does_not_close_is_closed(server: Any, clock: Any) -> None:
    with server.connect() as sock:
        sock.sendall(get(b"/hello", b"Connection: close"))
        receive_all(sock)
        server.wait_until(in_phase(server, Phase.LINGER))
        clock.advance(LINGER_SECONDS + 1)
        server.sweep()
        server.wait_until(lambda: server.listener.connection_count == 0)


def test_a_tls_hello_is_refused_in_plain_words(server: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "observability")
    answer = server.exchange(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300))
    assert bodies(answer)[0][0] == 400
    assert [message for message in caplog.messages if "TLS" in message] == [
        "refused 127.0.0.1: 400 a TLS handshake; this port speaks plain HTTP"
    ]


def test_a_client_that_goes_away_cancels_what_it_asked_for(server: Any, served: Served) -> None:
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


def test_the_hook_is_told_labels_from_bounded_sets_only(server: Any, served: Served) -> None:
    server.exchange(get(b"/echo/a") + get(b"/none/at/all") + b"BREW /hello HTTP/1.1\r\nHost: a\r\n\r\n")
    server.exchange(b"\x00")
    assert served.answers == [
        ("GET", "/echo/{word}", 200),
        ("GET", "unmatched", 404),
        ("other", "unmatched", 501),
        ("other", "unmatched", 400),
    ]


# 100-continue


def test_a_client_that_waits_for_100_gets_it_and_then_its_answer(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(HELLO + b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert receive(sock, b"100 Continue\r\n\r\n").startswith(b"HTTP/1.1 200")
        sock.sendall(b"abc")
        assert receive(sock, b"abc").startswith(b"HTTP/1.1 200")


def test_a_client_whose_content_nobody_takes_is_told_before_it_sends_it(server: Any) -> None:
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


def test_content_that_has_come_already_is_not_asked_for(server: Any) -> None:
    data = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
    assert bodies(server.exchange(data)) == [(200, b"abc")]


def test_content_that_has_begun_to_come_is_not_asked_for(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\na")
        server.wait_until(in_phase(server, Phase.BODY))
        sock.sendall(b"bc")
        assert bodies(receive(sock, b"abc")) == [(200, b"abc")]


def test_content_is_asked_for_once(server: Any) -> None:
    with server.connect() as sock:
        sock.sendall(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        server.wait_until(in_phase(server, Phase.BODY))
        server.call(lambda: only_connection(server).pause_writing())
        server.call(lambda: only_connection(server).resume_writing())
        sock.sendall(b"abc")
        assert receive(sock, b"abc").count(b"100 Continue") == 1


def test_an_http_1_0_client_is_never_sent_100(server: Any) -> None:
    data = b"POST /echo HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
    with server.connect() as sock:
        sock.sendall(data)
        server.wait_until(in_phase(server, Phase.BODY))
        sock.sendall(b"abc")
        assert bodies(receive_all(sock)) == [(200, b"abc")]


def test_an_http_1_0_client_keeps_the_connection_only_if_it_asks(server: Any) -> None:
    once = server.exchange(get(b"/hello", version=b"1.0") * 2)
    kept = server.exchange(get(b"/hello", b"Connection: keep-alive", version=b"1.0") * 2)
    assert (len(bodies(once)), len(bodies(kept))) == (1, 2)
    assert kept.count(b"Connection: keep-alive\r\n") == 2


# Upgrades


def test_an_upgrade_hands_over_the_transport_and_what_came_behind(server: Any, served: Served, clock: Any) -> None:
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
