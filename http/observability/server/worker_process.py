"""A worker's process: it serves clients. `hub_process.py` takes the same steps to collect, store and publish."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Final

from observability.clocks.clock import HostClock
from observability.clocks.timers import Periodic
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.history.archive import StoredMinutes
from observability.history.history import HistoryReader
from observability.http11.messages import Request, Response
from observability.logs.log_book import LogBook
from observability.memory.mapping import ProcessState
from observability.metrics.alerts.occurrences import StoredOccurrences
from observability.metrics.assembly import history_budget
from observability.metrics.execution.orders.queries import Orders
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.booking_queries import StoredBookings
from observability.metrics.trades.queries import StoredTrades
from observability.monitoring.exposition import Exposition
from observability.monitoring.host_exposition import HUB_GAUGES, HostCollector
from observability.monitoring.staleness import Staleness
from observability.monitoring.trading_exposition import TradingLabels
from observability.monitoring.worker_status import WorkerStatus, hub_document
from observability.past.reader import recording_reader
from observability.past.routes import without_playback
from observability.processes.child import ChildContext
from observability.processes.control import say_serving
from observability.processes.usage import MEASURE_SECONDS, ProcessUsage
from observability.rest.published import Published
from observability.routing.forwarding import forwarded, forwarder
from observability.server.feed import SharedFeed
from observability.server.hub_link import HubLink
from observability.server.process import ServerProcess
from observability.server.receiving.site_routes import SiteRoutes
from observability.server.relay import RemoteHub
from observability.server.route_table import RouteParts, add_routes
from observability.server.worker import SharedPort, Worker
from observability.snapshot.frames import Frame
from observability.store.file import DATABASE_NAME
from observability.store.reader import StoreReader

logger = logging.getLogger(__name__)

# The routes, by name, that need the history, the store or the recording, which an edge has not got.
ANSWERED_BY_HUB: Final = (
    "metrics_history", "alert_history", "orders", "order", "metrics_at", "recording_marks", "recording_around",
    "recorded_document", "recorded_logs",
)  # fmt: skip


class WorkerProcess(ServerProcess):
    """Reads what the hub publishes and what the store holds, and asks the hub for the rest. When one hub replaces
    another, clients stay connected and are told."""

    def __init__(self, config: Config, context: ChildContext) -> None:
        super().__init__(is_alone=False)
        mapping, self._slot = context.mapping, context.slot
        self._config = config
        self._context = context
        self._host_clock = HostClock()
        self._counters = self._slot.counters()
        # From the hub and the store.
        self._link = HubLink(context, self._loop)
        self._hub = RemoteHub(self._link.call)
        self._store = None if config.data_dir is None else StoreReader(config.data_dir / DATABASE_NAME, self._counters)
        self._feed = SharedFeed(
            mapping,
            context.wakeups[self._slot.number],
            self._host_clock,
            self._counters,
            self._store,
            self._hub.lane_page if config.is_edge else None,
        )
        self._recording = recording_reader(config)
        # To the clients.
        port = SharedPort.of(context)
        self._worker = Worker(
            config,
            self._feed,
            self._hub,
            self._counters,
            self._host_clock,
            self._loop,
            shared_port=port,
            recording=self._recording,
            slices=self._slices,
        )
        # The process about itself.
        self._staleness = Staleness(
            mapping.hub,
            self._feed.frames,
            self._host_clock,
            config.metric_collection_interval,
            self._worker.set_stale,
        )
        self._usage = ProcessUsage(self._counters, self._slot.role, self._slot.number, self._host_clock.time_ns())
        self._periodics = [
            Periodic(MEASURE_SECONDS, self._usage.update, self._loop),
            Periodic(MEASURE_SECONDS, self._publish_queues, self._loop),
            Periodic(config.metric_collection_interval, self._staleness.check, self._loop),
        ]

    def _wire(self) -> None:
        self._feed.add_frame_listener(self._worker.send_frame)
        self._feed.add_frame_listener(self._publish_taken)
        self._worker.add_sent_listener(self._publish_sent)
        parts = self._route_parts()
        add_routes(self._worker.router, parts)
        if self._config.is_edge:
            for name in ANSWERED_BY_HUB:
                self._worker.router.replace_handler(name, forwarder(self._hub.answer_request, self._slices))
            self._worker.router.replace_handler("recordings", self._recordings)
        if self._config.is_aggregator:
            routes = SiteRoutes(self._config.sites, self._hub.ask_site, parts.published, self._slices)
            routes.replace_in(self._worker.router)

    async def _start(self) -> None:
        await self._link.start()
        self._feed.start(self._loop)
        await self._wait_for_first_frame()
        # The hub has created the file by now.
        if self._store is not None:
            self._store.start()

    async def _open(self) -> None:
        for periodic in self._periodics:
            periodic.start()
        await self._worker.start()
        self._slot.state = ProcessState.SERVING
        say_serving(self._context.control)

    async def _drain(self) -> None:
        self._slot.state = ProcessState.DRAINING
        logger.info("stopping: closing %d WebSocket clients", self._worker.websocket_clients)
        await self._worker.stop()

    async def _stop(self) -> None:
        for periodic in self._periodics:
            periodic.stop()
        self._usage.update()
        self._feed.stop(self._loop)
        await self._recording.stop()
        if self._store is not None:
            await self._store.stop()
        self._link.close()

    async def _wait_for_first_frame(self) -> None:
        """Returns once there is a frame, or a signal to stop."""
        waits = [asyncio.ensure_future(self._feed.first_frame()), asyncio.ensure_future(self._stopping.wait())]
        _, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in pending:
            wait.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _publish_taken(self, frame: Frame) -> None:
        self._slot.taken_seq = frame.seq

    def _publish_sent(self, frame: Frame, duration_ns: int) -> None:
        self._slot.sent_ns = duration_ns
        self._slot.sent_seq = frame.seq

    def _publish_queues(self) -> None:
        self._slot.behind = self._worker.clients_behind
        self._slot.lane_backlog = self._worker.lane_backlog

    async def _recordings(self, request: Request) -> Response:
        answer = await self._hub.answer_request(forwarded(request))
        body = without_playback(answer.body) if answer.status == 200 else answer.body
        return Response(answer.status, body, answer.content_type, answer.headers)

    def _hub_gauges(self) -> Callable[[], bytes]:
        """Returns what reads the gauges of the hub. The hub of other hosts exposes its own, each once."""
        return _no_gauges if self._config.is_edge else partial(hub_document, self._feed.frames, HUB_GAUGES)

    def _route_parts(self) -> RouteParts:
        mapping, reader, frames = self._context.mapping, self._store, self._feed.frames
        history = HistoryReader(
            history_budget(self._config.max_symbols, self._config.max_strategies),
            mapping.history_memory(),
            self._counters,
        )
        return RouteParts(
            published=Published(frames, self._hub, self._slices),
            event_clock=self._feed.event_clock,
            gate=self._hub,
            trades=self._hub
            if reader is None
            else StoredTrades(reader, multipliers=dict(self._config.contract_multipliers)),
            bookings=self._hub if reader is None else StoredBookings(reader),
            orders=Orders(self._hub, reader),
            recording=self._recording,
            store=reader,
            acknowledger=self._hub,
            silencer=self._hub,
            status=WorkerStatus(frames, self._staleness, mapping.workers),
            history=history,
            tick_ns=round(self._config.metric_collection_interval * NS_PER_S),
            minutes=None if reader is None else StoredMinutes(reader),
            bars=BarHistory(history, reader),
            occurrences=None if reader is None else StoredOccurrences(reader),
            log_book=LogBook.of_host(mapping, self._feed.lost, self._slices),
            exposition=Exposition(HostCollector(mapping, self._hub_gauges())),
            trading_labels=TradingLabels(frozenset(self._config.metrics_labels), self._config.metrics_max_values),
            slices=self._slices,
            desk=None if self._config.engine is None or self._config.is_aggregator else self._hub.describe_desk,
        )


def _no_gauges() -> bytes:
    return b"[]"
