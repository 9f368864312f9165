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

from observability.core.bus import Bus
from observability.core.clock import EventClock, HostClock
from observability.core.config import Config
from observability.core.counters import Counters
from observability.core.hub import Hub, SlowDocument
from observability.core.ingest import IngestGate
from observability.core.logs import LogRing
from observability.core.settings import MAX_SPEED
from observability.core.timestamps import NS_PER_S
from observability.core.version import VERSION
from observability.http.exposition import Exposition
from observability.http.figures import server_figures
from observability.http.lane_feed import LaneFeed
from observability.http.published import Published
from observability.http.routes.history import HistoryRoutes
from observability.http.routes.ingest import IngestRoutes
from observability.http.routes.metrics import MetricsRoutes
from observability.http.routes.pages import PageRoutes
from observability.http.routes.strategy import StrategyRoutes
from observability.http.routes.system import SystemRoutes
from observability.http.routes.trades import RecentTrades, TradesRoutes
from observability.http.status import Status
from observability.http.worker import Worker
from observability.metrics import overview
from observability.metrics.alert_rules import Rule
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.bar_history import BarHistory
from observability.metrics.collectors import custom_collectors
from observability.metrics.metric_paths import MetricSources
from observability.metrics.persistence import Persistence
from observability.metrics.rule_book import RuleBook
from observability.metrics.stored_trades import StoredTrades
from observability.sources import PaperConfig, PaperEngine, ProgressBar, Replay, Simulator

logger = logging.getLogger(__name__)

# A second signal does not wait for anybody: the code a shell gives to what SIGINT ended.
EXIT_INTERRUPTED: Final = 130
# 16 random letters and digits have over 90 bits.
MIN_TOKEN_CHARS: Final = 16


class Backend:
    """One server: `run` serves until SIGINT or SIGTERM."""

    def __init__(self, config: Config, log_ring: LogRing, rules: Sequence[Rule]) -> None:
        self._config = config
        self._log_ring = log_ring
        self._rules = rules
        self._host_clock = HostClock()
        self._event_clock = EventClock(self._host_clock)
        self._bus = Bus()
        self._counters = Counters()
        self._history = make_history(config.max_symbols)
        self._persistence = Persistence(
            config, self._bus, self._history, self._counters, self._host_clock, self._event_clock
        )
        self._collectors = make_collectors(
            config, self._bus, self._event_clock, self._history, self._persistence.sequence
        )
        self._hub = Hub(
            config.metric_collection_interval,
            self._bus,
            self._host_clock,
            self._event_clock,
            self._collectors.sections,
            custom_collectors(),
            self._counters,
        )
        self._journal = self._persistence.attach(self._collectors)
        self._lane_feed = LaneFeed(self._persistence.store)
        self._gate = IngestGate(self._bus, self._journal, self._event_clock, self._counters)

    async def run(self) -> None:
        """Serves; returns once everything has been taken down. Raises OSError if the port cannot be had, SourceError
        if a recording cannot be read, ConfigError if the files of TLS do not make a pair."""
        config = self._config
        if config.workers > 1:
            logger.warning("%d workers were asked for; this version runs one", config.workers)
        if any(len(token.secret) < MIN_TOKEN_CHARS for token in config.api_tokens):
            logger.warning("API_TOKENS has a token of less than %d characters: it can be guessed", MIN_TOKEN_CHARS)
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, stopping)
        replay = self._make_replay() if config.replay else None
        worker = Worker(config, self._hub, self._lane_feed.lanes, self._gate, self._host_clock, loop)
        if worker.certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, worker.certificate.reload)
        self._add_routes(worker)
        await self._hub.start_collectors()
        self._persistence.recover()
        self._lane_feed.resume(self._persistence.told())
        self._journal.on_announced(self._lane_feed.announce)
        self._hub.on_frame(self._journal.on_frame)
        self._persistence.start(loop)
        await self._hub.start()
        try:
            await worker.start(self._announce)
            self._start_sources(replay)
            await stopping.wait()
            logger.info("stopping: closing %d WebSocket clients", len(worker.broadcaster.clients))
            await worker.stop()
            await self._gate.drain(config.shutdown_grace_seconds)
        finally:
            await self._hub.stop()
            await self._persistence.stop()
        logger.info("stopped")

    def _on_signal(self, stopping: asyncio.Event) -> None:
        if stopping.is_set():
            os._exit(EXIT_INTERRUPTED)
        stopping.set()

    def _add_routes(self, worker: Worker) -> None:
        hub, collectors = self._hub, self._collectors
        queues: dict[str, Callable[[], int]] = {
            "clients_behind": lambda: worker.broadcaster.clients_behind,
            "lane_backlog": lambda: worker.stream.lane_backlog,
        }
        store, archive = self._persistence.store, self._persistence.archive
        if store is not None:
            queues["store_rows"] = lambda: store.queued
            collectors.system.add_health_reason("store", lambda: store.trouble)
        sources = MetricSources(
            collectors.sections,
            collectors.system.user_metrics,
            server_figures(hub, collectors.system, queues),
            hub.custom.encoded,
        )
        rule_book = RuleBook(self._rules, sources, collectors.system.alert_book)
        status = Status(hub, collectors, worker, rule_book, queues)
        hub.on_frame(status.on_frame)
        hub.on_frame(worker.broadcaster.send_frame)
        hub.on_frame(rule_book.on_frame)
        hub.documents.update(
            {
                "symbols": partial(overview.symbols, collectors),
                "summary": lambda: overview.summary(collectors, self._event_clock.time_ns()),
                "execution_quality": collectors.execution.quality,
                "strategy_performance": SlowDocument(collectors.strategy.performance, self._host_clock),
                "strategy_breaks": lambda: {"breaks": collectors.strategy.breaks()},
                **status.documents(),
            }
        )
        published = Published(hub.frames)
        router = worker.router
        MetricsRoutes(published).add_to(router)
        IngestRoutes(self._gate).add_to(router)
        tick_ns = round(self._config.metric_collection_interval * NS_PER_S)
        bars = BarHistory(collectors.market, None if store is None else store.reader)
        HistoryRoutes(self._history, self._event_clock, tick_ns, archive=archive, bars=bars).add_to(router)
        trades = RecentTrades(collectors.execution.trades) if store is None else StoredTrades(store.reader)
        TradesRoutes(published, trades, self._event_clock).add_to(router)
        StrategyRoutes(published).add_to(router)
        SystemRoutes(published, status, self._log_ring, collectors.system, self._journal.is_written).add_to(router)
        PageRoutes(router, Exposition(hub, collectors.system)).add_to(router)

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
        """Prints the one line that says where everything is."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        address = f"{host}:{port}"
        http, ws = ("http", "ws") if self._config.tls_cert is None else ("https", "wss")
        print(
            f"observability {VERSION} listening on {http}://{address}/ (live page), {ws}://{address}/ws/metrics, "
            f"{http}://{address}/docs, {http}://{address}/metrics; {self._config.max_symbols} symbols, "
            f"{self._history.size_bytes / 1e6:.0f} MB of history; Ctrl-C stops",
            file=sys.stdout,
            flush=True,
        )
