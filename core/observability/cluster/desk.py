"""A desk on its NATS servers: their address, and the names of its subjects and streams.

obs.NAME.frame         each frame once, with its documents       stream obs-NAME-frames, in memory, the last 50
obs.NAME.lane.LANE     the entries of the lossless lanes         stream obs-NAME-lanes, in files
obs.NAME.record        the rows of each commit                   stream obs-NAME-records, in files
obs.NAME.lease         which hub leads                           stream obs-NAME-lease, in memory
obs.NAME.question      what edges ask, answered by the hub
obs.NAME.in.SOURCE     batches of events of engines, answered by the hub
obs.NAME.status        what each host says of itself
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from observability.config.cluster import without_scheme
from observability.config.config import Config
from observability.config.source_urls import without_secrets
from observability.errors import ConfigError
from observability.sources.brokers.nats_address import LOGIN_PARAMETERS, NatsAddress, address_of, faults_of_login
from observability.sources.brokers.nats_connection import check_packages
from observability.sources.url import parse_url

EXTRA: Final = "cluster"


@dataclass(frozen=True, slots=True)
class Desk:
    """The hosts that belong together."""

    name: str
    address: NatsAddress
    replicas: int = 1

    @classmethod
    def of(cls, config: Config) -> Desk | None:
        """Returns the desk of a configuration, None if it has no servers. Raises ConfigError with every fault, and
        MissingPackage."""
        if config.engine is None:
            return None
        desk = cls(config.desk, _address(config.engine), config.cluster_replicas)
        check_packages(desk.address, EXTRA)
        return desk

    @property
    def prefix(self) -> str:
        return f"obs.{self.name}"

    @property
    def frame_subject(self) -> str:
        return f"{self.prefix}.frame"

    @property
    def question_subject(self) -> str:
        return f"{self.prefix}.question"

    @property
    def status_subject(self) -> str:
        return f"{self.prefix}.status"

    def lane_subject(self, lane: str) -> str:
        return f"{self.prefix}.lane.{lane}"

    def batch_subject(self, source: str) -> str:
        return f"{self.prefix}.in.{source}"

    @property
    def record_subject(self) -> str:
        return f"{self.prefix}.record"

    @property
    def record_stream(self) -> str:
        return f"obs-{self.name}-records"

    @property
    def lease_subject(self) -> str:
        return f"{self.prefix}.lease"

    @property
    def lease_stream(self) -> str:
        return f"obs-{self.name}-lease"

    @property
    def lane_stream(self) -> str:
        return f"obs-{self.name}-lanes"

    @property
    def frame_stream(self) -> str:
        return f"obs-{self.name}-frames"


def _address(engine: str) -> NatsAddress:
    """Returns the address of `nats://LOGIN@HOST:PORT,HOST:PORT?PARAMETERS`."""
    servers, question, parameters = engine.partition("?")
    first, *further = servers.split(",")
    login = f"{question}{parameters}"
    try:
        urls = [parse_url(f"nats://{without_scheme(each)}{login}", LOGIN_PARAMETERS) for each in (first, *further)]
        faults = faults_of_login(urls[0])
        if any(url.user for url in urls[1:]):
            faults.append("a login belongs before the first host, and holds for all")
        if faults:
            raise ConfigError(faults)
        return address_of(urls[0], tuple(urls[1:]))
    except ConfigError as error:
        raise ConfigError([f"engine {without_secrets(engine)}: {fault}" for fault in error.faults]) from None
