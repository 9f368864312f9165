"""The listening sockets of several workers on one port.

The supervisor keeps them open, so that connections wait in the backlog while a worker is replaced.
"""

from __future__ import annotations

import errno
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

# Linux allows 4,096 unless net.core.somaxconn says otherwise.
BACKLOG: Final = 8192
ANY_IPV4: Final = "0.0.0.0"
ANY_IPV6: Final = "::"
# How often any free port is tried.
PORT_ATTEMPTS: Final = 5
# Processes that were just killed may still hold the port while the kernel tears them down.
PATIENCE_SECONDS: Final = 1.0
_PAUSE_SECONDS: Final = 0.05

# Other systems have the option, but do not spread connections over the sockets.
HAS_REUSE_PORT: Final = sys.platform == "linux" and hasattr(socket, "SO_REUSEPORT")


def open_listeners(
    hosts: Sequence[str], port: int, count: int, *, reuse_port: bool = HAS_REUSE_PORT
) -> tuple[tuple[socket.socket, ...], ...]:
    """Returns the listening sockets of each of `count` workers, one per address of `hosts`; without `reuse_port` all
    workers share the same. Port 0 takes any free port. Raises OSError if another server listens on the port."""
    addresses = _addresses(hosts, port)
    # With SO_REUSEPORT two servers could share a port by accident, and each would get some of the clients. A bind
    # without it fails if another server listens.
    probes = _bind_all(addresses, port)
    if not reuse_port:
        shared = tuple(probe for _, probe in probes)
        for sock in shared:
            sock.listen(BACKLOG)
        return (shared,) * count
    bound = [(family, probe.getsockname()) for family, probe in probes]
    for _, probe in probes:
        probe.close()
    return tuple(tuple(_listen(family, sockaddr) for family, sockaddr in bound) for _ in range(count))


def _addresses(hosts: Sequence[str], port: int) -> list[tuple[int, tuple[object, ...]]]:
    """Returns the family and the address of each socket. `::` means every address of both families."""
    found: dict[tuple[int, tuple[object, ...]], None] = {}
    for host in hosts:
        for name in (ANY_IPV6, ANY_IPV4) if host == ANY_IPV6 else (host,):
            for family, _, _, _, sockaddr in socket.getaddrinfo(
                name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                found[family, sockaddr] = None
    if ANY_IPV6 in hosts and not _has_ipv6():
        # A host or container without IPv6 has all its addresses in the other family.
        return [address for address in found if address[0] != socket.AF_INET6]
    return list(found)


def _has_ipv6() -> bool:
    try:
        with _make(socket.AF_INET6) as sock:
            sock.bind((ANY_IPV6, 0))
    except OSError:
        return False
    return True


def _bind_all(addresses: Sequence[tuple[int, tuple[object, ...]]], port: int) -> list[tuple[int, socket.socket]]:
    """Binds a socket to each address, all to one port. A port that is free at one address may be taken at the next."""
    for attempt in range(PORT_ATTEMPTS):
        probes: list[tuple[int, socket.socket]] = []
        chosen = port
        try:
            for family, sockaddr in addresses:
                probes.append((family, _bind_patiently(family, _with_port(sockaddr, chosen))))
                chosen = probes[0][1].getsockname()[1]
        except OSError as error:
            for _, probe in probes:
                probe.close()
            if port or error.errno != errno.EADDRINUSE or attempt == PORT_ATTEMPTS - 1:
                raise
        else:
            break
    return probes


def _with_port(sockaddr: tuple[object, ...], port: int) -> tuple[object, ...]:
    return (sockaddr[0], port, *sockaddr[2:])


def _bind_patiently(family: int, sockaddr: tuple[object, ...]) -> socket.socket:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        sock = _make(family)
        try:
            sock.bind(sockaddr)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                why = error.strerror
                if error.errno == errno.EADDRINUSE:
                    why = "address already in use; another server listens there, so choose another port"
                raise OSError(error.errno, f"cannot listen on {sockaddr[0]} port {sockaddr[1]}: {why}") from None
            time.sleep(_PAUSE_SECONDS)
        else:
            return sock


def _listen(family: int, sockaddr: tuple[object, ...]) -> socket.socket:
    sock = _make(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(sockaddr)
    sock.listen(BACKLOG)
    return sock


def _make(family: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        # IPv4 addresses have sockets of their own.
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return sock
