"""Addresses of clients: which one a request comes from, and which ones count as the same.

No limits here (see `rates.py` and `places.py`) and no names: an address is text in the form its socket gives it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

# A chain of more proxies than this is one that somebody made up.
MAX_HOPS: Final = 16
# RFC 6177: a site gets a /64 at least, so whoever has one IPv6 address has 2**64 of them.
IPV6_SITE_BITS: Final = 64
REMEMBERED_ADDRESSES: Final = 4096

_LOOPBACK_NAMES: Final = ("localhost", "ip6-localhost")

Address = IPv4Address | IPv6Address


class TrustedProxies:
    """The proxies whose X-Forwarded-For is believed."""

    __slots__ = ("_networks", "trusts")

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network] = ()) -> None:
        self._networks = tuple(networks)
        # Asked once per connection and hop; a proxy's own address comes again and again.
        self.trusts = lru_cache(REMEMBERED_ADDRESSES)(self._trusts) if self._networks else _trust_nobody

    def client_address(self, peer: str, forwarded_for: bytes | None) -> str:
        """Returns who a trusted proxy at `peer` asks for, by its X-Forwarded-For.

        Each proxy adds at the right whom it was asked by, so the list is read from there to the first address that is
        no trusted proxy; what is left of it was made up by that client, or could have been. With a member that is no
        address, or none at all, it is the proxy's own.
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


def _trust_nobody(address: str) -> bool:
    return False


def parse_address(text: str) -> Address | None:
    """Returns the address `text` is, one that maps an IPv4 address into IPv6 as the former; None if it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(REMEMBERED_ADDRESSES)
def limited_as(address: str) -> str:
    """Returns what limits per address count: an IPv4 address, the /64 of an IPv6 one; other text as it is."""
    parsed = parse_address(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv4Address):
        return str(parsed)
    return str(IPv6Network((int(parsed), IPV6_SITE_BITS), strict=False))


def is_loopback(name: str) -> bool:
    """Whether `name`, an address or the name in a URL, stands for this machine and nothing else."""
    address = parse_address(name)
    return address.is_loopback if address is not None else name in _LOOPBACK_NAMES
