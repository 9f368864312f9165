"""Queries over our trades: a protocol that the API asks, and its two sources, the store and the trades in memory.

`StoredTrades` knows only what is on disk, and answers as `TradeLog` does about recent trades. A query over a million
rows is split into windows, each of them a short read, so that other queries are answered in between:

    windows    newest |  w1  |  w2  |  w3  | ... oldest

A filter becomes one equality that an index answers in the order of seq, and a rest that is tested row by row. A range
of times is first narrowed to a range of seq, because rows arrive nearly in the order of their times, and then tested.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Protocol

from observability.clocks.slices import in_slices
from observability.clocks.timestamps import MAX_NS
from observability.metrics.arithmetic.decimals import ONE
from observability.metrics.trades.correction import BUSTED
from observability.metrics.trades.rows import decimal_or_none, trade_of
from observability.metrics.trades.stats import TradeAmounts, TradeStats
from observability.metrics.trades.trade import Trade, TradeFilter, TradeKey
from observability.metrics.trades.trade_log import TradeLog
from observability.store.reader import StoreReader
from observability.store.schema import FILL_COLUMNS, MAX_ROW_SEQ

# Index rows that one statement visits, and rows that one call adds up: about ten milliseconds each.
WINDOW_ROWS: Final = 20_000
SUM_ROWS: Final = 5_000
# Trades of one page of all. The reader's thread makes a hundred from their rows in a millisecond, for which it may keep
# the loop from the interpreter; each page of those in memory costs a search of all of them.
PAGE_ROWS: Final = 100
RECENT_PAGE_ROWS: Final = 500
# Trades returned for one id; a longer list would help no client.
MAX_CANDIDATES: Final = 1_000


SqlValues = tuple[Any, ...]
QueryTrades = Callable[[TradeFilter, int, int, int | None], Awaitable[tuple[list[Trade], int]]]

# A fill has the id that it was delivered with and, since a correction, maybe another; each is in an index.
_BY_ID: Final = (
    f"SELECT {FILL_COLUMNS} FROM fills WHERE trade_id = ?1 OR (new_id != '' AND new_id = ?1) "
    f"ORDER BY seq LIMIT {MAX_CANDIDATES}"
)
_BY_KEY: Final = (
    f"SELECT {FILL_COLUMNS} FROM fills WHERE (trade_id = ?3 OR (new_id != '' AND new_id = ?3)) "
    "AND venue = ?1 AND symbol = ?2 AND side = ?4 AND order_id = ?5 AND leg = ?6"
)
_SEQ_OF_TIMES: Final = "SELECT count(*), min(seq), max(seq) FROM fills WHERE ts_ns BETWEEN ? AND ?"

# One min or max reads the end of a tree; for two of them in one SELECT, SQLite visits every row.
_ENDS: Final = "SELECT (SELECT min(seq) FROM fills), (SELECT max(seq) FROM fills)"


class TradeSource(Protocol):
    """Answers queries over trades. Raises StoreError."""

    async def query(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> tuple[list[Trade], int]:
        """Returns one page, newest first, and how many trades match in all. `before_seq`, the `seq` of a page's last
        trade, asks for the next page."""

    def pages(self, wanted: TradeFilter, before_seq: int | None = None) -> AsyncIterator[list[Trade]]:
        """Yields all matching trades, newest first, in pages of at most `RECENT_PAGE_ROWS`."""

    async def find(self, trade_id: str) -> list[Trade]:
        """Returns every trade of that id, oldest first: other symbols, orders and days may have the same one."""

    async def stats(self, wanted: TradeFilter) -> TradeStats:
        """Adds up the matching trades; exact, as every row's decimals are."""


async def pages_of(query: QueryTrades, wanted: TradeFilter, before_seq: int | None) -> AsyncIterator[list[Trade]]:
    """Yields the pages of a source that is asked for one after the other."""
    while True:
        page, _ = await query(wanted, RECENT_PAGE_ROWS, 0, before_seq)
        yield page
        if len(page) < RECENT_PAGE_ROWS:
            return
        before_seq = page[-1].seq


class RecentTrades:
    """The trades in memory: all there are without a store. Reading thousands takes longer than a tick may wait."""

    def __init__(self, log: TradeLog, slices: asyncio.Lock | None = None) -> None:
        """`slices` is shared by everything that works in slices."""
        self._log = log
        self._slices = asyncio.Lock() if slices is None else slices

    async def query(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> tuple[list[Trade], int]:
        return await in_slices(self._log.querying(wanted, limit, offset, before_seq), self._slices)

    def pages(self, wanted: TradeFilter, before_seq: int | None = None) -> AsyncIterator[list[Trade]]:
        return pages_of(self.query, wanted, before_seq)

    async def find(self, trade_id: str) -> list[Trade]:
        return self._log.find(trade_id)

    async def stats(self, wanted: TradeFilter) -> TradeStats:
        return await in_slices(self._log.adding_up(wanted), self._slices)


class StoredTrades:
    """The trades on disk, read through a StoreReader in any process."""

    def __init__(
        self,
        reader: StoreReader,
        window_rows: int = WINDOW_ROWS,
        sum_rows: int = SUM_ROWS,
        multipliers: Mapping[str, Decimal] | None = None,
    ) -> None:
        """`multipliers` are those of contracts, by symbol; 1 for every other symbol."""
        self._reader = reader
        self._multipliers = {} if multipliers is None else multipliers
        self._window_rows = window_rows
        self._sum_rows = sum_rows
        self._counted = (0, 0, 0)
        """First and last seq of all rows when they were counted, and how many there were."""

    async def query(
        self, wanted: TradeFilter, limit: int = 100, offset: int = 0, before_seq: int | None = None
    ) -> tuple[list[Trade], int]:
        selection = await self._reader.run(selection_of, wanted)
        if selection is None:
            return [], 0
        return await self._page(selection, limit, offset, before_seq), await self._count(selection)

    async def pages(
        self, wanted: TradeFilter, before_seq: int | None = None, page_rows: int = PAGE_ROWS
    ) -> AsyncIterator[list[Trade]]:
        selection = await self._reader.run(selection_of, wanted)
        if selection is None:
            return
        below: int | None = selection.end_seq if before_seq is None else min(before_seq, selection.end_seq)
        while below is not None:
            # No window has more rows than a page, so none is left out between two of them.
            page, _, below = await self._reader.run(_page_window, selection, below, page_rows, page_rows, 0)
            if len(page) == page_rows:
                below = page[-1].seq
            yield page

    async def find(self, trade_id: str) -> list[Trade]:
        return await self._reader.run(find_trades, trade_id)

    async def stats(self, wanted: TradeFilter) -> TradeStats:
        stats = TradeStats()
        selection = await self._reader.run(selection_of, wanted)
        below = None if selection is None else selection.end_seq
        while selection is not None and below is not None:
            below = await self._reader.run(_add_up, selection, below, self._sum_rows, stats, self._multipliers)
        stats.settle()
        return stats

    async def _count(self, selection: Selection) -> int:
        if selection.total is not None:
            return selection.total
        if selection.is_everything:
            self._counted = await self._reader.run(_count_all, self._counted)
            return self._counted[-1]
        total = 0
        below: int | None = selection.end_seq
        while below is not None:
            count, below = await self._reader.run(_count_window, selection, below, self._window_rows)
            total += count
        return total

    async def _page(self, selection: Selection, limit: int, offset: int, before_seq: int | None) -> list[Trade]:
        page: list[Trade] = []
        below: int | None = selection.end_seq if before_seq is None else min(before_seq, selection.end_seq)
        while below is not None and len(page) < limit:
            trades, offset, below = await self._reader.run(
                _page_window, selection, below, self._window_rows, limit - len(page), offset
            )
            page += trades
        return page


def find_key(connection: sqlite3.Connection, key: TradeKey) -> list[Trade]:
    """Returns the trades with that key, of any day: the archive of a TradeLog."""
    *same, _, leg = key
    return [trade_of(row) for row in connection.execute(_BY_KEY, (*same, leg)).fetchall()]


# -- in the reader's thread


@dataclass(frozen=True, slots=True)
class Selection:
    """A filter as SQL: the rows of `lead` with start_seq <= seq < end_seq that pass `rest`."""

    lead: str
    lead_values: SqlValues
    rest: str
    rest_values: SqlValues
    start_seq: int
    end_seq: int
    total: int | None
    """How many match, if that is known already."""

    @property
    def is_everything(self) -> bool:
        return not self.lead and not self.rest

    def floor(self, connection: sqlite3.Connection, below: int, rows: int) -> int | None:
        """Returns the seq of the `rows`-th row of the lead before `below`; None if there are fewer."""
        sql = f"SELECT seq FROM fills WHERE {self.lead} seq >= ? AND seq < ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
        found = connection.execute(sql, (*self.lead_values, self.start_seq, below, rows - 1)).fetchone()
        return None if found is None else found[0]

    def sql(self, columns: str, page: str = "") -> str:
        """Returns the statement for the matching rows of a window, in the order of `page`."""
        return f"SELECT {columns} FROM fills WHERE {self.lead} seq >= ? AND seq < ? {self.rest} {page}"

    def values(self, start_seq: int, below: int) -> SqlValues:
        """Returns the parameters of `sql`."""
        return (*self.lead_values, start_seq, below, *self.rest_values)


def selection_of(connection: sqlite3.Connection, wanted: TradeFilter) -> Selection | None:
    """Returns a filter as SQL; None if nothing can match."""
    lead = ""
    lead_values: SqlValues = ()
    rest: list[str] = []
    rest_values: list[Any] = []
    # The field with the most values leads. SQLite has no statistics to choose by; the unary plus keeps it from leading
    # with another field.
    for name in ("symbol", "strategy", "side"):
        value = getattr(wanted, name)
        if value is None:
            continue
        if lead:
            rest.append(f"AND +{name} = ?")
            rest_values.append(value)
        else:
            lead, lead_values = f"{name} = ? AND", (value,)
    if wanted.position_side is not None:
        rest.append("AND position_side = ?")
        rest_values.append(wanted.position_side)
    start_seq, end_seq, total = 0, MAX_ROW_SEQ, None
    if wanted.start_ns is not None or wanted.end_ns is not None:
        times = (wanted.start_ns or 0, MAX_NS if wanted.end_ns is None else wanted.end_ns - 1)
        count, first, last = connection.execute(_SEQ_OF_TIMES, times).fetchone()
        if not count:
            return None
        start_seq, end_seq = first, last + 1
        if not lead and not rest and wanted.min_quantity is None and wanted.max_quantity is None:
            total = count
        rest.append("AND +ts_ns BETWEEN ? AND ?")
        rest_values += times
    for bound, comparison in ((wanted.min_quantity, ">"), (wanted.max_quantity, "<")):
        if bound is not None:
            # Doubles sort as the decimals that they approximate, except for decimals that share a double.
            rest.append(
                f"AND (quantity_real {comparison} ? "
                f"OR (quantity_real = ? AND decimal_compare(quantity, ?) {comparison}= 0))"
            )
            rest_values += (float(bound), float(bound), str(bound))
    return Selection(lead, lead_values, " ".join(rest), tuple(rest_values), start_seq, end_seq, total)


def find_trades(connection: sqlite3.Connection, trade_id: str) -> list[Trade]:
    """Returns every trade of that id, oldest first: as it was delivered, or as a correction has named it."""
    return [trade_of(row) for row in connection.execute(_BY_ID, (trade_id,)).fetchall()]


def _count_all(connection: sqlite3.Connection, counted: tuple[int, int, int]) -> tuple[int, int, int]:
    """Counts all rows, or only those after the ones already counted: rows are added at one end and pruned at the
    other."""
    first, last, total = counted
    # In one transaction, or a row written between the statements would be counted twice.
    connection.execute("BEGIN")
    try:
        oldest, newest = connection.execute(_ENDS).fetchone()
        if oldest is None:
            return 0, 0, 0
        if oldest == first:
            newer: int = connection.execute("SELECT count(*) FROM fills WHERE seq > ?", (last,)).fetchone()[0]
            return oldest, newest, total + newer
        return oldest, newest, connection.execute("SELECT count(*) FROM fills").fetchone()[0]
    finally:
        connection.execute("COMMIT")


def _count_window(
    connection: sqlite3.Connection, selection: Selection, below: int, rows: int
) -> tuple[int, int | None]:
    """Returns how many match among the next `rows` below, and the seq of the last of them; None if no rows remain."""
    floor = selection.floor(connection, below, rows)
    if floor is not None and not selection.rest:
        return rows, floor
    start_seq = selection.start_seq if floor is None else floor
    count: int = connection.execute(selection.sql("count(*)"), selection.values(start_seq, below)).fetchone()[0]
    return count, floor


def _page_window(
    connection: sqlite3.Connection, selection: Selection, below: int, rows: int, limit: int, offset: int
) -> tuple[list[Trade], int, int | None]:
    """Returns the trades that the next `rows` below add to the page, how many matches are still to be skipped, and the
    seq of the last row; None if no rows remain."""
    if not offset and not selection.rest:
        # The index alone yields the page.
        floor, start_seq = None, selection.start_seq
    else:
        floor = selection.floor(connection, below, rows)
        start_seq = selection.start_seq if floor is None else floor
    if offset:
        count = _count_window(connection, selection, below, rows)[0]
        if count <= offset:
            return [], offset - count, floor
    page = f"ORDER BY seq DESC LIMIT {limit} OFFSET {offset}"
    found = connection.execute(selection.sql(FILL_COLUMNS, page), selection.values(start_seq, below)).fetchall()
    return [trade_of(row) for row in found], 0, floor


def _add_up(
    connection: sqlite3.Connection,
    selection: Selection,
    below: int,
    rows: int,
    stats: TradeStats,
    multipliers: Mapping[str, Decimal],
) -> int | None:
    """Adds the matches among the next `rows` below; returns the seq of the last row, None if no rows remain."""
    floor = selection.floor(connection, below, rows)
    start_seq = selection.start_seq if floor is None else floor
    # Each step of the cursor releases the interpreter's lock, so the loop never waits for more than one row.
    sql = selection.sql(
        "symbol, side, quantity, price, commission, pnl, gross_pnl, round_trip, commission_asset, currency, fee_value, "
        "notional",
        f"AND status != '{BUSTED}'",
    )
    for row in connection.execute(sql, selection.values(start_seq, below)):
        symbol, side, quantity, price, commission, pnl, gross_pnl, round_trip = row[:8]
        asset, currency, fee_value, notional = row[8:]
        amounts = TradeAmounts(
            symbol, side, Decimal(quantity), Decimal(price), Decimal(commission), decimal_or_none(pnl),
            decimal_or_none(gross_pnl), round_trip, asset, currency, decimal_or_none(fee_value),
            decimal_or_none(notional),
        )  # fmt: skip
        stats.add(amounts, multipliers.get(symbol, ONE))
    # Every row from here on was added, so that only the round trips that began earlier are kept.
    stats.settle(start_seq)
    return floor
