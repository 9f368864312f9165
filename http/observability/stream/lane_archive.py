"""The lanes' past, read from the store: trades and changes of alerts by their sequence numbers.

No lanes here (see `lanes.py`) and nothing is written.
"""

from __future__ import annotations

import sqlite3

from observability.encoding import encode_json
from observability.metrics.trades.rows import trade_of
from observability.store.reader import StoreReader
from observability.store.schema import FILL_COLUMNS
from observability.stream.lanes import Entry, Page, SymbolFilter


class TradeArchive:
    """Every fill in the store."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(_read_trades, after_seq, symbols, limit)


class AlertArchive:
    """Every change of an alert in the store; alerts belong to every symbol."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        return await self._reader.run(_read_alerts, after_seq, limit)


def _read_trades(connection: sqlite3.Connection, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
    names = [] if symbols is None else sorted(symbols)
    among = f" AND symbol IN ({', '.join('?' * len(names))})" if names else ""
    (prev,) = connection.execute(f"SELECT max(seq) FROM fills WHERE seq <= ?{among}", (after_seq, *names)).fetchone()
    rows = connection.execute(
        f"SELECT {FILL_COLUMNS} FROM fills WHERE seq > ?{among} ORDER BY seq LIMIT ?", (after_seq, *names, limit)
    ).fetchall()
    trades = [trade_of(row) for row in rows]
    return Page(prev or 0, [Entry(trade.seq, trade.symbol, encode_json(trade.to_json())[1:-1]) for trade in trades])


def _read_alerts(connection: sqlite3.Connection, after_seq: int, limit: int) -> Page:
    (prev,) = connection.execute("SELECT max(seq) FROM alert_transitions WHERE seq <= ?", (after_seq,)).fetchone()
    rows = connection.execute(
        "SELECT seq, document FROM alert_transitions WHERE seq > ? ORDER BY seq LIMIT ?", (after_seq, limit)
    ).fetchall()
    return Page(prev or 0, [Entry(seq, None, document.encode()[1:-1]) for seq, document in rows])
