"""Queries over our orders: those in memory, and older ones that the store's reports and fills make up again.

    number    newest | in memory, all of them | in memory or only in the store | oldest
                                              ^ forgotten_seq: the newest order that memory has lost

An order is listed by the number of its first record, so a page is the newest orders of memory, completed below
`forgotten_seq` by those that only the store has. From the store an order is made by applying its reports and fills in
their order; no market is known then, so figures that need one are missing. An order without a report is found by its id
there, but not listed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from heapq import merge
from typing import Any, Final, Protocol

import msgspec

from observability.clocks.slices import Steps, in_slices
from observability.clocks.timestamps import MAX_NS
from observability.metrics.execution.ledger import OrderKey, OrderLedger
from observability.metrics.execution.order import OrderState, new_order
from observability.metrics.execution.orders.listing import OrderFilter
from observability.metrics.execution.orders.report_log import OrderReport, ReportLog
from observability.metrics.execution.orders.rows import report_of
from observability.metrics.trades.rows import fill_of, trade_of
from observability.metrics.trades.trade import Trade
from observability.metrics.trades.trade_log import TradeLog
from observability.store.reader import StoreReader
from observability.store.schema import FILL_COLUMNS, MAX_ROW_SEQ, ORDER_REPORT_COLUMNS

# About 200 us of testing.
ORDERS_PER_STEP: Final = 200
# Reports in the store that one read tests, a millisecond, and orders that it makes up again, about 50 us each.
SCANNED_PER_READ: Final = 5_000
FOLDED_PER_READ: Final = 100
# Reads of one query, and orders that it makes up again.
MAX_READS: Final = 40
MAX_FOLDED: Final = 2_000
PAGE_ORDERS: Final = 500
# Orders returned for one id; a longer list would help no client.
MAX_CANDIDATES: Final = 100
# Orders of a chain of replacements that are named.
MAX_CHAIN: Final = 50
# Reports and fills of one order that are read.
MAX_RECORDS: Final = 10_000

_REPORTS: Final = (
    f"SELECT {ORDER_REPORT_COLUMNS} FROM order_reports WHERE order_id = ? AND symbol = ? AND seq < ? "
    f"AND ts_ns <= ? ORDER BY seq LIMIT {MAX_RECORDS}"
)
_FILLS: Final = (
    f"SELECT {FILL_COLUMNS} FROM fills WHERE order_id = ? AND symbol = ? AND seq < ? "
    f"AND ts_ns <= ? ORDER BY seq LIMIT {MAX_RECORDS}"
)
_SYMBOLS: Final = (
    "SELECT symbol FROM order_reports WHERE order_id = ?1 UNION SELECT symbol FROM fills WHERE order_id = ?1 "
    f"LIMIT {MAX_CANDIDATES}"
)
# The second condition tells SQLite that the partial index has the rows.
_SUCCESSOR: Final = (
    "SELECT order_id FROM order_reports WHERE replaces = ? AND replaces != '' AND symbol = ? AND order_id != ?"
    " AND ts_ns <= ? ORDER BY seq DESC LIMIT 1"
)
# An order has such a status by a report only; others may result from its fills or its successor.
_ONLY_REPORTED: Final = frozenset({"pending_new", "new", "canceled", "rejected", "expired"})

_SEQ_OF_TIMES: Final = "SELECT min(seq), max(seq) FROM order_reports WHERE ts_ns BETWEEN ? AND ? AND is_first = 1"


class RecentOrders(msgspec.Struct, array_like=True):
    """A page of the orders in memory, newest first."""

    orders: list[OrderState]
    forgotten_seq: int
    """The highest number of an order that is no longer in memory; 0 if all are."""
    is_open_complete: bool
    """Whether every open order is in memory."""


class OrderLife(msgspec.Struct, array_like=True):
    """An order with its reports and fills, oldest first."""

    order: OrderState
    reports: list[OrderReport]
    trades: list[Trade]
    is_complete: bool = True
    """Whether these are all."""
    chain: list[str] = []
    """The ids of the orders that replaced one another, this one among them, the first one first."""


class OrderPage(msgspec.Struct, array_like=True):
    """A page of orders, newest first."""

    orders: list[OrderState]
    next_seq: int | None
    """The number below which the next page begins; None if there is none."""


class OrderMemory(Protocol):
    """Answers about the orders in memory. Raises Unavailable if they are in another process that does not answer."""

    async def recent_orders(self, wanted: OrderFilter, limit: int, before_seq: int | None) -> RecentOrders:
        """Returns the newest matching orders with a number below `before_seq`."""

    async def find_orders(self, order_id: str) -> list[OrderLife]:
        """Returns the orders of that id, with the reports and fills in memory."""

    async def held_orders(self, keys: list[OrderKey]) -> list[bool]:
        """Returns which of some orders are in memory."""


class LedgerOrders:
    """The orders of the hub's ledger. Reading thousands takes longer than a tick may wait."""

    def __init__(
        self,
        ledger: Callable[[], OrderLedger],
        reports: ReportLog,
        trades: TradeLog,
        slices: asyncio.Lock | None = None,
    ) -> None:
        """`slices` is shared by everything that works in slices."""
        self._ledger = ledger
        self._reports = reports
        self._trades = trades
        self._slices = asyncio.Lock() if slices is None else slices

    async def recent_orders(self, wanted: OrderFilter, limit: int, before_seq: int | None) -> RecentOrders:
        return await in_slices(self._selecting(wanted, limit, before_seq), self._slices)

    async def find_orders(self, order_id: str) -> list[OrderLife]:
        return await in_slices(self._finding(order_id), self._slices)

    async def held_orders(self, keys: list[OrderKey]) -> list[bool]:
        return [self._ledger().find(key) is not None for key in keys]

    def _selecting(self, wanted: OrderFilter, limit: int, before_seq: int | None) -> Steps[RecentOrders]:
        matches = wanted.predicate()
        ledger, below = self._ledger(), MAX_ROW_SEQ if before_seq is None else before_seq
        # As of now, because an order may be forgotten between two steps.
        forgotten_seq, is_open_complete = ledger.forgotten_seq, not ledger.evicted
        orders = list(ledger.open.values()) if wanted.is_open and is_open_complete else ledger.orders()
        matching = []
        for start in range(0, len(orders), ORDERS_PER_STEP):
            some = orders[start : start + ORDERS_PER_STEP]
            matching += [order for order in some if order.seq < below and matches(order)]
            yield
        matching.sort(key=_seq_of, reverse=True)
        return RecentOrders(matching[:limit], forgotten_seq, is_open_complete)

    def _finding(self, order_id: str) -> Steps[list[OrderLife]]:
        lives: dict[str, OrderLife] = {}
        orders = self._ledger().orders()
        for start in range(0, len(orders), ORDERS_PER_STEP):
            for order in orders[start : start + ORDERS_PER_STEP]:
                if order.order_id == order_id:
                    lives[order.symbol] = OrderLife(order, [], [])
            yield
        if not lives:
            return []
        reports = list(self._reports.recent)
        for start in range(0, len(reports), ORDERS_PER_STEP):
            for report in reports[start : start + ORDERS_PER_STEP]:
                if report.event.order_id == order_id and report.event.symbol in lives:
                    lives[report.event.symbol].reports.append(report)
            yield
        trades = self._trades.newer_than(min(life.order.seq for life in lives.values()) - 1)
        for start in range(0, len(trades), ORDERS_PER_STEP):
            for trade in trades[start : start + ORDERS_PER_STEP]:
                if trade.order_id == order_id and trade.symbol in lives:
                    lives[trade.symbol].trades.append(trade)
            yield
        for life in lives.values():
            life.is_complete = _has_all(life.order, life.reports, life.trades)
        return list(lives.values())


class Orders:
    """All orders: those in memory and, with a `reader`, those that only the store has. Raises StoreError."""

    def __init__(self, memory: OrderMemory, reader: StoreReader | None) -> None:
        self._memory = memory
        self._reader = reader

    async def query(
        self, wanted: OrderFilter, limit: int = 100, before_seq: int | None = None, until_ns: int | None = None
    ) -> OrderPage:
        """Returns one page. It may be shorter than `limit` although there is a next one, because a search of the store
        is bounded. With `until_ns` orders are as their stored reports and fills by that time make them."""
        if until_ns is not None:
            return await self._past(wanted, limit, MAX_ROW_SEQ if before_seq is None else before_seq, until_ns)
        recent = await self._memory.recent_orders(wanted, limit, before_seq)
        orders = recent.orders
        is_full = len(orders) == limit
        next_seq = orders[-1].seq if is_full else None
        if self._reader is None or not recent.forgotten_seq or (wanted.is_open and recent.is_open_complete):
            return OrderPage(orders, next_seq)
        if is_full and orders[-1].seq > recent.forgotten_seq:
            return OrderPage(orders, next_seq)
        below = recent.forgotten_seq + 1 if before_seq is None else min(before_seq, recent.forgotten_seq + 1)
        older, below_seq = await self._older(wanted, limit, below)
        numbers = {order.seq for order in orders}
        older = [order for order in older if order.seq not in numbers]
        # Below the end of what either of them was searched for, orders may be missing.
        floor_seq = max(below_seq or 0, next_seq or 0)
        orders = [order for order in merge(orders, older, key=_seq_of, reverse=True) if order.seq >= floor_seq]
        if len(orders) > limit:
            return OrderPage(orders[:limit], orders[limit - 1].seq)
        return OrderPage(orders, floor_seq or None)

    async def pages(
        self, wanted: OrderFilter, before_seq: int | None = None, until_ns: int | None = None
    ) -> AsyncIterator[list[OrderState]]:
        """Yields all matching orders, newest first."""
        while True:
            page = await self.query(wanted, PAGE_ORDERS, before_seq, until_ns)
            yield page.orders
            if page.next_seq is None:
                return
            before_seq = page.next_seq

    async def find(self, order_id: str, until_ns: int | None = None) -> list[OrderLife]:
        """Returns the orders of that id: exchanges number orders per symbol. With `until_ns` they are as the store's
        reports and fills by that time make them."""
        if until_ns is not None:
            return [] if self._reader is None else await self._reader.run(find_lives, order_id, MAX_ROW_SEQ, until_ns)
        lives = {life.order.symbol: life for life in await self._memory.find_orders(order_id)}
        if self._reader is None:
            return list(lives.values())
        for stored in await self._reader.run(find_lives, order_id):
            recent = lives.get(stored.order.symbol)
            lives[stored.order.symbol] = stored if recent is None else _joined(stored, recent)
        return sorted(lives.values(), key=lambda life: life.order.seq)

    async def follow(self, life: OrderLife, until_ns: int | None = None) -> None:
        """Finds the chain of replacements that an order is part of."""
        order = life.order
        chain = [order.order_id]
        seen = {order.order_id}
        earlier, later = order.replaces, order.successor
        while earlier and earlier not in seen and len(chain) < MAX_CHAIN:
            chain.insert(0, earlier)
            seen.add(earlier)
            found = await self._in_symbol(earlier, order.symbol, until_ns)
            earlier = "" if found is None else found.replaces
        while later and later not in seen and len(chain) < MAX_CHAIN:
            chain.append(later)
            seen.add(later)
            found = await self._in_symbol(later, order.symbol, until_ns)
            later = "" if found is None else found.successor
        life.chain = chain

    async def _in_symbol(self, order_id: str, symbol: str, until_ns: int | None) -> OrderState | None:
        lives = await self.find(order_id, until_ns)
        return next((life.order for life in lives if life.order.symbol == symbol), None)

    async def _past(self, wanted: OrderFilter, limit: int, below: int, until_ns: int) -> OrderPage:
        if self._reader is None:
            return OrderPage([], None)
        end_ns = until_ns + 1 if wanted.end_ns is None else min(wanted.end_ns, until_ns + 1)
        found, below_seq = await self._older(replace(wanted, end_ns=end_ns), limit, below, until_ns)
        if len(found) > limit:
            return OrderPage(found[:limit], found[limit - 1].seq)
        return OrderPage(found, below_seq)

    async def _older(
        self, wanted: OrderFilter, limit: int, below: int, until_ns: int | None = None
    ) -> tuple[list[OrderState], int | None]:
        """Returns matching orders that only the store has, newest first, and the number below which there may be more;
        None if there are none. With `until_ns` also those that memory has, as they were by then."""
        assert self._reader is not None
        found: list[OrderState] = []
        folded = 0
        matches = wanted.predicate()
        for _ in range(MAX_READS):
            keys, last_seq = await self._reader.run(_candidates, wanted, below, FOLDED_PER_READ)
            wanting = keys
            if until_ns is None and keys:
                held = await self._memory.held_orders([(symbol, order_id) for _, symbol, order_id in keys])
                wanting = [key for key, is_held in zip(keys, held, strict=True) if not is_held]
            folded_orders = await self._reader.run(_fold_all, wanting, MAX_NS if until_ns is None else until_ns)
            found += [order for order in folded_orders if matches(order)]
            folded += len(wanting)
            if last_seq is None:
                return found, None
            below = last_seq
            if len(found) >= limit or folded >= MAX_FOLDED:
                break
        return found, below


def _seq_of(order: OrderState) -> int:
    return order.seq


def _joined(stored: OrderLife, recent: OrderLife) -> OrderLife:
    """Returns what both know of an order: memory has figures of the market, and what is not on disk yet."""
    reports = {report.seq: report for report in (*stored.reports, *recent.reports)}
    trades = {trade.seq: trade for trade in (*stored.trades, *recent.trades)}
    # Memory has only the end of an order that it had forgotten before.
    knows_less = recent.order.n_reports < len(stored.reports) or recent.order.n_fills < stored.order.n_fills
    order = stored.order if knows_less else recent.order
    joined = OrderLife(order, [reports[n] for n in sorted(reports)], [trades[n] for n in sorted(trades)])
    joined.is_complete = _has_all(order, joined.reports, joined.trades)
    return joined


def _has_all(order: OrderState, reports: Sequence[OrderReport], trades: Sequence[Trade]) -> bool:
    """Returns whether these are all that an order was made of; a busted trade is shown, and counts no more."""
    return len(reports) >= order.n_reports and sum(not trade.is_busted for trade in trades) >= order.n_fills


# -- in the reader's thread

StoredKey = tuple[int, str, str]
"""Number of the first report, symbol, order id."""


def find_lives(
    connection: sqlite3.Connection, order_id: str, before_seq: int = MAX_ROW_SEQ, until_ns: int = MAX_NS
) -> list[OrderLife]:
    """Returns the orders of that id that the store has."""
    symbols = [symbol for (symbol,) in connection.execute(_SYMBOLS, (order_id,)).fetchall()]
    lives = (find_life(connection, symbol, order_id, before_seq, until_ns) for symbol in symbols)
    return [life for life in lives if life is not None]


def find_life(
    connection: sqlite3.Connection,
    symbol: str,
    order_id: str,
    before_seq: int = MAX_ROW_SEQ,
    until_ns: int = MAX_NS,
) -> OrderLife | None:
    """Returns an order as its records with numbers below `before_seq`, and times until `until_ns`, make it; None if
    there are none."""
    key = (order_id, symbol, before_seq, until_ns)
    report_rows = connection.execute(_REPORTS, key).fetchall()
    fill_rows = connection.execute(_FILLS, key).fetchall()
    records: list[tuple[int, Any]] = sorted(
        [(row[0], report_of(row)) for row in report_rows] + [(row[0], row) for row in fill_rows], key=lambda one: one[0]
    )
    if not records:
        return None
    order: OrderState | None = None
    reports: list[OrderReport] = []
    trades: list[Trade] = []
    for seq, record in records:
        if isinstance(record, OrderReport):
            if order is None:
                order = new_order(record.event, 0)
            if order.is_repeated_by(record.event):
                # Stored by an earlier version.
                continue
            order.take_strategy(record.event.strategy)
            order.n_reports += 1
            reports.append(record)
            if not order.is_contradicted_by(record.event):
                order.report(record.event, None)
        else:
            fill, trade = fill_of(record), trade_of(record)
            if order is None:
                order = new_order(fill, 0)
            order.take_strategy(trade.strategy)
            if not trade.is_busted:
                order.fill(fill, trade, None)
            trades.append(trade)
        order.seq = order.seq or seq
    assert order is not None
    successor = connection.execute(_SUCCESSOR, (order_id, symbol, order_id, until_ns)).fetchone()
    if successor is not None:
        order.successor = successor[0]
        order.is_replaced = not order.is_terminal
    is_complete = len(report_rows) < MAX_RECORDS and len(fill_rows) < MAX_RECORDS
    return OrderLife(order, reports, trades, is_complete)


def find_order(
    connection: sqlite3.Connection, symbol: str, order_id: str, before_seq: int = MAX_ROW_SEQ
) -> OrderState | None:
    """Returns the same order without its records."""
    life = find_life(connection, symbol, order_id, before_seq)
    return None if life is None else life.order


def _fold_all(connection: sqlite3.Connection, keys: Sequence[StoredKey], until_ns: int) -> list[OrderState]:
    orders = []
    for seq, symbol, order_id in keys:
        life = find_life(connection, symbol, order_id, until_ns=until_ns)
        # A report may be marked as the first one although an earlier one was there: its order was forgotten.
        if life is not None and life.reports and life.reports[0].seq == seq:
            life.order.seq = seq
            orders.append(life.order)
    return orders


def _candidates(
    connection: sqlite3.Connection, wanted: OrderFilter, below: int, rows: int
) -> tuple[list[StoredKey], int | None]:
    """Returns the next orders below a number that may match, newest first, and the number of the last; None if no more
    remain."""
    start_seq = 0
    tests: list[str] = []
    values: list[Any] = []
    if wanted.start_ns is not None or wanted.end_ns is not None:
        times = (wanted.start_ns or 0, MAX_NS if wanted.end_ns is None else wanted.end_ns - 1)
        first, last = connection.execute(_SEQ_OF_TIMES, times).fetchone()
        if first is None:
            return [], None
        start_seq, below = first, min(below, last + 1)
        tests.append("+ts_ns BETWEEN ? AND ?")
        values += times
    for name in ("symbol", "venue"):
        value = getattr(wanted, name)
        if value is not None:
            tests.append(f"{name} = ?")
            values.append(value)
    if wanted.strategy is not None:
        # Without a name in the first report, a later one may have it.
        tests.append("strategy IN (?, '')")
        values.append(wanted.strategy)
    if wanted.status in _ONLY_REPORTED:
        tests.append(
            "EXISTS (SELECT 1 FROM order_reports AS other WHERE other.order_id = report.order_id"
            " AND other.symbol = report.symbol AND other.status = ?)"
        )
        values.append(wanted.status)
    bounds = "is_first = 1 AND seq >= ? AND seq < ?"
    found = connection.execute(
        "SELECT seq FROM order_reports WHERE seq >= ? AND seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?",
        (start_seq, below, SCANNED_PER_READ - 1),
    ).fetchone()
    floor_seq = None if found is None else found[0]
    keys = connection.execute(
        f"SELECT seq, symbol, order_id FROM order_reports AS report WHERE {' AND '.join([bounds, *tests])}"
        f" ORDER BY seq DESC LIMIT {rows}",
        (start_seq if floor_seq is None else floor_seq, below, *values),
    ).fetchall()
    return keys, keys[-1][0] if len(keys) == rows else floor_seq
