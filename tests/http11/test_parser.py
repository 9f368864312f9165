"""The parser, fed with raw requests: each whole, byte by byte, after a good request and before one."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.http11 import chunks as chunks_module
from observability.http11 import parser as parser_module
from observability.http11.grammar import LINE_FAULT
from observability.http11.messages import Request
from observability.http11.parser import RequestParser
from observability.http11.refusals import Fatal
from raw_requests import ACCEPTED, GOOD, MAX_BODY_BYTES, REFUSED, chunked, head, post

refused = pytest.mark.parametrize(("status", "data"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
accepted = pytest.mark.parametrize(
    ("data", "expected"), [case[1:] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED]
)


def parse(*segments: bytes) -> tuple[list[Request], Fatal | None]:
    """Feeds segments to a new parser; returns the requests, and the refusal if there was one."""
    parser = RequestParser(max_body_bytes=MAX_BODY_BYTES)
    requests = []
    for segment in segments:
        parser.feed(segment)
        try:
            while (request := parser.next_request()) is not None:
                requests.append(request)
        except Fatal as refusal:
            return requests, refusal
    return requests, None


def by_byte(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


def shape(requests: list[Request]) -> list[tuple[str, str, bytes]]:
    return [(request.method, request.path, request.body) for request in requests]


@refused
def test_a_bad_request_is_refused_whole(status: int, data: bytes) -> None:
    requests, refusal = parse(data)
    assert requests == []
    assert refusal is not None
    assert refusal.status == status


@refused
def test_a_bad_request_is_refused_byte_by_byte(status: int, data: bytes) -> None:
    requests, refusal = parse(*by_byte(data))
    assert requests == []
    assert refusal is not None
    assert refusal.status == status


@refused
def test_a_good_request_in_front_of_a_bad_one_is_returned_first(status: int, data: bytes) -> None:
    requests, refusal = parse(GOOD + data)
    if data.startswith(b"\r\n"):
        assert requests[0].path == "/good"
    else:
        assert shape(requests) == [("GET", "/good", b"")]
    assert refusal is not None
    assert refusal.status == status


@refused
def test_bytes_after_a_bad_request_are_never_parsed_as_a_request(status: int, data: bytes) -> None:
    requests, refusal = parse(data + GOOD, GOOD)
    assert requests == []
    assert refusal is not None


@accepted
def test_a_good_request_is_parsed_whole(data: bytes, expected: dict[str, object]) -> None:
    requests, refusal = parse(data)
    assert refusal is None
    assert len(requests) == 1
    assert {name: getattr(requests[0], name) for name in expected} == expected


@accepted
def test_a_good_request_is_parsed_byte_by_byte(data: bytes, expected: dict[str, object]) -> None:
    requests, refusal = parse(*by_byte(data))
    assert refusal is None
    assert len(requests) == 1
    assert {name: getattr(requests[0], name) for name in expected} == expected


@accepted
def test_a_good_request_ends_where_the_next_begins(data: bytes, expected: dict[str, object]) -> None:
    requests, refusal = parse(data + GOOD)
    assert refusal is None
    assert [request.path for request in requests][1:] == ["/good"]
    assert {name: getattr(requests[0], name) for name in expected} == expected


PIPELINE = b"".join(case[1] for case in ACCEPTED if len(case[1]) < 1000)


@given(cuts=st.lists(st.integers(0, len(PIPELINE)), max_size=12))
def test_requests_do_not_depend_on_how_the_bytes_are_segmented(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(PIPELINE)]
    segments = [PIPELINE[a:b] for a, b in pairwise(edges)]
    assert shape(parse(*segments)[0]) == shape(parse(PIPELINE)[0])


@given(
    data=st.binary(max_size=200), prefix=st.sampled_from([b"", b"GET / HTTP/1.1\r\n", chunked(b""), chunked(b"5\r\n")])
)
def test_no_bytes_raise_anything_but_a_refusal(data: bytes, prefix: bytes) -> None:
    parse(prefix + data)
    parse(*by_byte(prefix + data))


def test_a_parser_that_has_refused_raises_the_same_refusal_again() -> None:
    parser = RequestParser()
    parser.feed(post(b"Content-Length: 99999999") + GOOD)
    for _ in range(3):
        with pytest.raises(Fatal) as caught:
            parser.next_request()
        assert caught.value.status == 413
        parser.feed(GOOD)


def test_the_host_of_an_absolute_form_target_replaces_the_host_field() -> None:
    requests, _ = parse(head(b"GET http://b:81/ HTTP/1.1"))
    assert requests[0].header(b"Host") == b"b:81"


def test_a_content_length_beyond_the_limit_is_refused_at_the_head() -> None:
    _, refusal = parse(post(b"Content-Length: 65537", b"Expect: 100-continue"))
    assert refusal is not None
    assert refusal.status == 413


def test_a_refusal_never_repeats_a_line_that_may_hold_a_secret() -> None:
    for data in (
        head(b"GET / HTTP/1.1", b"Authorization Bearer s3cret"),
        head(b"GET / HTTP/1.1", b"Authorization: s3cret\x01"),
        head(b"GET /?token=s3cret\x7f HTTP/1.1"),
        head(b'GET /?token=s3cret" HTTP/1.1'),
    ):
        _, refusal = parse(data)
        assert refusal is not None
        assert "s3cret" not in refusal.detail


def test_a_cr_at_the_end_of_content_does_not_join_an_lf_after_it() -> None:
    requests, refusal = parse(post(b"Content-Length: 1") + b"\r\n")
    assert shape(requests) == [("POST", "/", b"\r")]
    assert refusal is not None
    assert refusal.status == 400


def test_bytes_after_the_last_request_are_left_over() -> None:
    parser = RequestParser()
    parser.feed(GOOD + b"\x81\x00frame")
    parser.next_request()
    assert parser.leftover() == b"\x81\x00frame"


class SearchCounter:
    """Counts the bytes that a pattern is asked to search, and searches them."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        self.searched_bytes = 0

    def search(self, buffer: bytes, at: int, end: int) -> re.Match[bytes] | None:
        self.searched_bytes += min(end, len(buffer)) - at
        return self._pattern.search(buffer, at, end)


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 16_000, chunked(b"0\r\n" + b"x: " + b"a" * 4_000)],
    ids=["head", "trailer"],
)
def test_no_byte_is_searched_twice_however_slowly_a_request_arrives(
    data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = SearchCounter(LINE_FAULT)
    monkeypatch.setattr(parser_module, "LINE_FAULT", counter)
    monkeypatch.setattr(chunks_module, "LINE_FAULT", counter)
    parse(*by_byte(data))
    assert 0 < counter.searched_bytes <= 2 * len(data)
