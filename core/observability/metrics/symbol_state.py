"""The current state of one symbol: its touch, and the prints of its session.

No subscription and no bounds here (see `market_data_collector.py`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from observability.core.rings import Series
from observability.core.timestamps import format_iso_ms
from observability.metrics.exact import ExactTurnover
from observability.metrics.json_part import JsonPart
from observability.metrics.money import EXACT, finite_or_none, price_or_none, to_nan
from observability.metrics.sessions import session_end_ns

MarkSource = Literal["mid", "last", "fill"]

SERIES_FIELDS = ("last", "mid", "spread", "volume")

_HALF = Decimal("0.5")


class SymbolState(JsonPart):
    """What is known of one symbol. The collector writes the plain attributes once per event; the rest is derived here
    once per tick.

    Volume, trades, VWAP, high and low are those of the session (UTC day of the symbol's own newest event); the session
    turns with an event of the symbol, not with the clock, so that a symbol that fell silent keeps its last session.
    """

    __slots__ = (
        "ask",
        "ask_size",
        "bid",
        "bid_size",
        "crossed",
        "has_input",
        "high",
        "is_stale",
        "last_price",
        "locked",
        "low",
        "mid",
        "series",
        "session_end_ns",
        "stale_after_ns",
        "symbol",
        "trades",
        "turnover",
        "updated_ns",
    )

    def __init__(self, symbol: str, stale_after_ns: int, series: Series | None) -> None:
        super().__init__()
        self.symbol = symbol
        self.stale_after_ns = stale_after_ns
        self.series = series
        # Per event.
        self.bid: float | None = None
        self.ask: float | None = None
        self.bid_size: float | None = None
        self.ask_size: float | None = None
        self.last_price: float | None = None
        self.updated_ns = 0
        self.has_input = True
        # Per session.
        self.session_end_ns = 0
        self.turnover = ExactTurnover()
        self.trades = 0
        self.high: float | None = None
        self.low: float | None = None
        self.locked = 0
        """Quotes of the session with bid == ask."""
        self.crossed = 0
        """Quotes of the session with bid > ask."""
        # Per tick.
        self.mid: float | None = None
        self.is_stale = True

    def turn_session(self, now_ns: int) -> None:
        """Starts the session of `now_ns`; the touch and the last price stay."""
        self.session_end_ns = session_end_ns(now_ns)
        self.turnover.clear()
        self.trades = 0
        self.high = self.low = None
        self.locked = self.crossed = 0

    def mark(self) -> tuple[Decimal, MarkSource] | None:
        """Returns the mid if both sides are quoted, else the last price; exact, of the decimals that arrived."""
        bid, ask = price_or_none(self.bid), price_or_none(self.ask)
        if bid is not None and ask is not None:
            return EXACT.multiply(EXACT.add(bid, ask), _HALF), "mid"
        last = price_or_none(self.last_price)
        return None if last is None else (last, "last")

    def refresh(self, now_ns: int) -> None:
        """Brings the JSON up to `now_ns`."""
        # hot: once per symbol per tick (benchmarks/bench_tick.py)
        if self.has_input:
            # A publisher inside this process may leave `ts_init` unset; 1970 would be a lie.
            if self.updated_ns <= 0 and (self.trades or self.bid is not None or self.ask is not None):
                self.updated_ns = now_ns
            is_stale = now_ns - self.updated_ns > self.stale_after_ns
            self.has_input = False
        else:
            is_stale = now_ns - self.updated_ns > self.stale_after_ns
            if is_stale == self.is_stale:
                return
        self.is_stale = is_stale
        self._derive()

    def record(self, now_ns: int) -> None:
        """Writes one row of history."""
        # hot: once per symbol per tick (benchmarks/bench_tick.py)
        if self.series is None:
            return
        mid = self.mid
        spread = to_nan(None if mid is None or self.ask is None or self.bid is None else self.ask - self.bid)
        self.series.record(now_ns, (to_nan(finite_or_none(self.last_price)), to_nan(mid), spread, self.turnover.volume))

    def _derive(self) -> None:
        bid, ask = finite_or_none(self.bid), finite_or_none(self.ask)
        mid = spread_bps = None
        if bid is not None and ask is not None:
            mid = finite_or_none((bid + ask) / 2)
            # A spread relative to a price of zero or less says nothing.
            if mid is not None and mid > 0:
                spread_bps = finite_or_none((ask - bid) / mid * 1e4)
        self.mid = mid
        self.offer(
            {
                "last_price": finite_or_none(self.last_price),
                "bid": bid,
                "ask": ask,
                "bid_size": finite_or_none(self.bid_size),
                "ask_size": finite_or_none(self.ask_size),
                "volume": self.turnover.volume,
                "trades": self.trades,
                "vwap": self.turnover.vwap,
                "high": finite_or_none(self.high),
                "low": finite_or_none(self.low),
                "spread_bps": spread_bps,
                "locked": self.locked,
                "crossed": self.crossed,
                "updated": format_iso_ms(self.updated_ns) if self.updated_ns > 0 else None,
                "stale": self.is_stale,
            }
        )
