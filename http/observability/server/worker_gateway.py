"""The hub's side of workers in processes of their own: it publishes frames to them and answers their calls."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from typing import Any, Final

from prometheus_client.core import Metric

from observability.clocks.clock import HostClock
from observability.clocks.timers import Periodic
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.memory.counters import HostCounters
from observability.memory.entry_log import EntryLog
from observability.memory.mapping import ProcessSlot, ProcessState
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.monitoring.host_exposition import HUB_GAUGES, MetricMirror
from observability.monitoring.serving import SentListener
from observability.monitoring.worker_status import HUB_STATE, HubState
from observability.processes.control import RpcSocket, RpcSocketReceiver, say_serving
from observability.processes.rpc import Answerer
from observability.processes.supervisor import ChildContext
from observability.processes.usage import FIGURES_SECONDS, ProcessUsage
from observability.server.relay import HubCalls
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Document, Hub
from observability.snapshot.shared_frames import FrameWriter
from observability.stream.lanes import Entry, Lane

logger = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 5.0


class WorkerGateway:
    """Serves the workers, and knows of them what their slots say."""

    def __init__(
        self,
        config: Config,
        context: ChildContext,
        hub: Hub,
        calls: HubCalls,
        lanes: dict[str, Lane],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        mapping, counters = context.mapping, context.slot.counters()
        self.fanout = DurationHistogram()
        self._config = config
        self._context = context
        self._loop = loop
        self._workers = mapping.workers
        self._worker_counters = [slot.counters() for slot in mapping.workers]
        self._fanout_seqs = [slot.sent_seq for slot in mapping.workers]
        self._calls = calls
        self._answerers: dict[int, Answerer] = {}
        self._writer = FrameWriter(mapping, hub.frames.epoch, hub.serializer.index, hub.event_clock, counters)
        self._clock = HostClock()
        self._processes = {slot.number: _ProcessView(slot, self._clock) for slot in mapping.slots}
        usage = ProcessUsage(counters, context.slot.role, context.slot.number, self._clock.time_ns())
        supervisor_usage = ProcessUsage(counters, "supervisor", None, pid=os.getppid())
        self._rpc_sockets = RpcSocketReceiver(context.control, self._open, loop)
        self._periodics = [
            Periodic(FIGURES_SECONDS, usage.update, loop),
            Periodic(FIGURES_SECONDS, supervisor_usage.update, loop),
            Periodic(FIGURES_SECONDS, self._measure_processes, loop),
        ]
        self.counted = HostCounters([slot.counters() for slot in mapping.slots])
        self._counters = counters
        self._on_sent: SentListener | None = None
        # Before anybody else looks at the new frame: what is taken note of here is about the one before.
        hub.add_frame_listener(self._note_fanout)
        self._share_lanes(lanes)

    def documents(
        self, hub_state: Callable[[], HubState], metrics: Callable[[], Iterable[Metric]]
    ) -> dict[str, Document]:
        """Returns what the hub has to publish for its workers, by name: its state, and the gauges among `metrics`."""
        mirror = MetricMirror(metrics, self._counters)
        self._periodics.append(Periodic(FIGURES_SECONDS, mirror.update, self._loop))
        return {HUB_STATE: hub_state, HUB_GAUGES: mirror.document}

    def _share_lanes(self, lanes: dict[str, Lane]) -> None:
        """Puts every entry of the hub's lanes into the mapping."""
        for name, log in self._context.mapping.lanes().items():
            lanes[name].add_entry_listener(_appender(log))

    async def start(self) -> None:
        """Begins to answer the workers."""
        self._rpc_sockets.start()
        for rpc_socket in self._context.rpc_sockets:
            await self._open(rpc_socket)
        for periodic in self._periodics:
            periodic.start()
        say_serving(self._context.control)

    async def stop(self) -> None:
        """Answers what has been asked, and nothing after that."""
        self._context.slot.state = ProcessState.DRAINING
        for periodic in self._periodics:
            periodic.stop()
        for answerer in self._answerers.values():
            await answerer.drain(DRAIN_SECONDS)
            answerer.close()
        self._rpc_sockets.stop()

    # -- of the workers

    @property
    def websocket_clients(self) -> int:
        return sum(slot.websockets for slot in self._workers)

    @property
    def http_connections(self) -> int:
        return sum(slot.connections for slot in self._workers)

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
        return sum(slot.behind for slot in self._workers)

    @property
    def lane_backlog(self) -> int:
        return sum(slot.lane_backlog for slot in self._workers)

    def processes(self) -> dict[str, dict[str, Any]]:
        return {view.slot.name: view.to_json() for view in self._processes.values() if view.slot.pid}

    def not_ready(self) -> list[str]:
        serving = sum(1 for slot in self._workers if slot.state == ProcessState.SERVING)
        wanted = self._config.workers
        return [] if serving >= wanted else [f"workers: {serving} of {wanted} serve"]

    # -- the tick

    def send_frame(self, frame: Frame) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        if self._context.slot.state == ProcessState.STARTING:
            # Before the first frame: a worker that has one finds that its hub serves.
            self._context.slot.state = ProcessState.SERVING
        self._writer.write_frame(frame)
        self._wake()

    def add_sent_listener(self, listener: SentListener) -> None:
        self._on_sent = listener

    def _note_fanout(self, frame: Frame) -> None:
        for i, slot in enumerate(self._workers):
            seq = slot.sent_seq
            if seq != self._fanout_seqs[i]:
                self._fanout_seqs[i] = seq
                if seq:
                    duration_ns = slot.sent_ns
                    self.fanout.record(duration_ns)
                    if self._on_sent is not None:
                        self._on_sent(frame, duration_ns)

    def _wake(self) -> None:
        for slot in self._workers:
            if slot.pid:
                self._context.wakeups[slot.number].wake()

    def _total(self, name: str) -> int:
        return sum(counters.total(name) for counters in self._worker_counters)

    def _measure_processes(self) -> None:
        for view in self._processes.values():
            view.measure()

    # -- rpc

    async def _open(self, rpc_socket: RpcSocket) -> None:
        answerer = Answerer(rpc_socket.generation, self._calls.answer)
        before = self._answerers.get(rpc_socket.slot)
        if before is not None:
            before.close()
        self._answerers[rpc_socket.slot] = answerer
        await self._loop.create_unix_connection(lambda: answerer, sock=rpc_socket.sock)


class _ProcessView:
    """One process as `GET /api/system/components` shows it."""

    def __init__(self, slot: ProcessSlot, clock: HostClock) -> None:
        self.slot = slot
        self._clock = clock
        self._counters = slot.counters()
        self._measured: tuple[int, int, float] | None = None
        self._cpu_percent: float | None = None
        self._rss_bytes: int | None = None

    def measure(self) -> None:
        """Takes the CPU time since the last call; a process that has only begun has none yet."""
        now_ns, pid = self._clock.mono_ns(), self.slot.pid
        labels = (("role", self.slot.role), ("slot", str(self.slot.number)))
        cpu_seconds = self._counters.float_total("process_cpu_seconds_total", labels)
        before, self._measured = self._measured, (pid, now_ns, cpu_seconds)
        self._cpu_percent = None
        if before is not None and before[0] == pid and now_ns > before[1]:
            self._cpu_percent = round((cpu_seconds - before[2]) / ((now_ns - before[1]) / NS_PER_S) * 100, 1)
        self._rss_bytes = self._counters.total("process_resident_memory_bytes", labels) or None

    def to_json(self) -> dict[str, Any]:
        slot = self.slot
        return {
            "status": {ProcessState.SERVING: "ok", ProcessState.STARTING: "starting"}.get(
                ProcessState(slot.state), "draining"
            ),
            "role": slot.role,
            "pid": slot.pid,
            "cpu_percent": self._cpu_percent,
            "rss_bytes": self._rss_bytes,
            "uptime_seconds": (self._clock.mono_ns() - slot.started_ns) // NS_PER_S,
            "websocket_clients": slot.websockets,
            "http_connections": slot.connections,
        }


def _appender(log: EntryLog) -> Callable[[Entry], None]:
    newest = log.newest_number

    def append(entry: Entry) -> None:
        # What an earlier hub has told is there already.
        if entry.seq > newest and not log.append(entry.seq, entry.symbol, entry.members):
            logger.error(
                "lane entry %d of %d bytes is larger than all the room there is", entry.seq, len(entry.members)
            )

    return append
