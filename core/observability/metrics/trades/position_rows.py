"""The stored trades of one position and of one strategy, read in pages for a correction."""

from __future__ import annotations

import sqlite3
from typing import Final

from observability.metrics.trades.booking import ADOPTION, Booking, booking_of
from observability.metrics.trades.rows import trade_of
from observability.metrics.trades.trade import Trade
from observability.store.schema import BOOKING_COLUMNS, FILL_COLUMNS

# Rows that one call makes into trades: about three milliseconds.
PAGE_ROWS: Final = 200
# Rows that one call looks at for a moment at which the position was flat.
SEARCHED_ROWS: Final = 5_000

_OF_SYMBOL: Final = f"SELECT {FILL_COLUMNS} FROM fills WHERE symbol = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
_OF_STRATEGY: Final = (
    f"SELECT {FILL_COLUMNS} FROM fills WHERE strategy = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?"
)
_BOOKINGS: Final = (
    f"SELECT {BOOKING_COLUMNS} FROM bookings WHERE symbol = ? AND seq > ? AND seq < ? AND conflict = 0 "
    f"AND kind IN ('{ADOPTION}', 'settlement', 'split', 'dividend') ORDER BY seq"
)
_BACK: Final = (
    "SELECT seq, is_flat AND status != 'busted' FROM fills WHERE symbol = ? AND +strategy = ? AND position_side = ? "
    "AND seq < ? ORDER BY seq DESC LIMIT ?"
)


def flat_before(connection: sqlite3.Connection, trade: Trade, below_seq: int) -> tuple[int | None, int | None]:
    """Looks for the newest fill below `below_seq` after which the position of a trade was flat. Returns its number,
    None if it is not among the rows that were looked at, and where to go on looking; None if there are no more
    rows."""
    position = trade.symbol, trade.strategy, trade.position_side
    rows = connection.execute(_BACK, (*position, below_seq, SEARCHED_ROWS)).fetchall()
    found = next((seq for seq, is_flat in rows if is_flat), None)
    return found, rows[-1][0] if len(rows) == SEARCHED_ROWS else None


def symbol_page(connection: sqlite3.Connection, symbol: str, after_seq: int, below_seq: int) -> list[Trade]:
    """Returns the next trades of a symbol after `after_seq`."""
    rows = connection.execute(_OF_SYMBOL, (symbol, after_seq, below_seq, PAGE_ROWS)).fetchall()
    return [trade_of(row) for row in rows]


def symbol_bookings(connection: sqlite3.Connection, symbol: str, after_seq: int, below_seq: int) -> list[Booking]:
    """Returns the bookings in a symbol after `after_seq`; there are few."""
    rows = connection.execute(_BOOKINGS, (symbol, after_seq, below_seq)).fetchall()
    return [booking_of(row) for row in rows]


def strategy_page(connection: sqlite3.Connection, strategy: str, after_seq: int, below_seq: int) -> list[Trade]:
    """Returns the next trades of a strategy after `after_seq`."""
    rows = connection.execute(_OF_STRATEGY, (strategy, after_seq, below_seq, PAGE_ROWS)).fetchall()
    return [trade_of(row) for row in rows]
