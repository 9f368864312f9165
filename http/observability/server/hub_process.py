"""The hub's process: it collects, stores and publishes. `worker_process.py` takes the same steps to serve clients."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.steady import SteadyClock
from observability.clocks.timestamps import NS_PER_S
from observability.cluster.desk import Desk
from observability.cluster.edge_gateway import EdgeGateway, HubSide
from observability.config.config import Config
from observability.connections.tls import Certificate
from observability.errors import EXIT_FAILED
from observability.history.archive import StoredMinutes
from observability.ingest.gate import IngestGate
from observability.logs.log_book import LogBook
from observability.logs.log_ring import LogRing
from observability.memory.counters import Counters
from observability.memory.layout import ALERTS_LANE, ENGINE
from observability.metrics.alerts.metric_paths import MetricSources
from observability.metrics.alerts.occurrences import StoredOccurrences
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.alerts.transition_log import log_transition
from observability.metrics.assembly import (
    instruments_document,
    make_collectors,
    make_history,
    summary_document,
    symbols_document,
)
from observability.metrics.collectors import custom_collectors
from observability.metrics.durability.journal import Document as LaneDocument
from observability.metrics.durability.persistence import Persistence
from observability.metrics.execution.orders.queries import LedgerOrders, Orders
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.booking_queries import BookingSource, RecentBookings, StoredBookings
from observability.metrics.trades.queries import RecentTrades, StoredTrades, TradeSource
from observability.monitoring.acknowledgements import HubAcknowledger
from observability.monitoring.exposition import Exposition, HubCollector, process_collector
from observability.monitoring.server_figures import server_figures
from observability.monitoring.silencing import HubSilencer
from observability.monitoring.status import Status, Watched
from observability.monitoring.trading_exposition import EXECUTION_FIGURES, TradingLabels, execution_figures
from observability.monitoring.worker_status import HUB_STATE
from observability.notify.notice import Notice
from observability.notify.notifier import Notifier
from observability.notify.route import Route
from observability.notify.route_file import AlertFile
from observability.notify.rows import notice_row, stored_notices
from observability.notify.silences import Silence, Silences, silence_row, stored_silences
from observability.past.reader import recording_reader
from observability.processes.child import ChildContext
from observability.processes.service_manager import ServiceManager
from observability.recorder.documents import DocumentRounds
from observability.recorder.layout import DIRECTORY_NAME
from observability.recorder.recorder import Recorder, RecordLimits
from observability.rest.positions import POSITIONS
from observability.rest.published import INSTRUMENTS, RECORDED, Published
from observability.routing.forwarding import RequestAnswerer
from observability.routing.router import Router
from observability.server.book_files import BookFiles
from observability.server.feed import LocalFeed
from observability.server.process import ServerProcess
from observability.server.relay import HubCalls
from observability.server.route_table import RouteParts, add_routes
from observability.server.sources import ConfiguredSources, sources_document
from observability.server.worker import Worker
from observability.server.worker_gateway import WorkerGateway
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub
from observability.snapshot.on_demand import Document, SlowDocument
from observability.store.reader import UNREADABLE
from observability.store.schema import UPSERT_NOTICE, UPSERT_SILENCE
from observability.stream.lane_feed import LaneFeed, read_newer

logger = logging.getLogger(__name__)

# 16 random letters and digits have over 90 bits.
MIN_TOKEN_CHARS: Final = 16
READY_STATUS: Final = "one process"
# What edges need of every tick: they show it while the hub does not answer.
SENT_TO_EDGES: Final = frozenset({HUB_STATE, "system_alerts"})

Announce = Callable[[int, int], None]
"""Says that the server listens: on which port, and with how many bytes of memory reserved."""


class HubProcess(ServerProcess):
    """Owns everything from the sources to the snapshot, and the store.

    Without a `context` it is the only process, and a worker of its own serves the clients. With one it is the hub of a
    host, and its gateway serves the workers' processes. With a `desk` it also publishes to edges on other hosts.
    `run_id` is the same for every hub of a run.

    Raises StoreError, SourceError if a recording cannot be read, and ConfigError if the TLS certificate and key do not
    match; `run` raises OSError if the port cannot be opened.
    """

    def __init__(
        self,
        config: Config,
        alert_file: AlertFile,
        log_ring: LogRing,
        announce: Announce,
        service_manager: ServiceManager,
        run_id: str,
        desk: Desk | None = None,
        context: ChildContext | None = None,
    ) -> None:
        super().__init__(is_alone=context is None)
        self._config = config
        self._log_ring = log_ring
        self._announce = announce
        self._service_manager = service_manager
        self._memory = memory = HubMemory.own() if context is None else HubMemory.of_host(context)
        set_back = memory.counters.counter("clock_set_back_total", "Times that the host's clock was set back")
        self._host_clock = SteadyClock(
            HostClock(), lambda _: set_back.add(), not_before_ns=0 if config.replay else memory.newest_ns
        )
        self._event_clock = EventClock(self._host_clock)
        # From events to frames, and to disk.
        self._bus = Bus()
        self._history = make_history(config.max_symbols, memory.history, config.max_strategies)
        self._persistence = Persistence(
            config, self._bus, self._history, memory.counters, self._host_clock, self._event_clock
        )
        self._store = self._persistence.store
        self._reader = None if self._store is None else self._store.reader
        self._collectors = make_collectors(
            config, self._bus, self._event_clock, self._history, self._persistence.sequence, memory.engine_log
        )
        self._hub = Hub(
            config.metric_collection_interval,
            self._bus,
            self._host_clock,
            self._event_clock,
            self._collectors.sections,
            custom_collectors(),
            memory.counters,
            frames_shown=memory.newest_frame,
        )
        self._journal = self._persistence.attach(self._collectors)
        self._lane_feed = LaneFeed(self._reader)
        self._recorder = _recorder(config, memory.counters)
        self._document_rounds = DocumentRounds(RECORDED, self._hub.peek_document, self._logs(context), self._host_clock)
        self._recording = recording_reader(config)
        self._silences = Silences(self._write_silence)
        self._notifier = Notifier(
            self._wanted_routes(alert_file.routes),
            self._collectors.system.alert_book,
            self._host_clock,
            self._event_clock,
            memory.counters,
            self._write_notice,
            silences=self._silences,
        )
        self._silencer = HubSilencer(self._notifier, self._journal.is_written)
        self._gate = IngestGate(
            self._bus,
            self._journal,
            self._event_clock,
            memory.counters,
            refuse_unknown_fields=config.refuse_unknown_fields,
            prints=self._collectors.market,
        )
        self._book_files = BookFiles(config, self._collectors.strategy.instruments, self._gate)
        self._sources = ConfiguredSources(
            config,
            self._hub,
            self._collectors,
            self._persistence,
            self._gate,
            self._host_clock,
            run_id,
            memory.newest_ns,
        )
        # What clients ask the hub for, beyond what it publishes.
        self._acknowledger = HubAcknowledger(
            self._collectors.system.alert_book, self._event_clock, self._journal.is_written
        )
        self._trades: TradeSource = (
            RecentTrades(self._collectors.execution.trades, self._slices)
            if self._reader is None
            else StoredTrades(self._reader, multipliers=dict(config.contract_multipliers))
        )
        self._bookings: BookingSource = (
            RecentBookings(self._collectors.bookings) if self._reader is None else StoredBookings(self._reader)
        )
        execution = self._collectors.execution
        self._orders = LedgerOrders(lambda: execution.ledger, execution.reports, execution.trades, self._slices)
        self._routes = Router()
        self._requests = RequestAnswerer(self._routes)
        self._calls = HubCalls(
            self._gate,
            self._acknowledger,
            self._silencer,
            self._trades,
            self._bookings,
            self._orders,
            self._hub.frames,
            self._lane_feed.lanes,
            self._requests,
            self._describe_desk,
        )
        self._frontend: Worker | WorkerGateway = self._make_worker() if context is None else self._make_gateway(context)
        self._edges = None if desk is None else self._make_edge_gateway(desk)
        # The server about itself.
        queues = self._queues()
        figures = server_figures(self._hub, self._host_clock, self._collectors, queues, self._frontend.counted)
        self._rule_book = RuleBook(
            alert_file.rules,
            MetricSources(
                self._collectors.sections,
                self._collectors.system.user_metrics,
                figures,
                self._hub.custom.encoded,
                self._history,
                None if self._reader is None else StoredMinutes(self._reader),
            ),
            self._collectors.system.alert_book,
        )
        self._status = Status(
            self._hub,
            Watched.of(self._collectors),
            self._frontend,
            self._rule_book,
            queues,
            self._journal.stored,
            self._sources.replay,
        )
        self._metrics = HubCollector(self._hub, self._collectors.system, self._sources.replay, self._sources.live)

    def _wire(self) -> None:
        hub, frontend, store = self._hub, self._frontend, self._store
        self._journal.add_announcement_listener(self._lane_feed.on_announcement)
        self._journal.add_transition_writer(self._notifier.on_transition)
        self._journal.add_announcement_listener(self._on_announcement)
        self._collectors.system.alert_book.add_transition_listener(log_transition)
        self._collectors.system.measure_lag(hub.take_lag_ms)
        if store is not None:
            self._collectors.system.add_health_reason(
                "store", lambda: store.trouble or ("a worker cannot read the store" if self._is_unread() else None)
            )
        if self._recorder is not None:
            recorder = self._recorder
            self._collectors.system.add_health_reason("recorder", lambda: recorder.trouble)
        hub.documents.update(self._documents())
        if isinstance(frontend, Worker):
            add_routes(frontend.router, self._route_parts())
            self._loop.add_signal_handler(signal.SIGHUP, self._reload, frontend.certificate)
        else:
            self._loop.add_signal_handler(signal.SIGHUP, self._book_files.read_instruments_again)
            hub.documents.update(frontend.documents(self._status.hub_state, self._metrics.hub_metrics))
            self._collectors.system.add_health_reason("snapshots", lambda: frontend.trouble)
            frontend.share_lanes(self._lane_feed.lanes)
            hub.add_frame_listener(frontend.read_sent)
        # The order matters: a frame is measured, then sent, and only then do alert rules and the journal see it.
        hub.add_frame_listener(self._status.on_frame)
        hub.add_frame_listener(frontend.send_frame)
        edges = self._edges
        if edges is not None:
            add_routes(self._routes, self._route_parts())
            for lane in self._lane_feed.lanes.values():
                lane.add_entry_listener(lambda _: edges.wake_lanes())
            hub.documents[HUB_STATE] = self._status.hub_state
            self._collectors.system.add_health_reason("edges", lambda: edges.trouble)
            hub.add_frame_listener(edges.send_frame)
        hub.add_frame_listener(self._rule_book.on_frame)
        hub.add_frame_listener(self._journal.on_frame)
        if self._recorder is not None:
            hub.add_frame_listener(self._record)
        if self._service_manager.feed_seconds is not None:
            hub.add_frame_listener(lambda _: self._service_manager.feed())

    async def _start(self) -> None:
        if any(len(token.secret) < MIN_TOKEN_CHARS for token in self._config.api_tokens):
            logger.warning(
                "API_TOKENS contains a token of fewer than %d characters, which can be guessed", MIN_TOKEN_CHARS
            )
        if self._edges is not None:
            await self._edges.open()
        await self._hub.start_collectors()
        if self._edges is not None:
            self._journal.add_stateful(self._edges.numbers)
        self._host_clock.note_stored(self._persistence.recover())
        self._persistence.sequence.skip_to(self._memory.newest_lane_entry)
        if self._edges is not None:
            self._edges.count_on()
            self._persistence.sequence.skip_to(self._edges.newest_lane_seq)
        self._lane_feed.restore(self._persistence.recent_announcements())
        if self._store is not None:
            with self._store.reading() as connection:
                self._notifier.restore(*stored_notices(connection))
                self._silences.restore(stored_silences(connection, self._host_clock.time_ns()))
        self._persistence.start(self._loop)
        if self._edges is not None:
            self._edges.start()
        if self._recorder is not None:
            self._recorder.start()
        self._notifier.start()
        await self._book_files.read()
        await self._hub.start()

    async def _open(self) -> None:
        await self._frontend.start()
        if self._edges is not None:
            self._edges.start_answering()
        if isinstance(self._frontend, Worker):
            self._announce(self._frontend.port, self._history.size_bytes)
            self._service_manager.say_ready(READY_STATUS)
        self._sources.start()

    async def _drain(self) -> None:
        self._service_manager.say_stopping()
        logger.info("stopping: closing %d WebSocket clients", self._frontend.websocket_clients)
        await self._frontend.stop()
        await self._gate.drain(self._config.shutdown_grace_seconds)
        if self._edges is not None:
            await self._edges.drain()

    async def _stop(self) -> None:
        await self._hub.stop()
        await self._rule_book.stop()
        await self._notifier.stop()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.stop)
        await self._recording.stop()
        await self._persistence.stop()
        if self._edges is not None:
            await self._edges.stop()
        logger.info("stopped")

    def _record(self, frame: Frame) -> None:
        assert self._recorder is not None
        self._recorder.on_frame(frame, self._lane_feed.newest_seq)
        for name, body in self._document_rounds.on_tick(frame.ts_ns):
            self._recorder.on_document(name, frame.ts_ns, body)

    def _logs(self, context: ChildContext | None) -> list[tuple[bytes, LogRing]]:
        """Returns every log of this host, each with the members that say whose lines it has."""
        book = (
            LogBook({"": self._log_ring}, self._collectors.system.engine_log)
            if context is None
            else LogBook.of_host(context.mapping)
        )
        return book.logs

    def _wanted_routes(self, routes: Sequence[Route]) -> Sequence[Route]:
        if routes and self._config.replay:
            logger.info("the alerts of a replay are delivered to nobody; %d routes are not used", len(routes))
            return ()
        return routes

    def _write_notice(self, notice: Notice) -> None:
        if self._store is not None:
            self._store.put(UPSERT_NOTICE, notice_row(notice))

    def _write_silence(self, silence: Silence) -> None:
        if self._store is not None:
            self._store.put(UPSERT_SILENCE, silence_row(silence))

    def _on_announcement(self, lane: str, seq: int, symbol: str | None, document: LaneDocument) -> None:
        if lane == ALERTS_LANE:
            self._notifier.on_committed(seq)

    def _is_unread(self) -> bool:
        """Returns whether a process of this host cannot read the store."""
        return self._frontend.counted.total(UNREADABLE) > 0

    def _reload(self, certificate: Certificate | None) -> None:
        self._service_manager.say_reloading()
        if certificate is None:
            logger.info("SIGHUP: there is no certificate to read again")
        else:
            certificate.reload()
        self._book_files.read_instruments_again()
        self._service_manager.say_ready(READY_STATUS)

    def _make_worker(self) -> Worker:
        feed = LocalFeed(self._hub.frames, self._lane_feed.lanes, self._event_clock, self._hub.catch_up)
        return Worker(
            self._config,
            feed,
            self._gate,
            self._memory.counters,
            HostClock(),
            self._loop,
            recording=self._recording,
            slices=self._slices,
        )

    def _make_gateway(self, context: ChildContext) -> WorkerGateway:
        return WorkerGateway(self._config, context, self._hub, self._calls.answer, self._loop)

    def _make_edge_gateway(self, desk: Desk) -> EdgeGateway:
        lanes = self._lane_feed.lanes
        side = HubSide(
            answer=self._calls.answer,
            take=lambda data, key: self._gate.take(data, source="nats", key=key),
            read_newer=lambda lane, seq, limit: read_newer(lanes[lane], seq, limit),
        )
        return EdgeGateway(
            self._config, desk, self._hub, self._host_clock, side, self._store, SENT_TO_EDGES, self._on_replaced
        )

    def _describe_desk(self) -> dict[str, Any]:
        assert self._edges is not None, "a host that is alone has no desk"
        return self._edges.presence.to_json()

    async def _describe_desk_soon(self) -> dict[str, Any]:
        return self._describe_desk()

    def _on_replaced(self, why: str) -> None:
        """Ends this process at once: another hub is the desk's, and nothing that this one does counts any more."""
        logger.critical("%s; this one ends", why)
        logging.shutdown()
        os._exit(EXIT_FAILED)

    def _queues(self) -> dict[str, Callable[[], int]]:
        """Returns the depth of each queue, by name."""
        frontend, store = self._frontend, self._store
        queues: dict[str, Callable[[], int]] = {
            "clients_behind": lambda: frontend.clients_behind,
            "lane_backlog": lambda: frontend.lane_backlog,
        }
        if store is not None:
            queues["store_rows"] = lambda: store.queued
        return queues

    def _documents(self) -> dict[str, Document]:
        """Returns the documents of the hub, by name."""
        collectors, live = self._collectors, self._sources.live
        return {
            "symbols": partial(symbols_document, collectors),
            "summary": partial(summary_document, collectors),
            INSTRUMENTS: SlowDocument(partial(instruments_document, collectors), self._host_clock),
            "execution_quality": collectors.execution.quality,
            "strategy_performance": SlowDocument(collectors.strategy.performance, self._host_clock),
            EXECUTION_FIGURES: SlowDocument(partial(execution_figures, collectors.execution), self._host_clock),
            POSITIONS: lambda: {"positions": collectors.strategy.positions()},
            "system_notifications": self._notifier.to_json,
            "system_silences": self._notifier.silences_json,
            "system_sources": lambda: {"sources": sources_document(live), "count": len(live)},
            "strategy_breaks": lambda: {
                "breaks": collectors.strategy.breaks(),
                "fills": collectors.execution.trades.fill_breaks(),
                "orders": collectors.execution.order_breaks.to_json(),
                "bookings": collectors.bookings.breaks(),
            },
            **self._status.documents(),
        }

    def _route_parts(self) -> RouteParts:
        reader = self._reader
        history = self._history.reader(self._memory.counters)
        return RouteParts(
            published=Published(self._hub.frames, slices=self._slices),
            event_clock=self._event_clock,
            gate=self._gate,
            trades=self._trades,
            bookings=self._bookings,
            orders=Orders(self._orders, reader),
            recording=self._recording,
            store=reader,
            acknowledger=self._acknowledger,
            silencer=self._silencer,
            status=self._status,
            history=history,
            tick_ns=round(self._config.metric_collection_interval * NS_PER_S),
            minutes=None if reader is None else StoredMinutes(reader),
            bars=BarHistory(history, reader),
            occurrences=None if reader is None else StoredOccurrences(reader),
            log_book=LogBook({"": self._log_ring}, self._collectors.system.engine_log, slices=self._slices),
            exposition=Exposition(self._metrics, process_collector()),
            trading_labels=TradingLabels(frozenset(self._config.metrics_labels), self._config.metrics_max_values),
            slices=self._slices,
            desk=None if self._edges is None else self._describe_desk_soon,
        )


def _recorder(config: Config, counters: Counters) -> Recorder | None:
    """Returns the recorder of a server that has a data directory."""
    if config.data_dir is None or not config.record:
        return None
    limits = RecordLimits(max_bytes=config.record_max_bytes, max_age_days=config.record_max_age)
    return Recorder(config.data_dir / DIRECTORY_NAME, limits, counters)


@dataclass(frozen=True, slots=True)
class HubMemory:
    """Where the hub keeps what workers read, and the newest numbers that clients of an earlier hub may have seen."""

    counters: Counters
    history: memoryview[int] | None = None
    engine_log: LogRing | None = None
    newest_frame: int = 0
    newest_lane_entry: int = 0
    newest_ns: int = 0
    """The time of an earlier hub's newest tick, if it was not the host's time."""

    @classmethod
    def own(cls) -> HubMemory:
        """Returns the memory of the only process."""
        return cls(Counters())

    @classmethod
    def of_host(cls, context: ChildContext) -> HubMemory:
        """Returns the mapping that the workers share, which may hold what an earlier hub has published."""
        mapping = context.mapping
        return cls(
            context.slot.counters(),
            mapping.history_memory(),
            LogRing(mapping.logs()[ENGINE]),
            # One number stays free, so that no client takes the first frame for the successor of the last hub's last.
            newest_frame=mapping.frames().cursor + 1,
            newest_lane_entry=max(log.newest_number for log in mapping.lanes().values()),
            newest_ns=mapping.event_clock_ns or 0,
        )
