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
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

from observability.core.accounting_settings import Multipliers, zone_of
from observability.core.bus import Bus
from observability.core.clock import Clock, EventClock, HostClock
from observability.core.config import Config
from observability.core.counters import Counters
from observability.core.events import Fill
from observability.core.hub import Hub
from observability.core.ingest import IngestGate, Verdict
from observability.core.ingest_memory import MemoryLog
from observability.core.logs import LogRing
from observability.core.market_settings import SymbolSeconds
from observability.core.rings import History
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
from observability.http.routes.system import SystemRoutes
from observability.http.routes.trades import TradesRoutes
from observability.http.status import Status
from observability.http.worker import Worker
from observability.metrics import overview
from observability.metrics.alert_rules import Rule
from observability.metrics.bar_history import BarHistory
from observability.metrics.collectors import custom_collectors
from observability.metrics.execution_collector import SERIES_FIELDS as EXECUTION_FIELDS
from observability.metrics.execution_collector import ExecutionCollector
from observability.metrics.market_data_collector import MarketDataCollector
from observability.metrics.metric_paths import MetricSources
from observability.metrics.overview import Collectors
from observability.metrics.rule_book import RuleBook
from observability.metrics.sessions import UTC_DAYS, SessionCalendar
from observability.metrics.strategy_collector import StrategyCollector
from observability.metrics.strategy_totals import SERIES_FIELDS as STRATEGY_FIELDS
from observability.metrics.symbol_state import SERIES_FIELDS as SYMBOL_FIELDS
from observability.metrics.system_collector import SERIES_FIELDS as SYSTEM_FIELDS
from observability.metrics.system_collector import SystemCollector
from observability.metrics.trade_log import Reader, Refusal, TradeLog
from observability.sources import PaperEngine, ProgressBar, Replay, Simulator

logger = logging.getLogger(__name__)

# A second signal does not wait for anybody: the code a shell gives to what SIGINT ended.
EXIT_INTERRUPTED: Final = 130
# 16 random letters and digits have over 90 bits.
MIN_TOKEN_CHARS: Final = 16
_VERDICTS: Final = {Refusal.DUPLICATE: Verdict.DUPLICATE, Refusal.CONFLICT: Verdict.CONFLICT}


def make_history(max_symbols: int) -> History:
    """Returns the history's memory: a series per symbol, and one per other section."""
    budget = {len(SYMBOL_FIELDS): max_symbols}
    for fields in (STRATEGY_FIELDS, EXECUTION_FIELDS, SYSTEM_FIELDS):
        budget[len(fields)] = budget.get(len(fields), 0) + 1
    return History(budget)


def make_collectors(
    bus: Bus,
    event_clock: Clock,
    *,
    max_symbols: int,
    history: History | None = None,
    data_dir: Path | None = None,
    stale_after: float = 5.0,
    stale_after_by_symbol: SymbolSeconds = (),
    calendar: SessionCalendar = UTC_DAYS,
    starting_capital: Decimal | None = None,
    multipliers: Multipliers = (),
    annualization: int = 365,
) -> Collectors:
    """Returns the four collectors on one bus, one clock and one record of trades."""
    trades = TradeLog()
    market = MarketDataCollector(
        bus=bus,
        clock=event_clock,
        history=history,
        max_symbols=max_symbols,
        stale_after_seconds=stale_after,
        stale_after_seconds_by_symbol=dict(stale_after_by_symbol),
        session_end_ns=calendar.end_ns,
    )
    return Collectors(
        market,
        StrategyCollector(
            bus=bus,
            clock=event_clock,
            history=history,
            market=market,
            trades=trades,
            multipliers=dict(multipliers),
            calendar=calendar,
            starting_capital=starting_capital,
            annualization=annualization,
        ),
        ExecutionCollector(
            bus=bus,
            clock=event_clock,
            history=history,
            market=market,
            trades=trades,
            session_end_ns=calendar.end_ns,
        ),
        SystemCollector(bus=bus, clock=event_clock, history=history, data_dir=data_dir),
    )


class Backend:
    """One server: `run` serves until SIGINT or SIGTERM."""

    def __init__(self, config: Config, log_ring: LogRing, rules: Sequence[Rule]) -> None:
        self._config = config
        self._log_ring = log_ring
        self._rules = rules
        self._host_clock = HostClock()
        self._event_clock = EventClock(self._host_clock)
        self._bus = Bus()
        self._history = make_history(config.max_symbols)
        self._collectors = make_collectors(
            self._bus,
            self._event_clock,
            max_symbols=config.max_symbols,
            history=self._history,
            data_dir=config.data_dir,
            stale_after=config.stale_after,
            stale_after_by_symbol=config.stale_after_by_symbol,
            calendar=SessionCalendar(zone_of(config.session_timezone), config.session_start),
            starting_capital=config.starting_capital,
            multipliers=config.contract_multipliers,
            annualization=config.annualization,
        )
        self._lane_feed = LaneFeed(self._collectors)
        self._hub = Hub(
            config.metric_collection_interval,
            self._bus,
            self._host_clock,
            self._event_clock,
            self._collectors.sections,
            custom_collectors(),
            Counters(),
        )
        self._log = MemoryLog(self._judge)
        self._gate = IngestGate(self._bus, self._log, self._event_clock, self._hub.counters)

    async def run(self) -> None:
        """Serves; returns once everything has been taken down. Raises OSError if the port cannot be had, SourceError
        if a recording cannot be read, ConfigError if the files of TLS do not make a pair."""
        config = self._config
        if config.workers > 1:
            logger.warning("%d workers were asked for; this version runs one", config.workers)
        if any(len(token.secret) < MIN_TOKEN_CHARS for token in config.api_tokens):
            logger.warning("API_TOKENS has a token of less than %d characters: it can be guessed", MIN_TOKEN_CHARS)
        if config.data_dir is not None:
            config.data_dir.mkdir(parents=True, exist_ok=True)
        loop = asyncio.get_running_loop()
        stopping = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, stopping)
        replay = self._make_replay() if config.replay else None
        self._hub.on_frame(self._lane_feed.on_frame)
        worker = Worker(config, self._hub, self._lane_feed.lanes, self._gate, self._host_clock, loop)
        if worker.certificate is not None:
            loop.add_signal_handler(signal.SIGHUP, worker.certificate.reload)
        self._add_routes(worker)
        await self._hub.start()
        self._bus.subscribe(Fill, self._log.on_fill)
        try:
            await worker.start(self._announce)
            self._start_sources(replay)
            await stopping.wait()
            logger.info("stopping: closing %d WebSocket clients", len(worker.broadcaster.clients))
            await worker.stop()
            await self._gate.drain(config.shutdown_grace_seconds)
        finally:
            await self._hub.stop()
        logger.info("stopped")

    def _judge(self, fill: Fill) -> Verdict:
        """Tells what the collectors, which were given `fill` before, have made of it."""
        admitted = self._collectors.execution.trades.admit(fill, Reader.JOURNAL)
        return _VERDICTS[admitted] if isinstance(admitted, Refusal) else Verdict.ACCEPTED

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
                **status.documents(),
            }
        )
        published = Published(hub.frames)
        router = worker.router
        MetricsRoutes(published).add_to(router)
        IngestRoutes(self._gate).add_to(router)
        tick_ns = round(self._config.metric_collection_interval * NS_PER_S)
        bars = BarHistory(collectors.market)
        HistoryRoutes(self._history, self._event_clock, tick_ns, bars=bars).add_to(router)
        TradesRoutes(published, collectors.execution.trades, self._event_clock).add_to(router)
        SystemRoutes(published, status, self._log_ring, collectors.system).add_to(router)
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
            PaperEngine(self._bus).start()
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
