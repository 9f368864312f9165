"""The live data of one symbol: its touch, the prints of its session, its bars and its feed."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Final, Protocol

from observability.clocks.timestamps import MAX_NS, NS_PER_HOUR, NS_PER_S, iso_or_none
from observability.events import Print, Quote
from observability.history.series_writer import SeriesWriter
from observability.metrics.arithmetic.decimals import finite_or_none, nan_if_none
from observability.metrics.arithmetic.sessions import utc_day_end_ns
from observability.metrics.arithmetic.turnover import ExactTurnover
from observability.metrics.market.bar_table import Bar, BarTable
from observability.metrics.market.bars import SymbolBars
from observability.metrics.market.feed import FeedLatency, UpdateRate
from observability.metrics.market.state import SymbolState
from observability.metrics.market.touch import ClosingTouch, Mark, Touch, mark_of
from observability.snapshot.sections import JsonPart

SERIES_FIELDS = ("last", "mid", "spread", "volume")

# A spread that seems to have stood for longer than this, or for a negative time, comes from a wrong clock. No session
# is longer.
MAX_STOOD_NS: Final = 25 * NS_PER_HOUR

# How many arrivals may wait for the end of the second; a tick counts them if there are more.
MAX_WAITING: Final = 1024


class Follower(Protocol):
    """Sees every quote and print of one symbol, directly after the market data section and before any other subscriber,
    which may answer them with orders and fills."""

    def on_quote(self, event: Quote) -> None: ...

    def on_print(self, event: Print) -> None: ...


class TrackedSymbol(JsonPart):
    """One symbol of the market data section. The collector writes the plain attributes once per event; everything else
    is derived here once per tick.

    Volumes, trades, VWAP, high, low, locked, crossed and the time-weighted spread are those of the session of the
    symbol's own newest event. The session rolls over with an event of the symbol and not with the clock, so that a
    silent symbol keeps its last session.
    - time_weighted_spread: ask - bid, negative while crossed, weighted by how long it stood by the quotes' `ts`, from
      the session's first quote to its newest; time with an empty side is left out. A double, no further from the exact
      one than the doubles of the prices are from theirs (1e-11 at 61,000).
    - update_rate: quotes and prints per second over the last five whole seconds by the event clock.
    - feed latencies: see `feed.py`.
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
        "add_offset",
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
        "quote_ns",
        "rollover_ns",
        "second_end_ns",
        "series",
        "session_end_ns",
        "spread",
        "stale_after_ns",
        "symbol",
        "touch",
        "turnover",
        "updated_ns",
        "updates",
    )

    def __init__(
        self,
        symbol: str,
        *,
        stale_after_ns: int,
        session_end_ns: Callable[[int], int],
        feed_window_seconds: float,
        on_bar: Callable[[str, Bar], None],
        series: SeriesWriter | None,
        bars: BarTable | None,
    ) -> None:
        """Without `series` no history is written; without `bars` the bars are in this object's own memory."""
        super().__init__()
        self.symbol = symbol
        self.stale_after_ns = stale_after_ns
        self.series = series
        self._session_end_ns_of = session_end_ns
        self._on_bar = on_bar
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
        self.rollover_ns = 0
        """The first event at or after this ends the second, the session, the UTC day or several of them."""
        self.feed = FeedLatency(feed_window_seconds)
        self.add_offset = self.feed.arrived.append
        """Adds `ts_init - ts` of an event that has both."""
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
        """Ask - bid of the session's newest touch, if it has both sides."""
        self._spread_since_ns = 0
        # Sums over the spreads before this one.
        self._spread_time = 0.0
        self._quoted_ns = 0
        # Per minute and per second.
        self.bars = SymbolBars(self.turnover, self._publish_bar, bars)
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
        """Sets the spread that stands from `ts_ns` on. Call it before `quote_ns` is set to that time."""
        # hot: once per quote that changes it (benchmarks/bench_intake.py)
        # If the time is wrong, all that is known is that the old spread stood until the quote before.
        until_ns = ts_ns if 0 < ts_ns - self._spread_since_ns <= MAX_STOOD_NS else self.quote_ns
        self._spread_time, self._quoted_ns = self._spread_sums(until_ns)
        self._spread_since_ns = ts_ns
        self.spread = spread if spread is not None and isfinite(spread) else None

    def _spread_sums(self, until_ns: int) -> tuple[float, int]:
        """Returns the sums of spread * nanoseconds and of nanoseconds, the current spread until `until_ns` included."""
        stood_ns = until_ns - self._spread_since_ns
        if self.spread is None or not 0 < stood_ns <= MAX_STOOD_NS:
            return self._spread_time, self._quoted_ns
        return self._spread_time + self.spread * stood_ns, self._quoted_ns + stood_ns

    def roll_over(self, now_ns: int) -> None:
        """Begins the second, the session and the UTC day of `now_ns`, an event's arrival, unless they are current."""
        if self.second_end_ns == MAX_NS:
            # Seconds begin with the symbol's first event, so that those of all symbols do not end on the same tick.
            self.second_end_ns = now_ns + NS_PER_S
        elif now_ns >= self.second_end_ns:
            self._end_second(now_ns)
        if now_ns >= self.session_end_ns:
            if self.session_end_ns:
                self._session_close = ClosingTouch(self.session_end_ns, now_ns, self.bid, self.ask, self.last_price)
            self._begin_session(now_ns)
        if now_ns >= self._day_end_ns:
            if self._day_end_ns:
                self._day_close = ClosingTouch(self._day_end_ns, now_ns, self.bid, self.ask, self.last_price)
            self._day_end_ns = utc_day_end_ns(now_ns)
        self._schedule_rollover()

    def mark(self) -> Mark | None:
        """Returns the exact mid if both sides are quoted, else the last price."""
        return mark_of(self.bid, self.ask, self.last_price)

    def mark_before(self, boundary_ns: int) -> Mark | None:
        """Returns the mark of the last prices before a boundary, the newest end of a session or of a UTC day."""
        if self.updated_ns < boundary_ns:
            return self.mark()
        for close in (self._session_close, self._day_close):
            if close is not None and close.stood_at(boundary_ns):
                return mark_of(close.bid, close.ask, close.last_price)
        return None

    def refresh(self, now_ns: int) -> None:
        """Brings the JSON up to `now_ns`."""
        # hot: once per symbol per tick (benchmarks/bench_tick.py)
        if now_ns >= self.second_end_ns:
            self._end_second(now_ns)
            self._schedule_rollover()
        if now_ns >= self.bars.due_ns:
            self.bars.finish(now_ns)
        if self.has_input:
            # A publisher inside this process may leave `ts_init` unset, which must not show as 1970.
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
        """Appends one row to the history."""
        # hot: once per symbol per tick (benchmarks/bench_tick.py)
        if self.series is None:
            return
        mid, spread = nan_if_none(self.touch.mid), nan_if_none(self.touch.spread)
        self.series.record(now_ns, (nan_if_none(finite_or_none(self.last_price)), mid, spread, self.turnover.volume))

    def to_state(self) -> SymbolState:
        return SymbolState(
            symbol=self.symbol,
            bid=self.bid,
            ask=self.ask,
            bid_size=self.bid_size,
            ask_size=self.ask_size,
            last_price=self.last_price,
            quote_ns=self.quote_ns,
            updated_ns=self.updated_ns,
            session_end_ns=self.session_end_ns,
            turnover=self.turnover.to_state(),
            high=self.high,
            low=self.low,
            locked=self.locked,
            crossed=self.crossed,
            spread=self.spread,
            spread_since_ns=self._spread_since_ns,
            spread_time=self._spread_time,
            quoted_ns=self._quoted_ns,
            second_end_ns=self.second_end_ns,
            updates=self.updates,
            update_seconds=self._rate.to_state(),
            bars=self.bars.to_state(),
            feed=self.feed.to_state(),
            day_end_ns=self._day_end_ns,
            session_close=self._session_close,
            day_close=self._day_close,
        )

    def load_state(self, state: SymbolState) -> None:
        self.bid, self.ask = state.bid, state.ask
        self.bid_size, self.ask_size = state.bid_size, state.ask_size
        self.last_price = state.last_price
        self.quote_ns = state.quote_ns
        self.updated_ns = state.updated_ns
        self.session_end_ns = state.session_end_ns
        if state.turnover is not None:
            self.turnover.load_state(state.turnover)
        self.high, self.low = state.high, state.low
        self.locked, self.crossed = state.locked, state.crossed
        self.spread, self._spread_since_ns = state.spread, state.spread_since_ns
        self._spread_time, self._quoted_ns = state.spread_time, state.quoted_ns
        self.second_end_ns = state.second_end_ns
        self._day_end_ns = state.day_end_ns
        self._session_close, self._day_close = state.session_close, state.day_close
        self._schedule_rollover()
        self.updates = state.updates
        self._rate.load_state(state.update_seconds)
        self.bars.load_state(state.bars)
        self.feed.load_state(state.feed)
        self.has_input = True

    def _schedule_rollover(self) -> None:
        self.rollover_ns = min(self.second_end_ns, self.session_end_ns, self._day_end_ns)

    def _end_second(self, now_ns: int) -> None:
        passed = (now_ns - self.second_end_ns) // NS_PER_S + 1
        self.second_end_ns += passed * NS_PER_S
        before = (self._rate.value, self.feed.figures)
        self._rate.end_seconds(self.updates, passed)
        self.updates = 0
        self.feed.refresh(now_ns)
        if (self._rate.value, self.feed.figures) != before:
            self.has_input = True

    def _begin_session(self, now_ns: int) -> None:
        """Begins the session of `now_ns`; the touch and the last price stay."""
        self.session_end_ns = self._session_end_ns_of(now_ns)
        self.bars.end_session()
        self.high = self.low = None
        self.locked = self.crossed = 0
        self.spread = None
        self._spread_time = 0.0
        self._quoted_ns = 0

    def _publish_bar(self, bar: Bar) -> None:
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
