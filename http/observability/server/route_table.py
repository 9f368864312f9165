"""The routing table: every route of this server, and which of them a worker in a process of its own answers itself.

No handlers here (see `routes/`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.history.archive import StoredMinutes
from observability.history.history import HistoryReader
from observability.ingest.gate import Gate
from observability.logs.log_book import LogBook
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.queries import TradeSource
from observability.monitoring.exposition import Exposition
from observability.monitoring.status import Status
from observability.rest.history import HistoryRoutes
from observability.rest.metrics import MetricsRoutes
from observability.rest.published import Published
from observability.rest.strategy import StrategyRoutes
from observability.rest.system import SystemRoutes
from observability.rest.trades import TradesRoutes
from observability.routing.router import Router
from observability.senders.route import IngestRoutes
from observability.server.relay import Relay
from observability.web.pages import PageRoutes

# By name; published documents are answered everywhere, too.
ANSWERED_BY_WORKERS: Final = frozenset({
    "root", "docs", "openapi", "prometheus", "health", "ready", "live",
    "metrics_history", "recent_logs", "system_alerts",
})  # fmt: skip
# Those too, where there is a store: each worker has a connection of its own to it.
ASKED_OF_THE_STORE: Final = frozenset({"trades", "trade", "trade_stats"})


@dataclass(frozen=True, slots=True)
class RouteParts:
    """What the handlers need; in a worker, some of it is `IN_HUB`."""

    published: Published
    gate: Gate
    exposition: Exposition
    history: HistoryReader
    tick_ns: int
    minutes: StoredMinutes | None
    bars: BarHistory
    event_clock: Clock
    trades: TradeSource
    status: Status | Any
    log_book: LogBook
    is_written: Callable[[], Awaitable[bool]]


class _InHub:
    """Stands, in a worker, for what only the hub has; whoever needs it is relayed there, and never gets this far."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} is in the hub")


IN_HUB: Final[Any] = _InHub()


def add_routes(router: Router, parts: RouteParts) -> None:
    """Adds every route."""
    MetricsRoutes(parts.published).add_to(router)
    IngestRoutes(parts.gate).add_to(router)
    history = HistoryRoutes(parts.history, parts.event_clock, parts.tick_ns, minutes=parts.minutes, bars=parts.bars)
    history.add_to(router)
    TradesRoutes(parts.published, parts.trades, parts.event_clock).add_to(router)
    StrategyRoutes(parts.published).add_to(router)
    SystemRoutes(parts.published, parts.status, parts.log_book, parts.is_written).add_to(router)
    PageRoutes(router, parts.exposition).add_to(router)


def relay_routes(router: Router, published: Published, relay: Relay, *, has_store: bool) -> None:
    """Lets the hub answer what this worker cannot."""
    answered = ANSWERED_BY_WORKERS | ASKED_OF_THE_STORE if has_store else ANSWERED_BY_WORKERS
    for resource in router.resources:
        for method, route in resource.routes.items():
            if route.name not in answered and not published.answers(route.handler):
                resource.routes[method] = replace(route, handler=relay.handle)
