"""A TLS connection from its first byte to the end of its handshake; an `HttpConnection` takes its transport then.

The event loop encrypts and decrypts. To HTTP the result is a transport like any other, except that it cannot be
half-closed.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final, cast

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_S
from observability.connections.registry import Registry

# From the start of the connection to the end of its handshake.
HANDSHAKE_SECONDS: Final = 10
# How long the peer may take to answer our close_notify.
SHUTDOWN_SECONDS: Final = 2

# RFC 8446 section 5.1: every TLS connection begins with a record of type handshake.
_HANDSHAKE_RECORD: Final = 0x16
_NO_TLS: Final = b"expected TLS: https:// or wss://\n"
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
    % (len(_NO_TLS), _NO_TLS)
)


class TlsConnection(asyncio.Protocol):
    """Performs the handshake, then connects the encrypting transport to `make_protocol()`."""

    _transport: asyncio.Transport

    def __init__(
        self,
        context: ssl.SSLContext,
        registry: Registry,
        make_protocol: Callable[[], asyncio.Protocol],
        clock: Clock,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._context = context
        self._registry = registry
        self._make_protocol = make_protocol
        self._loop = loop
        self._deadline_ns = clock.mono_ns() + HANDSHAKE_SECONDS * NS_PER_S
        self._peer = ""
        self._task: asyncio.Task[None] | None = None
        self._first_bytes = b""
        self._has_ended = False

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peername = transport.get_extra_info("peername")
        self._peer = peername[0] if isinstance(peername, tuple) else ""
        self._registry.begin_handshake(self, self._peer)

    def data_received(self, data: bytes) -> None:
        # Called once only: reading is paused after the first bytes, and decrypted ones go to the next protocol.
        assert self._task is None
        if data[0] == _HANDSHAKE_RECORD:
            self._first_bytes = data
            self._transport.pause_reading()
            self._task = self._loop.create_task(self._shake_hands())
        elif not self._transport.is_closing():
            self._registry.connection_failed(self._peer, "TLS handshake: the peer does not speak TLS")
            self._transport.write(_PLAIN_ANSWER)
            self._transport.close()

    def eof_received(self) -> bool:
        self._has_ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = True
        if self._task is None:
            self._registry.release(self, self._peer)

    # Called by the listener.

    def check_deadline(self, now_ns: int) -> None:
        """Ends the connection if its handshake has taken too long."""
        if now_ns >= self._deadline_ns and not self._transport.is_closing():
            if self._task is not None:
                self._registry.connection_failed(
                    self._peer, f"TLS handshake: not complete within {HANDSHAKE_SECONDS} s"
                )
            self.abort()

    def drain(self) -> None:
        """Ends the connection now: no answer can be due."""
        self.abort()

    def abort(self) -> None:
        """Ends the connection now."""
        self._transport.abort()

    # The handshake.

    async def _shake_hands(self) -> None:
        transport: asyncio.Transport | None = None
        if not self._transport.is_closing():
            # Bytes that the kernel does not accept stay in the TLS layer, which can report how many they are.
            self._transport.set_write_buffer_limits(high=0)
            self._loop.call_soon(self._replay_first_bytes)
            try:
                transport = await self._loop.start_tls(
                    self._transport,
                    self,
                    self._context,
                    server_side=True,
                    ssl_handshake_timeout=2 * HANDSHAKE_SECONDS,  # `check_deadline` comes first
                    ssl_shutdown_timeout=SHUTDOWN_SECONDS,
                )
            except ssl.SSLError as error:
                reason = (error.reason or "failed").replace("_", " ").lower()
                self._registry.connection_failed(self._peer, f"TLS handshake: {reason}")
            except OSError:
                pass  # the peer has gone
        self._registry.release(self, self._peer)
        if transport is None:
            return
        if self._has_ended or transport.is_closing():
            transport.close()
            return
        protocol = self._make_protocol()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def _replay_first_bytes(self) -> None:
        # `start_tls` has given the socket a protocol that decrypts, and reading is still paused. That protocol keeps
        # bytes that it gets before its `connection_made`, which comes next.
        protocol: Any = self._transport.get_protocol()
        pending = memoryview(self._first_bytes)
        while pending:
            buffer = protocol.get_buffer(len(pending))
            size = min(len(buffer), len(pending))
            buffer[:size] = pending[:size]
            protocol.buffer_updated(size)
            pending = pending[size:]
        self._first_bytes = b""
