"""What fills the lanes: the trades, alerts, bookings and order reports that the journal announces, and the store for
entries that have left the rings."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from observability.memory.layout import ALERTS_LANE, BOOKINGS_LANE, ORDERS_LANE, TRADES_LANE
from observability.metrics.durability.journal import Announcement, Document
from observability.metrics.execution.orders.rows import report_of
from observability.metrics.trades.booking import booking_of
from observability.metrics.trades.rows import trade_of
from observability.store.reader import StoreReader
from observability.store.schema import BOOKING_COLUMNS, FILL_COLUMNS, ORDER_REPORT_COLUMNS
from observability.stream.lanes import Entry, Lane, Page, SymbolFilter

ReadPage = Callable[[sqlite3.Connection, int, SymbolFilter, int], Page]


class StoreArchive:
    """The entries of one lane in the store, which `read` reads."""

    def __init__(self, reader: StoreReader, read: ReadPage) -> None:
        self._reader = reader
        self._read = read

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(self._read, after_seq, symbols, limit)


class LaneFeed:
    """Appends to the lanes what the journal announces."""

    def __init__(self, reader: StoreReader | None) -> None:
        self.lanes = make_lanes(reader)

    @property
    def newest_seq(self) -> int:
        """The sequence number of the newest entry of all lanes."""
        return max(lane.seq for lane in self.lanes.values())

    def restore(self, announcements: Iterable[Announcement]) -> None:
        """Appends the entries that an earlier process has announced, per lane oldest first."""
        for announcement in announcements:
            self.on_announcement(*announcement)

    def on_announcement(self, lane: str, seq: int, symbol: str | None, document: Document) -> None:
        self.lanes[lane].append(Entry(seq, symbol, document))


async def read_newer(lane: Lane, seq: int, limit: int) -> list[tuple[int, str | None, bytes]]:
    """Returns number, symbol and members of the first entries of a lane after a number: from the store if they have
    left the ring."""
    if seq and lane.archive is not None and seq < lane.oldest_seq:
        page = await lane.archive.read_page(seq, None, limit)
        if page.entries:
            return [(each.seq, each.symbol, each.members) for each in page.entries]
    position = lane.end
    while position > lane.start and lane.entry(position - 1).seq > seq:
        position -= 1
    entries = [lane.entry(at) for at in range(position, min(lane.end, position + limit))]
    return [(each.seq, each.symbol, each.members) for each in entries]


def make_lanes(reader: StoreReader | None) -> dict[str, Lane]:
    """Returns the lanes, empty. With a `reader` they reach back as far as the store does."""
    archives = make_archives(reader)
    return {lane: Lane(name, archive=archives.get(lane)) for lane, (name, _) in _kinds().items()}


def make_archives(reader: StoreReader | None) -> dict[str, StoreArchive]:
    """Returns the stored entries of each lane; none without a `reader`."""
    return {} if reader is None else {lane: StoreArchive(reader, read) for lane, (_, read) in _kinds().items()}


def _kinds() -> dict[str, tuple[str, ReadPage]]:
    """Returns the type of the messages of each lane, and what reads its entries."""
    return {
        TRADES_LANE: ("trade", _read_trades),
        ALERTS_LANE: ("alert", _read_alerts),
        BOOKINGS_LANE: ("booking", _read_bookings),
        ORDERS_LANE: ("order", _read_reports),
    }


def _read_trades(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    prev, rows = _select(connection, FILL_COLUMNS, "fills", after_seq, symbols, limit)
    trades = [trade_of(row) for row in rows]
    return Page(prev, [Entry(trade.seq, trade.symbol, trade.to_json()) for trade in trades])


def _read_alerts(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    # An alert has no symbol, so every filter passes it.
    prev, rows = _select(connection, "seq, document", "alert_transitions", after_seq, None, limit)
    return Page(prev, [Entry(seq, None, document.encode()[1:-1]) for seq, document in rows])


def _read_bookings(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    # A booking without a symbol passes every filter, as an alert does.
    symbols = None if symbols is None else symbols | {""}
    prev, rows = _select(
        connection, BOOKING_COLUMNS, "bookings", after_seq, symbols, limit, condition="AND conflict = 0"
    )
    bookings = [booking_of(row) for row in rows]
    return Page(prev, [Entry(each.seq, each.symbol or None, each.to_json()) for each in bookings])


def _read_reports(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    prev, rows = _select(connection, ORDER_REPORT_COLUMNS, "order_reports", after_seq, symbols, limit)
    reports = [report_of(row) for row in rows]
    return Page(prev, [Entry(report.seq, report.event.symbol, report.to_json()) for report in reports])


def _select(
    connection: sqlite3.Connection,
    columns: str,
    table: str,
    after_seq: int,
    symbols: SymbolFilter,
    limit: int,
    *,
    condition: str = "",
) -> tuple[int, list[Any]]:
    """Returns the `seq` of the row before a page, 0 if there is none, and the rows of the page."""
    names = [] if symbols is None else sorted(symbols)
    if symbols is not None:
        condition += f" AND symbol IN ({', '.join('?' * len(names))})"
    # Not max(seq), for which SQLite would visit every row of a table without an index of its symbols.
    before = connection.execute(
        f"SELECT seq FROM {table} WHERE seq <= ? {condition} ORDER BY seq DESC LIMIT 1", (after_seq, *names)
    ).fetchone()
    rows = connection.execute(
        f"SELECT {columns} FROM {table} WHERE seq > ? {condition} ORDER BY seq LIMIT ?", (after_seq, *names, limit)
    ).fetchall()
    return 0 if before is None else before[0], rows
