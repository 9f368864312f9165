"""Fuzz target: uncompressed frames of a WebSocket client, sent to a real server that echoes messages.

Whatever the bytes are, the server answers with frames that RFC 6455 allows a server to send: the echoes and pongs that
a second, plain reading of the RFC expects, in order, and a Close with a fitting code if the bytes break a rule. It
keeps serving other clients and reports no fault of its own.

    PYTHONPATH=tests/support python -m fuzz.frames --inputs 1000000
"""

from __future__ import annotations

import random
import socket
from dataclasses import dataclass, field
from typing import Final

from fuzz.fuzzing import cut, main
from fuzz.served import check_alive, server
from observability.websocket.echo import MAX_MESSAGE_BYTES, MIN_FRAGMENT_BYTES
from ws_client import (
    BINARY,
    CLOSE,
    CONTINUATION,
    NO_STATUS,
    PING,
    PONG,
    TEXT,
    FrameReader,
    frame,
    handshake,
    open_socket,
)

INPUTS_PER_HEALTH_CHECK: Final = 500
MAX_FRAGMENTS: Final = MAX_MESSAGE_BYTES // MIN_FRAGMENT_BYTES

SEEDS: Final = [
    (frame(TEXT, b"hello"), frame(BINARY, b"\x00\xff"), frame(PING, b"a"), frame(CLOSE, b"\x03\xe8bye")),
    (frame(TEXT, b"he", fin=False), frame(PING, b"between"), frame(CONTINUATION, b"llo"), frame(TEXT, b"")),
    (frame(TEXT, "h\u00e9\U0001f600".encode(), key=b"\x01\x02\x03\x04"), frame(PONG, b"unasked")),
    (frame(TEXT, b"\xf0\x9f", fin=False), frame(CONTINUATION, b"\x98", fin=False), frame(CONTINUATION, b"\x80")),
    (frame(BINARY, b"x" * 126), frame(BINARY, b"y" * 300, key=b"abcd"), frame(CLOSE, b"")),
    (frame(BINARY, b"z" * (1 << 16)), frame(TEXT, b"behind")),
    (frame(BINARY, b"", fin=False), *[frame(CONTINUATION, b"", fin=False)] * 3, frame(CONTINUATION, b"")),
]
DICTIONARY: Final = [
    frame(TEXT, b"a"), frame(TEXT, b"\xff"), frame(TEXT, b"\xed\xa0\x80"), frame(TEXT, b"\xc3", fin=False),
    frame(CONTINUATION, b"\xa9"), frame(CONTINUATION, b"", fin=False), frame(BINARY, b"", fin=False),
    frame(PING, b""), frame(PING, b"p" * 125), frame(PING, b"p" * 126), frame(PING, b"", fin=False), frame(PONG,
    b""),
    frame(CLOSE, b""), frame(CLOSE, b"\x03"), frame(CLOSE, b"\x03\xe8"), frame(CLOSE, b"\x03\xed"),
    frame(CLOSE, b"\x00\x00"), frame(CLOSE, b"\x03\xe8\xff"), frame(CLOSE, b"\x13\x88"), frame(CLOSE, b"\x0b\xb8x"),
    frame(3, b""), frame(11, b""), frame(0x41, b"a"), frame(0x21, b"a"), frame(0x11, b"a"), frame(0x49, b""),
    b"\x81\x01a", b"\x81\x00", b"\x82\xfe\x00\x01\0\0\0\0a", b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\0\0\0\0a",
    b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\0\0\0\0", b"\x82\xff\x00\x00\x00\x00\x00\x01\x00\x01\0\0\0\0",
    b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", b"\x82\xfe\xff\xff\0\0\0\0", b"\x89\xfe\x00\x7e\0\0\0\0",
    frame(BINARY, b"w" * 40000, fin=False), frame(CONTINUATION, b"w" * 40000), b"GET / HTTP/1.1\r\n\r\n", b"\x00",
    b"\xff",
]  # fmt: skip


@dataclass
class Expected:
    """How a server answers the bytes of a client by the RFC."""

    answers: list[tuple[int, bytes]] = field(default_factory=list)
    close_codes: frozenset[int] = frozenset()
    """The codes that the Close may have, `NO_STATUS` for a Close without one; empty if there is no Close to send."""
    may_wait: bool = False
    """Whether the server may wait, because the frame at fault is incomplete."""


def expected(data: bytes) -> Expected:
    """Reads `data` by RFC 6455 sections 5 to 7, frame by frame."""
    result = Expected()
    at = 0
    message: bytes | None = None
    fragments = 0
    message_opcode = 0
    while at + 2 <= len(data):
        first, second = data[at], data[at + 1]
        opcode, fin, size, start = first & 0x0F, bool(first & 0x80), second & 0x7F, at + 2
        codes = set()
        if first & 0x70 or not second & 0x80 or opcode not in (TEXT, BINARY, CLOSE, PING, PONG, CONTINUATION):
            codes.add(1002)
        if opcode >= CLOSE and (not fin or size > 125):
            codes.add(1002)
        if size >= 126:
            start += 2 if size == 126 else 8
            if start > len(data):
                result.close_codes, result.may_wait = frozenset(codes), True
                return result
            least = 126 if size == 126 else 65536
            size = int.from_bytes(data[at + 2 : start], "big")
            if size < least or size >> 63:
                codes.add(1002)
        if opcode < CLOSE and (opcode == CONTINUATION) != (message is not None):
            codes.add(1002)
        whole = (message or b"") if opcode == CONTINUATION else b""
        if size > MAX_MESSAGE_BYTES or (opcode < CLOSE and len(whole) + size > MAX_MESSAGE_BYTES):
            codes.add(1009)
        if opcode < CLOSE and fragments >= MAX_FRAGMENTS:
            codes.add(1009)
        key, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
        end = start + 4 + size
        if codes or len(key) < 4 or len(payload) < size:
            result.close_codes, result.may_wait = frozenset(codes), end > len(data)
            return result
        if any(key):
            payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))
        at = end
        if opcode == PING:
            result.answers.append((PONG, payload))
        elif opcode == CLOSE:
            result.close_codes = frozenset({_close_code(payload)})
            return result
        elif opcode != PONG:
            if opcode != CONTINUATION:
                message_opcode, fragments = opcode, 0
            message = whole + payload
            fragments += 1
            if fin:
                if message_opcode == TEXT and not _is_utf8(message):
                    result.close_codes = frozenset({1007})
                    return result
                result.answers.append((message_opcode, message))
                message, fragments = None, 0
    return result


def _close_code(payload: bytes) -> int:
    if not payload:
        return 1000
    if len(payload) == 1:
        return 1002
    if not _is_utf8(payload[2:]):
        return 1007
    code = int.from_bytes(payload[:2], "big")
    is_valid = 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))
    return code if is_valid else 1002


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


_checked = 0


def check(data: bytes, rng: random.Random) -> None:
    """Raises AssertionError if the server answers `data` as RFC 6455 does not allow."""
    global _checked
    _checked += 1
    answers, code = _exchange(data, rng)
    wanted = expected(data)
    assert answers == wanted.answers, f"answered {answers}, expected {wanted.answers}"
    if code is None:
        assert not wanted.close_codes or wanted.may_wait, f"not closed, expected {wanted.close_codes}"
    else:
        assert code in wanted.close_codes, f"closed with {code}, expected {wanted.close_codes}"
    if _checked % INPUTS_PER_HEALTH_CHECK == 0:
        check_alive()


def _exchange(data: bytes, rng: random.Random) -> tuple[list[tuple[int, bytes]], int | None]:
    """Sends the handshake and `data`, and closes the sending side. Returns the frames received and the code of a
    Close."""
    answers: list[tuple[int, bytes]] = []
    code: int | None = None
    received = b""
    segments = [handshake("/ws/echo"), data]
    source = f"127.0.{rng.randrange(256)}.{rng.randrange(1, 255)}"
    with open_socket(server().port, source=source) as sock:
        for segment in segments if rng.random() < 0.5 else cut(b"".join(segments), rng):
            sock.sendall(segment)
        sock.shutdown(socket.SHUT_WR)
        while part := sock.recv(1 << 20):
            received += part
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), f"no handshake: {received[:200]!r}"
    reader = FrameReader(rest)
    while (read := reader.next_frame()) is not None:
        opcode, payload = read
        assert code is None, "a frame after a Close"
        if opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if payload else NO_STATUS
            assert len(payload) != 1 and _is_utf8(payload[2:])
        else:
            answers.append((opcode, payload))
    assert reader.is_empty, "half a frame"
    return answers, code


if __name__ == "__main__":
    main(check, SEEDS, DICTIONARY, __doc__, inputs=10_000)
