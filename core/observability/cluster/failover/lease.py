"""The lease of a desk: which of its hubs leads.

    obs.NAME.lease     one message, which the servers remove when its time is over (`Nats-TTL`), unless it is renewed

A hub takes the lease if there is none, and renews it at a quarter of its time; each of these publishes the message
anew, with the number of the one that it replaces, so that of two hubs one is refused. The lease only says which hub
should lead. That no other one writes is ensured by the streams, each of whose messages names its predecessor.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from observability.cluster.link import Link, last_message
from observability.cluster.streams import make_stream
from observability.errors import SourceError
from observability.memory.counters import Counters
from observability.sources.brokers.nats_connection import NatsConnection, is_unanswered

logger = logging.getLogger(__name__)

# Shares of the lease's time: after the first a hub renews it, after the second it publishes nothing any more.
RENEW_SHARE: Final = 0.25
HOLD_SHARE: Final = 0.8
MAX_STREAM_BYTES: Final = 1024 * 1024

_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_NOT_FOUND: Final = "404"
# What no other program has; the processes that it forks, one of which is the hub, have the same.
_PROGRAM: Final = secrets.token_hex(16)


class Holder(msgspec.Struct):
    """What the message says of the hub that holds the lease."""

    ident: str
    host: str
    pid: int


_decode_holder = msgspec.json.Decoder(Holder).decode


class Lease:
    """One hub's view of the lease."""

    def __init__(self, link: Link, seconds: int, holder: Holder) -> None:
        self.revision = 0
        """The number with which this hub took the lease; a later leader's is higher."""
        self.since_ns = 0
        """When that was, by the servers' clock."""
        self.leader: Holder | None = None
        """The hub that was last seen to hold it."""
        self._link = link
        self._seconds = seconds
        self._holder = holder
        self._renewed = float("-inf")
        link.add_opener(self._make)

    @property
    def is_held(self) -> bool:
        """Whether this hub may publish: it has renewed the lease lately."""
        return time.monotonic() - self._renewed < HOLD_SHARE * self._seconds

    @property
    def renew_seconds(self) -> float:
        return RENEW_SHARE * self._seconds

    async def take(self, connection: NatsConnection) -> bool:
        """Takes or renews the lease; returns False if another hub holds it. Raises EOFError and SourceError."""
        desk = self._link.desk
        message = await last_message(connection, desk.lease_stream, desk.lease_subject)
        headers = message.headers or {}
        expected = "0"
        if headers.get("Status") != _NOT_FOUND:
            self.leader = _decode_holder(message.data)
            if self.leader.ident != self._holder.ident:
                return False
            expected = headers["Nats-Sequence"]
        # The time counts from before the servers can have begun to count it.
        asked = time.monotonic()
        (ack,) = await connection.ask(
            desk.lease_subject,
            msgspec.json.encode(self._holder),
            {_EXPECTED: expected, "Nats-TTL": f"{self._seconds}s"},
            # While the servers elect who leads the stream, what is sent to it is gone; there must be time to try again.
            seconds=self.renew_seconds,
        )
        if is_unanswered(ack):
            raise SourceError("the stream of the lease is gone")
        answer = msgspec.json.decode(ack.data)
        if "error" in answer:
            logger.debug("the lease is not taken: %s", answer["error"])
            return False
        if not self.is_held:
            self.revision, self.since_ns = answer["seq"], self._link.server_ns()
        self._renewed = asked
        self.leader = self._holder
        return True

    async def release(self, connection: NatsConnection) -> None:
        """Gives the lease back, so that another hub need not wait for its end. Raises EOFError and SourceError."""
        if self.is_held:
            self._renewed = float("-inf")
            desk = self._link.desk
            await connection.request(f"$JS.API.STREAM.PURGE.{desk.lease_stream}", {"filter": desk.lease_subject})

    async def _make(self, connection: NatsConnection) -> None:
        desk = self._link.desk
        found = await make_stream(
            self._link,
            connection,
            desk.lease_stream,
            desk.lease_subject,
            storage="memory",
            max_msgs_per_subject=1,
            max_bytes=MAX_STREAM_BYTES,
            allow_msg_ttl=True,
        )
        if not found["config"].get("allow_msg_ttl"):
            raise SourceError(f"stream {desk.lease_stream} lets no message expire (allow_msg_ttl); remove it")


class LeaseKeeper:
    """Renews the lease of a hub that leads, and ends the hub once another one may lead."""

    def __init__(self, link: Link, lease: Lease, counters: Counters, on_lost: Callable[[str], None]) -> None:
        self._link = link
        self._lease = lease
        self._on_lost = on_lost
        self._keeping: asyncio.Task[None] | None = None
        self._term = counters.gauge("cluster_lease_revision", "Number of the lease under which this hub leads")
        self._renewals = counters.counter("cluster_lease_renewals_total", "Times that this hub has renewed its lease")
        link.add_opener(self._take)

    def start(self) -> None:
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def stop(self) -> None:
        """Stops renewing, and gives the lease back."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._link.connection is not None:
            try:
                await self._lease.release(self._link.connection)
            except (EOFError, SourceError) as error:
                logger.debug("the lease ends by itself: %s", error)

    async def _take(self, connection: NatsConnection) -> None:
        if not await self._lease.take(connection):
            leader = self._lease.leader
            where = "" if leader is None else f" on {leader.host} (process {leader.pid})"
            why = f"another hub{where} leads desk {self._link.desk.name}"
            if self._link.connections:
                self._on_lost(why)
            raise SourceError(why)
        self._term.set(self._lease.revision)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._lease.renew_seconds)
            connection = self._link.connection
            try:
                async with asyncio.timeout(self._lease.renew_seconds):
                    if connection is not None and await self._lease.take(connection):
                        self._renewals.add()
                        continue
            except (EOFError, SourceError, TimeoutError) as error:
                logger.debug("the lease is not renewed: %s", error)
            if not self._lease.is_held:
                self._on_lost(f"the lease of desk {self._link.desk.name} could not be renewed in time")


def holder_of(directory: Path | None) -> Holder:
    """Returns the holder that stands for a data directory of this machine, which one process at a time has; or for this
    program."""
    host, pid = socket.gethostname(), os.getpid()
    if directory is None:
        return Holder(_PROGRAM, host, pid)
    found = directory.stat()
    return Holder(f"{_boot_id()}/{found.st_dev}/{found.st_ino}", host, pid)


def _boot_id() -> str:
    """Returns what no other running machine has."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()
