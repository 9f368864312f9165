"""The WebSocket opening handshake (RFC 6455 section 4.2): checks a parsed request and returns its key."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import Final

from observability.http11.messages import Request
from observability.http11.refusals import Refusal

WEBSOCKET_VERSION: Final = b"13"
KEY_BYTES: Final = 16


def check_handshake(request: Request) -> bytes:
    """Returns the Sec-WebSocket-Key of a valid handshake. Raises Refusal 400 or 426 for any other."""
    if request.method != "GET" or request.version != (1, 1):
        raise Refusal(400, "a WebSocket handshake is a GET with HTTP/1.1")
    if b"websocket" not in request.header_list(b"upgrade"):
        raise Refusal(400, "a WebSocket handshake needs Upgrade: websocket")
    if b"upgrade" not in request.header_list(b"connection"):
        raise Refusal(400, "a WebSocket handshake needs Connection: Upgrade")
    # RFC 6455 section 4.4: the answer to an unsupported version lists the supported ones.
    if request.header(b"sec-websocket-version") != WEBSOCKET_VERSION:
        supported = ((b"Sec-WebSocket-Version", WEBSOCKET_VERSION),)
        raise Refusal(426, "expected Sec-WebSocket-Version: 13", headers=supported)
    key = request.header(b"sec-websocket-key")
    if key is None or not _is_key(key):
        raise Refusal(400, "expected a Sec-WebSocket-Key of 16 bytes in base64")
    return key


def _is_key(key: bytes) -> bool:
    try:
        return len(b64decode(key, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False
