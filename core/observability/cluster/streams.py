"""The streams of a desk: made with explicit limits by the hub, and what the servers must be able to do."""

from __future__ import annotations

import logging
import re
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_S
from observability.cluster.desk import Desk
from observability.cluster.link import Link, checked
from observability.errors import SourceError
from observability.snapshot.frames import FRAMES_KEPT
from observability.sources.brokers.nats_connection import NatsConnection

logger = logging.getLogger(__name__)

# Headers that let a key expire came with it, and renewals of a lease need them.
OLDEST_VERSION: Final = (2, 11)
MAX_CLOCK_OFFSET_NS: Final = NS_PER_S // 4

_NAME_IN_USE: Final = 10058
_NUMBERS = re.compile(r"([0-9]+)\.([0-9]+)")


def check_server(connection: NatsConnection, desk: Desk) -> None:
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
    if server.get("cluster") and desk.replicas == 1:
        logger.warning(
            "the NATS servers are a cluster, and CLUSTER_REPLICAS is 1: with the server that has a stream, the stream "
            "is gone; 3 keeps it"
        )


def check_clock(link: Link) -> None:
    """Logs that the clocks differ by more than what the figures of lag are worth."""
    if abs(link.clock_offset_ns) > MAX_CLOCK_OFFSET_NS:
        logger.warning(
            "the clock of this host is %+.2f s off that of the NATS servers; have both follow NTP",
            -link.clock_offset_ns / NS_PER_S,
        )


async def make_frame_stream(link: Link, connection: NatsConnection) -> dict[str, Any]:
    """Returns what the servers say of the stream of frames, which is made if there is none."""
    desk = link.desk
    config = {
        "name": desk.frame_stream,
        "subjects": [desk.frame_subject],
        "storage": "memory",
        "retention": "limits",
        "discard": "old",
        "max_msgs": FRAMES_KEPT,
        "max_bytes": FRAMES_KEPT * connection.max_payload,
        "num_replicas": desk.replicas,
        "allow_direct": True,
    }
    return await make_stream(link, connection, config)


async def make_stream(link: Link, connection: NatsConnection, config: dict[str, Any]) -> dict[str, Any]:
    """Makes a stream, or finds it; one with other limits is left as it is. Raises EOFError and SourceError."""
    name = config["name"]
    answer = await link.ask_engine(connection, f"$JS.API.STREAM.CREATE.{name}", config)
    if answer.get("error", {}).get("err_code") == _NAME_IN_USE:
        answer = await link.ask_engine(connection, f"$JS.API.STREAM.INFO.{name}")
        found = checked(answer, f"stream {name}")["config"]
        if found["subjects"] != config["subjects"]:
            raise SourceError(f"stream {name} takes {found['subjects']}, expected {config['subjects']}; remove it")
        other = {key: found.get(key) for key, value in config.items() if found.get(key) != value}
        logger.info("stream %s is used as it is, with %s", name, other)
    return checked(answer, f"stream {name}")
