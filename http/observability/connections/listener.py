"""The port: accepts connections, knows them all, checks their deadlines, ends them.

No requests here (see `connection.py`).

Running out of file descriptors is the loop's to survive: libuv keeps one in reserve to accept and drop with.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from observability.access.addresses import limited_as
from observability.access.limits import ClientCount, ProcessClientCount
from observability.connections.connection import HttpConnection
from observability.connections.registry import Connection
from observability.connections.tls import Certificate
from observability.connections.tls_connection import TlsConnection
from observability.http11.refusals import Refusal, TooManyRequests, Unavailable
from observability.routing.application import Application

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048
SWEEP_SECONDS: Final = 1.0
# Connections beyond the limit that may be told why; those beyond these are dropped without a word.
REFUSAL_SLOTS: Final = 64


class HttpListener:
    """Owns the listening socket and every connection that has not been upgraded."""

    def __init__(self, application: Application, client_count: ClientCount | None = None) -> None:
        """`client_count` counts beyond this process, if limits hold for several."""
        self.application = application
        self.accepted = 0
        self.refused = 0
        self._connections: set[Connection] = set()
        self._per_address: Counter[str] = Counter()
        self._client_count = ProcessClientCount() if client_count is None else client_count
        self._servers: list[asyncio.Server] = []
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        socks: Sequence[socket.socket] = (),
        certificate: Certificate | None = None,
    ) -> None:
        """Begins to accept, on `socks` if any are given; port 0 takes any that is free. With a certificate all is TLS.
        Raises OSError."""
        loop = asyncio.get_running_loop()

        def make_http() -> HttpConnection:
            return HttpConnection(self.application, self, loop)

        def make_connection() -> asyncio.Protocol:
            if certificate is None:
                return make_http()
            return TlsConnection(certificate.context, self, make_http, self.application.clock, loop)

        if socks:
            self._servers = [await loop.create_server(make_connection, sock=sock, backlog=BACKLOG) for sock in socks]
        else:
            self._servers = [await loop.create_server(make_connection, host, port, backlog=BACKLOG, reuse_address=True)]
        self._arm_sweep(loop)

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._servers, "the listener has not been started"
        return int(self._servers[0].sockets[0].getsockname()[1])

    @property
    def connection_count(self) -> int:
        """Connections that speak HTTP now, or are about to; upgraded ones are no longer among them."""
        return len(self._connections)

    def admit(self, connection: Connection, peer: str) -> Refusal | None:
        """Registers a connection that speaks HTTP; returns why it is refused, if it is."""
        limits = self.application.limits
        self.accepted += 1
        if not self._add(connection, peer):
            return None
        count = self._client_count.set(len(self._connections)) - 1
        per_address = self._limit_of(peer)
        if count < limits.max_connections and (
            per_address is None or self._per_address[limited_as(peer)] <= per_address
        ):
            return None
        self.refused += 1
        if count >= limits.max_connections:
            return Unavailable(f"all {limits.max_connections} connections are in use", limits.retry_after_seconds)
        return TooManyRequests(f"more than {per_address} connections of one address", limits.retry_after_seconds)

    def begin_handshake(self, connection: Connection, peer: str) -> None:
        """Registers a connection that will speak HTTP; if it is one too many, it is told so then."""
        self._add(connection, peer)

    def handshake_failed(self, peer: str, reason: str) -> None:
        """Logs why a peer did not get as far as HTTP."""
        self.application.refusal_log.write_reason(peer, f"TLS handshake: {reason}")

    def release(self, connection: Connection, peer: str) -> None:
        """Forgets a connection that has ended or been upgraded."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._client_count.set(len(self._connections))
        if self._limit_of(peer) is not None:
            address = limited_as(peer)
            self._per_address[address] -= 1
            if not self._per_address[address]:
                del self._per_address[address]
        if not self._connections:
            self._empty.set()

    def sweep(self) -> None:
        """Checks the deadline of every connection."""
        now_ns = self.application.clock.mono_ns()
        for connection in tuple(self._connections):
            connection.check_deadline(now_ns)

    async def close(self, grace_seconds: float = 5.0, newcomers_seconds: float = 0.0) -> None:
        """Stops accepting, lets answers that are due go out, and aborts what is left after the grace. Whoever came
        just before has `newcomers_seconds` to ask: elsewhere it would have been answered."""
        for server in self._servers:
            server.close()
        # Who was accepted on this turn of the loop is made known to us on the next.
        await asyncio.sleep(0)
        if self._connections and newcomers_seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(newcomers_seconds):
                    await self._wait_until_empty()
        for connection in tuple(self._connections):
            connection.drain()
        if self._connections:
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._wait_until_empty()
            except TimeoutError:
                logger.info("%d connections did not end within %g s and are cut", len(self._connections), grace_seconds)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        # The loop closes its handles on its next turn.
        await asyncio.sleep(0)

    async def _wait_until_empty(self) -> None:
        # A connection that is through with its handshake leaves as one of TLS, and is there again as one of HTTP.
        while self._connections:
            await self._empty.wait()

    def _add(self, connection: Connection, peer: str) -> bool:
        """Registers a connection; returns whether there is room for it, if only to be told that there is none."""
        self._connections.add(connection)
        self._empty.clear()
        if self._limit_of(peer) is not None:
            self._per_address[limited_as(peer)] += 1
        if self._client_count.set(len(self._connections)) <= self.application.limits.max_connections + REFUSAL_SLOTS:
            return True
        self.refused += 1
        connection.abort()
        return False

    def _limit_of(self, peer: str) -> int | None:
        """Returns how many connections `peer` may have, None for any number: a trusted proxy's are those of many."""
        if self.application.proxies.trusts(peer):
            return None
        return self.application.limits.max_connections_per_address

    def _arm_sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        def sweep_and_arm() -> None:
            try:
                self.sweep()
            finally:
                self._arm_sweep(loop)

        self._sweep_timer = loop.call_later(SWEEP_SECONDS, sweep_and_arm)
