"""The process of an aggregator that is in the hub's place: it merges what the hubs of several desks publish.

`hub_process.py` takes the same steps to collect and publish; the workers beside it see no difference.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from dataclasses import replace
from functools import partial
from typing import Any, Final

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.cluster.desk import Desk
from observability.config.config import Config
from observability.metrics.alerts.metric_paths import MetricSources
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.alerts.transition_log import log_transition
from observability.metrics.assembly import make_history
from observability.metrics.system_collector import SystemCollector
from observability.monitoring.acknowledgements import HubAcknowledger
from observability.monitoring.exposition import HubCollector
from observability.monitoring.status import Status, Watched
from observability.processes.child import ChildContext
from observability.server.process import ServerProcess
from observability.server.receiving.site_documents import AlertsDocument, summary_document, symbols_document
from observability.server.relay import SiteCalls
from observability.server.worker_gateway import WorkerGateway
from observability.sites.lanes import SiteLanes
from observability.sites.sections import merged_sections
from observability.sites.site import Site
from observability.sites.system_section import SystemSection
from observability.snapshot.frames import Stamp
from observability.snapshot.hub import Hub
from observability.snapshot.on_demand import Document

logger = logging.getLogger(__name__)

# For the first frame of each site, before the first snapshot is made.
FIRST_FRAMES_SECONDS: Final = 2.0


class AggregatorProcess(ServerProcess):
    """Makes a snapshot of its own from the newest ones of its sites on each tick, and wakes the workers. It keeps
    nothing, and has no store."""

    def __init__(self, config: Config, desk: Desk, context: ChildContext) -> None:
        super().__init__(is_alone=False)
        mapping, counters = context.mapping, context.slot.counters()
        clock = HostClock()
        event_clock = EventClock(clock)
        bus = Bus()
        history = make_history(config.max_symbols, mapping.history_memory(), config.max_strategies)
        own = SystemCollector(bus=bus, clock=event_clock, history=history)
        self._sites = [Site(replace(desk, name=name), clock, counters) for name in config.sites]
        self._sections = merged_sections(self._sites, clock, own, history)
        self._system = SystemSection(own, self._sections.sites)
        self._hub = hub = Hub(
            config.metric_collection_interval,
            bus,
            clock,
            event_clock,
            (
                self._sections.sites,
                self._sections.market,
                self._sections.strategy,
                self._sections.execution,
                self._system,
            ),
            {},
            counters,
            # One number stays free, so that no client takes the first frame for the successor of the last hub's last.
            frames_shown=mapping.frames().cursor + 1,
        )
        self._lanes = SiteLanes(self._sites, mapping.lanes(), clock, counters, context.wake_workers)
        calls = SiteCalls(
            HubAcknowledger(own.alert_book, event_clock, _is_kept),
            hub.frames,
            {site.name: site.questions.ask for site in self._sites},
        )
        self._gateway = WorkerGateway(config, context, hub, calls.answer, self._loop)
        self._status = Status(
            hub,
            Watched((self._sections.market,), own, self._system.fields, self._count_symbols),
            self._gateway,
            RuleBook((), MetricSources((), own.user_metrics, {}, {}), own.alert_book),
            {
                "clients_behind": lambda: self._gateway.clients_behind,
                "lane_backlog": lambda: self._gateway.lane_backlog,
            },
            Stamp,
        )
        self._metrics = HubCollector(hub, own)
        self._max_symbols = config.max_symbols

    def _wire(self) -> None:
        hub, gateway, own = self._hub, self._gateway, self._system.own
        own.alert_book.add_transition_listener(log_transition)
        own.alert_book.add_transition_listener(self._lanes.on_transition)
        own.measure_lag(hub.take_lag_ms)
        own.add_health_reason("snapshots", lambda: gateway.trouble)
        hub.documents.update(self._documents())
        hub.documents.update(gateway.documents(self._status.hub_state, self._metrics.hub_metrics))
        hub.add_frame_listener(gateway.read_sent)
        hub.add_frame_listener(self._status.on_frame)
        hub.add_frame_listener(gateway.send_frame)
        # The supervisor passes it on; the workers are replaced, and there is nothing else to read again.
        self._loop.add_signal_handler(signal.SIGHUP, lambda: None)

    async def _start(self) -> None:
        for site in self._sites:
            site.link.start()
        await self._wait_for_first_frames()
        await self._hub.start()

    async def _open(self) -> None:
        await self._gateway.start()

    async def _drain(self) -> None:
        await self._gateway.stop()

    async def _stop(self) -> None:
        await self._hub.stop()
        await asyncio.gather(*(site.link.close() for site in self._sites))
        logger.info("stopped")

    async def _wait_for_first_frames(self) -> None:
        """Returns once every site has been seen, or after FIRST_FRAMES_SECONDS."""
        try:
            async with asyncio.timeout(FIRST_FRAMES_SECONDS):
                await asyncio.gather(*(site.has_come.wait() for site in self._sites))
        except TimeoutError:
            late = [site.name for site in self._sites if not site.has_come.is_set()]
            logger.warning("no frame has come yet of %s", ", ".join(late))

    def _documents(self) -> dict[str, Document]:
        """Returns the documents of the aggregator, by name."""
        return {
            **self._status.documents(),
            "symbols": partial(symbols_document, self._sections),
            "summary": partial(summary_document, self._sections, self._system),
            "system_alerts": AlertsDocument(self._system.own.alert_book, self._sites),
        }

    def _count_symbols(self) -> dict[str, Any]:
        tracked = len(self._sections.market.parts(None))
        return {
            "symbols": {"tracked": tracked, "max": self._max_symbols, "refused": 0},
            "late_prints": 0,
            "repeated_prints": 0,
        }


async def _is_kept() -> bool:
    """An aggregator has no disk: what it knows of its own alerts is kept while it runs."""
    return True
