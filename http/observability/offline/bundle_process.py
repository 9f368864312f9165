"""The server that shows a bundle: the page, the past, and the store of the bundle; nothing is collected or written."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from observability.clocks.clock import Clock, HostClock
from observability.clocks.timestamps import NS_PER_S, iso_or_none
from observability.config.config import Config
from observability.history.archive import StoredMinutes
from observability.http11.refusals import Unavailable
from observability.ingest.answers import IngestAnswer
from observability.ingest.gate import Transport
from observability.logs.log_book import LogBook
from observability.logs.log_ring import LogRing
from observability.memory.counters import Counters
from observability.metrics.alerts.occurrences import StoredOccurrences
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.assembly import make_history
from observability.metrics.execution.ledger import OrderKey
from observability.metrics.execution.orders.listing import OrderFilter
from observability.metrics.execution.orders.queries import OrderLife, Orders, RecentOrders
from observability.metrics.market.bar_history import BarHistory
from observability.metrics.trades.booking_queries import StoredBookings
from observability.metrics.trades.queries import StoredTrades
from observability.monitoring.acknowledgements import Acknowledged
from observability.monitoring.exposition import Exposition
from observability.monitoring.trading_exposition import EXECUTION_FIGURES, TradingLabels
from observability.offline.curves import fill_history
from observability.past.reader import RecordingReader
from observability.past.routes import PastRoutes
from observability.recorder.bundle import BundleError, Chain
from observability.recorder.layout import DIRECTORY_NAME
from observability.recorder.recording import Cursor, Recording
from observability.rest.bookings import BookingsRoutes
from observability.rest.exports import Exports
from observability.rest.history import HistoryRoutes
from observability.rest.orders import OrdersRoutes
from observability.rest.published import RECORDED, Published
from observability.rest.system import SystemRoutes
from observability.rest.trades import TradesRoutes
from observability.server.feed import LocalFeed
from observability.server.process import ServerProcess
from observability.server.worker import Worker
from observability.snapshot.frames import Documents, Frame, FrameRing, PublishedDocument, Stamp
from observability.store.file import DATABASE_NAME
from observability.store.reader import StoreReader
from observability.stream.lane_feed import make_archives, make_lanes
from observability.web.pages import PageRoutes

MAX_FORGOTTEN_SEQ = 2**62


@dataclass(frozen=True, slots=True)
class EndClock:
    """The event clock of a bundle: the time of its last frame."""

    end_ns: int
    host_clock: Clock

    def time_ns(self) -> int:
        return self.end_ns

    def mono_ns(self) -> int:
        return self.host_clock.mono_ns()


class BundleProcess(ServerProcess):
    """Serves the parts of a bundle in a directory. The newest snapshot is the bundle's last."""

    def __init__(self, config: Config, directory: Path, chain: Chain, announce: Callable[[int, Chain], None]) -> None:
        """Raises BundleError if the frames cannot be read."""
        super().__init__(is_alone=True)
        self._config = config
        self._chain = chain
        self._announce = announce
        self._counters = Counters()
        self._recording = RecordingReader(directory / DIRECTORY_NAME, is_recorded=False, is_live=False)
        self._store = StoreReader(directory / DATABASE_NAME, self._counters)
        recording = Recording(directory / DIRECTORY_NAME)
        recording.refresh()
        last = _last_frame(recording)
        self._history = make_history(config.max_symbols)
        fill_history(self._history, recording)
        self._start_time = iso_or_none(recording.start_ns()) or ""
        self._frames = FrameRing(last.epoch, last.seq - 1)
        self._frames.publish(last.payload, last.index, last.ts_ns, 0, {})
        self._frames.documents = Documents(last.epoch, last.seq, _documents_at(recording, last.ts_ns))
        self._clock = EndClock(last.ts_ns, HostClock())
        feed = LocalFeed(self._frames, make_lanes(self._store), self._clock, _nothing)
        self._worker = Worker(
            config,
            feed,
            ClosedGate(),
            self._counters,
            HostClock(),
            self._loop,
            recording=self._recording,
            slices=self._slices,
        )

    def _wire(self) -> None:
        router, published, reader = self._worker.router, Published(self._frames, NoHub()), self._store
        exports = Exports(self._clock, self._slices)
        history = self._history.reader(self._counters)
        published.add_to(router)
        bookings = StoredBookings(reader)
        HistoryRoutes(
            history,
            self._clock,
            round(self._config.metric_collection_interval * NS_PER_S),
            minutes=StoredMinutes(reader),
            bars=BarHistory(history, reader),
            slices=self._slices,
            exports=exports,
            bookings=bookings,
        ).add_to(router)
        trades = StoredTrades(reader)
        TradesRoutes(trades, self._clock, self._slices, self._stored, _no_rates, exports).add_to(router)
        BookingsRoutes(bookings, self._slices, self._stored).add_to(router)
        OrdersRoutes(Orders(NoOrders(), reader), self._slices, self._stored, exports).add_to(router)
        PastRoutes(self._recording, self._slices, reader, make_archives(reader), bookings).add_to(router)
        status = BundleStatus(self._stored, lambda: self._worker.websocket_clients)
        log = LogBook({}, LogRing())
        SystemRoutes(published, status, NoAcknowledger(), log, StoredOccurrences(reader)).add_to(router)
        PageRoutes(router, Exposition(), TradingLabels(), published, self._slices, self._start_time).add_to(router)

    async def _start(self) -> None:
        self._store.start()

    async def _open(self) -> None:
        await self._worker.start()
        self._announce(self._worker.port, self._chain)

    async def _drain(self) -> None:
        await self._worker.stop()

    async def _stop(self) -> None:
        await self._recording.stop()
        await self._store.stop()

    def _stored(self) -> Stamp:
        return Stamp(self._frames.latest_seq, self._clock.end_ns)


class ClosedGate:
    """Takes no events."""

    async def take(
        self, data: bytes, *, source: Transport, is_lines: bool | None = None, key: str | None = None
    ) -> IngestAnswer:
        raise Unavailable("a bundle takes no events")


class NoHub:
    """Has no documents: those of a bundle are in its recording."""

    async def document(self, name: str) -> PublishedDocument | None:
        raise Unavailable(f"the bundle has no document {name}")


class NoAcknowledger:
    """Acknowledges nothing."""

    async def acknowledge(self, alert_id: str, author: str = "", comment: str = "") -> Acknowledged | None:
        raise Unavailable("the alerts of a bundle are past, and cannot be acknowledged")


class BundleStatus:
    """The status of a server that shows a bundle."""

    def __init__(self, stored: Callable[[], Stamp], clients: Callable[[], int]) -> None:
        self.stored = stored
        self._clients = clients
        self._started = time.monotonic()

    def not_ready(self) -> list[str]:
        return []

    def live(self) -> dict[str, Any]:
        uptime = time.monotonic() - self._started
        return {"alive": True, "websocket_connections": self._clients(), "uptime_seconds": round(uptime, 3)}


class NoOrders:
    """No orders in memory: all of a bundle are in its store."""

    async def recent_orders(self, wanted: OrderFilter, limit: int, before_seq: int | None) -> RecentOrders:
        return RecentOrders([], MAX_FORGOTTEN_SEQ, is_open_complete=False)

    async def find_orders(self, order_id: str) -> list[OrderLife]:
        return []

    async def held_orders(self, keys: list[OrderKey]) -> list[bool]:
        return [False] * len(keys)


def _documents_at(recording: Recording, time_ns: int) -> dict[str, bytes | None]:
    """Returns the documents of a time; None stands for one that the bundle does not have."""
    found = {name: recording.document(name, time_ns) for name in (*RECORDED, "symbols", EXECUTION_FIGURES)}
    return {name: None if document is None else document.body for name, document in found.items()}


def _last_frame(recording: Recording) -> Frame:
    end_ns = recording.end_ns()
    place = None if end_ns is None else recording.find(end_ns)
    if place is None:
        raise BundleError("the bundle has no frame")
    return Cursor(recording).go(place)


async def _no_rates() -> Rates:
    raise Unavailable("a bundle has no rates between currencies")


def _nothing() -> None: ...
