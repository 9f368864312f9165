"""Bars of any number of minutes, merged from the 1-minute bars in memory and in the store."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from observability.history.history import HistoryReader
from observability.metrics.market.bar_table import BARS, Bar, BarTable
from observability.store.reader import StoreReader

# How many bars one read of the store returns: a week of one symbol.
BARS_PER_READ: Final = 7 * 24 * 60

_BARS: Final = (
    "SELECT ts_ns, open, high, low, close, volume, trades, vwap FROM bars"
    " WHERE symbol = ? AND ts_ns >= ? AND ts_ns < ? AND trades > 0 ORDER BY ts_ns LIMIT ?"
)


class BarHistory:
    """The bars of every symbol, as far back as the store has them."""

    def __init__(self, history: HistoryReader, reader: StoreReader | None = None) -> None:
        self._history = history
        self._reader = reader

    @property
    def symbols(self) -> set[str]:
        """The symbols that this process has tracked; the store may have bars of more."""
        return self._history.table_keys(BARS)

    async def read(self, symbol: str, start_ns: int, end_ns: int, interval_ns: int) -> list[Bar]:
        """Returns the bars that begin in start_ns <= t < end_ns, oldest first.

        `start_ns` is moved back to the beginning of its interval, so that the first bar is complete.
        """
        start_ns -= start_ns % interval_ns
        table = self._history.table(BARS, symbol)
        recent = [] if table is None else list(BarTable(table).copy_bars(start_ns, end_ns))
        stored: list[Bar] = []
        if self._reader is not None:
            stop_ns = recent[0].ts_ns if recent else end_ns
            while start_ns < stop_ns:
                page: list[Bar] = await self._reader.run(_read, symbol, start_ns, stop_ns)
                stored += page
                start_ns = page[-1].ts_ns + 1 if len(page) == BARS_PER_READ else stop_ns
        return merge_bars(stored + recent, interval_ns)


def merge_bars(bars: Iterable[Bar], interval_ns: int) -> list[Bar]:
    """Merges bars, oldest first, into longer ones. Volumes and notionals are rounded only once, after summing."""
    merged = []
    for start_ns, group in groupby(bars, lambda bar: bar.ts_ns - bar.ts_ns % interval_ns):
        inside = list(group)
        volume = math.fsum(bar.volume for bar in inside)
        if len(inside) == 1:
            vwap = inside[0].vwap
        else:
            notional = math.fsum(bar.vwap * bar.volume for bar in inside if bar.vwap is not None)
            vwap = notional / volume if volume else None
        merged.append(
            Bar(
                start_ns,
                inside[0].open,
                max(bar.high for bar in inside),
                min(bar.low for bar in inside),
                inside[-1].close,
                volume,
                sum(bar.trades for bar in inside),
                vwap,
            )
        )
    return merged


def _read(connection: sqlite3.Connection, symbol: str, start_ns: int, end_ns: int) -> list[Bar]:
    return [Bar(*row) for row in connection.execute(_BARS, (symbol, start_ns, end_ns, BARS_PER_READ)).fetchall()]
