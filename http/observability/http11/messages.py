"""Requests and responses as handlers see them, and responses as bytes.

Documents with an entity tag and a compressed form are in `documents.py`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.http11.cors import CorsPolicy
from observability.http11.heads import RequestHead, list_tokens
from observability.http11.refusals import REASONS, Headers, Refusal

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

# RFC 9110 section 6.4.1: responses with these statuses have no content, whatever the handler returned.
_BODILESS: Final = frozenset({204, 304})
_STATUS_LINES: Final = {
    status: f"HTTP/1.1 {status} {reason}\r\nDate: ".encode("ascii") for status, reason in REASONS.items()
}
# What the log calls a request by, if the client or a proxy says so.
_LOGGED_IDS: Final = {"request": b"x-request-id", "batch": b"idempotency-key"}
_LOGGED_ID: Final = re.compile(rb"[ -~]{1,200}")
_VARY: Final = b"\r\nVary: Origin, Accept-Encoding"
# Browsers do not guess types, tell no other site the URL (it may carry a token), and let no other site embed an answer
# as a script or picture. The last does not affect CORS (WHATWG Fetch, "Cross-Origin-Resource-Policy header").
_SECURITY_FIELDS: Final = (
    b"\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCross-Origin-Resource-Policy: same-origin"
)
# RFC 6797. A day only: it holds for every port of this host name, including that of a dashboard on plain HTTP.
_HSTS: Final = b"\r\nStrict-Transport-Security: max-age=86400"
_CONNECTION_CLOSE: Final = b"\r\nConnection: close"
_CONNECTION_KEEP_ALIVE: Final = b"\r\nConnection: keep-alive"

# RFC 9110 section 5.6.7: IMF-fixdate, in English whatever the locale.
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _nobody() -> int | None:
    return None


class Request:
    """One request: its head, which connections may share, its content, and the address it came from."""

    __slots__ = ("body", "client_address", "head", "is_forwarded", "peer", "peer_user", "websocket_key")

    def __init__(self, head: RequestHead, body: bytes, peer: str = "") -> None:
        self.head = head
        self.body = body
        self.peer = peer
        """The address of the peer, or of the client that a PROXY header named, without its port; empty for a socket
        without addresses."""
        self.client_address = peer
        """The address that limits and logs go by: the peer's, or its client's if the peer is a trusted proxy."""
        self.is_forwarded = False
        """Whether a proxy has named the peer: the connection itself is the proxy's."""
        self.websocket_key: bytes | None = None
        """Sec-WebSocket-Key of a handshake; clients that send the same but for this share the head."""
        self.peer_user = _nobody
        """Returns the user id of the program at the other end, if it is on this machine; None if that is not known."""

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def target(self) -> str:
        """As sent."""
        return self.head.target

    @property
    def path(self) -> str:
        """Decoded; an encoded slash stays `%2F`."""
        return self.head.path

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's segments, each decoded on its own."""
        return self.head.segments

    @property
    def query(self) -> str:
        """As sent, without the question mark."""
        return self.head.query

    @property
    def version(self) -> tuple[int, int]:
        return self.head.version

    @property
    def keep_alive(self) -> bool:
        """Whether the peer keeps the connection open after the answer."""
        return self.head.keep_alive

    @property
    def expects_continue(self) -> bool:
        return self.head.expects_continue

    @property
    def is_upgrade(self) -> bool:
        return self.head.is_upgrade

    @property
    def accepts_gzip(self) -> bool:
        return self.head.accepts_gzip

    def header(self, name: bytes) -> bytes | None:
        """Returns the value of a field, or of a repeated field all values joined by a comma; `name` in any case."""
        return self.head.headers.get(name.lower())

    def log_ids(self) -> dict[str, str]:
        """Returns what the log calls this request by: the client, and the ids that the client or a proxy gave it."""
        ids = {"peer": self.client_address}
        for name, field in _LOGGED_IDS.items():
            value = self.head.headers.get(field)
            if value is not None and _LOGGED_ID.fullmatch(value):
                ids[name] = value.decode("ascii")
        return ids

    def header_list(self, name: bytes) -> tuple[bytes, ...]:
        """Returns the members of a list field in lower case, from all its lines."""
        value = self.head.headers.get(name.lower())
        return () if value is None else list_tokens(value)

    def media_type(self, assumed: bytes = JSON) -> bytes:
        """Returns the media type of the content in lower case, without parameters; `assumed` if there is no field."""
        return (self.head.headers.get(b"content-type") or assumed).partition(b";")[0].strip().lower()

    def query_parameters(self) -> list[tuple[str, str]]:
        """Returns the decoded parameters in the order sent; raises Refusal 400 if they do not decode."""
        return self.head.query_parameters()


@dataclass(slots=True)
class Response:
    """A handler's answer. The encoder adds Date, Content-Length, Connection, Vary, CORS and security fields."""

    status: int = 200
    body: bytes = b""
    content_type: bytes = JSON
    headers: Headers = ()
    closes: bool = False
    """Whether the connection ends with this answer."""
    is_lasting: bool = False
    """Whether the same head gets the same answer until the next frame."""
    has_length: bool = True
    """Whether `body` is the whole content; otherwise its length is not known yet, and the head does not tell it."""


def json_response(value: Any, status: int = 200, headers: Headers = ()) -> Response:
    """Returns a response with `value` as JSON."""
    return Response(status, orjson.dumps(value), JSON, headers)


def problem_response(refusal: Refusal) -> Response:
    """Returns a response with the problem details (RFC 9457) of a refusal."""
    problem = {
        "type": "about:blank",
        "title": refusal.title,
        "status": refusal.status,
        "detail": refusal.detail,
        **refusal.members,
    }
    return Response(refusal.status, orjson.dumps(problem, default=str), PROBLEM_JSON, refusal.headers, refusal.closes)


class HttpDate:
    """The value of the Date field (RFC 9110 section 6.6.1), made once a second."""

    __slots__ = ("_second", "_time_ns", "_value")

    def __init__(self, clock: Clock) -> None:
        self._time_ns: Callable[[], int] = clock.time_ns
        self._second = -1
        self._value = b""

    def now(self) -> bytes:
        # hot: once per answer (observability bench --only rest)
        second = self._time_ns() // NS_PER_S
        if second != self._second:
            t = time.gmtime(second)
            self._value = (
                f"{_DAYS[t.tm_wday]}, {t.tm_mday:02d} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04d}"
                f" {t.tm_hour:02d}:{t.tm_min:02d}:{t.tm_sec:02d} GMT"
            ).encode("ascii")
            self._second = second
        return self._value


class ResponseEncoder:
    """Turns responses into bytes."""

    __slots__ = ("_always", "cors", "date")

    def __init__(self, clock: Clock, cors: CorsPolicy, *, is_tls: bool = False) -> None:
        self.date = HttpDate(clock)
        self.cors = cors
        self._always = _VARY + _SECURITY_FIELDS + (_HSTS if is_tls else b"")

    def encode(self, request: Request | None, response: Response, *, keep_alive: bool) -> bytes:
        """Returns head and content; `request` is None if none could be parsed. Raises ValueError for a field value that
        would end its own line."""
        status = response.status
        parts = [_STATUS_LINES[status], self.date.now()]
        bodiless = status in _BODILESS
        if not bodiless:
            # RFC 9110 section 8.6: the Content-Length of a HEAD is that of the GET; a 204 has none.
            parts += (b"\r\nContent-Type: ", response.content_type)
            if response.has_length:
                parts.append(b"\r\nContent-Length: %d" % len(response.body))
        parts.append(self._always)
        connection = connection_field(request, keep_alive)
        parts.append(connection)
        if request is not None:
            allowed = self.cors.allowed_origin(request.head.headers.get(b"origin"))
            if allowed is not None:
                parts += (b"\r\nAccess-Control-Allow-Origin: ", allowed, self.cors.exposed)
        for name, value in response.headers:
            if b"\n" in value or b"\r" in value or b"\0" in value:
                raise ValueError(f"field {name!r}: a value may not contain CR, LF or NUL")
            parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\n\r\n")
        if not (bodiless or (request is not None and request.head.method == "HEAD")):
            parts.append(response.body)
        return b"".join(parts)


def connection_field(request: Request | None, keep_alive: bool) -> bytes:
    """Returns the line of the Connection field; empty where the version's default says the same."""
    if not keep_alive:
        return _CONNECTION_CLOSE
    # RFC 9112 section 9.3: an HTTP/1.0 client must be told that its keep-alive was understood.
    if request is not None and request.head.version == (1, 0):
        return _CONNECTION_KEEP_ALIVE
    return b""
