"""The finished 1-minute bars of one symbol, of the last 24 hours, in a table of the history."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from observability.history.layout import TABLE_ROWS
from observability.history.table import RowTable

MAX_BARS: Final = TABLE_ROWS


class Bar(NamedTuple):
    """The prints of one minute. `vwap` is None where every print had size 0."""

    ts_ns: int
    """When the minute began."""
    open: float
    high: float
    low: float
    close: float
    volume: float
    trades: int
    """0 for a bar whose prints were all busted: there is none."""
    vwap: float | None
    is_corrected: bool = False
    """Whether prints of it were busted or corrected: it may have fewer than before."""


BARS: Final = "bars"
"""The section of the history that has a table of `FIELDS` per symbol."""
FIELDS: Final = ("open", "high", "low", "close", "volume", "trades", "vwap")
_TRADES: Final = FIELDS.index("trades")


class BarTable:
    """A slot per minute of the day. A bar replaces that of the day before, or an earlier version of itself."""

    __slots__ = ("_table",)

    def __init__(self, table: RowTable | None = None) -> None:
        """`table` has the columns `FIELDS`; without one the bars are in this object's own memory."""
        self._table = RowTable.of_own_memory(len(FIELDS)) if table is None else table

    def put(self, bar: Bar) -> None:
        """Keeps a bar unless it is a day older than the newest one, or has fewer prints than the bar of its minute and
        none was corrected: after a restart, a bar made from an older checkpoint may be less complete than the one in
        shared memory."""
        before = self._table.copy_row(bar.ts_ns)
        if not bar.is_corrected and before is not None and before.payload[_TRADES] > bar.trades:
            return
        vwap = math.nan if bar.vwap is None else bar.vwap
        self._table.put(bar.ts_ns, array("d", (*bar[1:7], vwap)))

    def bar(self, ts_ns: int) -> Bar | None:
        """Returns the bar of a minute; None if there is none."""
        return next(self.copy_bars(ts_ns, ts_ns + 1), None)

    def copy_bars(self, start_ns: int, end_ns: int) -> Iterator[Bar]:
        """Yields copies of the bars that begin in start_ns <= t < end_ns, oldest first."""
        for row in self._table.copy_rows(start_ns, end_ns):
            opened, high, low, close, volume, trades, vwap = row.payload
            if not trades:
                continue
            yield Bar(row.ts_ns, opened, high, low, close, volume, int(trades), None if math.isnan(vwap) else vwap)
