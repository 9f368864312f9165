"""The current state of one symbol: its touch, and the prints of its session.

No subscription and no bounds here (see `market_data_collector.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from typing import Final, Protocol

import msgspec

from observability.clocks.timestamps import MAX_NS, NS_PER_HOUR, NS_PER_S, iso_or_none
from observability.events import Print, Quote
from observability.history.series_writer import SeriesWriter
from observability.metrics.arithmetic.decimals import finite_or_none, nan_if_none
from observability.metrics.arithmetic.sessions import session_end_ns
from observability.metrics.arithmetic.turnover import ExactTurnover, TurnoverState
from observability.metrics.market.bar_table import Bar, BarRing
from observability.metrics.market.bars import BarsState, SymbolBars
from observability.metrics.market.feed import FeedLatency, FeedState
from observability.metrics.market.marks import ClosingTouch, Mark, mark_of
from observability.metrics.market.touch import Touch
from observability.metrics.market.update_rate import UpdateRate
from observability.snapshot.sections import JsonPart

SERIES_FIELDS = ("last", "mid", "spread", "volume")

# A spread that stood for longer, or for less than nothing, is a clock gone wrong; no session is longer than this.
MAX_STOOD_NS: Final = 25 * NS_PER_HOUR

# Arrivals that may wait for the end of the second; more are counted on the tick.
MAX_WAITING: Final = 1024


@dataclass(frozen=True, slots=True)
class SymbolTerms:
    """What is told to a symbol's state: the same for all symbols, but for `stale_after_ns`."""

    stale_after_ns: int
    session_end_ns: Callable[[int], int]
    feed_window_seconds: float
    on_bar: Callable[[str, Bar], None]


class Follower(Protocol):
    """Is shown every quote and print of one symbol, right behind the market data section and before any other
    subscriber, who may answer them with orders and fills."""

    def on_quote(self, event: Quote) -> None: ...

    def on_print(self, event: Print) -> None: ...


class SymbolRecord(msgspec.Struct):
    """A symbol in a checkpoint."""

    symbol: str
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    last_price: float | None = None
    quote_ns: int = 0
    updated_ns: int = 0
    session_end_ns: int = 0
    turnover: TurnoverState | None = None
    high: float | None = None
    low: float | None = None
    locked: int = 0
    crossed: int = 0
    spread: float | None = None
    spread_since_ns: int = 0
    spread_time: float = 0.0
    quoted_ns: int = 0
    second_end_ns: int = MAX_NS
    updates: int = 0
    update_seconds: list[int] = []
    bars: BarsState = msgspec.field(default_factory=BarsState)
    feed: FeedState = msgspec.field(default_factory=FeedState)
    day_end_ns: int = 0
    session_close: ClosingTouch | None = None
    day_close: ClosingTouch | None = None


class SymbolState(JsonPart):
    """What is known of one symbol. The collector writes the plain attributes once per event; the rest is derived here
    once per tick.

    Volumes, trades, VWAP, high, low, locked, crossed and the time-weighted spread are those of the session (that of the
    symbol's own newest event); the session turns with an event of the symbol, not with the clock, so that a symbol that
    fell silent keeps its last session.
    - time_weighted_spread: ask - bid, negative while crossed, weighted by how long it stood by the quotes' `ts`, from
      the session's first quote to its newest; time with an empty side is left out. A double, no further from the exact
      one than the doubles of the prices are from theirs (1e-11 at 61,000).
    - update_rate: quotes and prints per second over the last five whole seconds by the event clock.
    - feed latencies: see `feed_latency.py`.
    """

    __slots__ = (
        "_day_close",
        "_day_end_ns",
        "_on_bar",
        "_quoted_ns",
        "_rate",
        "_session_close",
        "_session_end_ns_of",
        "_spread_since_ns",
        "_spread_time",
        "ask",
        "ask_size",
        "bars",
        "bid",
        "bid_size",
        "crossed",
        "feed",
        "follower",
        "has_input",
        "high",
        "is_stale",
        "last_price",
        "locked",
        "low",
        "note_offset",
        "quote_ns",
        "second_end_ns",
        "series",
        "session_end_ns",
        "spread",
        "stale_after_ns",
        "symbol",
        "touch",
        "turn_ns",
        "turnover",
        "updated_ns",
        "updates",
    )

    def __init__(self, symbol: str, terms: SymbolTerms, series: SeriesWriter | None, bars: BarRing | None) -> None:
        super().__init__()
        self.symbol = symbol
        self.stale_after_ns = terms.stale_after_ns
        self.series = series
        self._session_end_ns_of = terms.session_end_ns
        self._on_bar = terms.on_bar
        self.follower: Follower | None = None
        # Per event.
        self.bid: float | None = None
        self.ask: float | None = None
        self.bid_size: float | None = None
        self.ask_size: float | None = None
        self.last_price: float | None = None
        self.quote_ns = 0
        """`ts` of the newest quote."""
        self.updated_ns = 0
        self.has_input = True
        self.updates = 0
        """Quotes and prints of the current second."""
        self.turn_ns = 0
        """The first event at or after this turns the second, the session, the UTC day or several of them."""
        self.feed = FeedLatency(terms.feed_window_seconds)
        self.note_offset = self.feed.arrived.append
        """Takes `ts_init - ts` of an event that has both."""
        # Per session and per UTC day.
        self._session_close: ClosingTouch | None = None
        self._day_close: ClosingTouch | None = None
        self._day_end_ns = 0
        self.session_end_ns = 0
        self.turnover = ExactTurnover()
        self.high: float | None = None
        self.low: float | None = None
        self.locked = 0
        """Quotes of the session with bid == ask."""
        self.crossed = 0
        """Quotes of the session with bid > ask."""
        self.spread: float | None = None
        """Ask - bid of the session's newest touch, if that has both sides."""
        self._spread_since_ns = 0
        # Sums over the spreads before that one.
        self._spread_time = 0.0
        self._quoted_ns = 0
        # Per minute and per second.
        self.bars = SymbolBars(self.turnover, self._hand_on_bar, bars)
        self.second_end_ns = MAX_NS
        self._rate = UpdateRate()
        # Per tick.
        self.touch = Touch()
        self.is_stale = True

    @property
    def trades(self) -> int:
        """Prints of the session."""
        return self.turnover.trades

    @property
    def time_weighted_spread(self) -> float | None:
        spread_time, quoted_ns = self._spread_sums(self.quote_ns)
        return spread_time / quoted_ns if quoted_ns else None

    def change_spread(self, spread: float | None, ts_ns: int) -> None:
        """Takes note that from `ts_ns` on the spread is another one; before `quote_ns` is set to that."""
        # hot: once per quote that changes it (benchmarks/bench_intake.py)
        # After a time gone wrong it is known only that the spread stood until the quote before.
        until_ns = ts_ns if 0 < ts_ns - self._spread_since_ns <= MAX_STOOD_NS else self.quote_ns
        self._spread_time, self._quoted_ns = self._spread_sums(until_ns)
        self._spread_since_ns = ts_ns
        self.spread = spread if spread is not None and isfinite(spread) else None

    def _spread_sums(self, until_ns: int) -> tuple[float, int]:
        """Returns spread * nanoseconds and nanoseconds, the standing spread's up to a time included."""
        stood_ns = until_ns - self._spread_since_ns
        if self.spread is None or not 0 < stood_ns <= MAX_STOOD_NS:
            return self._spread_time, self._quoted_ns
        return self._spread_time + self.spread * stood_ns, self._quoted_ns + stood_ns

    def turn(self, now_ns: int) -> None:
        """Starts the second, the session and the UTC day of `now_ns`, an event's arrival, unless they are current."""
        if self.second_end_ns == MAX_NS:
            # Seconds begin with the symbol's first event, so that not every symbol's end on the same tick.
            self.second_end_ns = now_ns + NS_PER_S
        elif now_ns >= self.second_end_ns:
            self._turn_second(now_ns)
        if now_ns >= self.session_end_ns:
            if self.session_end_ns:
                self._session_close = ClosingTouch(self.session_end_ns, now_ns, self.bid, self.ask, self.last_price)
            self._turn_session(now_ns)
        if now_ns >= self._day_end_ns:
            if self._day_end_ns:
                self._day_close = ClosingTouch(self._day_end_ns, now_ns, self.bid, self.ask, self.last_price)
            self._day_end_ns = session_end_ns(now_ns)
        self._plan_turn()

    def mark(self) -> Mark | None:
        """Returns the mid if both sides are quoted, else the last price; exact, of the decimals that arrived."""
        return mark_of(self.bid, self.ask, self.last_price)

    def mark_before(self, boundary_ns: int) -> Mark | None:
        """Returns the mark of the last prices before the newest end of a session or of a UTC day."""
        if self.updated_ns < boundary_ns:
            return self.mark()
        for close in (self._session_close, self._day_close):
            if close is not None and close.is_of(boundary_ns):
                return mark_of(close.bid, close.ask, close.last_price)
        return None

    def refresh(self, now_ns: int) -> None:
        """Brings the JSON up to `now_ns`."""
        # hot: once per symbol per tick (benchmarks/bench_tick.py)
        if now_ns >= self.second_end_ns:
            self._turn_second(now_ns)
            self._plan_turn()
        if now_ns >= self.bars.due_ns:
            self.bars.finish(now_ns)
        if self.has_input:
            # A publisher inside this process may leave `ts_init` unset; 1970 would be a lie.
            if self.updated_ns <= 0 and (self.trades or self.bid is not None or self.ask is not None):
                self.updated_ns = now_ns
            if len(self.feed.arrived) > MAX_WAITING:
                self.feed.count_arrived()
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
        mid, spread = nan_if_none(self.touch.mid), nan_if_none(self.touch.spread)
        self.series.record(now_ns, (nan_if_none(finite_or_none(self.last_price)), mid, spread, self.turnover.volume))

    def to_record(self) -> SymbolRecord:
        """Returns everything that events and ticks have made of this symbol, for a checkpoint."""
        return SymbolRecord(
            self.symbol,
            self.bid,
            self.ask,
            self.bid_size,
            self.ask_size,
            self.last_price,
            self.quote_ns,
            self.updated_ns,
            self.session_end_ns,
            self.turnover.to_state(),
            self.high,
            self.low,
            self.locked,
            self.crossed,
            self.spread,
            self._spread_since_ns,
            self._spread_time,
            self._quoted_ns,
            self.second_end_ns,
            self.updates,
            list(self._rate.seconds),
            self.bars.to_state(),
            self.feed.to_state(),
            self._day_end_ns,
            self._session_close,
            self._day_close,
        )

    def load_record(self, record: SymbolRecord) -> None:
        """Takes over what `to_record` returned."""
        self.bid, self.ask = record.bid, record.ask
        self.bid_size, self.ask_size = record.bid_size, record.ask_size
        self.last_price = record.last_price
        self.quote_ns = record.quote_ns
        self.updated_ns = record.updated_ns
        self.session_end_ns = record.session_end_ns
        if record.turnover is not None:
            self.turnover.load_state(record.turnover)
        self.high, self.low = record.high, record.low
        self.locked, self.crossed = record.locked, record.crossed
        self.spread, self._spread_since_ns = record.spread, record.spread_since_ns
        self._spread_time, self._quoted_ns = record.spread_time, record.quoted_ns
        self.second_end_ns = record.second_end_ns
        self._day_end_ns = record.day_end_ns
        self._session_close, self._day_close = record.session_close, record.day_close
        self._plan_turn()
        self.updates = record.updates
        self._rate.load(record.update_seconds)
        self.bars.load_state(record.bars)
        self.feed.load_state(record.feed)
        self.has_input = True

    def _plan_turn(self) -> None:
        self.turn_ns = min(self.second_end_ns, self.session_end_ns, self._day_end_ns)

    def _turn_second(self, now_ns: int) -> None:
        passed = (now_ns - self.second_end_ns) // NS_PER_S + 1
        self.second_end_ns += passed * NS_PER_S
        before = (self._rate.value, self.feed.figures)
        self._rate.turn(self.updates, passed)
        self.updates = 0
        self.feed.refresh(now_ns)
        if (self._rate.value, self.feed.figures) != before:
            self.has_input = True

    def _turn_session(self, now_ns: int) -> None:
        """Starts the session of `now_ns`; the touch and the last price stay."""
        self.session_end_ns = self._session_end_ns_of(now_ns)
        self.bars.turn_session()
        self.high = self.low = None
        self.locked = self.crossed = 0
        self.spread = None
        self._spread_time = 0.0
        self._quoted_ns = 0

    def _hand_on_bar(self, bar: Bar) -> None:
        self._on_bar(self.symbol, bar)

    def _derive(self) -> None:
        bid, ask = finite_or_none(self.bid), finite_or_none(self.ask)
        self.touch.update(bid, ask)
        turnover, feed = self.turnover, self.feed.figures
        self.offer(
            {
                "last_price": finite_or_none(self.last_price),
                "bid": bid,
                "ask": ask,
                "bid_size": finite_or_none(self.bid_size),
                "ask_size": finite_or_none(self.ask_size),
                "volume": turnover.volume,
                "buy_volume": turnover.buy_volume,
                "sell_volume": turnover.sell_volume,
                "unknown_volume": turnover.unknown_volume,
                "trades": turnover.trades,
                "vwap": turnover.vwap,
                "high": finite_or_none(self.high),
                "low": finite_or_none(self.low),
                "spread_bps": self.touch.spread_bps,
                "time_weighted_spread": finite_or_none(self.time_weighted_spread),
                "locked": self.locked,
                "crossed": self.crossed,
                "update_rate": self._rate.value,
                "clock_offset_ms": feed.clock_offset_ms,
                "feed_latency_p50_ms": feed.p50_ms,
                "feed_latency_p99_ms": feed.p99_ms,
                "feed_latency_max_ms": feed.max_ms,
                "n_feed_latency": feed.n,
                "updated": iso_or_none(self.updated_ns),
                "stale": self.is_stale,
            }
        )
