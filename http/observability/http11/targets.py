"""The request target (RFC 9112 section 3.2): its four forms, its path in segments, its query in parameters."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_to_bytes

from observability.http11.grammar import ABSOLUTE_FORM, ABSOLUTE_PATH, AUTHORITY, QUERY
from observability.http11.refusals import Malformed, Refusal, Unsupported

MAX_QUERY_PARAMETERS: Final = 100

# C0, DEL and C1: in a decoded path or value they have no use, and they garble logs.
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f]")
_BAD_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


class Target(NamedTuple):
    """A target, split and decoded."""

    path: str
    """Decoded, except that an encoded slash stays `%2F`: one segment never reads as two."""
    segments: tuple[str, ...]
    """Each decoded; empty for `*`."""
    query: str
    """As sent, without the question mark."""
    authority: bytes | None
    """That of an absolute-form, which replaces Host; None for other forms."""
    is_https: bool
    """Whether it is an absolute-form of the scheme `https`."""


def parse_target(method: bytes, target: bytes) -> Target:
    """Returns the parts of `target`; raises Malformed, or Unsupported for CONNECT."""
    # RFC 9112 section 3.2.3: authority-form is only used for CONNECT, which asks for a tunnel.
    if method == b"CONNECT":
        raise Unsupported("CONNECT: this server is not a proxy")
    # RFC 9112 section 3.2.4: asterisk-form is only used for OPTIONS.
    if target == b"*":
        if method != b"OPTIONS":
            raise Malformed("the target * belongs to OPTIONS only")
        return Target("*", (), "", None, False)
    authority, is_https = None, False
    if target[:1] == b"/":
        raw_path, _, raw_query = target.partition(b"?")
    else:
        # RFC 9112 section 3.2.2: a server MUST accept the absolute-form in requests.
        absolute = ABSOLUTE_FORM.fullmatch(target)
        if absolute is None:
            raise Malformed("target: expected a path that begins with / or an http URI")
        is_https = bool(absolute[1])
        authority = absolute[2]
        if AUTHORITY.fullmatch(authority) is None:
            raise Malformed("target: the URI has no valid host")
        raw_path = absolute[3] or b"/"
        raw_query = absolute[4] or b""
    if ABSOLUTE_PATH.fullmatch(raw_path) is None:
        raise Malformed("target: the path has a character or an escape that RFC 3986 does not allow")
    if QUERY.fullmatch(raw_query) is None:
        raise Malformed("target: the query has a character or an escape that no URL may have")
    path = raw_path.decode("ascii")
    if "%" in path:
        segments = tuple(_decode_segment(segment) for segment in path[1:].split("/"))
        path = "/" + "/".join(segment.replace("/", "%2F") for segment in segments)
    else:
        segments = tuple(path[1:].split("/"))
    return Target(path, segments, raw_query.decode("ascii"), authority, is_https)


def _decode_segment(segment: str) -> str:
    try:
        decoded = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("target: the path is not UTF-8 once decoded") from None
    if _CONTROLS.search(decoded):
        raise Malformed("target: the path has a control character once decoded")
    return decoded


def split_query(query: str) -> list[tuple[str, str]]:
    """Returns names and values in the order sent; raises Refusal 400 if one does not decode or there are too many."""
    if not query:
        return []
    pairs = query.split("&", MAX_QUERY_PARAMETERS)
    if len(pairs) > MAX_QUERY_PARAMETERS:
        raise Refusal(400, f"query: expected at most {MAX_QUERY_PARAMETERS} parameters")
    parameters = []
    for pair in pairs:
        if pair:
            name, _, value = pair.partition("=")
            parameters.append((_decode_parameter(name), _decode_parameter(value)))
    return parameters


def _decode_parameter(text: str) -> str:
    text = text.replace("+", " ")
    if "%" not in text:
        return text
    if _BAD_ESCAPE.search(text):
        raise Refusal(400, "query: a % is not followed by two hexadecimal digits")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise Refusal(400, "query: a parameter is not UTF-8 once decoded") from None
    if _CONTROLS.search(decoded):
        raise Refusal(400, "query: a parameter has a control character once decoded")
    return decoded
