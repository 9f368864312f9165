"""A worker in a process of its own: what it is given put together, run, and taken down.

No part does its work here.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial
from typing import Any, Final

from observability.access.limits import ClientCounts
from observability.clocks.clock import HostClock
from observability.clocks.timers import Periodic
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.errors import HubUnavailable
from observability.history.archive import StoredMinutes
from observability.history.history import HistoryReader
from observability.logs.log_book import LogBook
from observability.memory.mapping import ProcessState
from observability.metrics.assembly import history_budget
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.queries import StoredTrades
from observability.monitoring.exposition import Exposition
from observability.monitoring.host_exposition import HostCollector
from observability.monitoring.staleness import Staleness
from observability.monitoring.worker_status import WorkerStatus, hub_document
from observability.processes.control import RpcSocket, RpcSocketReceiver, say_serving
from observability.processes.rpc import Caller
from observability.processes.supervisor import ChildContext
from observability.processes.usage import FIGURES_SECONDS, ProcessUsage
from observability.rest.published import Published
from observability.server.feed import SharedFeed
from observability.server.relay import RemoteHub
from observability.server.route_table import RouteParts, add_routes
from observability.server.worker import Worker
from observability.snapshot.frames import Frame
from observability.store.file import DATABASE_NAME
from observability.store.reader import StoreReader

logger = logging.getLogger(__name__)

HUB_GAUGES: Final = "hub_gauges"
"""The document with the gauges that workers expose for the hub."""


class WorkerProcess:
    """One worker: `run` serves until SIGTERM."""

    def __init__(self, config: Config, context: ChildContext) -> None:
        self._config = config
        self._context = context
        self._clock = HostClock()

    async def run(self) -> None:
        """Serves from the hub's first frame on; returns once everything has been taken down."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stopping.set)
        link = _HubLink(self._context, loop)
        await link.start()
        try:
            await self._serve(link, stopping, loop)
        finally:
            link.close()

    async def _serve(self, link: _HubLink, stopping: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        config, context, slot = self._config, self._context, self._context.slot
        counters = slot.counters()
        store = None if config.data_dir is None else StoreReader(config.data_dir / DATABASE_NAME)
        shared = SharedFeed(context.mapping, context.wakeups[slot.number], self._clock, counters, store)
        hub = RemoteHub(link.call)
        worker = Worker(
            config,
            shared,
            hub,
            counters,
            self._clock,
            loop,
            client_counts=ClientCounts.of_host(context.mapping.workers, slot),
            listening=context.listeners,
            slot=slot.number,
        )
        worker.add_sent_listener(self._on_sent)
        shared.add_frame_listener(worker.send_frame)
        shared.start(loop)
        staleness = Staleness(
            context.mapping.hub,
            shared.frames,
            self._clock,
            config.metric_collection_interval,
            worker.state.set_stale,
        )
        self._add_routes(worker, shared, staleness, hub, store)
        usage = ProcessUsage(counters, slot.role, slot.number, self._clock.time_ns())
        periodics = [
            Periodic(FIGURES_SECONDS, usage.update, loop),
            Periodic(FIGURES_SECONDS, partial(self._tell_queues, worker), loop),
            Periodic(config.metric_collection_interval, staleness.check, loop),
        ]
        if await _first(shared.first_frame(), stopping.wait()):
            for periodic in periodics:
                periodic.start()
            await worker.start(_say_nothing)
            slot.state = ProcessState.SERVING
            say_serving(context.control)
            await stopping.wait()
            slot.state = ProcessState.DRAINING
            logger.info("stopping: closing %d WebSocket clients", worker.websocket_clients)
            await worker.stop()
            for periodic in periodics:
                periodic.stop()
            usage.update()
        shared.stop(loop)
        if store is not None:
            await store.stop()

    def _on_sent(self, frame: Frame, duration_ns: int) -> None:
        slot = self._context.slot
        slot.sent_ns = duration_ns
        slot.sent_seq = frame.seq

    def _tell_queues(self, worker: Worker) -> None:
        slot = self._context.slot
        slot.behind = worker.clients_behind
        slot.lane_backlog = worker.lane_backlog

    def _add_routes(
        self, worker: Worker, shared: SharedFeed, staleness: Staleness, hub: RemoteHub, store: StoreReader | None
    ) -> None:
        mapping, counters = self._context.mapping, self._context.slot.counters()
        history = HistoryReader(history_budget(self._config.max_symbols), mapping.history_memory(), counters)
        parts = RouteParts(
            published=Published(shared.frames),
            event_clock=shared.event_clock,
            gate=hub,
            trades=hub if store is None else StoredTrades(store),
            acknowledger=hub,
            status=WorkerStatus(shared.frames, staleness, mapping.workers),
            history=history,
            tick_ns=round(self._config.metric_collection_interval * NS_PER_S),
            minutes=None if store is None else StoredMinutes(store),
            bars=BarHistory(history, store),
            log_book=LogBook.of_host(mapping, shared.lost),
            exposition=Exposition(HostCollector(mapping, partial(hub_document, shared.frames, HUB_GAUGES))),
        )
        add_routes(worker.router, parts)


def _say_nothing(port: int) -> None:
    """Where everything is, the supervisor says once for all."""


class _HubLink:
    """The RPC connection to the hub that is alive."""

    def __init__(self, context: ChildContext, loop: asyncio.AbstractEventLoop) -> None:
        self._context = context
        self._loop = loop
        self._caller: Caller | None = None
        self._rpc_sockets = RpcSocketReceiver(context.control, self._open, loop)

    async def start(self) -> None:
        self._rpc_sockets.start()
        for rpc_socket in self._context.rpc_sockets:
            await self._open(rpc_socket)

    async def call(self, message: bytes) -> bytes:
        """Asks the hub. Raises HubUnavailable."""
        if self._caller is None:
            raise HubUnavailable("it is being started")
        return await self._caller.call(message)

    def close(self) -> None:
        self._rpc_sockets.stop()
        if self._caller is not None:
            self._caller.close()

    async def _open(self, rpc_socket: RpcSocket) -> None:
        caller = Caller(rpc_socket.generation)
        if self._caller is not None:
            self._caller.close()
        self._caller = caller
        await self._loop.create_unix_connection(lambda: caller, sock=rpc_socket.sock)


async def _first(wanted: Any, other: Any) -> bool:
    """Returns whether `wanted` has come before `other`; who has not is cancelled."""
    tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(other)]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    return tasks[1] not in done
