"""What the NATS servers of a desk must be able to do, and what an operator should know of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_S
from observability.cluster.desk import Desk
from observability.errors import SourceError
from observability.memory.layout import LANES
from observability.sources.brokers.nats_address import DEFAULT_INBOX
from observability.sources.brokers.nats_connection import NatsConnection

logger = logging.getLogger(__name__)

# Headers that let a key expire came with it, and renewals of a lease need them.
OLDEST_VERSION: Final = (2, 11)
MAX_CLOCK_OFFSET_NS: Final = NS_PER_S // 4

# The default of the servers.
USUAL_PAYLOAD: Final = 1024 * 1024

# No stream has so many messages, so none takes one that belongs behind the last of them.
_NEVER_STORED: Final = {"Nats-Expected-Last-Sequence": str(1 << 62)}
_NUMBERS: Final = re.compile(r"([0-9]+)\.([0-9]+)")


def check_server(connection: NatsConnection) -> None:
    """Raises SourceError for servers that cannot do what a desk needs, and logs what its operator should know."""
    server = connection.server
    version = str(server.get("version", ""))
    numbers = _NUMBERS.match(version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST_VERSION:
        wanted = ".".join(map(str, OLDEST_VERSION))
        raise SourceError(f"nats-server {version or 'of an unknown version'}, expected {wanted} or later")
    if not server.get("jetstream"):
        raise SourceError(
            "nats-server has JetStream off; switch it on with `jetstream {}` in its configuration, or -js"
        )
    if connection.max_payload < USUAL_PAYLOAD:
        logger.warning(
            "the NATS servers take messages of %s bytes (max_payload), less than their default of %s: larger frames do "
            "not reach edges",
            f"{connection.max_payload:,}", f"{USUAL_PAYLOAD:,}",
        )  # fmt: skip


def say_what_is_not_known() -> None:
    """Logs what an operator must look at, because NATS tells it to no client."""
    logger.info(
        "NATS does not tell its clients whether it syncs what it stores at once: see to `sync_interval: always` in its "
        "jetstream block, or run three servers in places that do not fail together"
    )


async def check_hub_access(connection: NatsConnection, desk: Desk) -> None:
    """Raises SourceError with everything that a hub must publish and its user may not; EOFError. Logs that a cluster
    would keep one copy of what the hub makes."""
    if connection.server.get("cluster") and desk.replicas == 1:
        logger.warning(
            "the NATS servers are a cluster, and CLUSTER_REPLICAS is 1: with the server that has a stream, the stream "
            "is gone; 3 keeps it"
        )
    streams = (desk.frame_stream, desk.lane_stream, desk.record_stream, desk.lease_stream)
    subjects = (desk.frame_subject, desk.record_subject, desk.lease_subject, *map(desk.lane_subject, LANES))
    calls = [
        f"$JS.API.{call}.{stream}" for call in ("STREAM.CREATE", "STREAM.INFO", "DIRECT.GET") for stream in streams
    ]
    purge = {"filter": f"{desk.lease_subject}.none"}
    bodies = {
        **dict.fromkeys((*calls, f"$JS.API.CONSUMER.CREATE.{desk.record_stream}"), b"{}"),
        f"$JS.API.STREAM.PURGE.{desk.lease_stream}": msgspec.json.encode(purge),
        f"$JS.FC.{desk.record_stream}.none": b"",
        "_INBOX.none": b"",
        desk.status_subject: b"",
    }
    _raise_denied(await _denied(connection, bodies, subjects))


async def check_edge_access(connection: NatsConnection, desk: Desk) -> None:
    """Raises SourceError with everything that an edge must publish and its user may not; EOFError."""
    await check_follower_access(connection, desk)
    if await _denied(connection, {desk.status_subject: b""}, ()):
        logger.warning(
            "the NATS user of this edge may not publish to %s: other hosts do not show this edge; allow it in the "
            "permissions of the user",
            desk.status_subject,
        )


async def check_follower_access(connection: NatsConnection, desk: Desk) -> None:
    """Raises SourceError with everything that a host which follows a desk, and asks its hub, must publish and its user
    may not; EOFError."""
    streams = (desk.frame_stream, desk.lane_stream)
    calls = [f"$JS.API.{call}.{stream}" for call in ("STREAM.INFO", "CONSUMER.CREATE") for stream in streams]
    flows = [f"$JS.FC.{stream}.none" for stream in streams]
    # Without a subject for an answer, the hub leaves a question out.
    bodies = {**dict.fromkeys(calls, b"{}"), **dict.fromkeys((*flows, desk.question_subject), b"")}
    _raise_denied(await _denied(connection, bodies, ()))
    # Without users everybody may read everything, which nobody takes for anything else.
    if connection.server.get("auth_required") and await connection.may_subscribe(f"{DEFAULT_INBOX}.none.none"):
        logger.warning(
            "the NATS user of this host may read what other hosts and engines are answered, all of %s.>: give it "
            "inboxes of its own by ?inbox=PREFIX, and let its permissions have those alone (deploy/nats/nats.conf)",
            DEFAULT_INBOX,
        )


async def _denied(connection: NatsConnection, bodies: Mapping[str, bytes], appended: Sequence[str]) -> list[str]:
    """Publishes what has no effect, to subjects with a body each and to those of streams. Returns those that the
    servers refuse."""
    for subject in appended:
        await connection.publish(subject, headers=_NEVER_STORED)
    for subject, body in bodies.items():
        await connection.publish(subject, body)
    await connection.settle()
    return [subject for subject in (*appended, *bodies) if subject.lower() in connection.denied]


def _raise_denied(subjects: Sequence[str]) -> None:
    if subjects:
        raise SourceError(
            f"the NATS user of this host may not publish to {', '.join(subjects)}: allow it in the permissions of the "
            "user; deploy/nats/nats.conf has those of hubs and edges"
        )


def is_clock_off(offset_ns: int) -> bool:
    """Returns whether the clocks differ by more than what the figures of lag are worth; `offset_ns` is what the
    servers' is ahead of the host's."""
    return abs(offset_ns) > MAX_CLOCK_OFFSET_NS


def log_clock(offset_ns: int) -> None:
    """Logs how far the clocks are apart."""
    if is_clock_off(offset_ns):
        logger.warning(
            "the clock of this host is %+.2f s off that of the NATS servers; have both follow NTP",
            -offset_ns / NS_PER_S,
        )
    else:
        logger.info("the clock of this host is with that of the NATS servers again")
