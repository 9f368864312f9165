"""The port: accepts connections, knows them all, checks their deadlines, ends them.

No requests here (see `connection.py`).

Running out of file descriptors is the loop's to survive: libuv keeps one in reserve to accept and drop with.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from typing import Final

from observability.http.application import Application
from observability.http.connection import HttpConnection
from observability.http.refusals import Refusal, TooManyRequests, Unavailable

logger = logging.getLogger(__name__)

BACKLOG: Final = 2048
SWEEP_SECONDS: Final = 1.0
# Connections beyond the limit that may be told why; those beyond these are dropped without a word.
REFUSAL_SLOTS: Final = 64


class HttpListener:
    """Owns the listening socket and every connection that has not been upgraded."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.accepted = 0
        self.refused = 0
        self._connections: set[HttpConnection] = set()
        self._per_peer: Counter[str] = Counter()
        self._server: asyncio.Server | None = None
        self._sweep_timer: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event = asyncio.Event()

    async def start(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        sock: socket.socket | None = None,
        reuse_port: bool = False,
        backlog: int = BACKLOG,
    ) -> None:
        """Begins to accept, on `sock` if one is given; port 0 takes any that is free. Raises OSError."""
        loop = asyncio.get_running_loop()

        def make_connection() -> HttpConnection:
            return HttpConnection(self.application, self, loop)

        if sock is not None:
            self._server = await loop.create_server(make_connection, sock=sock, backlog=backlog)
        else:
            self._server = await loop.create_server(
                make_connection, host, port, backlog=backlog, reuse_address=True, reuse_port=reuse_port
            )
        self._arm_sweep(loop)

    @property
    def port(self) -> int:
        """The port listened on."""
        assert self._server is not None, "the listener has not been started"
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connection_count(self) -> int:
        """Connections that speak HTTP now; upgraded ones are no longer among them."""
        return len(self._connections)

    def admit(self, connection: HttpConnection, peer: str) -> Refusal | None:
        """Registers a connection; returns why it is refused, if it is."""
        limits = self.application.limits
        count = len(self._connections)
        self.accepted += 1
        self._connections.add(connection)
        self._per_peer[peer] += 1
        self._empty.clear()
        per_peer = limits.max_connections_per_peer
        if count < limits.max_connections and (per_peer is None or self._per_peer[peer] <= per_peer):
            return None
        self.refused += 1
        if count >= limits.max_connections + REFUSAL_SLOTS:
            connection.abort()
            return None
        if count >= limits.max_connections:
            return Unavailable(f"all {limits.max_connections} connections are in use", limits.retry_after_seconds)
        return TooManyRequests(f"more than {per_peer} connections of one address", limits.retry_after_seconds)

    def release(self, connection: HttpConnection, peer: str) -> None:
        """Forgets a connection that has ended or been upgraded."""
        if connection not in self._connections:
            return
        self._connections.remove(connection)
        self._per_peer[peer] -= 1
        if not self._per_peer[peer]:
            del self._per_peer[peer]
        if not self._connections:
            self._empty.set()

    def sweep(self) -> None:
        """Checks the deadline of every connection."""
        now_ns = self.application.clock.mono_ns()
        for connection in tuple(self._connections):
            connection.check_deadline(now_ns)

    async def close(self, grace_seconds: float = 5.0) -> None:
        """Stops accepting, lets answers that are due go out, and aborts what is left after the grace."""
        if self._server is not None:
            self._server.close()
        for connection in tuple(self._connections):
            connection.drain()
        if self._connections:
            try:
                async with asyncio.timeout(grace_seconds):
                    await self._empty.wait()
            except TimeoutError:
                logger.info("%d connections did not end within %g s and are cut", len(self._connections), grace_seconds)
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        # The loop closes its handles on its next turn.
        await asyncio.sleep(0)

    def _arm_sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        def sweep_and_arm() -> None:
            try:
                self.sweep()
            finally:
                self._arm_sweep(loop)

        self._sweep_timer = loop.call_later(SWEEP_SECONDS, sweep_and_arm)
