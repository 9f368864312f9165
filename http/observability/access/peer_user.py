"""The user whose program holds the other end of a connection within this machine, as the kernel knows it.

A program of our own and a proxy on this machine both come from a loopback address, and may send the same bytes. Whose
socket it is, though, cannot be chosen by those who send through it: proxies run as users of their own.

Linux only: NETLINK_SOCK_DIAG (sock_diag(7)), and /proc/net/tcp where that is not allowed.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from contextlib import suppress
from ipaddress import IPv6Address
from pathlib import Path
from typing import Final

from observability.access.addresses import parse_address

IS_KNOWN: Final = sys.platform == "linux"
"""Whether the kernel can be asked."""

SocketAddress = tuple[str, int]

# Of descriptors or memory: the answer is not no, it is not known.
_SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_ALL_STATES: Final = 0xFFFFFFFF
_NO_COOKIE: Final = 0xFFFFFFFF
# struct nlmsghdr, netlink(7)
_HEADER: Final = struct.Struct("=IHHII")
# struct inet_diag_req_v2, sock_diag(7): family, protocol, extensions, padding, states; the ports in network order,
# source, destination, interface, cookie.
_REQUEST: Final = struct.Struct("=BBBxI 2s2s16s16sI2I")
# struct inet_diag_msg, sock_diag(7): family, state, timer, retransmissions; the same identity; expiry, two queues,
# user, inode.
_ANSWER: Final = struct.Struct("=BBBB 2s2s16s16sI2I IIIII")
_ANSWER_BYTES: Final = 4096


def peer_user(peer: SocketAddress, own: SocketAddress) -> int | None:
    """Returns the user id that owns the socket at `peer` which is connected to `own`; None if the kernel does not say,
    or the socket is closed. Raises OSError if this process can open nothing to ask the kernel by."""
    if not IS_KNOWN:
        return None
    try:
        return _ask_kernel(peer, own)
    except OSError:
        return _read_table(peer, own)


def _ask_kernel(peer: SocketAddress, own: SocketAddress) -> int | None:
    (family, source), (_, destination) = _packed(peer[0]), _packed(own[0])
    request = _REQUEST.pack(
        family, socket.IPPROTO_TCP, 0, _ALL_STATES,
        struct.pack(">H", peer[1]), struct.pack(">H", own[1]), source, destination, 0, _NO_COOKIE, _NO_COOKIE,
    )  # fmt: skip
    header = _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.setblocking(False)  # the answer is there when `send` returns
        netlink.send(header + request)
        answer = netlink.recv(_ANSWER_BYTES)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind != _SOCK_DIAG_BY_FAMILY:
        return None
    fields = _ANSWER.unpack_from(answer, _HEADER.size)
    user, inode = fields[-2:]
    # The kernel reports user 0 for a socket that its program has closed.
    return user if inode else None


def _packed(address: str) -> tuple[int, bytes]:
    parsed = parse_address(address)
    if parsed is None:
        raise OSError(f"no address: {address}")
    family = socket.AF_INET6 if isinstance(parsed, IPv6Address) else socket.AF_INET
    return family, parsed.packed.ljust(16, b"\0")


def _read_table(peer: SocketAddress, own: SocketAddress) -> int | None:
    for name in ("tcp", "tcp6"):
        try:
            table = Path("/proc/net", name).read_text(encoding="ascii")
        except OSError as error:
            if error.errno in _SHORTAGES:
                raise
            continue
        with suppress(ValueError, IndexError):
            for line in table.splitlines()[1:]:
                fields = line.split()
                if _at(fields[1]) == _normal(peer) and _at(fields[2]) == _normal(own):
                    return int(fields[7]) if fields[9] != "0" else None
    return None


def _at(text: str) -> SocketAddress:
    """Returns an address as proc(5) has it: words of 32 bits in the order of this machine, then the port."""
    words, _, port = text.partition(":")
    packed = b"".join(struct.pack("=I", int(words[at : at + 8], 16)) for at in range(0, len(words), 8))
    text = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return _normal((text, int(port, 16)))


def _normal(address: SocketAddress) -> SocketAddress:
    return str(parse_address(address[0])), address[1]
