"""The WebSocket opening handshake: a parsed request in, its key out, or a refusal.

No framing here (see `websocket.py`), no transport. RFC 6455 section 4.2.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Set as AbstractSet
from typing import Final
from urllib.parse import urlsplit

from observability.config.access import ANY_ORIGIN
from observability.http11.messages import Request
from observability.http11.refusals import Refusal

WEBSOCKET_VERSION: Final = b"13"
KEY_BYTES: Final = 16


def check_handshake(request: Request, allowed_origins: AbstractSet[str]) -> bytes:
    """Returns the Sec-WebSocket-Key of a valid handshake; raises Refusal with 400, 403 or 426 for any other.

    A browser's Origin must be the server's own (the Host it asked for) or one of `allowed_origins`; a request without
    an Origin does not come from a page and is let in.
    """
    if request.method != "GET" or request.version != (1, 1):
        raise Refusal(400, "a WebSocket handshake is a GET with HTTP/1.1")
    if b"websocket" not in request.header_list(b"upgrade"):
        raise Refusal(400, "a WebSocket handshake needs Upgrade: websocket")
    if b"upgrade" not in request.header_list(b"connection"):
        raise Refusal(400, "a WebSocket handshake needs Connection: Upgrade")
    # RFC 6455 section 4.4: a version that is not supported is answered with those that are.
    if request.header(b"sec-websocket-version") != WEBSOCKET_VERSION:
        supported = ((b"Sec-WebSocket-Version", WEBSOCKET_VERSION),)
        raise Refusal(426, "expected Sec-WebSocket-Version: 13", headers=supported)
    key = request.header(b"sec-websocket-key")
    if key is None or not _is_key(key):
        raise Refusal(400, "expected a Sec-WebSocket-Key of 16 bytes in base64")
    _check_origin(request, allowed_origins)
    return key


def _is_key(key: bytes) -> bool:
    try:
        return len(b64decode(key, validate=True)) == KEY_BYTES
    except binascii.Error:
        return False


def _check_origin(request: Request, allowed_origins: AbstractSet[str]) -> None:
    origin = request.header(b"origin")
    if origin is None or ANY_ORIGIN in allowed_origins:
        return
    text = origin.decode("latin-1").lower()
    host = (request.header(b"host") or b"").decode("latin-1").lower()
    if text not in allowed_origins and urlsplit(text).netloc != host:
        raise Refusal(403, "this Origin is not allowed; see CORS_ORIGINS")
