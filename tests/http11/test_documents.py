"""Documents with an entity tag: 304, gzip, and encoded answers that are kept for equal requests."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from observability.http11.cors import CorsPolicy
from observability.http11.documents import GZIP_MIN_BYTES, ReadyDocument
from observability.http11.heads import parse_head
from observability.http11.messages import Request, ResponseEncoder

BODY = b'{"a":1}' * 200


def request(*fields: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> Request:
    line = method + b" / HTTP/" + version
    return Request(parse_head(b"\r\n".join([line, b"Host: a", *fields, b"", b""])), b"")


@pytest.fixture
def encoder(clock: Any) -> ResponseEncoder:
    return ResponseEncoder(clock, CorsPolicy(["http://a"]))


def split(data: bytes) -> tuple[dict[bytes, bytes], bytes]:
    head, _, body = data.partition(b"\r\n\r\n")
    return dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:]), body


def test_the_answer_of_a_document_carries_its_entity_tag(encoder: ResponseEncoder) -> None:
    status, data = ReadyDocument(BODY, b'"7-1"').encode(request(), encoder, keep_alive=True)
    fields, body = split(data)
    assert (status, body) == (200, BODY)
    assert fields[b"ETag"] == b'"7-1"'
    assert fields[b"Cache-Control"] == b"no-cache"
    assert fields[b"Vary"] == b"Origin, Accept-Encoding"


def test_a_version_that_the_client_has_is_answered_with_304(encoder: ResponseEncoder) -> None:
    document = ReadyDocument(BODY, b'"7-1"')
    status, data = document.encode(request(b'If-None-Match: "7-0", W/"7-1"'), encoder, keep_alive=True)
    fields, body = split(data)
    assert (status, body) == (304, b"")
    assert fields[b"ETag"] == b'"7-1"'
    assert document.encode(request(b'If-None-Match: "7-0"'), encoder, keep_alive=True)[0] == 200


def test_the_gzip_representation_has_its_own_entity_tag(encoder: ResponseEncoder) -> None:
    document = ReadyDocument(BODY, b'"7-1"')
    status, data = document.encode(request(b"Accept-Encoding: gzip"), encoder, keep_alive=True)
    fields, body = split(data)
    assert (status, gzip.decompress(body)) == (200, BODY)
    assert fields[b"ETag"] == b'"7-1-gzip"'
    assert fields[b"Content-Encoding"] == b"gzip"
    assert int(fields[b"Content-Length"]) == len(body)
    plain_tag = request(b"Accept-Encoding: gzip", b'If-None-Match: "7-1"')
    gzip_tag = request(b"Accept-Encoding: gzip", b'If-None-Match: "7-1-gzip"')
    assert document.encode(plain_tag, encoder, keep_alive=True)[0] == 200
    assert document.encode(gzip_tag, encoder, keep_alive=True)[0] == 304


def test_a_small_document_is_not_compressed(encoder: ResponseEncoder) -> None:
    document = ReadyDocument(b"a" * (GZIP_MIN_BYTES - 1), b'"1"')
    _, data = document.encode(request(b"Accept-Encoding: gzip"), encoder, keep_alive=True)
    assert b"Content-Encoding" not in data


def test_equal_requests_get_the_same_bytes_encoded_once(encoder: ResponseEncoder) -> None:
    document = ReadyDocument(BODY, b'"7-1"')
    first = document.encode(request(b"User-Agent: a"), encoder, keep_alive=True)[1]
    assert document.encode(request(b"User-Agent: b"), encoder, keep_alive=True)[1] is first


def test_kept_answers_are_never_mixed_up_between_different_requests(encoder: ResponseEncoder) -> None:
    document = ReadyDocument(BODY, b'"7-1"')
    questions = [
        request(*origin, *coding, *known, method=method, version=version)
        for origin in ((), (b"Origin: http://a",), (b"Origin: http://evil",))
        for coding in ((), (b"Accept-Encoding: gzip",))
        for known in ((), (b'If-None-Match: "7-1"',))
        for method in (b"GET", b"HEAD")
        for version in (b"1.0", b"1.1")
    ]
    for keep_alive in (True, False):
        for question in questions:
            fresh = ReadyDocument(BODY, b'"7-1"').encode(question, encoder, keep_alive=keep_alive)
            assert document.encode(question, encoder, keep_alive=keep_alive) == fresh


def test_a_kept_answer_never_has_an_old_date(encoder: ResponseEncoder, clock: Any) -> None:
    document = ReadyDocument(BODY, b'"7-1"')
    document.encode(request(), encoder, keep_alive=True)
    clock.advance(1)
    fields, _ = split(document.encode(request(), encoder, keep_alive=True)[1])
    assert fields[b"Date"] == b"Tue, 14 Nov 2023 22:13:21 GMT"


def test_a_document_is_compressed_once_and_only_on_request(encoder: ResponseEncoder) -> None:
    document = ReadyDocument(BODY, b'"7-1"')
    document.encode(request(), encoder, keep_alive=True)
    assert document._gzipped is None
    assert document.gzipped() is document.gzipped()
