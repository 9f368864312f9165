"""The PROXY protocol: a proxy that passes bytes on puts the address of its client in front of them.

https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, of which the sections are named here.

    version 1    PROXY TCP4 192.0.2.1 192.0.2.2 56324 80 CR LF
    version 2    | signature, 12 | 0x2, command | family, transport | length, 2 | addresses, and further data |
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

from observability.http11.refusals import Malformed

PROXY_V2_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
# Section 2.1: the longest line of version 1, its CR LF included.
MAX_V1_BYTES: Final = 107
# Of the addresses and what follows them. Section 2.2 allows 65,535; proxies send some hundred.
MAX_V2_BYTES: Final = 4096
PROXY_REFUSED: Final = "the PROXY protocol, which is taken from TRUSTED_PROXIES only, if PROXY_PROTOCOL is on"

_V1_PREFIX: Final = b"PROXY "
_V1_LINE: Final = re.compile(
    rb"PROXY (?:(UNKNOWN)(?: [\x20-\x7e]*)?|TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) ([0-9]{1,5}) ([0-9]{1,5}))\r\n"
)
_V2_FIXED_BYTES: Final = 16
_LOCAL, _PROXY = 0x20, 0x21
_INET, _INET6 = 0x10, 0x20
_PORTS_BYTES: Final = 4


class ProxyHeader(NamedTuple):
    """What a proxy says of a connection."""

    source: str | None
    """The address of the client; None if there is none, as for a check of the proxy's own."""
    size: int
    """How many bytes the header has."""


def begins_with_proxy_line(data: bytes | bytearray) -> bool:
    """Returns whether `data` begins as a header of version 1 does."""
    return data.startswith(_V1_PREFIX)


def read_proxy_header(data: bytes) -> ProxyHeader | None:
    """Returns the header at the start of `data`, None if more bytes are needed. Raises Malformed."""
    if data.startswith(_V1_PREFIX[: len(data)]):
        return _read_v1(data)
    if data.startswith(PROXY_V2_SIGNATURE[: len(data)]):
        return _read_v2(data)
    raise Malformed("expected the PROXY protocol: PROXY_PROTOCOL is on, and this peer is one of TRUSTED_PROXIES")


def _read_v1(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\n", 0, MAX_V1_BYTES) + 1
    if not end:
        if len(data) >= MAX_V1_BYTES:
            raise Malformed(f"PROXY: expected a line of at most {MAX_V1_BYTES} bytes")
        return None
    match = _V1_LINE.fullmatch(data, 0, end)
    if match is None:
        raise Malformed("PROXY: expected TCP4 or TCP6, two addresses and two ports, or UNKNOWN")
    unknown, version, *addresses = match.groups()
    if unknown:
        return ProxyHeader(None, end)
    # Section 2.1 has the destination too, which must be an address as well.
    source, _ = (_address(text, int(version)) for text in addresses[:2])
    return ProxyHeader(source, end)


def _address(text: bytes, version: int) -> str:
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        address = None
    if address is None or address.version != version:
        raise Malformed(f"PROXY: expected addresses of IP version {version}")
    return str(address)


def _read_v2(data: bytes) -> ProxyHeader | None:
    if len(data) < _V2_FIXED_BYTES:
        return None
    command, family, length = data[12], data[13] & 0xF0, int.from_bytes(data[14:16], "big")
    if command not in (_LOCAL, _PROXY):
        raise Malformed(f"PROXY: version and command {command:#04x}, expected {_LOCAL:#04x} or {_PROXY:#04x}")
    if length > MAX_V2_BYTES:
        raise Malformed(f"PROXY: expected at most {MAX_V2_BYTES} bytes of addresses and further data")
    size = _V2_FIXED_BYTES + length
    if len(data) < size:
        return None
    # Section 2.2: the addresses of a LOCAL connection, and those of families that are not understood, are ignored.
    if command == _LOCAL or family not in (_INET, _INET6):
        return ProxyHeader(None, size)
    address_bytes = 4 if family == _INET else 16
    if length < 2 * address_bytes + _PORTS_BYTES:
        raise Malformed("PROXY: shorter than the addresses of its family")
    packed = data[_V2_FIXED_BYTES : _V2_FIXED_BYTES + address_bytes]
    return ProxyHeader(str(IPv4Address(packed) if family == _INET else IPv6Address(packed)), size)
