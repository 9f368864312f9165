"""One symbol's finished 1-minute bars of the last 24 hours, in memory that never grows.

No bar is made here (see `bars.py`) and nothing is kept beyond a day (see the store).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator
from typing import Final, NamedTuple

from observability.core.timestamps import NS_PER_S

NS_PER_MINUTE: Final = 60 * NS_PER_S
MAX_BARS: Final = 24 * 60

_WORDS = 8
_PRICES = 6


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
    vwap: float | None


class BarRing:
    """A slot per minute of the day, under 100 kB in all; a bar replaces that of a day before, or itself when amended.

    slot = minute % 1440      times    [ts_ns | trades]
                              numbers  [open | high | low | close | volume | vwap]
    """

    __slots__ = ("_newest_ns", "_numbers", "_times")

    def __init__(self) -> None:
        self._times = array("q", bytes(8 * MAX_BARS * (_WORDS - _PRICES)))
        self._numbers = array("d", bytes(8 * MAX_BARS * _PRICES))
        self._newest_ns = -1

    def put(self, bar: Bar) -> None:
        """Keeps a bar, unless it is a day older than the newest one."""
        if bar.ts_ns <= self._newest_ns - MAX_BARS * NS_PER_MINUTE:
            return
        self._newest_ns = max(self._newest_ns, bar.ts_ns)
        slot = bar.ts_ns // NS_PER_MINUTE % MAX_BARS
        vwap = math.nan if bar.vwap is None else bar.vwap
        self._times[2 * slot : 2 * slot + 2] = array("q", (bar.ts_ns, bar.trades))
        first = slot * _PRICES
        self._numbers[first : first + _PRICES] = array("d", (*bar[1:6], vwap))

    def copy_bars(self, start_ns: int, end_ns: int) -> Iterator[Bar]:
        """Yields copies of the bars that begin in start_ns <= t < end_ns, oldest first."""
        first_ns = max(start_ns, self._newest_ns - (MAX_BARS - 1) * NS_PER_MINUTE, 0)
        first_ns += -first_ns % NS_PER_MINUTE
        for ts_ns in range(first_ns, min(end_ns, self._newest_ns + 1), NS_PER_MINUTE):
            slot = ts_ns // NS_PER_MINUTE % MAX_BARS
            if self._times[2 * slot] == ts_ns and (trades := self._times[2 * slot + 1]):
                first = slot * _PRICES
                opened, high, low, close, volume, vwap = self._numbers[first : first + _PRICES]
                yield Bar(ts_ns, opened, high, low, close, volume, trades, None if math.isnan(vwap) else vwap)
