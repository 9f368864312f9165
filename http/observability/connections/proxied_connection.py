"""A connection until its PROXY header has been read; then the protocol that it is for takes its transport.

Only TRUSTED_PROXIES send such headers, and they must: whether there is one is never guessed, or a client behind a proxy
that sends none could write its own. Connections of others pass unchanged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, cast

from observability.access.addresses import TrustedProxies
from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.connections.registry import Registry
from observability.http11.proxy_protocol import read_proxy_header
from observability.http11.refusals import Malformed

# The specification recommends at least three seconds, for a packet that is lost.
HEADER_SECONDS: Final = 5

MakeProtocol = Callable[[str | None], asyncio.Protocol]
"""Makes the protocol of a connection. Its argument is the address that a PROXY header names, empty if it names none;
None stands for a connection without a header."""


class ProxiedConnection(asyncio.Protocol):
    """Reads the PROXY header of a trusted proxy, then connects the transport to `make_protocol(...)`."""

    _transport: asyncio.Transport

    def __init__(self, proxies: TrustedProxies, registry: Registry, make_protocol: MakeProtocol, clock: Clock) -> None:
        self._proxies = proxies
        self._registry = registry
        self._make_protocol = make_protocol
        self._deadline_ns = clock.mono_ns() + HEADER_SECONDS * NS_PER_S
        self._peer = ""
        self._received = b""

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        self._peer = peername[0] if isinstance(peername, tuple) else ""
        if self._proxies.trusts(self._peer):
            self._registry.begin_handshake(self, self._peer)
        else:
            self._hand_over(None, b"")

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        self._received += data
        try:
            header = read_proxy_header(self._received)
        except Malformed as refusal:
            self._registry.connection_failed(self._peer, refusal.detail)
            self._transport.write(_answer(refusal))
            self._transport.close()
            return
        if header is not None:
            self._registry.release(self, self._peer)
            self._hand_over(header.source or "", self._received[header.size :])

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.release(self, self._peer)

    # Called by the listener.

    def check_deadline(self, now_ns: int) -> None:
        """Ends the connection if its header has taken too long."""
        if now_ns >= self._deadline_ns and not self._transport.is_closing():
            if self._received:
                self._registry.connection_failed(self._peer, f"PROXY header: not complete within {HEADER_SECONDS} s")
            self.abort()

    def drain(self) -> None:
        """Ends the connection now: no answer can be due."""
        self.abort()

    def abort(self) -> None:
        """Ends the connection now."""
        self._transport.abort()

    def _hand_over(self, source: str | None, received: bytes) -> None:
        protocol = self._make_protocol(source)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)
        if received:
            protocol.data_received(received)


def _answer(refusal: Malformed) -> bytes:
    text = refusal.detail.encode("ascii") + b"\n"
    return (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
        % (len(text), text)
    )
