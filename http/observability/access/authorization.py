"""Who may read and who may write. With tokens, each has a role; without any, all may read, our own programs write.

Each route declares the role that its requests need (`routing/router.py`); `routing/application.py` checks it.

    role    what                           without API_TOKENS   with write tokens    with read tokens too
    open    /health, pages without data    everybody            everybody            everybody
    read    all other data                 everybody            everybody            any token
    write   whatever changes something     our own programs     a write token        a write token

Our own programs run on this machine, as the user of this server. A server that only this machine can reach is read by
loopback names and those of CORS_ORIGINS.

A token is sent as `Authorization: Bearer TOKEN` (RFC 6750), as `?token=TOKEN`, or as a WebSocket subprotocol,
`observability, bearer.TOKEN`: a browser's WebSocket cannot send Authorization, and a URL is no place for a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final, Literal
from urllib.parse import urlsplit

from observability.access.addresses import TrustedProxies, is_loopback
from observability.access.peer_user import IS_KNOWN
from observability.config.access import ANY_ORIGIN, ApiToken
from observability.http11.cors import CorsPolicy
from observability.http11.messages import Request
from observability.http11.refusals import Misdirected, Refusal, Unavailable

Role = Literal["open", "read", "write"]

SUBPROTOCOL: Final = "observability"
MAX_KNOWN_HOSTS: Final = 256

_BEARER_SUBPROTOCOL: Final = b"bearer."
# RFC 9110 section 11.1: the scheme is case-insensitive; RFC 6750 section 2.1: credentials = "Bearer" 1*SP b64token.
_BEARER: Final = re.compile(rb"(?i:bearer) +([A-Za-z0-9._~+/-]+=*)")
_IS_BEARER: Final = re.compile(rb"(?i:bearer)(?: |\Z)")
_FORWARDING_PREFIX: Final = b"x-forwarded"
_FORWARDING_FIELDS: Final = frozenset(
    {b"forwarded", b"x-real-ip", b"via", b"x-client-ip", b"x-cluster-client-ip", b"true-client-ip", b"cf-connecting-ip"}
)
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


class HostCheck:
    """The check of Host on a server that only this machine can reach.

    Any site can have its own name resolve to 127.0.0.1 (DNS rebinding); its page then reads this server as if it were
    its own, for browsers see one origin. It cannot choose the Host of such a request, which is the name of the site.
    """

    __slots__ = ("_hosts", "_is_any", "_known", "_proxies")

    def __init__(self, origins: Iterable[str] = (), proxies: TrustedProxies | None = None) -> None:
        """`origins` are those of CORS_ORIGINS: their hosts are names of this server too."""
        origins = tuple(origins)
        self._is_any = ANY_ORIGIN in origins
        self._hosts = frozenset(urlsplit(origin).hostname for origin in origins)
        self._proxies = TrustedProxies() if proxies is None else proxies
        # Those allowed before, as they were sent.
        self._known: set[bytes] = set()

    def knows(self, request: Request) -> bool:
        """Returns whether requests with this Host are allowed, from any sender."""
        host = request.head.headers.get(b"host")
        return host is None or host in self._known

    def check(self, request: Request) -> None:
        """Raises Misdirected if the Host of `request` is no loopback name and no host of a listed origin, unless a
        trusted proxy forwards it. A request without one comes from no browser."""
        # hot: once per read (observability bench --only rest)
        host = request.head.headers.get(b"host")
        if host is None or host in self._known:
            return
        name = host_name(request)
        if self._is_any or is_loopback(name) or name in self._hosts:
            if len(self._known) < MAX_KNOWN_HOSTS:
                self._known.add(host)
            return
        is_forwarded = request.is_forwarded or request.header(b"x-forwarded-for") is not None
        if not (is_forwarded and self._proxies.trusts(request.peer)):
            raise Misdirected(
                f"this server is not known as {host.decode('latin-1')}: it listens for this machine only. Add the name "
                "to CORS_ORIGINS, or the proxy to TRUSTED_PROXIES"
            )


class AccessPolicy:
    """Decides by role and token. `guarded` holds the roles that need a check; everybody has the others."""

    __slots__ = ("_hosts", "_origins", "_takes_local_writes", "_tokens", "guarded")

    def __init__(
        self,
        tokens: Iterable[ApiToken] = (),
        origins: OriginCheck | None = None,
        *,
        hosts: HostCheck | None = None,
        takes_local_writes: bool = True,
    ) -> None:
        """`hosts` is checked for reads that need no token. `takes_local_writes` is whether programs of this machine may
        write while there are no tokens."""
        tokens = tuple(tokens)
        # Digests all have one length, so comparing them reveals nothing about the length of a token.
        self._tokens = tuple((sha256(token.secret.encode()).digest(), _GRANTED[token.role]) for token in tokens)
        self._origins = OriginCheck() if origins is None else origins
        self._takes_local_writes = takes_local_writes
        reads_need_token = any(token.role == "read" for token in tokens)
        self._hosts = None if reads_need_token else hosts
        self.guarded: frozenset[str] = frozenset(
            {"read", "write"} if reads_need_token or hosts is not None else {"write"}
        )

    def check(self, request: Request, role: Role) -> None:
        """Raises Refusal 401, 403 or 421 if `request` lacks `role`, and 400 if its credentials are malformed."""
        if role not in self.guarded:
            return
        if role == "read" and self._hosts is not None:
            if not (self._tokens and self._has_valid_token(request)):
                self._hosts.check(request)
            return
        if not self._tokens:
            if not self._takes_local_writes:
                raise Refusal(403, "a write needs a token, and the server has none; see API_TOKENS and LOCAL_WRITES")
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

    def is_decided_by_head(self, request: Request, role: Role) -> bool:
        """Returns whether the head of `request`, which has been checked, gives its role to everybody who sends it."""
        if role not in self.guarded:
            return True
        return role == "read" and self._hosts is not None and self._hosts.knows(request)

    def _has_valid_token(self, request: Request) -> bool:
        try:
            return any(self._granted(secret) for secret in _credentials(request))
        except Refusal:
            return False

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
    """Raises Refusal 403 unless a write comes from a program of this machine that runs as the user of this server: its
    peer and its Host are loopback, no proxy forwarded it, and no page of another origin sent it. Raises Unavailable if
    that cannot be found out now.

    A proxy on this machine may pass requests on unchanged, with the server's address for a Host and without a word
    about its client. It connects as its own user, though, and nginx does so by HTTP/1.0 unless it is told otherwise.
    """
    origin = request.header(b"origin")
    if not (
        is_loopback(request.peer)
        and not request.is_forwarded
        and is_loopback(host_name(request))
        and not any(name.startswith(_FORWARDING_PREFIX) or name in _FORWARDING_FIELDS for name in request.head.headers)
        and (origin is None or _is_own_page(request, origin))
    ):
        raise Refusal(403, "writes are taken from this machine only; see API_TOKENS")
    if request.version == (1, 0):
        raise Refusal(403, "a write by HTTP/1.0, as proxies send it, needs a token; see API_TOKENS")
    try:
        is_own = not IS_KNOWN or request.peer_user() == os.geteuid()
    except OSError as error:
        raise Unavailable(f"whose program writes cannot be found out now: {error.strerror}") from None
    if not is_own:
        raise Refusal(
            403,
            "a write without a token is taken from programs of this server's user only, and this connection belongs to "
            "another one, such as a proxy; see API_TOKENS",
        )


def _is_own_page(request: Request, origin: bytes) -> bool:
    """Returns whether a page of `origin` came from the host that the request is for."""
    host = request.header(b"host")
    try:
        return host is not None and urlsplit(origin.decode("latin-1").lower()).netloc == host.decode().lower()
    except ValueError:
        return False


def host_name(request: Request) -> str:
    """Returns the name or address in Host, in lower case and without a port; empty if there is none."""
    host = (request.header(b"host") or b"").decode("latin-1")
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
