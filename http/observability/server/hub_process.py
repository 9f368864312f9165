"""The backend: hub, collectors, sources and worker put together as a configuration says, run, and taken down again.

No part does its work here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.config.kinds import MAX_SPEED
from observability.errors import EXIT_INTERRUPTED
from observability.history.archive import StoredMinutes
from observability.ingest.gate import IngestGate
from observability.logs.log_book import LogBook
from observability.logs.log_ring import LogRing
from observability.memory.counters import Counters
from observability.memory.layout import ENGINE
from observability.memory.mapping import SharedMapping
from observability.metrics.alerts.metric_paths import MetricSources
from observability.metrics.alerts.rule import Rule
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.assembly import make_collectors, make_history, summary_document, symbols_document
from observability.metrics.collectors import custom_collectors
from observability.metrics.durability.persistence import Persistence
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.queries import RecentTrades, StoredTrades, TradeSource
from observability.monitoring.acknowledgements import HubAcknowledger
from observability.monitoring.exposition import Exposition, HubCollector, process_collector
from observability.monitoring.server_figures import server_figures
from observability.monitoring.serving import Frontend
from observability.monitoring.status import Status
from observability.monitoring.worker_status import HUB_STATE
from observability.processes.supervisor import ChildContext
from observability.rest.published import Published
from observability.server.feed import LocalFeed
from observability.server.relay import HubCalls
from observability.server.route_table import RouteParts, add_routes
from observability.server.worker import Worker
from observability.server.worker_gateway import WorkerGateway
from observability.server.worker_process import HUB_GAUGES
from observability.snapshot.hub import Hub, SlowDocument
from observability.sources import PaperConfig, PaperEngine, ProgressBar, Replay, Simulator
from observability.stream.lane_feed import LaneFeed
from observability.version import VERSION

logger = logging.getLogger(__name__)

# 16 random letters and digits have over 90 bits.
MIN_TOKEN_CHARS: Final = 16


class HubProcess:
    """One server: `run` serves until SIGINT or SIGTERM. With a `context` it is the hub of a host whose workers have
    processes of their own."""

    def __init__(
        self, config: Config, log_ring: LogRing, rules: Sequence[Rule], context: ChildContext | None = None
    ) -> None:
        self._config = config
        self._log_ring = log_ring
        self._rules = rules
        self._context = context
        self._host_clock = HostClock()
        self._event_clock = EventClock(self._host_clock)
        self._bus = Bus()
        self._counters = Counters() if context is None else context.slot.counters()
        self._history = make_history(config.max_symbols, None if context is None else context.mapping.history_memory())
        self._persistence = Persistence(
            config, self._bus, self._history, self._counters, self._host_clock, self._event_clock
        )
        self._collectors = make_collectors(
            config,
            self._bus,
            self._event_clock,
            self._history,
            self._persistence.sequence,
            engine_log=None if context is None else LogRing(context.mapping.logs()[ENGINE]),
        )
        self._hub = Hub(
            config.metric_collection_interval,
            self._bus,
            self._host_clock,
            self._event_clock,
            self._collectors.sections,
            custom_collectors(),
            self._counters,
            # One number is left out, so that nobody takes the first frame for the one behind an earlier hub's last.
            frames_shown=0 if context is None else context.mapping.frames().cursor + 1,
        )
        self._journal = self._persistence.attach(self._collectors)
        self._lane_feed = LaneFeed(None if self._persistence.store is None else self._persistence.store.reader)
        self._gate = IngestGate(self._bus, self._journal, self._event_clock, self._counters)
        self._acknowledger = HubAcknowledger(
            self._collectors.system.alert_book, self._event_clock, self._journal.is_written
        )
        store = self._persistence.store
        self._trades: TradeSource = (
            RecentTrades(self._collectors.execution.trades) if store is None else StoredTrades(store.reader)
        )

    async def run(self) -> None:
        """Serves; returns once everything has been taken down. Raises OSError if the port cannot be had, SourceError
        if a recording cannot be read, ConfigError if the files of TLS do not make a pair."""
        config = self._config
        if any(len(token.secret) < MIN_TOKEN_CHARS for token in config.api_tokens):
            logger.warning("API_TOKENS has a token of less than %d characters: it can be guessed", MIN_TOKEN_CHARS)
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, stopping)
        replay = self._make_replay() if config.replay else None
        door = self._make_door(loop)
        if door.certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, door.certificate.reload)
        self._watch(door)
        await self._hub.start_collectors()
        self._persistence.recover()
        if self._context is not None:
            self._persistence.sequence.skip_to(newest_shown(self._context.mapping))
        self._lane_feed.restore(self._persistence.told())
        self._journal.add_announcement_listener(self._lane_feed.on_announcement)
        self._hub.add_frame_listener(self._journal.on_frame)
        self._persistence.start(loop)
        await self._hub.start()
        try:
            await door.start(self._announce)
            self._start_sources(replay)
            await stopping.wait()
            logger.info("stopping: closing %d WebSocket clients", door.websocket_clients)
            await door.stop()
            await self._gate.drain(config.shutdown_grace_seconds)
        finally:
            await self._hub.stop()
            await self._persistence.stop()
        logger.info("stopped")

    def _on_signal(self, stopping: asyncio.Event) -> None:
        if stopping.is_set():
            os._exit(EXIT_INTERRUPTED)
        stopping.set()

    def _make_door(self, loop: asyncio.AbstractEventLoop) -> Frontend:
        hub, lanes = self._hub, self._lane_feed.lanes
        if self._context is None:
            feed = LocalFeed(hub.frames, lanes, hub.event_clock)
            return Worker(self._config, feed, self._gate, self._counters, self._host_clock, loop)
        calls = HubCalls(self._gate, self._acknowledger, self._trades)
        return WorkerGateway(self._config, self._context, hub, calls, lanes, self._counters, loop)

    def _watch(self, door: Frontend) -> None:
        hub, collectors = self._hub, self._collectors
        queues: dict[str, Callable[[], int]] = {
            "clients_behind": lambda: door.clients_behind,
            "lane_backlog": lambda: door.lane_backlog,
        }
        store = self._persistence.store
        if store is not None:
            queues["store_rows"] = lambda: store.queued
            collectors.system.add_health_reason("store", lambda: store.trouble)
        sources = MetricSources(
            collectors.sections,
            collectors.system.user_metrics,
            server_figures(hub, collectors.system, queues, door.counted),
            hub.custom.encoded,
        )
        rule_book = RuleBook(self._rules, sources, collectors.system.alert_book)
        status = Status(hub, collectors, door, rule_book, queues)
        hub.add_frame_listener(status.on_frame)
        hub.add_frame_listener(door.send_frame)
        hub.add_frame_listener(rule_book.on_frame)
        hub.documents.update(
            {
                "symbols": partial(symbols_document, collectors),
                "summary": lambda: summary_document(collectors, self._event_clock.time_ns()),
                "execution_quality": collectors.execution.quality,
                "strategy_performance": SlowDocument(collectors.strategy.performance, self._host_clock),
                "strategy_breaks": lambda: {"breaks": collectors.strategy.breaks()},
                **status.documents(),
            }
        )
        hub_collector = HubCollector(hub, collectors.system)
        if isinstance(door, WorkerGateway):
            hub.documents[HUB_STATE] = status.hub_state
            hub.documents[HUB_GAUGES] = door.mirror(hub_collector.hub_metrics)
        if isinstance(door, Worker):
            self._add_routes(door, status, Exposition(hub_collector, process_collector()))

    def _add_routes(self, worker: Worker, status: Status, exposition: Exposition) -> None:
        store = self._persistence.store
        history = self._history.reader(self._counters)
        parts = RouteParts(
            published=Published(self._hub.frames),
            event_clock=self._event_clock,
            gate=self._gate,
            trades=self._trades,
            acknowledger=self._acknowledger,
            status=status,
            history=history,
            tick_ns=round(self._config.metric_collection_interval * NS_PER_S),
            minutes=None if store is None else StoredMinutes(store.reader),
            bars=BarHistory(history, None if store is None else store.reader),
            log_book=LogBook({"": self._log_ring}, self._collectors.system.engine_log),
            exposition=exposition,
        )
        add_routes(worker.router, parts)

    def _make_replay(self) -> Replay:
        config = self._config
        self._progress = ProgressBar()
        return Replay(
            config.replay,
            publish=partial(self._bus.publish_all, source="replay"),
            event_clock=self._event_clock,
            speed=None if config.speed == MAX_SPEED else float(config.speed),
            loop=config.loop,
            host_clock=self._host_clock,
            on_progress=self._progress.update,
        )

    def _start_sources(self, replay: Replay | None) -> None:
        if self._config.demo:
            # A recording that is played again brings the same times: the ids of its orders must still be new.
            PaperEngine(self._bus, PaperConfig(id_prefix=f"P{self._hub.frames.epoch}-")).start()
        if replay is not None:
            self._hub.add_source("replay", partial(self._run_replay, replay))
        elif self._config.demo:
            simulator = Simulator(publish=partial(self._bus.publish_all, source="simulator"), clock=self._host_clock)
            self._hub.add_source("simulator", simulator.run)
        else:
            logger.info("no source is configured: --demo shows a simulator, --replay plays a recording")

    async def _run_replay(self, replay: Replay) -> None:
        with self._progress:
            await replay.run()
        self._hub.source_failures.extend(str(error) for error in replay.errors.values())

    def _announce(self, port: int) -> None:
        announce(self._config, port, self._history.size_bytes)


def newest_shown(mapping: SharedMapping) -> int:
    """Returns the newest number that clients of an earlier hub may have seen in a lane."""
    return max(log.newest_number for log in mapping.lanes().values())


def announce(config: Config, port: int, memory_bytes: int) -> None:
    """Prints the one line that says where everything is."""
    host = f"[{config.host}]" if ":" in config.host else config.host
    address = f"{host}:{port}"
    http, ws = ("http", "ws") if config.tls_cert is None else ("https", "wss")
    workers = f"{config.workers} workers, " if config.workers > 1 else ""
    print(
        f"observability {VERSION} listening on {http}://{address}/ (live page), {ws}://{address}/ws/metrics, "
        f"{http}://{address}/docs, {http}://{address}/metrics; {workers}{config.max_symbols} symbols, "
        f"{memory_bytes / 1e6:.0f} MB of history; Ctrl-C stops",
        file=sys.stdout,
        flush=True,
    )
