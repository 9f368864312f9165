"""Fuzz target: a stream of pipelined HTTP requests, cut into arbitrary segments.

Whatever the bytes are, `RequestParser` yields the same requests from one segment as from many, ends with a documented
refusal or wants more, and keeps no more bytes than its limits allow. A second, plain reading of RFC 9112 finds one
Host, one framing and the same content in every request that was accepted.

    PYTHONPATH=tests/support python -m fuzz.requests --inputs 10000000
"""

from __future__ import annotations

import random
from typing import Any, Final

from fuzz.fuzzing import cut, main
from observability.http11.heads import MAX_HEAD_BYTES, HeadMemo
from observability.http11.messages import Request
from observability.http11.parser import RequestParser
from observability.http11.refusals import Fatal

MAX_BODY_BYTES: Final = 1024
REFUSALS: Final = frozenset({400, 413, 414, 417, 431, 501, 505})
# What a parser may hold of an incomplete request: a head, or content with the line of a chunk.
MAX_HELD_BYTES: Final = MAX_HEAD_BYTES + MAX_BODY_BYTES

HOST: Final = b"Host: a\r\n"
END: Final = b"\r\n"
POST: Final = b"POST /a HTTP/1.1\r\n"
CHUNKED: Final = b"Transfer-Encoding: chunked\r\n"
LAST_CHUNK: Final = b"0\r\n\r\n"
WEBSOCKET_KEY: Final = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

SEEDS: Final = [
    (b"GET / HTTP/1.1\r\n", HOST, END),
    (b"GET /api/trades?symbol=AAPL&limit=%31 HTTP/1.1\r\n", HOST, b"Accept: */*\r\n", b"Connection: keep-alive\r\n",
     END),
    (b"HEAD /%41/b HTTP/1.0\r\n", b"Connection: keep-alive, x\r\n", END),
    (b"OPTIONS * HTTP/1.1\r\n", HOST, END),
    (b"GET http://b:80/x?y HTTP/1.1\r\n", HOST, END),
    (POST, HOST, b"Content-Length: 5\r\n", b"Expect: 100-continue\r\n", END, b"hello"),
    (POST, HOST, CHUNKED, END, b"5\r\nhello\r\n", b"a;x=y;z=\"q\\\"\"\r\n0123456789\r\n", b"0\r\n", b"T: 1\r\n",
     b"\r\n"),
    (POST, HOST, CHUNKED, END, LAST_CHUNK, b"GET /next HTTP/1.1\r\n", HOST, END),
    (b"\r\n\r\n", b"GET / HTTP/1.1\r\n", HOST, b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", END, b"\x81\x80"),
    (b"GET /ws HTTP/1.1\r\n", HOST, b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", WEBSOCKET_KEY, END),
    (b"GET /ws HTTP/1.1\r\n", HOST, WEBSOCKET_KEY, b"Upgrade: websocket\r\n", b"Connection: Upgrade\r\n", END),
    # Found once: content whose last byte is a CR, in front of a LF.
    (POST, HOST, b"Content-Length: 1\r\n", END, b"\r", b"\n"),
    (POST, HOST, b"Content-Length: 3\r\n", END, b"GET", b" / HTTP/1.1\r\n", HOST, END),
]  # fmt: skip

# The shapes requests are smuggled in, one per line, and what else has made two parsers disagree.
DICTIONARY: Final = [
    b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: +5\r\n", b"Content-Length: -1\r\n",
    b"Content-Length: 5, 5\r\n", b"Content-Length: 0x5\r\n", b"Content-Length: 1_0\r\n", b"Content-Length: 05\r\n",
    b"Content-Length : 5\r\n", b"Content-Length:\t5 \r\n", b"Content-Length: 5 5\r\n", b"Content_Length: 5\r\n",
    b"content-length: 99999999999999999999\r\n", b"Content-Length:\r\n", b" Content-Length: 5\r\n",
    b"Content-Length: \xd9\xa5\r\n", b"Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
    CHUNKED, b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding:chunked\r\n", b"Transfer-Encoding: Chunked\r\n",
    b"Transfer-Encoding: chunked, identity\r\n", b"Transfer-Encoding: identity, chunked\r\n",
    b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked\x0b\r\n", b"Transfer-Encoding:\r\n chunked\r\n",
    b"Transfer-Encoding: \x00chunked\r\n", b"Transfer-Encoding: chunked;a=b\r\n", b"Transfer-Encoding: chunked\n",
    b"\tTransfer-Encoding: chunked\r\n", b"X: y\rTransfer-Encoding: chunked\r\n", b"Transfer-Encoding\r\n: chunked\r\n",
    b"X: y\nTransfer-Encoding: chunked\r\n", b"Transfer-Encoding: \"chunked\"\r\n", b"TE: chunked\r\n",
    HOST, b"Host: b\r\n", b"Host:\r\n", b"Host: a, b\r\n", b"Host: a/b\r\n", b"Host: a@b\r\n", b"Host : a\r\n",
    b"Connection: close\r\n", b"Connection: keep-alive, Upgrade\r\n", b"Connection: content-length\r\n",
    b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"Upgrade: h2c\r\n", b"Cookie: a=b\r\n", b"X: a\r\n b\r\n",
    WEBSOCKET_KEY, b"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", b"Sec-WebSocket-Key: \r\n",
    b"GET / HTTP/1.1\r\n", POST, b"GET / HTTP/1.0\r\n", b"GET / HTTP/2.0\r\n", b"get / HTTP/1.1\r\n", b"GET /\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n", b"GET /%2e%2e/%2f%00 HTTP/1.1\r\n", b"GET //a HTTP/1.1\r\n", b"GET  / HTTP/1.1\r\n",
    LAST_CHUNK, b"5\r\nhello\r\n", b"5\nhello\r\n", b"5;\r\nhello\r\n", b"5 \r\nhello\r\n", b"+5\r\nhello\r\n",
    b"0x5\r\nhello\r\n", b"5\r\nhello", b"ffffffff\r\n", b"fffffffff\r\n", b"00000005\r\nhello\r\n",
    b"0\r\nHost: b\r\n\r\n",
    b"0\r\nContent-Length: 1\r\n\r\n", b"5;a=\"\r\n\r\nhello\r\n", b"-1\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\n",
    b"\r\n\r\n", b"\x00", b"\x16\x03\x01", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]  # fmt: skip

# One memo for all inputs, as a worker has one for all connections: a memoised head must change nothing.
_MEMO: Final = HeadMemo()


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if `data` can be read in two ways."""
    whole, refused, left = _parse_whole(data)
    pieces, pieces_refused, pieces_left = _parse_cut(data, rng)
    assert pieces == whole, f"cut: {pieces}, whole: {whole}"
    assert pieces_refused == refused, f"cut: refused is {pieces_refused}, whole: {refused}"
    assert refused or pieces_left == left


def _parse_whole(data: bytes) -> tuple[list[Any], bool, bytes]:
    parser = RequestParser(_MEMO, MAX_BODY_BYTES)
    parser.feed(data)
    seen: list[Any] = []
    rest = data
    try:
        while (request := parser.next_request()) is not None:
            left = parser.leftover()
            assert rest.endswith(left)
            _check_request(request, rest[: len(rest) - len(left)])
            rest = left
            seen.append(_essence(request))
    except Fatal as refusal:
        _check_refusal(parser, refusal)
        return seen, True, b""
    assert len(parser.leftover()) <= MAX_HELD_BYTES, "holds more than its limits allow"
    return seen, False, parser.leftover()


def _parse_cut(data: bytes, rng: random.Random) -> tuple[list[Any], bool, bytes]:
    parser = RequestParser(HeadMemo(), MAX_BODY_BYTES)
    seen: list[Any] = []
    try:
        for segment in cut(data, rng):
            parser.feed(segment)
            while (request := parser.next_request()) is not None:
                seen.append(_essence(request))
            assert len(parser.leftover()) <= MAX_HELD_BYTES, "holds more than its limits allow"
    except Fatal as refusal:
        _check_refusal(parser, refusal)
        return seen, True, b""
    return seen, False, parser.leftover()


def _essence(request: Request) -> tuple[Any, ...]:
    head = request.head
    return (
        head.method,
        head.target,
        head.path,
        head.segments,
        head.query,
        head.version,
        tuple(field for field in head.fields if field[0] != b"sec-websocket-key"),
        request.websocket_key,
        head.keep_alive,
        head.is_upgrade,
        head.expects_continue,
        request.body,
    )


def _check_refusal(parser: RequestParser, refusal: Fatal) -> None:
    assert refusal.status in REFUSALS, f"undocumented: {refusal}"
    assert refusal.detail.isprintable(), f"cannot be logged: {refusal.detail!r}"
    try:
        parser.next_request()
    except Fatal as again:
        if again is refusal:
            return
    raise AssertionError("does not raise its refusal again")


def _check_request(request: Request, consumed: bytes) -> None:
    """Raises AssertionError if a plain reading of one request's bytes differs."""
    while consumed.startswith(b"\r\n"):
        consumed = consumed[2:]
    head, end, content = consumed.partition(b"\r\n\r\n")
    assert end, "a request without an end of its head"
    line, *fields = head.split(b"\r\n")
    for forbidden in (b"\r", b"\n", b"\0"):
        assert forbidden not in head.replace(b"\r\n", b""), f"{forbidden!r} in the head"
    assert line.count(b" ") == 2
    assert len(head) + 4 <= MAX_HEAD_BYTES
    # Lax parsers strip more than RFC 9112 allows: every field counts that one could take for a framing field.
    values: dict[bytes, list[bytes]] = {}
    for field in fields:
        name, _, value = field.partition(b":")
        values.setdefault(name.strip().lower(), []).append(value.strip(b" \t"))
        assert name == name.strip(), "whitespace around a field name"
    hosts, lengths, codings = (values.get(name, []) for name in (b"host", b"content-length", b"transfer-encoding"))
    assert len(hosts) == 1 if line.endswith(b"HTTP/1.1") else len(hosts) <= 1, f"hosts: {hosts}"
    assert len(lengths) + len(codings) <= 1, "two framings"
    if codings:
        assert codings[0].lower() == b"chunked"
        content = _decode_chunked(content)
    else:
        assert not lengths or (lengths[0].isdigit() and len(content) == int(lengths[0]))
    assert content == request.body


def _decode_chunked(content: bytes) -> bytes:
    body = b""
    while True:
        line, _, content = content.partition(b"\r\n")
        digits = line.partition(b";")[0].rstrip(b" \t")
        assert digits and not digits.strip(b"0123456789abcdefABCDEF"), f"chunk size {digits!r}"
        size = int(digits, 16)
        if size == 0:
            trailer, end, rest = (b"\r\n" + content).partition(b"\r\n\r\n")
            assert end and not rest, f"after the last chunk: {trailer + rest!r}"
            return body
        assert content[size : size + 2] == b"\r\n", "no CRLF after a chunk"
        body += content[:size]
        content = content[size + 2 :]


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__)
