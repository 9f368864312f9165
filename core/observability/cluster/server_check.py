"""What the NATS servers of a desk must be able to do, and what an operator should know of them."""

from __future__ import annotations

import logging
import re
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.cluster.desk import Desk
from observability.errors import SourceError
from observability.sources.brokers.nats_connection import NatsConnection

logger = logging.getLogger(__name__)

# Headers that let a key expire came with it, and renewals of a lease need them.
OLDEST_VERSION: Final = (2, 11)
MAX_CLOCK_OFFSET_NS: Final = NS_PER_S // 4

_NUMBERS: Final = re.compile(r"([0-9]+)\.([0-9]+)")


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


def check_clock(offset_ns: int) -> None:
    """Logs that the clocks differ by more than what the figures of lag are worth; `offset_ns` is what the servers' is
    ahead of the host's."""
    if abs(offset_ns) > MAX_CLOCK_OFFSET_NS:
        logger.warning(
            "the clock of this host is %+.2f s off that of the NATS servers; have both follow NTP",
            -offset_ns / NS_PER_S,
        )
