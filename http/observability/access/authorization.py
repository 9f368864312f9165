"""Who may read and who may write. With tokens, each has a role; without any, everybody reads and this machine writes.

Each route declares the role that its requests need (`routing/router.py`); `routing/application.py` checks it.

    role    what                           without API_TOKENS   with write tokens    with read tokens too
    open    /health, pages without data    everybody            everybody            everybody
    read    all other data                 everybody            everybody            any token
    write   whatever changes something     this machine         a write token        a write token

A token is sent as `Authorization: Bearer TOKEN` (RFC 6750), as `?token=TOKEN`, or as a WebSocket subprotocol,
`observability, bearer.TOKEN`: a browser's WebSocket cannot send Authorization, and a URL is no place for a secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Literal
from urllib.parse import urlsplit

from observability.access.addresses import is_loopback
from observability.config.access import ApiToken
from observability.http11.cors import CorsPolicy
from observability.http11.messages import Request
from observability.http11.refusals import Refusal

Role = Literal["open", "read", "write"]

SUBPROTOCOL: Final = "observability"

_BEARER_SUBPROTOCOL: Final = b"bearer."
# RFC 9110 section 11.1: the scheme is case-insensitive; RFC 6750 section 2.1: credentials = "Bearer" 1*SP b64token.
_BEARER: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_IS_BEARER: Final = re.compile(rb"(?i:bearer)(?: |\Z)")
_FORWARDING_FIELDS: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via")
_GRANTED: Final[dict[str, frozenset[str]]] = {"read": frozenset({"read"}), "write": frozenset({"read", "write"})}
_NOTHING: Final[frozenset[str]] = frozenset()


class OriginCheck:
    """The check of Origin: only the server's own pages, and those of listed origins, may write or open a WebSocket.

    Browsers let any page send such requests to any server; only the Origin field tells which page it is.
    """

    __slots__ = ("_listed",)

    def __init__(self, listed: CorsPolicy | None = None) -> None:
        self._listed = CorsPolicy() if listed is None else listed

    def check(self, request: Request) -> None:
        """Raises Refusal 403 if the Origin of `request` is not allowed. A request without one comes from no page."""
        origin = request.header(b"origin")
        if origin is not None and not self._listed.allows(origin) and not _is_own_page(request, origin):
            raise Refusal(403, "this Origin is not allowed; see CORS_ORIGINS")


class AccessPolicy:
    """Decides by role and token. `guarded` holds the roles that need a check; everybody has the others."""

    __slots__ = ("_origins", "_tokens", "guarded")

    def __init__(self, tokens: Iterable[ApiToken] = (), origins: OriginCheck | None = None) -> None:
        tokens = tuple(tokens)
        # Digests all have one length, so comparing them reveals nothing about the length of a token.
        self._tokens = tuple((sha256(token.secret.encode()).digest(), _GRANTED[token.role]) for token in tokens)
        self._origins = OriginCheck() if origins is None else origins
        self.guarded: frozenset[str] = frozenset(
            {"read", "write"} if any(token.role == "read" for token in tokens) else {"write"}
        )

    def check(self, request: Request, role: Role) -> None:
        """Raises Refusal 401 or 403 if `request` lacks `role`, and 400 if its credentials are malformed."""
        if role not in self.guarded:
            return
        if not self._tokens:
            _check_local(request)
            return
        if role == "write":
            self._origins.check(request)
        given = _credentials(request)
        if not given:
            # RFC 6750 section 3.1: without credentials the challenge has no error.
            raise _challenge(401, f"a token is needed to {role}; see API_TOKENS")
        if len(given) > 1:
            raise _challenge(400, "more than one token", b"invalid_request")
        granted = self._granted(given[0])
        if not granted:
            raise _challenge(401, "this token is not known", b"invalid_token")
        if role not in granted:
            raise _challenge(403, f"this token may not {role}", b"insufficient_scope")

    def _granted(self, secret: bytes) -> frozenset[str]:
        """Returns the roles of a token. It is compared with every known one, so the time taken reveals nothing."""
        digest = sha256(secret).digest()
        granted = _NOTHING
        for known, roles in self._tokens:
            if compare_digest(known, digest):
                granted = roles
        return granted


def chosen_subprotocol(request: Request) -> str | None:
    """Returns the subprotocol for the answer to a WebSocket handshake; None if the answer must not name one.

    A browser that offered subprotocols fails the connection unless the answer names one. A token is never named.
    """
    return SUBPROTOCOL if SUBPROTOCOL.encode() in _offered_subprotocols(request) else None


def _credentials(request: Request) -> list[bytes]:
    """Returns all tokens that `request` carries."""
    given = []
    authorization = request.header(b"authorization")
    # Credentials of another scheme are meant for another party, such as a proxy.
    if authorization is not None and _IS_BEARER.match(authorization):
        match = _BEARER.fullmatch(authorization)
        if match is None:
            raise _challenge(400, "Authorization: expected Bearer and one token", b"invalid_request")
        given.append(match[1])
    given += [value.encode() for name, value in request.query_parameters() if name == "token"]
    if request.is_upgrade:
        given += [
            offered.removeprefix(_BEARER_SUBPROTOCOL)
            for offered in _offered_subprotocols(request)
            if offered.startswith(_BEARER_SUBPROTOCOL)
        ]
    return given


def _offered_subprotocols(request: Request) -> list[bytes]:
    # Names keep their case (RFC 6455 section 11.3.4), which `header_list` would not.
    return [name.strip(b" \t") for name in (request.header(b"sec-websocket-protocol") or b"").split(b",")]


def _challenge(status: int, detail: str, error: bytes | None = None) -> Refusal:
    challenge = b'Bearer realm="observability"'
    if error is not None:
        challenge += b', error="' + error + b'"'
    return Refusal(status, detail, headers=((b"WWW-Authenticate", challenge),))


def _check_local(request: Request) -> None:
    """Raises Refusal 403 unless a write comes from this machine: its peer and its Host are loopback, no proxy forwarded
    it, and no page of another origin sent it."""
    host = (request.header(b"host") or b"").decode("latin-1")
    origin = request.header(b"origin")
    if not (
        is_loopback(request.peer)
        and not request.is_forwarded
        and is_loopback(_host_name(f"//{host}"))
        and not any(request.header(name) for name in _FORWARDING_FIELDS)
        and (origin is None or _is_own_page(request, origin))
    ):
        raise Refusal(403, "writes are taken from this machine only; see API_TOKENS")


def _is_own_page(request: Request, origin: bytes) -> bool:
    """Returns whether a page of `origin` came from the host that the request is for."""
    host = request.header(b"host")
    try:
        return host is not None and urlsplit(origin.decode("latin-1").lower()).netloc == host.decode().lower()
    except ValueError:
        return False


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
