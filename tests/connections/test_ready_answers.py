"""Ready answers: a request that comes again before the next frame is answered without its handler, and counted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from fake_clock import FakeClock
from http_application import get
from observability.access.addresses import TrustedProxies
from observability.access.authorization import AccessPolicy, HostCheck
from observability.access.rates import RequestRate
from observability.connections.turn import TURN_NS
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response
from observability.routing.application import Application
from observability.routing.ready_answers import MAX_ANSWERS, SMALL_BYTES, ReadyAnswer, ReadyAnswers
from observability.routing.router import Router

ServeApplication = Callable[[Application], Any]


class SteppingClock(FakeClock):
    """Moves by a microsecond, or another step, whenever it is looked at."""

    looks = 0
    step_ns = 1000

    def mono_ns(self) -> int:
        self.looks += 1
        self.now_ns += self.step_ns
        return self.now_ns


class Counted:
    """An application with a document, a response that lasts and one that does not; it counts calls and answers."""

    def __init__(self, clock: FakeClock, **options: Any) -> None:
        self.calls: list[str] = []
        self.answers: list[tuple[str, str, int]] = []
        router = Router()
        router.add("GET", "/document", self.document)
        router.add("GET", "/lasting", self.lasting)
        router.add("GET", "/passing", self.passing)
        router.add("GET", "/words/{word}", self.word)
        self.application = Application(router, clock, on_answers=self.count, **options)

    def count(self, method: str, route: str, status: int, spent_ns: int, number: int) -> None:
        self.answers += [(method, route, status)] * number

    def document(self, request: Request) -> ReadyDocument:
        self.calls.append("document")
        return ReadyDocument(b"call %d" % len(self.calls), b'"%d"' % len(self.calls))

    def lasting(self, request: Request) -> Response:
        self.calls.append("lasting")
        return Response(body=b"lasting", is_lasting=True)

    def passing(self, request: Request) -> Response:
        self.calls.append("passing")
        return Response(body=b"passing")

    def word(self, request: Request, word: str) -> ReadyDocument:
        self.calls.append(word)
        return ReadyDocument(word.encode(), b'"1"')


def ask(sock: socket.socket, request: bytes) -> bytes:
    """Sends a request and returns its answer."""
    sock.sendall(request)
    return read_answer(sock)


def read_answer(sock: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = sock.recv(65536)
        assert received, "the connection ended without an answer"
        answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += sock.recv(65536)
    return head + b"\r\n\r\n" + body


def ask_often(serve: ServeApplication, counted: Counted, request: bytes, times: int = 4) -> list[bytes]:
    server = serve(counted.application)
    with server.connect() as sock:
        answers = [ask(sock, request) for _ in range(times)]
    server.call(counted.application.count_ready)
    return answers


@pytest.mark.parametrize("path", [b"/document", b"/lasting"])
def test_the_same_request_gets_the_same_bytes_without_its_handler(
    serve: ServeApplication, clock: FakeClock, path: bytes
) -> None:
    counted = Counted(clock)
    answers = ask_often(serve, counted, get(path))
    assert len(set(answers)) == 1
    assert len(counted.calls) == 1
    assert counted.answers == [("GET", path.decode(), 200)] * 4


def test_a_conditional_request_is_answered_304_each_time(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock)
    answers = ask_often(serve, counted, get(b"/document", b'If-None-Match: "1"'))
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 304"}
    assert len(counted.calls) == 1 and len(counted.answers) == 4


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(b"/passing"),
        get(b"/words/one"),
        get(b"/document?token=secret"),
        get(b"/document", b"Authorization: Bearer secret"),
    ],
)
def test_what_more_than_the_head_decides_about_goes_to_its_handler_each_time(
    serve: ServeApplication, clock: FakeClock, request_bytes: bytes
) -> None:
    counted = Counted(clock)
    ask_often(serve, counted, request_bytes)
    assert len(counted.calls) == 4


def test_a_route_that_looks_at_the_peer_has_no_ready_answers(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock)
    counted.application.router.add("GET", "/mine", counted.lasting, role="write")
    answers = ask_often(serve, counted, b"GET /mine HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 200"}
    assert len(counted.calls) == 4


def test_a_limit_of_requests_holds_for_the_same_request_too(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock, request_rate=RequestRate(1))
    statuses = [answer[9:12] for answer in ask_often(serve, counted, get(b"/document"))]
    assert statuses == [b"200", b"200", b"429", b"429"]
    assert len(counted.calls) == 1


def test_a_request_that_has_to_wait_for_its_turn_takes_one_token(serve: ServeApplication) -> None:
    clock = SteppingClock()
    # Six tokens.
    counted = Counted(clock, request_rate=RequestRate(3))
    server = serve(counted.application)
    request = get(b"/document")

    def send_both(*socks: socket.socket) -> None:
        """Lets the loop read both in one turn, which is over after the first."""
        clock.step_ns = TURN_NS
        for sock in socks:
            sock.sendall(request)

    with server.connect() as first, server.connect() as second:
        found = [ask(sock, request) for sock in (first, second)]
        server.call(lambda: send_both(first, second))
        found += [read_answer(sock) for sock in (first, second)]
        found += [ask(first, request) for _ in range(3)]
    assert [answer[9:12] for answer in found] == [b"200"] * 6 + [b"429"]


def test_a_limit_behind_a_proxy_counts_each_of_its_clients(serve: ServeApplication, clock: FakeClock) -> None:
    proxies = TrustedProxies([ip_network("127.0.0.1/32")])
    counted = Counted(clock, request_rate=RequestRate(1), proxies=proxies)
    server = serve(counted.application)
    with server.connect() as sock:
        for client in (b"192.0.2.1", b"192.0.2.2"):
            request = get(b"/document", b"X-Forwarded-For: " + client)
            assert [ask(sock, request)[9:12] for _ in range(3)] == [b"200", b"200", b"429"]


def test_a_server_for_this_machine_has_ready_answers_for_its_own_names_only(
    serve: ServeApplication, clock: FakeClock
) -> None:
    counted = Counted(clock, access=AccessPolicy(hosts=HostCheck()))
    server = serve(counted.application)
    with server.connect() as sock:
        own = [ask(sock, b"GET /document HTTP/1.1\r\nHost: localhost\r\n\r\n")[9:12] for _ in range(3)]
        assert own == [b"200"] * 3 and len(counted.calls) == 1
        other = [ask(sock, b"GET /document HTTP/1.1\r\nHost: example.com\r\n\r\n")[9:12] for _ in range(3)]
        assert other == [b"421"] * 3


def test_what_is_allowed_by_its_proxy_goes_to_its_handler_each_time(serve: ServeApplication, clock: FakeClock) -> None:
    proxies = TrustedProxies([ip_network("127.0.0.1/32")])
    counted = Counted(clock, access=AccessPolicy(hosts=HostCheck(proxies=proxies)), proxies=proxies)
    request = b"GET /document HTTP/1.1\r\nHost: example.com\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    assert {answer[9:12] for answer in ask_often(serve, counted, request)} == {b"200"}
    assert len(counted.calls) == 4


def test_ready_answers_are_counted_before_another_request_is_answered(
    serve: ServeApplication, clock: FakeClock
) -> None:
    counted = Counted(clock)
    server = serve(counted.application)
    with server.connect() as sock:
        for path in (b"/lasting", b"/lasting", b"/lasting", b"/passing"):
            ask(sock, get(path))
    assert counted.answers == [("GET", "/lasting", 200)] * 3 + [("GET", "/passing", 200)]


def test_a_new_frame_ends_what_was_ready(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock)
    server = serve(counted.application)
    with server.connect() as sock:
        first, again = ask(sock, get(b"/document")), ask(sock, get(b"/document"))
        server.call(counted.application.clear_ready)
        new = ask(sock, get(b"/document"))
    assert first == again != new
    assert new.endswith(b"call 2")


def test_the_date_of_a_ready_answer_is_at_most_a_sweep_old(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock)
    server = serve(counted.application)
    with server.connect() as sock:
        before = ask(sock, get(b"/lasting"))
        clock.advance(1)
        server.sweep()
        after = ask(sock, get(b"/lasting"))
    assert before != after


def test_a_ready_answer_begins_the_wait_for_the_next_request_anew(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock)
    server = serve(counted.application)
    idle_seconds = counted.application.limits.idle_seconds
    with server.connect() as sock:
        ask(sock, get(b"/lasting"))
        clock.advance(idle_seconds * 0.6)
        ask(sock, get(b"/lasting"))
        assert len(counted.calls) == 1
        clock.advance(idle_seconds * 0.6)
        server.sweep()
        assert ask(sock, get(b"/lasting")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(("size", "looks_again"), [(SMALL_BYTES // 2, False), (SMALL_BYTES + 1, True)])
def test_each_large_ready_answer_is_timed_and_of_small_ones_only_some(
    serve: ServeApplication, size: int, *, looks_again: bool
) -> None:
    clock = SteppingClock()
    counted = Counted(clock)
    body = b"x" * size
    counted.application.router.add("GET", "/sized", lambda _request: Response(body=body, is_lasting=True))
    server = serve(counted.application)
    with server.connect() as sock:
        # The handler's answer, and a ready one that is timed.
        for _ in range(2):
            ask(sock, get(b"/sized"))
        # The answer arrives before its end is timed.
        looks = server.call(lambda: clock.looks)
        for _ in range(8):
            ask(sock, get(b"/sized"))
        assert (server.call(lambda: clock.looks) > looks) is looks_again
    server.call(counted.application.count_ready)
    assert counted.answers == [("GET", "/sized", 200)] * 10


def test_answers_that_are_not_timed_count_as_long_as_the_last_that_was() -> None:
    ready, counted = ReadyAnswers(), []
    answer = ReadyAnswer(b"", "GET", "/", 200)
    ready.add_timed(answer, 4000)
    answer.sent += 3
    ready.add_timed(answer, 6000)
    for _ in range(2):
        ready.count_sent(lambda *sent: counted.append(sent))
    assert counted == [("GET", "/", 200, 4000 + 6000 + 3 * 6000, 5)]


def test_requests_in_one_segment_are_each_answered(serve: ServeApplication, clock: FakeClock) -> None:
    counted = Counted(clock)
    server = serve(counted.application)
    assert server.exchange(get(b"/lasting") * 3).count(b"HTTP/1.1 200") == 3
    assert len(counted.answers) == 3


def test_the_number_of_ready_answers_is_bounded() -> None:
    ready = ReadyAnswers()
    for number in range(2 * MAX_ANSWERS):
        head: Any = type("Head", (), {"memoised": b"%d" % number})
        ready.add(Request(head, b""), ReadyAnswer(b"", "GET", "/", 200))
    assert len(ready) == MAX_ANSWERS
