"""Which hosts a desk has, and how far each is behind: every host says it of itself, and listens to the others.

    obs.NAME.status     `HostStatus` as JSON, once a second; no stream keeps it

A host that has said nothing for a while is forgotten. Figures that are only shown depend on this; what a hub may do
depends on the lease and the streams alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S, format_iso_ms
from observability.cluster.link import Link
from observability.memory.counters import Counters
from observability.sources.brokers.nats_connection import Message, NatsConnection
from observability.version import VERSION

logger = logging.getLogger(__name__)

STATUS_SECONDS: Final = 1.0
# After as many lost messages a host is taken to be gone.
FORGET_SECONDS: Final = 5.0
MAX_HOSTS: Final = 1000
MAX_STATUS_BYTES: Final = 4096

_PROGRAM: Final = secrets.token_hex(8)

Name = Annotated[str, Meta(max_length=256)]
# What a gauge can show.
Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class HostStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a host says of itself. A hub that leads has a term, one that stands by has none."""

    ident: Name
    """What no other host has; another one after each start."""
    role: Literal["hub", "edge"]
    host: Name
    pid: Number
    version: Name
    term: Number = 0
    """The number of the lease under which a hub leads; a later one's is higher."""
    since_ns: Number = 0
    """Since when it leads, by the clock of the NATS servers."""
    epoch: Name = ""
    seq: Number = 0
    """Epoch and number of the newest frame: of a hub, that it has made; of an edge, that has come."""
    log_seq: Number | None = None
    """The number of the newest record of the log: that it has written, or that has come; None without a store."""
    behind: Number = 0
    """How many frames or records it lacks of those that the hub that leads has."""
    behind_ns: Number = 0
    """For how long it has lacked some."""
    lag_ns: Number | None = None
    """From the hub's publishing of the newest frame to its arrival at an edge; None before the first one."""
    clients: Number = 0
    """Clients of the stream."""


Describe = Callable[[HostStatus | None], HostStatus]
"""Returns this host's status as of now, compared with that of the hub that leads."""

_decode = msgspec.json.Decoder(HostStatus).decode


def status_of(role: Literal["hub", "edge"], **changing: Any) -> HostStatus:
    """Returns the status of this process, which is the same host before and after it begins to lead."""
    return HostStatus(_PROGRAM, role, socket.gethostname(), os.getpid(), VERSION, **changing)


class Backlog:
    """How far what follows is behind what it follows: in entries, and for how long it has lacked some."""

    def __init__(self, clock: Clock) -> None:
        self.entries = 0
        self.behind_ns = 0
        self._clock = clock
        self._level_ns = clock.mono_ns()

    def update(self, seq: int, newest: int) -> None:
        """Compares the newest number that has come with the newest that there is."""
        now_ns = self._clock.mono_ns()
        self.entries = max(0, newest - seq)
        if not self.entries:
            self._level_ns = now_ns
        self.behind_ns = now_ns - self._level_ns


class Presence:
    """Publishes the status of this host, and keeps the newest one of every other host."""

    def __init__(self, link: Link, clock: Clock, describe: Describe, counters: Counters | None = None) -> None:
        """What there is of hosts is counted in `counters`."""
        self._link = link
        self._clock = clock
        self._describe = describe
        self._own = describe(None)
        self._others: dict[str, tuple[HostStatus, int]] = {}
        self._speaking: asyncio.Task[None] | None = None
        self._figures = None if counters is None else _Figures(counters)
        link.add_handler(link.desk.status_subject, self._take)
        link.add_opener(self._begin)

    def start(self) -> None:
        self._speaking = asyncio.get_running_loop().create_task(self._speak())

    async def stop(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)

    def leader(self) -> HostStatus | None:
        """Returns the hub that leads; None if none says so."""
        leading = [status for status, _ in self._seen() if status.term]
        return max(leading, key=lambda status: status.term, default=None)

    def to_json(self) -> dict[str, Any]:
        """Returns the desk as this host sees it."""
        seen = sorted(self._seen(), key=lambda each: (each[0].host, each[0].pid))
        leader = self.leader()
        return {
            "name": self._link.desk.name,
            "role": self._own.role,
            "host": self._own.host,
            "pid": self._own.pid,
            "leads": leader is not None and leader.ident == self._own.ident,
            "trouble": self.trouble,
            "leader": next((_leader(*each) for each in seen if each[0] is leader), None),
            "standby": [_standby(*each) for each in seen if each[0].role == "hub" and not each[0].term],
            "edges": [_edge(*each) for each in seen if each[0].role == "edge"],
        }

    @property
    def trouble(self) -> str | None:
        """Why this host does not know of the others, or has no hub; None if it does."""
        if self._link.trouble is not None:
            return f"no connection to the NATS servers: {self._link.trouble}"
        return None if self.leader() is not None else f"no hub leads desk {self._link.desk.name} now"

    async def _begin(self, connection: NatsConnection) -> None:
        await connection.subscribe(self._link.desk.status_subject)

    async def _speak(self) -> None:
        while True:
            self._own = self._describe(self.leader())
            if self._figures is not None:
                self._figures.update([status for status, _ in self._seen()])
            connection = self._link.connection
            if connection is not None:
                try:
                    await connection.publish(self._link.desk.status_subject, msgspec.json.encode(self._own))
                except EOFError as error:
                    logger.debug("this host's status is not published: %s", error)
            await asyncio.sleep(STATUS_SECONDS)

    def _take(self, message: Message) -> None:
        if len(message.data) > MAX_STATUS_BYTES:
            return
        try:
            status = _decode(message.data)
        except (msgspec.MsgspecError, RecursionError) as error:
            logger.debug("the status of a host cannot be read: %s", error)
            return
        if status.ident == self._own.ident:
            return
        if status.ident not in self._others and len(self._others) >= MAX_HOSTS:
            self._forget()
            if len(self._others) >= MAX_HOSTS:
                return
        self._others[status.ident] = status, self._clock.mono_ns()

    def _forget(self) -> None:
        oldest_ns = self._clock.mono_ns() - round(FORGET_SECONDS * NS_PER_S)
        for ident in [ident for ident, (_, at_ns) in self._others.items() if at_ns < oldest_ns]:
            del self._others[ident]

    def _seen(self) -> list[tuple[HostStatus, int]]:
        """Returns the status of each host, this one's too, and how old it is."""
        self._forget()
        now_ns = self._clock.mono_ns()
        return [(self._own, 0), *((status, now_ns - at_ns) for status, at_ns in self._others.values())]


class _Figures:
    """What Prometheus scrapes of a desk."""

    def __init__(self, counters: Counters) -> None:
        self._leaders = counters.gauge("cluster_leaders", "Hubs that say that they lead: 1, or 0 without a hub")
        self._standby = counters.gauge("cluster_hubs_standing_by", "Hubs that stand by")
        self._edges = counters.gauge("cluster_edges", "Edges of the desk")
        self._standby_records = counters.gauge(
            "cluster_standby_records_behind", "Records of the log that a hub which stands by lacks: the most of any"
        )
        self._standby_seconds = counters.float_gauge(
            "cluster_standby_behind_seconds", "For how long a hub which stands by has lacked some: the longest of any"
        )
        self._edge_frames = counters.gauge("cluster_edges_frames_behind", "Frames that an edge lacks: the most of any")
        self._edge_lag = counters.float_gauge(
            "cluster_edges_lag_seconds", "From the hub's publishing of a frame to its arrival: the longest of any edge"
        )
        self._since = counters.float_gauge(
            "cluster_leading_since_seconds", "Unix time since which the hub leads that does; 0 without one"
        )

    def update(self, seen: list[HostStatus]) -> None:
        leading = [each for each in seen if each.term]
        standby = [each for each in seen if each.role == "hub" and not each.term]
        edges = [each for each in seen if each.role == "edge"]
        self._leaders.set(len(leading))
        self._standby.set(len(standby))
        self._edges.set(len(edges))
        self._standby_records.set(max((each.behind for each in standby), default=0))
        self._standby_seconds.set(max((each.behind_ns for each in standby), default=0) / NS_PER_S)
        self._edge_frames.set(max((each.behind for each in edges), default=0))
        self._edge_lag.set(max((_lag_ns(each) or 0 for each in edges), default=0) / NS_PER_S)
        self._since.set(max((each.since_ns for each in leading), default=0) / NS_PER_S)


def _lag_ns(edge: HostStatus) -> int | None:
    """Returns how far an edge is behind: what its newest frame took, or for how long it has lacked a newer one."""
    return None if edge.lag_ns is None else max(edge.lag_ns, edge.behind_ns)


def _host(status: HostStatus, age_ns: int) -> dict[str, Any]:
    return {
        "host": status.host, "pid": status.pid, "version": status.version, "age_seconds": round(age_ns / NS_PER_S, 3)
    }  # fmt: skip


def _leader(status: HostStatus, age_ns: int) -> dict[str, Any]:
    since = format_iso_ms(status.since_ns) if status.since_ns else None
    return {**_host(status, age_ns), "since": since, "term": status.term, "epoch": status.epoch, "seq": status.seq}


def _standby(status: HostStatus, age_ns: int) -> dict[str, Any]:
    has_log = status.log_seq is not None
    return {
        **_host(status, age_ns),
        "records_behind": status.behind if has_log else None,
        "seconds_behind": round(status.behind_ns / NS_PER_S, 3) if has_log else None,
    }


def _edge(status: HostStatus, age_ns: int) -> dict[str, Any]:
    lag_ns = _lag_ns(status)
    return {
        **_host(status, age_ns),
        "epoch": status.epoch or None,
        "seq": status.seq,
        "frames_behind": status.behind,
        "lag_ms": None if lag_ns is None else round(lag_ns / NS_PER_MS, 3),
        "clients": status.clients,
    }
