"""The hub's side of workers in processes of their own: publishes frames and lanes to them, and answers their calls."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from prometheus_client.core import Metric

from observability.clocks.clock import HostClock
from observability.clocks.timers import Periodic
from observability.config.config import Config
from observability.listeners import ERRORS, Listeners
from observability.memory.counters import HostCounters
from observability.memory.entry_log import EntryLog
from observability.memory.mapping import ProcessState
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.monitoring.host_exposition import HUB_GAUGES, MetricMirror
from observability.monitoring.process_status import ProcessStatus
from observability.monitoring.serving import SentListener
from observability.monitoring.worker_status import HUB_STATE, HubState
from observability.processes.answerers import Answerers
from observability.processes.child import ChildContext
from observability.processes.control import say_serving
from observability.processes.rpc import RpcHandler
from observability.processes.usage import MEASURE_SECONDS, ProcessUsage
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub
from observability.snapshot.on_demand import Document
from observability.snapshot.shared_frames import FrameWriter
from observability.stream.lanes import Entry, Lane

logger = logging.getLogger(__name__)

READ_BY_WORKERS: Final = frozenset({HUB_STATE, HUB_GAUGES})
# Alerts are current in the shared memory too: workers show them while the hub does not answer.
ALWAYS_SHARED: Final = READ_BY_WORKERS | {"system_alerts"}


class WorkerGateway:
    """Stands between the hub and its workers. Figures about clients come from the workers' slots and counters."""

    def __init__(
        self,
        config: Config,
        context: ChildContext,
        hub: Hub,
        answer: RpcHandler,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """`answer` answers an encoded call of a worker."""
        mapping, slot, counters = context.mapping, context.slot, context.slot.counters()
        self.counted = HostCounters([each.counters() for each in mapping.slots])
        self.fanout = DurationHistogram()
        self._config = config
        self._context = context
        self._loop = loop
        self._counters = counters
        self._workers = mapping.workers
        self._worker_counters = [worker.counters() for worker in mapping.workers]
        self._sent_seqs = [worker.sent_seq for worker in mapping.workers]
        self._sent_listeners: Listeners[Frame, int] = Listeners("a frame that was sent", counters.counter(*ERRORS))
        self._documents_to_share = hub.documents_to_share
        self._writer = FrameWriter(
            mapping, hub.frames.epoch, hub.event_clock, counters, read_by_workers=READ_BY_WORKERS
        )
        self._answerers = Answerers(context, answer, loop)
        clock = HostClock()
        self._processes = [ProcessStatus(each, clock) for each in mapping.slots]
        usage = ProcessUsage(counters, slot.role, slot.number, clock.time_ns())
        supervisor_usage = ProcessUsage(counters, "supervisor", None, pid=os.getppid())
        self._periodics = [
            Periodic(MEASURE_SECONDS, usage.update, loop),
            Periodic(MEASURE_SECONDS, supervisor_usage.update, loop),
            Periodic(MEASURE_SECONDS, self._measure_processes, loop),
        ]

    def share_lanes(self, lanes: Mapping[str, Lane]) -> None:
        """Publishes every entry that is appended to the hub's lanes from now on."""
        for name, log in self._context.mapping.lanes().items():
            lanes[name].add_entry_listener(_appender(log))

    def documents(
        self, hub_state: Callable[[], HubState], metrics: Callable[[], Iterable[Metric]]
    ) -> dict[str, Document]:
        """Returns the documents that the hub publishes for its workers, by name: its state, and the gauges among
        `metrics`. The counters among them are copied into the hub's slot from now on."""
        mirror = MetricMirror(metrics, self._counters)
        self._periodics.append(Periodic(MEASURE_SECONDS, mirror.update, self._loop))
        return {HUB_STATE: hub_state, HUB_GAUGES: mirror.document}

    async def start(self) -> None:
        """Begins to answer the workers."""
        await self._answerers.start()
        for periodic in self._periodics:
            periodic.start()
        say_serving(self._context.control)

    async def stop(self) -> None:
        """Answers the calls that have come, and closes the connections to the workers."""
        self._context.slot.state = ProcessState.DRAINING
        for periodic in self._periodics:
            periodic.stop()
        await self._answerers.stop()

    # -- the tick

    def read_sent(self, frame: Frame) -> None:
        """Reads which frames the workers have sent, and how long each took. It is called when there is a new frame, and
        about the one before."""
        for i, worker in enumerate(self._workers):
            seq = worker.sent_seq
            if seq != self._sent_seqs[i]:
                self._sent_seqs[i] = seq
                if seq:
                    duration_ns = worker.sent_ns
                    self.fanout.record(duration_ns)
                    self._sent_listeners.call(frame, duration_ns)

    def send_frame(self, frame: Frame) -> None:
        """Publishes a frame, and wakes every worker."""
        # hot: once per tick (benchmarks/bench_tick.py)
        if self._context.slot.state == ProcessState.STARTING:
            # Before the first frame is published: a worker that finds it must find its hub serving.
            self._context.slot.state = ProcessState.SERVING
        self._writer.write_frame(frame, self._documents_to_share(ALWAYS_SHARED))
        self._context.wake_workers()

    def add_sent_listener(self, listener: SentListener) -> None:
        self._sent_listeners.add(listener)

    # -- the clients of all workers

    @property
    def websocket_clients(self) -> int:
        return sum(worker.websockets for worker in self._workers)

    @property
    def http_connections(self) -> int:
        return sum(worker.connections for worker in self._workers)

    @property
    def http_requests(self) -> int:
        return self._total("http_requests_total")

    @property
    def messages_sent(self) -> int:
        return self._total("websocket_messages_sent_total")

    @property
    def frames_skipped(self) -> int:
        return self._total("websocket_frames_skipped_total")

    @property
    def clients_behind(self) -> int:
        return sum(worker.behind for worker in self._workers)

    @property
    def lane_backlog(self) -> int:
        return sum(worker.lane_backlog for worker in self._workers)

    def processes(self) -> dict[str, dict[str, Any]]:
        return {process.slot.name: process.to_json() for process in self._processes if process.slot.pid}

    def not_ready(self) -> list[str]:
        serving = sum(1 for worker in self._workers if worker.state == ProcessState.SERVING)
        wanted = self._config.workers
        missing = [] if serving >= wanted else [f"workers: {serving} of {wanted} serve"]
        return missing if self.trouble is None else [*missing, self.trouble]

    @property
    def trouble(self) -> str | None:
        """Why workers do not get the newest snapshot; None if they do."""
        return self._writer.trouble

    def _total(self, name: str) -> int:
        return sum(counters.total(name) for counters in self._worker_counters)

    def _measure_processes(self) -> None:
        for process in self._processes:
            process.measure()


def _appender(log: EntryLog) -> Callable[[Entry], None]:
    """Returns the listener that appends entries to `log`, except those that an earlier hub has appended."""
    newest = log.newest_number

    def append(entry: Entry) -> None:
        if entry.seq > newest and not log.append(entry.seq, entry.symbol, entry.members):
            logger.error(
                "lane entry %d has %d bytes, more than the shared memory has for all entries: workers do not send it",
                entry.seq, len(entry.members),
            )  # fmt: skip

    return append
