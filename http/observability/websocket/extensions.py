"""The negotiation of WebSocket extensions (RFC 6455 section 9.1, RFC 7692 section 7.1): accepts a client's offer of
permessage-deflate, or none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from observability.http11.grammar import OWS, OWS_BYTES, TOKEN
from observability.http11.refusals import HeadTooLarge, Malformed

MAX_VALUE_BYTES: Final = 2048
# Browsers make one offer; offers beyond this number are ignored.
MAX_OFFERS: Final = 16

WINDOW_BITS: Final = 15
SYNC_FLUSH_TAIL: Final = b"\x00\x00\xff\xff"
"""What a sync flush ends with: the sender removes it (RFC 7692 section 7.2.1), the receiver puts it back (7.2.2)."""

_DEFLATE: Final = b"permessage-deflate"
_SERVER_NO_TAKEOVER: Final = b"server_no_context_takeover"
_CLIENT_NO_TAKEOVER: Final = b"client_no_context_takeover"
_SERVER_BITS: Final = b"server_max_window_bits"
_CLIENT_BITS: Final = b"client_max_window_bits"

# RFC 6455 section 9.1, with the rules of RFC 2616 section 2.1 for lists and whitespace: empty elements and whitespace
# around separators are allowed, but there must be one extension.
#   extension-list = 1#extension
#   extension = extension-token *( ";" extension-param )
#   extension-param = token [ "=" (token | quoted-string) ], where the unquoted value is a token too
_TOKEN: Final = TOKEN.pattern
_QUOTED_TOKEN: Final = rb'"(?:\\?+' + _TOKEN + rb')++"'
_VALUE: Final = OWS + rb"=" + OWS + rb"(?:" + _TOKEN + rb"|" + _QUOTED_TOKEN + rb")"
_PARAM: Final = OWS + rb";" + OWS + _TOKEN + rb"(?:" + _VALUE + rb")?+"
_EXTENSION: Final = _TOKEN + rb"(?:" + _PARAM + rb")*+" + OWS
_EXTENSION_LIST: Final = re.compile(
    rb"(?:" + OWS + rb",)*+" + OWS + _EXTENSION + rb"(?:," + OWS + rb"(?:" + _EXTENSION + rb")?+)*+"
)

# RFC 7692 section 7.1: the parameters that an offer may have, and their values; None stands for no value. Window sizes
# are decimal without leading zeros, from 8 to 15. All clients share compressors with the largest window, so the offer
# of a client that needs a smaller one is declined.
_ACCEPTABLE: Final[dict[bytes, frozenset[bytes | None]]] = {
    _SERVER_NO_TAKEOVER: frozenset({None}),
    _CLIENT_NO_TAKEOVER: frozenset({None}),
    _SERVER_BITS: frozenset({b"15"}),
    _CLIENT_BITS: frozenset({None, b"8", b"9", b"10", b"11", b"12", b"13", b"14", b"15"}),
}


@dataclass(frozen=True, slots=True)
class DeflateParameters:
    """The terms of permessage-deflate on one connection. A client's messages never refer to each other."""

    server_takeover: bool
    """Whether the server's messages may refer to the previous one."""
    response: bytes
    """The value of Sec-WebSocket-Extensions in the 101."""


def negotiate(value: bytes | None) -> DeflateParameters | None:
    """Returns the terms of the first acceptable offer of permessage-deflate in Sec-WebSocket-Extensions, or None.

    `value` is the field's lines joined by commas. Raises Malformed for a value that is not a list of extensions: RFC
    6455 section 9.1 makes the recipient fail the connection, and section 4.2.1 names status 400 for it. An offer that
    is well-formed but not acceptable is declined (RFC 7692 section 7), and the next one is tried.
    """
    if value is None:
        return None
    if len(value) > MAX_VALUE_BYTES:
        raise HeadTooLarge(f"Sec-WebSocket-Extensions: expected at most {MAX_VALUE_BYTES} bytes")
    if not _EXTENSION_LIST.fullmatch(value):
        raise Malformed("Sec-WebSocket-Extensions: expected a list of extensions, as in RFC 6455 section 9.1")
    # A quoted value is a token here, so it cannot contain a separator.
    offers = [offer for offer in value.split(b",") if offer.strip(OWS_BYTES)]
    for offer in offers[:MAX_OFFERS]:
        name, *params = offer.split(b";")
        if name.strip(OWS_BYTES) == _DEFLATE:
            parameters = _accept(params)
            if parameters is not None:
                return parameters
    return None


def _accept(params: Sequence[bytes]) -> DeflateParameters | None:
    """RFC 7692 section 7: an offer with an unknown parameter, an invalid value or a repeated parameter is declined."""
    offered: dict[bytes, bytes | None] = {}
    for param in params:
        name, equals, text = param.partition(b"=")
        name = name.strip(OWS_BYTES)
        value = _unquote(text) if equals else None
        if name in offered or value not in _ACCEPTABLE.get(name, ()):
            return None
        offered[name] = value
    # RFC 7692 section 7.1.1.2: the server may demand this even if it was not offered.
    response = [_DEFLATE, _CLIENT_NO_TAKEOVER]
    # Sections 7.1.1.1 and 7.1.2.1: these two are accepted by repeating them. Section 7.1.2.2: the client's window need
    # not be, since an inflater of the largest size accepts any.
    if _SERVER_NO_TAKEOVER in offered:
        response.append(_SERVER_NO_TAKEOVER)
    if _SERVER_BITS in offered:
        response.append(_SERVER_BITS + b"=15")
    return DeflateParameters(server_takeover=_SERVER_NO_TAKEOVER not in offered, response=b"; ".join(response))


def _unquote(text: bytes) -> bytes:
    return text.strip(OWS_BYTES).strip(b'"').replace(b"\\", b"")
