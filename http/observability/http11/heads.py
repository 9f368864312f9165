"""The head of a request: parsed from its exact bytes, checked whole, and memoised for clients that poll.

`parser.py` finds where a head ends.
"""

from __future__ import annotations

from copy import copy
from typing import Final

from observability.http11.grammar import (
    AUTHORITY,
    CONTENT_LENGTH,
    DIGITS,
    ENTITY_TAG,
    FIELD_LINE,
    FIELD_LINES,
    OWS_BYTES,
    REQUEST_LINE,
    TOKEN,
    WEBSOCKET_KEY_LINE,
    WEIGHTED,
)
from observability.http11.proxy_protocol import PROXY_REFUSED, begins_with_proxy_line
from observability.http11.refusals import (
    ContentTooLarge,
    ExpectationFailed,
    HeadTooLarge,
    Malformed,
    TargetTooLong,
    Unsupported,
    VersionUnsupported,
)
from observability.http11.targets import parse_target, split_query

MAX_REQUEST_LINE_BYTES: Final = 8 * 1024
MAX_HEAD_BYTES: Final = 16 * 1024
MAX_FIELDS: Final = 100
MAX_METHOD_BYTES: Final = 24

MEMO_ENTRIES: Final = 256
MEMO_MAX_HEAD_BYTES: Final = 2 * 1024
# A head with one of these is never memoised: it holds a secret, which must not be kept, or a key used only once.
_NEVER_MEMOISED: Final = frozenset(
    {
        b"authorization",
        b"proxy-authorization",
        b"cookie",
        b"idempotency-key",
        b"sec-websocket-protocol",
        b"x-request-id",
    }
)
_WEBSOCKET_KEY: Final = b"sec-websocket-key"

HTTP_1_0: Final = (1, 0)
HTTP_1_1: Final = (1, 1)


class RequestHead:
    """A checked head. Connections may share it: it does not change, except that parsed values are kept."""

    __slots__ = (
        "_accepts_gzip",
        "_query_parameters",
        "chunked",
        "content_length",
        "expects_continue",
        "fields",
        "headers",
        "is_https",
        "is_upgrade",
        "keep_alive",
        "memoised",
        "method",
        "path",
        "query",
        "segments",
        "target",
        "terms",
        "upgrades",
        "version",
    )

    method: str
    target: str
    path: str
    segments: tuple[str, ...]
    query: str
    version: tuple[int, int]
    fields: tuple[tuple[bytes, bytes], ...]
    """Names in lower case and values without surrounding whitespace, in the order sent."""
    headers: dict[bytes, bytes]
    """The same by name: values of a repeated field are joined by a comma (RFC 9110 section 5.2), and Host is that of an
    absolute-form target if there is one."""
    is_https: bool
    """Whether the target is an absolute-form of the scheme `https`."""
    keep_alive: bool
    content_length: int
    chunked: bool
    expects_continue: bool
    is_upgrade: bool
    """Whether Connection lists `upgrade` and there is an Upgrade field (RFC 9110 section 7.8: not in HTTP/1.0)."""

    upgrades: tuple[bytes, ...]
    """The protocols of Upgrade in lower case, if `is_upgrade`."""

    memoised: bytes | None
    """The exact bytes of a head that is kept in the memo, unless it is a handshake."""
    terms: object
    """What a WebSocket endpoint has found out about this head."""

    @property
    def has_body(self) -> bool:
        return self.chunked or self.content_length > 0

    @property
    def accepts_gzip(self) -> bool:
        if self._accepts_gzip is None:
            self._accepts_gzip = accepts_gzip(self.headers.get(b"accept-encoding"))
        return self._accepts_gzip

    def query_parameters(self) -> list[tuple[str, str]]:
        if self._query_parameters is None:
            self._query_parameters = split_query(self.query)
        return self._query_parameters

    _accepts_gzip: bool | None
    _query_parameters: list[tuple[str, str]] | None


def parse_head(data: bytes) -> RequestHead:
    """Returns the head that `data` is, including its empty line; raises a Fatal for any fault."""
    line = REQUEST_LINE.match(data)
    if line is None:
        raise _request_line_fault(data)
    method, target, major, minor = line.groups()
    fields_at = line.end()
    if fields_at > MAX_REQUEST_LINE_BYTES:
        raise TargetTooLong(f"request line: expected at most {MAX_REQUEST_LINE_BYTES} bytes")
    if major != b"1":
        raise VersionUnsupported(f"HTTP/{major.decode()}.{minor.decode()}: this server speaks HTTP/1.1 and HTTP/1.0")
    # RFC 9110 section 2.5: a minor version above the highest one implemented is processed as that one.
    version = HTTP_1_0 if minor == b"0" else HTTP_1_1
    # RFC 9112 section 3: a method longer than any implemented is answered with 501.
    if len(method) > MAX_METHOD_BYTES:
        raise Unsupported(f"method: expected at most {MAX_METHOD_BYTES} characters")
    if FIELD_LINES.fullmatch(data, fields_at, len(data) - 2) is None:
        raise _field_line_fault(data, fields_at)

    head = RequestHead()
    parsed_target = parse_target(method, target)
    head.method = method.decode("ascii")
    head.target = target.decode("ascii")
    head.path, head.segments, head.query, authority, head.is_https = parsed_target
    head.version = version
    head._accepts_gzip = None
    head.memoised = None
    head.terms = None
    head._query_parameters = None
    _read_fields(head, FIELD_LINE.findall(data, fields_at))
    _check_host(head, authority)
    _read_framing(head)
    _read_connection(head)
    return head


def _read_fields(head: RequestHead, lines: list[tuple[bytes, bytes]]) -> None:
    if len(lines) > MAX_FIELDS:
        raise HeadTooLarge(f"header: expected at most {MAX_FIELDS} fields")
    fields = [(name.lower(), value.rstrip(OWS_BYTES)) for name, value in lines]
    headers = dict(fields)
    if len(headers) != len(fields):
        headers = {}
        for name, value in fields:
            headers[name] = headers[name] + b", " + value if name in headers else value
    head.fields = tuple(fields)
    head.headers = headers


def _check_host(head: RequestHead, authority: bytes | None) -> None:
    # RFC 9112 section 3.2: 400 for a request without Host, with more than one, or with an invalid one. Several are
    # joined by a comma and a space, and an authority has no space.
    host = head.headers.get(b"host")
    if host is not None:
        if AUTHORITY.fullmatch(host) is None:
            raise Malformed("Host: expected one name or address, and perhaps a port")
    elif head.version == HTTP_1_1:
        raise Malformed("Host: expected one, got none")
    # Section 3.2.2: with an absolute-form the Host received is ignored.
    if authority is not None:
        head.headers[b"host"] = authority


def _read_framing(head: RequestHead) -> None:
    """Applies RFC 9112 section 6.3 without the repairs that it permits: request smuggling exploits them."""
    headers = head.headers
    length = headers.get(b"content-length")
    coding = headers.get(b"transfer-encoding")
    head.content_length = 0
    head.chunked = False
    if coding is not None:
        if length is not None:
            raise Malformed("Content-Length together with Transfer-Encoding")
        if head.version == HTTP_1_0:
            raise Malformed("Transfer-Encoding in HTTP/1.0")
        _check_transfer_coding(coding.lower())
        head.chunked = True
    elif length is not None:
        if CONTENT_LENGTH.fullmatch(length) is None:
            if DIGITS.fullmatch(length):
                raise ContentTooLarge("Content-Length: more digits than any limit allows")
            raise Malformed(f"Content-Length {length[:40]!r}: expected digits, once")
        head.content_length = int(length)


def _check_transfer_coding(coding: bytes) -> None:
    if coding == b"chunked":
        return
    codings = [part.strip(OWS_BYTES) for part in coding.split(b",")]
    # RFC 9112 section 6.1: a coding that is not understood is answered with 501; section 6.3: without a final
    # "chunked" the length of the content cannot be told; section 7.1: "chunked" is applied once, without parameters.
    if any(TOKEN.fullmatch(part) is None for part in codings) or b"chunked" in codings[:-1]:
        raise Malformed("Transfer-Encoding: expected chunked alone")
    raise Unsupported("Transfer-Encoding: only chunked is implemented")


def _read_connection(head: RequestHead) -> None:
    headers = head.headers
    connection = headers.get(b"connection")
    options = list_tokens(connection) if connection is not None else ()
    if head.version == HTTP_1_1:
        head.keep_alive = b"close" not in options
        upgrade = headers.get(b"upgrade")
        head.is_upgrade = upgrade is not None and b"upgrade" in options
        head.upgrades = list_tokens(upgrade) if upgrade is not None and head.is_upgrade else ()
        expect = headers.get(b"expect")
        if expect is not None and expect.lower() != b"100-continue":
            raise ExpectationFailed("Expect: only 100-continue is understood")
        head.expects_continue = expect is not None and head.has_body
    else:
        # RFC 9110 section 10.1.1: an HTTP/1.0 client's 100-continue is ignored; section 7.8: so is its Upgrade.
        head.keep_alive = b"keep-alive" in options and b"close" not in options
        head.is_upgrade = False
        head.upgrades = ()
        head.expects_continue = False


def list_tokens(value: bytes) -> tuple[bytes, ...]:
    """Returns the members of a comma-separated list in lower case, without empty ones (RFC 9110 section 5.6.1)."""
    return tuple(token for part in value.lower().split(b",") if (token := part.strip(OWS_BYTES)))


def accepts_gzip(accept_encoding: bytes | None) -> bool:
    """Returns whether gzip is acceptable, and rated at least as high as identity (RFC 9110 section 12.5.3)."""
    if accept_encoding is None:
        return False
    weights: dict[bytes, float] = {}
    for part in accept_encoding.split(b","):
        match = WEIGHTED.fullmatch(part.strip(OWS_BYTES))
        if match is not None:
            weights[match[1].lower()] = float(match[2]) if match[2] is not None else 1.0
    # RFC 9110 section 8.4.1.3: x-gzip is gzip.
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return gzip > 0 and gzip >= weights.get(b"identity", 0.0)


def none_match_fails(if_none_match: bytes, etag: bytes) -> bool:
    """Returns whether If-None-Match lists `etag` by weak comparison: the answer is 304 (RFC 9110 section 13.1.2)."""
    # hot: once per poll, and nearly every client sends back the one tag it was given (observability bench --only rest)
    if if_none_match in (etag, b"*"):
        return True
    opaque = etag.removeprefix(b"W/")
    return any(match[1] == opaque for match in ENTITY_TAG.finditer(if_none_match))


def _request_line_fault(data: bytes) -> Exception:
    line = data[: data.find(b"\r\n")]
    if len(line) > MAX_REQUEST_LINE_BYTES:
        return TargetTooLong(f"request line: expected at most {MAX_REQUEST_LINE_BYTES} bytes")
    if begins_with_proxy_line(data):
        return Malformed(PROXY_REFUSED)
    # The message does not repeat the line: its target may carry a token.
    return Malformed("request line: expected METHOD SP target SP HTTP/1.1")


def _field_line_fault(data: bytes, at: int) -> Malformed:
    # The message does not repeat the value: it may be a secret.
    for number, line in enumerate(data[at:-4].split(b"\r\n"), 1):
        if FIELD_LINE.fullmatch(line + b"\r\n"):
            continue
        if line[:1] in (b" ", b"\t"):
            return Malformed(f"header line {number}: folded lines (obs-fold) are not taken")
        name, colon, _ = line.partition(b":")
        if colon and TOKEN.fullmatch(name.rstrip(OWS_BYTES)) and name[-1:] in (b" ", b"\t"):
            return Malformed(f"header line {number}: whitespace before the colon")
        if colon and TOKEN.fullmatch(name):
            return Malformed(f"header line {number}: a control character in the value")
        return Malformed(f"header line {number}: expected a name, a colon and a value")
    return Malformed("header: not a list of fields")


class HeadMemo:
    """Keeps the heads that polling clients send again and again, by their exact bytes.

    Handshakes of WebSocket differ in their keys. They are kept without, as heads that have no such field.

    Bounded in entries and bytes; the oldest entry is dropped first. Heads with content, a secret or another key that is
    used once are never kept.
    """

    __slots__ = ("_handshakes", "_heads", "entries", "get")

    def __init__(self, entries: int = MEMO_ENTRIES) -> None:
        assert entries > 0, f"entries {entries}: expected at least 1"
        self._heads: dict[bytes, RequestHead] = {}
        self._handshakes: dict[bytes, RequestHead] = {}
        self.entries = entries
        # hot: once per request; the dictionary's own method saves a call (observability bench --only rest)
        self.get = self._heads.get

    def __len__(self) -> int:
        return len(self._heads) + len(self._handshakes)

    def find_handshake(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Returns the head that `data` is but for its Sec-WebSocket-Key, and the key; None if none is kept."""
        line = WEBSOCKET_KEY_LINE.search(data) if self._handshakes else None
        if line is None:
            return None
        start, end = line.span(1)
        head = self._handshakes.get(data[:start] + data[end:])
        return None if head is None else (head, line[1])

    def add(self, data: bytes, head: RequestHead) -> None:
        """Keeps `head`, if it may be kept."""
        # An escape in the query could spell "token" in other characters.
        if (
            head.has_body
            or head.method not in ("GET", "HEAD")
            or len(data) > MEMO_MAX_HEAD_BYTES
            or "token" in head.query.lower()
            or "%" in head.query
            or not _NEVER_MEMOISED.isdisjoint(head.headers)
        ):
            return
        if b"upgrade" in head.headers:
            line = WEBSOCKET_KEY_LINE.search(data)
            # A second key would be in the same field.
            if head.is_upgrade and line is not None and head.headers[_WEBSOCKET_KEY] == line[1]:
                start, end = line.span(1)
                _keep(self._handshakes, data[:start] + data[end:], _without_key(head), self.entries)
        else:
            head.memoised = data
            _keep(self._heads, data, head, self.entries)


def _keep(heads: dict[bytes, RequestHead], data: bytes, head: RequestHead, entries: int) -> None:
    if len(heads) >= entries:
        del heads[next(iter(heads))]
    heads[data] = head


def _without_key(head: RequestHead) -> RequestHead:
    """Returns a copy without Sec-WebSocket-Key."""
    copied = copy(head)
    copied.headers = {name: value for name, value in head.headers.items() if name != _WEBSOCKET_KEY}
    copied.fields = tuple(each for each in head.fields if each[0] != _WEBSOCKET_KEY)
    return copied
