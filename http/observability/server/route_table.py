"""The routing table: every route of this server, and what the routes ask of the rest of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from observability.clocks.clock import Clock, HostClock
from observability.history.archive import StoredMinutes
from observability.history.history import HistoryReader
from observability.ingest.gate import Gate
from observability.logs.log_book import LogBook
from observability.metrics.alerts.occurrences import StoredOccurrences
from observability.metrics.execution.orders.queries import Orders
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.booking_queries import BookingSource
from observability.metrics.trades.queries import TradeSource
from observability.monitoring.acknowledgements import Acknowledger
from observability.monitoring.exposition import Exposition
from observability.monitoring.silencing import Silencer
from observability.monitoring.status import ServerStatus
from observability.monitoring.trading_exposition import TradingLabels
from observability.past.reader import RecordingReader
from observability.past.routes import PastRoutes
from observability.rest.bookings import BookingsRoutes
from observability.rest.desk_health import DescribeDesk, DeskHealth
from observability.rest.exports import Exports
from observability.rest.history import HistoryRoutes
from observability.rest.orders import OrdersRoutes
from observability.rest.positions import PositionsRoutes
from observability.rest.published import Published
from observability.rest.silences import SilenceRoutes
from observability.rest.system import SystemRoutes
from observability.rest.trades import TradesRoutes
from observability.routing.router import Router
from observability.senders.route import IngestRoutes
from observability.store.reader import StoreReader
from observability.stream.lane_feed import make_archives
from observability.web.pages import PageRoutes


@dataclass(frozen=True, slots=True)
class RouteParts:
    """What the routes need. The hub's process has it all; a worker's reads what is shared and asks the hub for the
    rest."""

    published: Published
    event_clock: Clock
    gate: Gate
    trades: TradeSource
    bookings: BookingSource
    orders: Orders
    recording: RecordingReader
    store: StoreReader | None
    acknowledger: Acknowledger
    silencer: Silencer
    status: ServerStatus
    history: HistoryReader
    tick_ns: int
    minutes: StoredMinutes | None
    bars: BarHistory
    occurrences: StoredOccurrences | None
    log_book: LogBook
    exposition: Exposition
    trading_labels: TradingLabels
    slices: asyncio.Lock
    """The lock of all work in slices."""
    desk: DescribeDesk | None = None
    """None if this host is alone."""


def add_routes(router: Router, parts: RouteParts) -> None:
    """Adds every route."""
    parts.published.add_to(router)
    IngestRoutes(parts.gate).add_to(router)
    exports = Exports(parts.event_clock, parts.slices)
    history = HistoryRoutes(
        parts.history,
        parts.event_clock,
        parts.tick_ns,
        minutes=parts.minutes,
        bars=parts.bars,
        slices=parts.slices,
        exports=exports,
        bookings=parts.bookings,
    )
    history.add_to(router)
    rates, stored = parts.published.rates, parts.status.stored
    TradesRoutes(parts.trades, parts.event_clock, parts.slices, stored, rates, exports).add_to(router)
    BookingsRoutes(parts.bookings, parts.slices, stored).add_to(router)
    OrdersRoutes(parts.orders, parts.slices, stored, exports).add_to(router)
    PastRoutes(parts.recording, parts.slices, parts.store, make_archives(parts.store), parts.bookings).add_to(router)
    SilenceRoutes(parts.silencer, HostClock()).add_to(router)
    PositionsRoutes(parts.published).add_to(router)
    SystemRoutes(parts.published, parts.status, parts.acknowledger, parts.log_book, parts.occurrences).add_to(router)
    if parts.desk is not None:
        DeskHealth(parts.published, parts.desk).replace_in(router)
    PageRoutes(router, parts.exposition, parts.trading_labels, parts.published, parts.slices).add_to(router)
