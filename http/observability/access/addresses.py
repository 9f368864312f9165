"""Addresses of clients: which one a request comes from, and which ones count as one client.

An address is text, in the form that its socket reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

# A longer chain of proxies is taken for an invention of the client.
MAX_HOPS: Final = 16
# RFC 6177: a site gets at least a /64, so a client with one IPv6 address has 2**64 of them.
IPV6_SITE_BITS: Final = 64
REMEMBERED_ADDRESSES: Final = 4096

_LOOPBACK_NAMES: Final = ("localhost", "ip6-localhost")

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose X-Forwarded-For counts."""

    __slots__ = ("_networks", "trusts")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)
        # Called once per connection and hop, mostly with the same few addresses of proxies.
        self.trusts = lru_cache(REMEMBERED_ADDRESSES)(self._trusts) if self._networks else _trust_none

    def client_address(self, peer: str, forwarded_for: bytes | None) -> str:
        """Returns the address of the client that the trusted proxy at `peer` forwards for.

        Each proxy appends the address that it was asked by, so the list is read from the right, up to the first
        address that is not a trusted proxy. Everything to the left of it may be an invention of that client. The result
        is `peer` if there is no list, or a member of it is not an address.
        """
        if forwarded_for is None:
            return peer
        client = peer
        members = forwarded_for.rsplit(b",", MAX_HOPS)
        if len(members) > MAX_HOPS:
            del members[0]
        for member in reversed(members):
            address = parse_address(member.strip(b" \t").decode("latin-1"))
            if address is None:
                return peer
            client = str(address)
            if not self.trusts(client):
                return client
        return client

    def _trusts(self, address: str) -> bool:
        parsed = parse_address(address)
        return parsed is not None and any(parsed in network for network in self._networks)


def _trust_none(address: str) -> bool:
    return False


def parse_address(text: str) -> Address | None:
    """Returns the address that `text` is, an IPv4-mapped IPv6 address as IPv4; None if it is not an address."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(REMEMBERED_ADDRESSES)
def limited_as(address: str) -> str:
    """Returns what a limit per address counts: an IPv4 address, the /64 of an IPv6 address, or other text as it is."""
    parsed = parse_address(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((int(parsed), IPV6_SITE_BITS), strict=False))


def is_loopback(name: str) -> bool:
    """Returns whether `name`, an address or the host of a URL, can only mean this machine."""
    address = parse_address(name)
    if address is not None:
        return address.is_loopback
    name = name.lower().removesuffix(".")
    # RFC 6761 section 6.3: names below localhost are loopback too.
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")
