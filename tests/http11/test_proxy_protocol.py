"""The PROXY protocol, both versions: each header whole, byte by byte, and with bytes behind it."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from observability.http11.proxy_protocol import (
    MAX_V1_BYTES,
    MAX_V2_BYTES,
    PROXY_V2_SIGNATURE,
    ProxyHeader,
    read_proxy_header,
)
from observability.http11.refusals import Malformed


def v2(command: int, family: int, content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return PROXY_V2_SIGNATURE + bytes((command, family)) + struct.pack(">H", size) + content


def addresses(source: str, destination: str = "") -> bytes:
    packed = ip_address(source).packed
    return packed + ip_address(destination or source).packed + struct.pack(">HH", 56324, 443)


TAKEN = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\r\n", "192.0.2.1"),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255"),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n", "2001:db8::1"),
    (b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n", ":".join(["ffff"] * 8)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
    (v2(0x21, 0x11, addresses("192.0.2.1")), "192.0.2.1"),
    (v2(0x21, 0x21, addresses("2001:db8::1")), "2001:db8::1"),
    (v2(0x21, 0x11, addresses("192.0.2.1") + b"\x04\x00\x03abc" * 50), "192.0.2.1"),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, addresses("192.0.2.1")), None),
    (v2(0x21, 0x31, bytes(216)), None),
    (v2(0x21, 0x00, b"anything"), None),
]
REFUSED = [
    b"GET / HTTP/1.1\r\n", b"\x16\x03\x01", b"\r\n\r\nGET", b"PROXY\tTCP4",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 80\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY TCP4 192.0.2.1 nowhere 1 2\r\n", b"PROXY TCP4 192.0.2.1 256.0.0.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n", b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    b"PROXY UNKNOWN " + b"x" * MAX_V1_BYTES, b"PROXY \r\n", b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
    v2(0x11, 0x11, addresses("192.0.2.1")), v2(0x22, 0x11, addresses("192.0.2.1")),
    v2(0x21, 0x11, bytes(11)), v2(0x21, 0x21, addresses("192.0.2.1")), v2(0x21, 0x11, b"", MAX_V2_BYTES + 1),
]  # fmt: skip


@pytest.mark.parametrize(("data", "source"), TAKEN)
@pytest.mark.parametrize("behind", [b"", b"GET / HTTP/1.1\r\n", b"PROXY ", b"\n"])
def test_a_header_names_its_client_and_ends_where_it_ends(data: bytes, source: str | None, behind: bytes) -> None:
    assert read_proxy_header(data + behind) == ProxyHeader(source, len(data))
    assert [read_proxy_header(data[:size]) for size in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("data", REFUSED)
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_proxy_header(data)
