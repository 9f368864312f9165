"""The listener: accepts connections on a port, counts them, checks their deadlines, and ends them.

When file descriptors run out, libuv accepts with one kept in reserve and drops the connection.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from observability.access.addresses import limited_as
from observability.access.limits import ClientCount, ProcessClientCount
from observability.connections.connection import HttpConnection
from observability.connections.proxied_connection import ProxiedConnection
from observability.connections.registry import Connection
from observability.connections.states import allowed_ns
from observability.connections.tls import Certificate
from observability.connections.tls_connection import TlsConnection
from observability.connections.turn import Turn
from observability.http11.refusals import Refusal, TooManyRequests, Unavailable
from observability.processes.listeners import BACKLOG, open_listeners
from observability.routing.application import Application

logger = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 1.0
# This many connections beyond the limit get a refusal; any further ones are dropped without an answer.
REFUSAL_SLOTS: Final = 64
# A turn of the loop accepts one connection of each descriptor that listens. While snapshots are sent to thousands of
# clients a turn takes milliseconds, so one descriptor would let a storm overflow the kernel's queue, and clients that
# find it full wait for seconds before they try again (observability bench --only storm).
ACCEPTS_PER_TURN: Final = 4


class HttpListener:
    """Owns the listening sockets and every connection that has not been upgraded.

    `client_count` counts the connections of all processes that share the limit; by default those of this process alone.
    """

    def __init__(self, application: Application, client_count: ClientCount | None = None) -> None:
        self.application = application
        self.accepted = 0
        self.refused = 0
        self._connections: set[Connection] = set()
        self._per_address: Counter[str] = Counter()
        self._client_count = ProcessClientCount() if client_count is None else client_count
        self._servers: list[asyncio.Server] = []
        # While there are connections.
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._empty: asyncio.Event = asyncio.Event()

    async def start(self, socks: Sequence[socket.socket] = (), *, certificate: Certificate | None = None) -> None:
        """Begins to accept on `socks`, which listen already; without them on a free port of this host alone. With a
        certificate, every connection is TLS."""
        self._loop = loop = asyncio.get_running_loop()
        turn = Turn(loop)

        make_http = partial(HttpConnection, self.application, self, turn, loop, allowed_ns(self.application.limits))

        def make_protocol(source: str | None) -> asyncio.Protocol:
            if certificate is None:
                return make_http(source)
            return TlsConnection(certificate.context, self, partial(make_http, source), self.application.clock, loop)

        def make_proxied() -> asyncio.Protocol:
            return ProxiedConnection(self.application.proxies, self, make_protocol, self.application.clock)

        # hot: once per connection (observability bench --only storm)
        make_connection: Callable[[], asyncio.Protocol] = partial(make_protocol, None)
        if self.application.takes_proxy_protocol:
            make_connection = make_proxied
        elif certificate is None:
            make_connection = make_http

        if not socks:
            (socks,) = open_listeners(["127.0.0.1"], 0, 1, reuse_port=False)
        each = [part for sock in socks for part in (sock, *(sock.dup() for _ in range(ACCEPTS_PER_TURN - 1)))]
        self._servers = [await loop.create_server(make_connection, sock=part, backlog=BACKLOG) for part in each]

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._servers, "the listener has not been started"
        return int(self._servers[0].sockets[0].getsockname()[1])

    @property
    def connection_count(self) -> int:
        """The number of connections that speak HTTP or have begun a TLS handshake; upgraded ones are not included."""
        return len(self._connections)

    def admit(self, connection: Connection, peer: str) -> Refusal | None:
        """Registers a connection that speaks HTTP; returns the refusal to answer it with, if there is no room."""
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
        """Registers a connection that will speak HTTP. If there is no room, `admit` refuses it after the handshake."""
        self._add(connection, peer)

    def connection_failed(self, peer: str, reason: str) -> None:
        """Logs why a connection has ended before it spoke HTTP."""
        self.application.refusal_log.write_reason(peer, reason)

    def release(self, connection: Connection, peer: str) -> None:
        """Removes a connection that has ended or handed its transport over."""
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
        self.application.keep_pace()

    def sweep(self) -> None:
        """Checks the deadline of every connection, and drops ready answers, whose Date has grown old."""
        self.application.clear_ready()
        now_ns = self.application.clock.mono_ns()
        for connection in tuple(self._connections):
            connection.check_deadline(now_ns)

    async def close(self, grace_seconds: float = 5.0, newcomers_seconds: float = 0.0) -> None:
        """Stops accepting, sends the answers that are due, and aborts the connections that are left after the grace.

        Connections may still send requests for `newcomers_seconds`: while other workers accept, a connection that
        landed on this one by chance must not end without an answer.
        """
        for server in self._servers:
            server.close()
        # A connection accepted on this turn of the loop is announced on the next.
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
                logger.info(
                    "cutting %d connections that did not end within %g s", len(self._connections), grace_seconds
                )
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        self.application.count_ready()
        # The loop closes its handles on its next turn.
        await asyncio.sleep(0)

    async def _wait_until_empty(self) -> None:
        # After its handshake a connection is released as one of TLS, and admitted as one of HTTP at once.
        while self._connections:
            await self._empty.wait()

    def _add(self, connection: Connection, peer: str) -> bool:
        """Registers a connection; returns whether there is room for it, if only for a refusal."""
        self._connections.add(connection)
        self._empty.clear()
        if self._sweep_timer is None:
            self.application.clear_ready()
            self._arm_sweep()
        if self._limit_of(peer) is not None:
            self._per_address[limited_as(peer)] += 1
        if self._client_count.set(len(self._connections)) <= self.application.limits.max_connections + REFUSAL_SLOTS:
            return True
        self.refused += 1
        connection.abort()
        return False

    def _limit_of(self, peer: str) -> int | None:
        """Returns how many connections `peer` may have; None for no limit: a trusted proxy has many clients."""
        limit = self.application.limits.max_connections_per_address
        return None if limit is None or self.application.proxies.trusts(peer) else limit

    def _arm_sweep(self) -> None:
        self._sweep_timer = self._loop.call_later(SWEEP_SECONDS, self._sweep_and_arm)

    def _sweep_and_arm(self) -> None:
        self._sweep_timer = None
        try:
            self.sweep()
        finally:
            if self._connections:
                self._arm_sweep()
