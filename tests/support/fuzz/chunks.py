"""Fuzz target: the framing of chunked content, cut into arbitrary segments.

Whatever the bytes are, `ChunkedBody` reads the same content with the same end as a second reader, which was written
from RFC 9112 section 7.1 alone, or it refuses content beyond one of its limits.

    PYTHONPATH=tests/support python -m fuzz.chunks --inputs 10000000
"""

from __future__ import annotations

import random
import string
from typing import Final

from fuzz.fuzzing import cut, main
from observability.http11.chunks import MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES, ChunkedBody
from observability.http11.refusals import Fatal

MAX_BODY_BYTES: Final = 4096
REFUSALS: Final = frozenset({400, 413, 431})

SEEDS: Final = [
    (b"5\r\n", b"hello", b"\r\n", b"0\r\n", b"\r\n"),
    (
        b"a\r\n",
        b"0123456789\r\n",
        b"1;x\r\n",
        b"!",
        b"\r\n",
        b'00;a="b;\\"c"\r\n',
        b"T: v\r\n",
        b"U:\r\n",
        b"\r\n",
        b"next",
    ),
    (b"0\r\n", b"\r\n"),
    (b"3", b" ; a = b", b";c", b"\r\n", b"\r\n0", b"\r\n", b"0\r\n\r\n"),
    (b"fFf\r\n", b"a" * 0xFFF, b"\r\n", b"0\r\n", b"Content-Length: 5\r\n", b"\r\n"),
]
DICTIONARY: Final = [
    b"\r\n", b"\n", b"\r", b"\r\r\n", b"0\r\n\r\n", b"0\r\n", b"00\r\n", b"1\r\n", b"1\r\na\r\n", b"-1\r\n", b"+1\r\n",
    b"0x1\r\n", b"1_0\r\n", b" 1\r\n", b"1 \r\n", b"1\t;a\r\n", b"ffffffff\r\n", b"100000000\r\n", b"7fffffff\r\n",
    b"1000\r\n", b"1001\r\n", b"1;\r\n", b";a", b";a=b", b';a="b"', b';a="', b'"', b"\\", b";a=\"\r\n\"", b"a: b\r\n",
    b" folded\r\n", b"a : b\r\n", b": b\r\n", b"a\r\n", b"\xd9\xa1\r\n", b"\x00", b"\x85", b"\xff", b"g\r\n",
]  # fmt: skip

_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~" + (string.digits + string.ascii_letters).encode())
_HEX: Final = frozenset(string.hexdigits.encode())
_VALUE: Final = frozenset((9, *range(0x20, 0x7F), *range(0x80, 0x100)))


class InvalidError(Exception):
    """The bytes are not chunked content."""


class UnfinishedError(Exception):
    """The bytes are the beginning of chunked content."""


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if `data` is not read as RFC 9112 says."""
    outcome = _read([data])
    assert not isinstance(outcome, int) or outcome in REFUSALS, f"undocumented: {outcome}"
    assert _read(cut(data, rng)) == outcome, "reads it differently in segments"
    try:
        expected = _reference(data)
    except InvalidError:
        assert isinstance(outcome, int), f"accepts bytes that are not chunked content: {outcome}"
    except UnfinishedError:
        assert outcome is None or isinstance(outcome, int), f"ends too early: {outcome}"
    else:
        # The reference has no limits. Those of the parser are refused with 413 or 431, or 400 for a long line.
        has_long_line = any(len(line) > MAX_CHUNK_LINE_BYTES for line in data.split(b"\r\n"))
        assert outcome == expected or outcome in (413, 431) or has_long_line, f"{outcome}, expected {expected}"


def _read(segments: list[bytes]) -> tuple[bytes, int] | int | None:
    """Returns the content and how many bytes were read, the status of a refusal, or None if more is needed."""
    body = ChunkedBody(MAX_BODY_BYTES)
    buffer = bytearray()
    taken = 0
    try:
        for segment in segments:
            buffer += segment
            if not body.done:
                at = body.read(buffer, 0)
                assert 0 <= at <= len(buffer)
                taken += at
                del buffer[:at]
            assert len(body.body) <= MAX_BODY_BYTES
            assert body.done or len(buffer) <= MAX_TRAILER_BYTES + 2, "keeps more of a line than its limit allows"
    except Fatal as refusal:
        return refusal.status
    return (bytes(body.body), taken) if body.done else None


def _reference(data: bytes) -> tuple[bytes, int]:
    """Reads chunked content byte by byte."""
    body = b""
    at = 0
    while True:
        line, at = _line(data, at)
        size = _size_of(line)
        if size == 0:
            break
        body += data[at : at + size]
        at += size
        if at + 2 > len(data):
            if data[at : at + 2] not in (b"", b"\r"):
                raise InvalidError
            raise UnfinishedError
        if data[at : at + 2] != b"\r\n":
            raise InvalidError
        at += 2
    while True:
        line, at = _line(data, at)
        if not line:
            return body, at
        name, colon, value = line.partition(b":")
        if not (colon and name and _TOKEN.issuperset(name) and _VALUE.issuperset(value)):
            raise InvalidError


def _line(data: bytes, at: int) -> tuple[bytes, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise UnfinishedError
    return data[at:end], end + 2


def _size_of(line: bytes) -> int:
    at = 0
    while at < len(line) and line[at] in _HEX:
        at += 1
    if not 1 <= at <= 8:
        raise InvalidError
    size = int(line[:at], 16)
    while at < len(line):
        at = _skip_whitespace(line, at)
        if line[at : at + 1] != b";":
            raise InvalidError
        at = _skip_token(line, _skip_whitespace(line, at + 1))
        equals = _skip_whitespace(line, at)
        if line[equals : equals + 1] == b"=":
            at = _skip_whitespace(line, equals + 1)
            at = _skip_quoted(line, at) if line[at : at + 1] == b'"' else _skip_token(line, at)
    return size


def _skip_whitespace(line: bytes, at: int) -> int:
    while line[at : at + 1] in (b" ", b"\t"):
        at += 1
    return at


def _skip_token(line: bytes, at: int) -> int:
    start = at
    while at < len(line) and line[at] in _TOKEN:
        at += 1
    if at == start:
        raise InvalidError
    return at


def _skip_quoted(line: bytes, at: int) -> int:
    at += 1
    while at < len(line):
        if line[at : at + 1] == b'"':
            return at + 1
        if line[at : at + 1] == b"\\":
            at += 1
            # RFC 9110 section 5.6.4: quoted-pair = "\" ( HTAB / SP / VCHAR / obs-text )
            if at == len(line) or line[at] not in _VALUE:
                raise InvalidError
        elif line[at] not in _VALUE:
            raise InvalidError
        at += 1
    raise InvalidError


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__)
