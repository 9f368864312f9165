"""The WebSocket opening handshake (RFC 6455 section 4.2): checks a parsed request, and answers it."""

from __future__ import annotations

import binascii
from hashlib import sha1
from typing import Final

from observability.http11.grammar import WEBSOCKET_KEY
from observability.http11.heads import HTTP_1_1
from observability.http11.messages import Request
from observability.http11.refusals import Refusal

WEBSOCKET_VERSION: Final = b"13"

# RFC 6455 section 1.3.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_ANSWER: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"%bSec-WebSocket-Accept: %b\r\n\r\n"
)


def check_handshake(request: Request) -> bytes:
    """Returns the Sec-WebSocket-Key of a valid handshake. Raises Refusal 400 or 426 for any other."""
    head = request.head
    if head.method != "GET" or head.version != HTTP_1_1:
        raise Refusal(400, "a WebSocket handshake is a GET with HTTP/1.1")
    if b"websocket" not in head.upgrades:
        if b"websocket" not in request.header_list(b"upgrade"):
            raise Refusal(400, "a WebSocket handshake needs Upgrade: websocket")
        raise Refusal(400, "a WebSocket handshake needs Connection: Upgrade")
    # RFC 6455 section 4.4: the answer to an unsupported version lists the supported ones.
    if head.headers.get(b"sec-websocket-version") != WEBSOCKET_VERSION:
        supported = ((b"Sec-WebSocket-Version", WEBSOCKET_VERSION),)
        raise Refusal(426, "expected Sec-WebSocket-Version: 13", headers=supported)
    key = request.websocket_key
    if key is None or WEBSOCKET_KEY.fullmatch(key) is None:
        raise Refusal(400, "expected a Sec-WebSocket-Key of 16 bytes in base64")
    return key


def handshake_answer(key: bytes, fields: bytes) -> bytes:
    """Returns the 101 to a handshake with a valid key; `fields` are further field lines."""
    accept = binascii.b2a_base64(sha1(key + _GUID, usedforsecurity=False).digest(), newline=False)
    return _ANSWER % (fields, accept)
