"""The kinds of values that concern access: the address to listen on, allowed origins, tokens, trusted proxies."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import ClassVar, Final

from observability.config.setting import Kind, shown

MAX_PORT: Final = 65535
ANY_ORIGIN: Final = "*"
"""Stands for all origins, in place of a list."""

TOKEN_ROLES: Final = ("read", "write")
MAX_TOKENS: Final = 100

# Characters that need no escaping in a header, a query or the name of a WebSocket subprotocol: RFC 3986 section 2.3.
_SECRET = re.compile(r"[A-Za-z0-9._~-]{1,256}")

# RFC 1123 section 2.1: letters, digits and inner hyphens, at most 63 characters a label.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
# "256.1.1.1" is neither an address nor a name: the last label of a name is not all digits (RFC 3696 section 2).
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?[0-9]+")

# RFC 6454 section 6.2: scheme "://" host [ ":" port ], and nothing after it.
_ORIGIN = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(?::([0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Hosts(Kind):
    """Names and addresses to listen on, separated by commas; stored as they are written, without spaces."""

    metavar: ClassVar[str] = "HOST,..."

    @property
    def expected(self) -> str:
        return "host names or IP addresses, separated by commas"

    def parse(self, text: str) -> object:
        items = [item.strip(" ") for item in text.split(",")]
        wrong = [item for item in items if not _is_host(item)]
        if wrong:
            raise ValueError(", ".join(map(shown, wrong)))
        return ",".join(dict.fromkeys(items))

    def accepts(self, value: object) -> bool:
        return isinstance(value, str) and all(map(_is_host, value.split(",")))


@dataclass(frozen=True, slots=True)
class Origins(Kind):
    """Web origins, separated by commas, or `*` alone; stored as browsers send them: lower case, no default port."""

    metavar: ClassVar[str] = "ORIGINS"
    # An operator who empties the list wants no other origin, not the default ones.
    empty_is_a_value: ClassVar[bool] = True

    @property
    def expected(self) -> str:
        return f"scheme://host[:port] without a path, separated by commas, or {ANY_ORIGIN} alone"

    def parse(self, text: str) -> object:
        if not text:
            return ()
        items = [item.strip(" ") for item in text.split(",")]
        if items == [ANY_ORIGIN]:
            return (ANY_ORIGIN,)
        origins = [_normal_origin(item) for item in items]
        wrong = [item for item, origin in zip(items, origins, strict=True) if origin is None]
        if wrong:
            raise ValueError(", ".join(map(shown, wrong)))
        return tuple(dict.fromkeys(origins))

    def accepts(self, value: object) -> bool:
        if not isinstance(value, tuple):
            return False
        return value == (ANY_ORIGIN,) or all(isinstance(o, str) and _normal_origin(o) == o for o in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(value)


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A client that presents `secret` has the role. The representation leaves the secret out."""

    role: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens(Kind):
    """Tokens with their roles. A fault gives the number of an entry, never its text."""

    metavar: ClassVar[str] = "TOKENS"
    is_secret: ClassVar[bool] = True

    @property
    def expected(self) -> str:
        return (
            f"role:token pairs separated by commas, role one of {', '.join(TOKEN_ROLES)}, token up to 256 letters, "
            "digits and -._~, no token twice"
        )

    def parse(self, text: str) -> object:
        entries = [entry.strip(" ").partition(":") for entry in text.split(",")]
        tokens = tuple(ApiToken(role, secret) for role, _, secret in entries)
        wrong = [number for number, token in enumerate(tokens, 1) if not _is_token(token)]
        secrets = [token.secret for token in tokens]
        wrong += [number for number, secret in enumerate(secrets, 1) if secret in secrets[: number - 1]]
        if wrong:
            numbers = ", ".join(map(str, sorted(set(wrong))))
            raise ValueError(f"entry {numbers} of {len(tokens)} (not shown)")
        if not self.accepts(tokens):
            raise ValueError(f"{len(tokens)} entries, at most {MAX_TOKENS} are allowed")
        return tokens

    def accepts(self, value: object) -> bool:
        return (
            isinstance(value, tuple)
            and len(value) <= MAX_TOKENS
            and all(isinstance(token, ApiToken) and _is_token(token) for token in value)
            and len({token.secret for token in value}) == len(value)
        )

    def format(self, value: object) -> str:
        """Returns an empty text: tokens are never written out."""
        return ""


@dataclass(frozen=True, slots=True)
class Networks(Kind):
    """Addresses and networks in CIDR notation; an address is a network of one host."""

    metavar: ClassVar[str] = "NETWORKS"

    @property
    def expected(self) -> str:
        return "IP addresses or networks such as 10.0.0.0/8, separated by commas"

    def parse(self, text: str) -> object:
        networks: list[Network] = []
        wrong = []
        for item in (item.strip(" ") for item in text.split(",")):
            try:
                # Strict: a network with host bits set ("10.0.0.1/8") is more likely a mistake than intended.
                networks.append(ip_network(item))
            except ValueError:
                wrong.append(item)
        if wrong:
            raise ValueError(", ".join(map(shown, wrong)))
        return tuple(dict.fromkeys(networks))

    def accepts(self, value: object) -> bool:
        return isinstance(value, tuple) and all(isinstance(network, Network) for network in value)

    def format(self, value: object) -> str:
        assert isinstance(value, tuple)
        return ",".join(map(str, value))


def _is_token(token: ApiToken) -> bool:
    return token.role in TOKEN_ROLES and _SECRET.fullmatch(token.secret) is not None


def _is_host(text: str) -> bool:
    return _is_address(text) or _is_host_name(text)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_host_name(text: str) -> bool:
    return len(text) <= 253 and bool(_HOST_NAME.fullmatch(text)) and not _ENDS_IN_NUMBER.fullmatch(text)


def _normal_origin(text: str) -> str | None:
    """Returns the origin as RFC 6454 serializes it; None if `text` is not an origin."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        return None
    scheme, host, port = match[1].lower(), match[2].lower(), match[3]
    if not (_is_address(host.strip("[]")) or _is_host_name(host)):
        return None
    if port is None or int(port) == _DEFAULT_PORTS.get(scheme):
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}" if 1 <= int(port) <= MAX_PORT else None
