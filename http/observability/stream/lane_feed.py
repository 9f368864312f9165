"""What fills the lanes: the trades, alerts, bookings and order reports that the journal announces, and the store for
entries that have left the rings."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from observability.memory.layout import ALERTS_LANE, BOOKINGS_LANE, ORDERS_LANE, TRADES_LANE
from observability.metrics.durability.journal import Announcement, Document
from observability.metrics.execution.orders.rows import report_of
from observability.metrics.trades.booking import booking_of
from observability.metrics.trades.rows import trade_of
from observability.store.reader import StoreReader
from observability.store.schema import BOOKING_COLUMNS, FILL_COLUMNS, ORDER_REPORT_COLUMNS
from observability.stream.lanes import Entry, Lane, Page, SymbolFilter


class TradeArchive:
    """The fills in the store."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(_read_trades, after_seq, symbols, limit)


class BookingArchive:
    """The bookings in the store."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(_read_bookings, after_seq, symbols, limit)


class AlertArchive:
    """The changes of alerts in the store. They have no symbol, so every filter passes them."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(_read_alerts, after_seq, limit)


class OrderArchive:
    """The order reports in the store."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(_read_reports, after_seq, symbols, limit)


class LaneFeed:
    """Appends to the lanes what the journal announces."""

    def __init__(self, reader: StoreReader | None) -> None:
        self.lanes = make_lanes(reader)

    def restore(self, announcements: Iterable[Announcement]) -> None:
        """Appends the entries that an earlier process has announced, per lane oldest first."""
        for announcement in announcements:
            self.on_announcement(*announcement)

    def on_announcement(self, lane: str, seq: int, symbol: str | None, document: Document) -> None:
        self.lanes[lane].append(Entry(seq, symbol, document))


def make_lanes(reader: StoreReader | None) -> dict[str, Lane]:
    """Returns the lanes, empty. With a `reader` they reach back as far as the store does."""
    return {
        TRADES_LANE: Lane("trade", archive=None if reader is None else TradeArchive(reader)),
        ALERTS_LANE: Lane("alert", archive=None if reader is None else AlertArchive(reader)),
        BOOKINGS_LANE: Lane("booking", archive=None if reader is None else BookingArchive(reader)),
        ORDERS_LANE: Lane("order", archive=None if reader is None else OrderArchive(reader)),
    }


def _read_trades(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    names = [] if symbols is None else sorted(symbols)
    among = "" if symbols is None else f" AND symbol IN ({', '.join('?' * len(names))})"
    (prev,) = connection.execute(f"SELECT max(seq) FROM fills WHERE seq <= ?{among}", (after_seq, *names)).fetchone()
    rows = connection.execute(
        f"SELECT {FILL_COLUMNS} FROM fills WHERE seq > ?{among} ORDER BY seq LIMIT ?", (after_seq, *names, limit)
    ).fetchall()
    trades = [trade_of(row) for row in rows]
    return Page(prev or 0, [Entry(trade.seq, trade.symbol, trade.to_json()) for trade in trades])


def _read_bookings(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    names = [] if symbols is None else sorted(symbols)
    # A booking without a symbol passes every filter, as an alert does.
    among = "" if symbols is None else f" AND symbol IN ('', {', '.join('?' * len(names))})"
    (prev,) = connection.execute(
        f"SELECT max(seq) FROM bookings WHERE conflict = 0 AND seq <= ?{among}", (after_seq, *names)
    ).fetchone()
    rows = connection.execute(
        f"SELECT {BOOKING_COLUMNS} FROM bookings WHERE conflict = 0 AND seq > ?{among} ORDER BY seq LIMIT ?",
        (after_seq, *names, limit),
    ).fetchall()
    bookings = [booking_of(row) for row in rows]
    return Page(prev or 0, [Entry(each.seq, each.symbol or None, each.to_json()) for each in bookings])


def _read_reports(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    names = [] if symbols is None else sorted(symbols)
    among = "" if symbols is None else f" AND symbol IN ({', '.join('?' * len(names))})"
    # Not max(seq), for which SQLite would visit every row.
    prev = connection.execute(
        f"SELECT seq FROM order_reports WHERE seq <= ?{among} ORDER BY seq DESC LIMIT 1", (after_seq, *names)
    ).fetchone()
    rows = connection.execute(
        f"SELECT {ORDER_REPORT_COLUMNS} FROM order_reports WHERE seq > ?{among} ORDER BY seq LIMIT ?",
        (after_seq, *names, limit),
    ).fetchall()
    reports = [report_of(row) for row in rows]
    return Page(
        0 if prev is None else prev[0],
        [Entry(report.seq, report.event.symbol, report.to_json()) for report in reports],
    )


def _read_alerts(connection: sqlite3.Connection, after_seq: int, limit: int) -> Page:
    (prev,) = connection.execute("SELECT max(seq) FROM alert_transitions WHERE seq <= ?", (after_seq,)).fetchone()
    rows = connection.execute(
        "SELECT seq, document FROM alert_transitions WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
    ).fetchall()
    return Page(prev or 0, [Entry(seq, None, document.encode()[1:-1]) for seq, document in rows])
