"""The process of an edge that is in the hub's place: it receives what the hub of another host publishes.

`hub_process.py` takes the same steps to collect and publish; the workers beside it see no difference.
"""

from __future__ import annotations

import logging
import os
import signal

from observability.clocks.clock import HostClock
from observability.clocks.timers import Periodic
from observability.clocks.timestamps import NS_PER_S
from observability.cluster.desk import Desk
from observability.cluster.failover.presence import Backlog, HostStatus, Presence, status_of
from observability.cluster.frame_receiver import FrameReceiver
from observability.cluster.lanes import LaneReceiver
from observability.cluster.link import Link
from observability.cluster.questions import Questions
from observability.cluster.server_check import check_edge_access
from observability.config.config import Config
from observability.errors import HubUnavailable
from observability.memory.mapping import ProcessState
from observability.processes.answerers import Answerers
from observability.processes.child import ChildContext
from observability.processes.control import say_serving
from observability.processes.usage import MEASURE_SECONDS, ProcessUsage
from observability.server.process import ServerProcess
from observability.server.relay import answer_about_desk, encode_unavailable

logger = logging.getLogger(__name__)


class EdgeProcess(ServerProcess):
    """Writes the hub's frames and documents into the mapping, wakes the workers, and passes their calls on to the hub.
    It keeps nothing, and has no store."""

    def __init__(self, config: Config, desk: Desk, context: ChildContext) -> None:
        super().__init__(is_alone=False)
        self._context = context
        slot, clock = context.slot, HostClock()
        counters = slot.counters()
        self._link = Link(desk, clock)
        self._link.add_opener(lambda connection: check_edge_access(connection, desk))
        self._questions = Questions(self._link)
        self._receiver = FrameReceiver(
            self._link,
            context.mapping,
            counters,
            clock,
            config.metric_collection_interval,
            self._on_frame,
            self._questions.abandon,
        )
        self._lanes = LaneReceiver(self._link, context.mapping.lanes(), counters, context.wake_workers)
        self._backlog = Backlog(clock)
        self._presence = Presence(self._link, clock, self._status, counters)
        self._answerers = Answerers(context, self._answer, self._loop)
        self._connected = counters.gauge("cluster_connected", "Whether this host is connected to the NATS servers")
        self._connections = counters.counter(
            "cluster_connections_total", "Connections that this host has made to the NATS servers"
        )
        self._connections_counted = 0
        self._clock_offset = counters.float_gauge(
            "cluster_clock_offset_seconds", "How far the clock of the NATS servers is ahead of this host's"
        )
        usage = ProcessUsage(counters, slot.role, slot.number, clock.time_ns())
        supervisor_usage = ProcessUsage(counters, "supervisor", None, pid=os.getppid())
        self._periodics = [
            Periodic(MEASURE_SECONDS, usage.update, self._loop),
            Periodic(MEASURE_SECONDS, supervisor_usage.update, self._loop),
            Periodic(MEASURE_SECONDS, self._measure_link, self._loop),
        ]

    def _wire(self) -> None:
        # The supervisor passes it on; the workers are replaced, and there is nothing else to read again.
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)

    async def _start(self) -> None:
        self._link.start()
        self._presence.start()

    async def _open(self) -> None:
        await self._answerers.start()
        for periodic in self._periodics:
            periodic.start()
        say_serving(self._context.control)

    async def _drain(self) -> None:
        self._context.slot.state = ProcessState.DRAINING
        await self._answerers.stop()

    async def _stop(self) -> None:
        for periodic in self._periodics:
            periodic.stop()
        await self._presence.stop()
        await self._link.close()
        logger.info("stopped")

    def _on_frame(self) -> None:
        # hot: once per tick and edge
        slot = self._context.slot
        if slot.state == ProcessState.STARTING:
            # A worker that finds the first frame must find what wrote it serving.
            slot.state = ProcessState.SERVING
        self._context.wake_workers()

    def _status(self, leader: HostStatus | None) -> HostStatus:
        receiver = self._receiver
        self._backlog.update(receiver.seq, 0 if leader is None else leader.seq)
        return status_of(
            "edge",
            epoch=receiver.epoch,
            seq=receiver.seq,
            behind=self._backlog.entries,
            behind_ns=self._backlog.behind_ns,
            lag_ns=receiver.lag_ns,
            clients=sum(worker.websockets for worker in self._context.mapping.workers),
        )

    async def _answer(self, message: bytes) -> bytes:
        about_desk = answer_about_desk(message, self._presence.to_json)
        if about_desk is not None:
            return about_desk
        try:
            return await self._questions.ask(message)
        except HubUnavailable as error:
            return encode_unavailable(str(error))

    def _measure_link(self) -> None:
        link = self._link
        self._connected.set(int(link.connection is not None))
        self._connections.add(link.connections - self._connections_counted)
        self._connections_counted = link.connections
        self._clock_offset.set(link.clock_offset_ns / NS_PER_S)
