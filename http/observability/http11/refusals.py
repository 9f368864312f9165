"""The exception tree of refusals: each is an HTTP answer that says no, and why.

    Refusal                    any status; raised by handlers, the connection stays open
    ├── NotFound               404
    ├── MethodNotAllowed       405 with Allow
    ├── UnsupportedMediaType   415
    ├── Misdirected            421
    ├── Unprocessable          422, lists every bad parameter
    ├── UpgradeRequired        426 with Upgrade
    ├── TooManyRequests        429 with Retry-After
    ├── Unavailable            503 with Retry-After
    └── Fatal                  the end of the request is unknown or not worth waiting for: the connection closes
        ├── Malformed          400
        ├── Timeout            408
        ├── ContentTooLarge    413
        ├── TargetTooLong      414
        ├── ExpectationFailed  417
        ├── HeadTooLarge       431
        ├── Unsupported        501
        └── VersionUnsupported 505

A detail is sent to the peer and logged, so it never repeats the value of a field that may carry a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

# RFC 9110 section 15; RFC 6585 sections 4 and 5.
REASONS: Final[dict[int, str]] = {
    101: "Switching Protocols", 200: "OK", 201: "Created", 202: "Accepted", 204: "No Content",
    301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
    307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    406: "Not Acceptable", 408: "Request Timeout", 409: "Conflict", 411: "Length Required",
    412: "Precondition Failed", 413: "Content Too Large", 414: "URI Too Long", 415: "Unsupported Media Type",
    417: "Expectation Failed", 421: "Misdirected Request", 422: "Unprocessable Content", 426: "Upgrade Required",
    429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported", 507: "Insufficient Storage",
}  # fmt: skip

RETRY_AFTER_SECONDS: Final = 5
"""When a client may try again if the answer says nothing else."""

Headers = tuple[tuple[bytes, bytes], ...]


class Refusal(Exception):
    """An answer with `status` in place of the one asked for; `members` are added to the problem document."""

    closes: ClassVar[bool] = False

    def __init__(self, status: int, detail: str, *, headers: Headers = (), **members: Any) -> None:
        assert status in REASONS and status >= 400, f"status {status}: expected a known one of 400 and above"
        self.status = status
        self.title = REASONS[status]
        self.detail = detail
        self.headers = headers
        self.members = members
        # RFC 9110 section 15.5.22: a 426 carries Upgrade; section 7.8: which Connection names.
        if status == 426:
            self.headers = ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), *headers)
        super().__init__(f"{status} {self.title}: {detail}")


class NotFound(Refusal):
    """No resource has this path or name."""

    def __init__(self, detail: str = "no such path") -> None:
        super().__init__(404, detail)


class MethodNotAllowed(Refusal):
    """The path is known, but the method is not one of those in `allow`."""

    def __init__(self, allow: str) -> None:
        super().__init__(405, f"this path takes {allow}", headers=((b"Allow", allow.encode("ascii")),))


class UnsupportedMediaType(Refusal):
    """The route does not accept content of this media type."""

    def __init__(self, detail: str) -> None:
        super().__init__(415, detail)


class Misdirected(Refusal):
    """The request is for a server that this connection does not lead to."""

    def __init__(self, detail: str) -> None:
        super().__init__(421, detail)


class Unprocessable(Refusal):
    """Parameters are well-formed but invalid; `errors` says for each what was given and what was expected."""

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        super().__init__(422, f"{len(errors)} invalid parameter(s)", errors=list(errors))


class UpgradeRequired(Refusal):
    """The path serves WebSocket only."""

    def __init__(self, detail: str = "this path speaks WebSocket") -> None:
        super().__init__(426, detail)


class TooManyRequests(Refusal):
    """The client has sent too many requests, or holds too many connections."""

    def __init__(self, detail: str, retry_after_seconds: int) -> None:
        super().__init__(429, detail, headers=((b"Retry-After", b"%d" % retry_after_seconds),))


class Unavailable(Refusal):
    """The server is full, not ready yet, or shutting down."""

    def __init__(self, detail: str, retry_after_seconds: int = RETRY_AFTER_SECONDS) -> None:
        super().__init__(503, detail, headers=((b"Retry-After", b"%d" % retry_after_seconds),))


class Fatal(Refusal):
    """A refusal after which no further request is read from the connection."""

    closes = True
    fixed_status: ClassVar[int]

    def __init__(self, detail: str) -> None:
        super().__init__(self.fixed_status, detail)


class Malformed(Fatal):
    """The bytes are not a request by RFC 9112, or one that two parties could read differently."""

    fixed_status = 400


class Timeout(Fatal):
    """The request did not arrive in time."""

    fixed_status = 408


class ContentTooLarge(Fatal):
    """The content is larger than this server accepts."""

    fixed_status = 413


class TargetTooLong(Fatal):
    """The request line is longer than this server reads."""

    fixed_status = 414


class ExpectationFailed(Fatal):
    """The request expects something other than 100-continue."""

    fixed_status = 417


class HeadTooLarge(Fatal):
    """The head has too many fields, or too many bytes."""

    fixed_status = 431


class Unsupported(Fatal):
    """The server does not implement this method or transfer coding."""

    fixed_status = 501


class VersionUnsupported(Fatal):
    """The version is neither 1.0 nor 1.1."""

    fixed_status = 505
