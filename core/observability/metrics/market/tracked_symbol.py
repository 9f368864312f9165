"""The live data of one symbol: its touch, the prints of its session, its bars and its feed."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, nan
from typing import Final, Protocol

from observability.clocks.timestamps import MAX_NS, NS_PER_HOUR, NS_PER_S, iso_or_none
from observability.events import Print
from observability.history.standing import StandingSeries
from observability.metrics.arithmetic.decimals import finite_or_none, nan_if_none
from observability.metrics.arithmetic.turnover import ExactTurnover
from observability.metrics.market.bar_table import Bar, BarTable
from observability.metrics.market.bars import SymbolBars
from observability.metrics.market.feed import FeedLatency, UpdateRate
from observability.metrics.market.state import SymbolState
from observability.metrics.market.time_order import MAX_AHEAD_NS, MAX_BACK_NS, TimeOrder
from observability.metrics.market.touch import MarkInputs, MarkSource, Touch
from observability.snapshot.sections import JsonPart

SERIES_FIELDS = ("last", "mid", "spread", "volume")

# A spread that seems to have stood for longer than this, or for a negative time, comes from a wrong clock. No session
# is longer.
MAX_STOOD_NS: Final = 25 * NS_PER_HOUR

# How many arrivals may wait for the end of the second; a tick counts them if there are more.
MAX_WAITING: Final = 1024


class Follower(Protocol):
    """Sees every touch and print of one symbol, directly after the market data section and before any other subscriber,
    which may answer them with orders and fills."""

    def on_touch(self, bid: float | None, ask: float | None, ts_ns: int, now_ns: int) -> None:
        """The touch after a quote that is the newest: when it was quoted, by the exchange, and when it arrived."""

    def on_print(self, event: Print) -> None:
        """A print that counts: it is not repeated."""


class Holder(Protocol):
    """Sees every quote and print of a symbol in which there are open positions, once its prices are up to date."""

    def on_price(self, market: TrackedSymbol, now_ns: int) -> None: ...


class TrackedSymbol(JsonPart):
    """One symbol of the market data section. The collector writes the plain attributes once per event; everything else
    is derived here once per tick.

    Volumes, trades, VWAP, high, low, locked, crossed and the time-weighted spread are those of the session of the
    symbol's own newest event. The session rolls over with an event of the symbol and not with the clock, so that a
    silent symbol keeps its last session.

    Quotes and prints each have an order in time and an age of their own (`time_order.py`): the touch is that of the
    newest quote and the last price that of the newest print. A late print counts in every sum. `stale` is the quote's,
    or the print's where nothing was ever quoted; spreads and the mid need a fresh quote.
    - time_weighted_spread: ask - bid, negative while crossed, weighted by how long it stood by the quotes' `ts`, from
      the session's first quote to its newest; time with an empty side is left out. A double, no further from the exact
      one than the doubles of the prices are from theirs (1e-11 at 61,000).
    - update_rate: quotes and prints per second over the last five whole seconds by the event clock.
    - feed latencies: see `feed.py`.
    """

    __slots__ = (
        "_fresh_until_ns",
        "_on_bar",
        "_quoted_ns",
        "_rate",
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
        "holder",
        "is_print_stale",
        "is_quote_stale",
        "last_price",
        "locked",
        "low",
        "number",
        "prints",
        "quotes",
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
        "wake_ns",
    )

    def __init__(
        self,
        symbol: str,
        *,
        number: int = 0,
        stale_after_ns: int,
        session_end_ns: Callable[[int], int],
        feed_window_seconds: float,
        on_bar: Callable[[str, Bar], None],
        series: StandingSeries | None,
        bars: BarTable | None,
    ) -> None:
        """`number` orders symbols that are due at the same time. Without `series` no history is written; without `bars`
        the bars are in this object's own memory."""
        super().__init__()
        self.symbol = symbol
        self.number = number
        self.stale_after_ns = stale_after_ns
        self.series = series
        self._session_end_ns_of = session_end_ns
        self._on_bar = on_bar
        self.follower: Follower | None = None
        self.holder: Holder | None = None
        # Per event.
        self.bid: float | None = None
        self.ask: float | None = None
        self.bid_size: float | None = None
        self.ask_size: float | None = None
        self.last_price: float | None = None
        self.quotes = TimeOrder(f"quotes of {symbol}")
        self.prints = TimeOrder(f"prints of {symbol}")
        self.updated_ns = 0
        """When the last quote or print arrived."""
        self.has_input = False
        """Whether something has come since the last refresh; set by the collector, which refreshes the symbol then."""
        self.updates = 0
        """Quotes and prints of the current second."""
        self.rollover_ns = 0
        """The first event at or after this ends the second, the session or both."""
        self.feed = FeedLatency(feed_window_seconds)
        self.add_offset = self.feed.arrived.append
        """Adds `ts_init - ts` of an event that has both."""
        # Per session.
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
        self.is_quote_stale = True
        self.is_print_stale = True
        # The first tick after this finds something stale that was fresh.
        self._fresh_until_ns = MAX_NS
        self.wake_ns = MAX_NS
        """When the collector has planned to refresh the symbol without an input."""

    @property
    def trades(self) -> int:
        """Prints of the session."""
        return self.turnover.trades

    @property
    def is_stale(self) -> bool:
        """Whether the quote is too old or, where nothing was ever quoted, the last print."""
        return self.is_quote_stale if self.quotes.arrived_ns else self.is_print_stale

    @property
    def time_weighted_spread(self) -> float | None:
        spread_time, quoted_ns = self._spread_sums(self.quotes.newest_ns)
        return spread_time / quoted_ns if quoted_ns else None

    def change_spread(self, spread: float | None, ts_ns: int, before_ns: int) -> None:
        """Sets the spread that stands from `ts_ns` on; `before_ns` is the time of the quote before."""
        # hot: once per quote that changes it (benchmarks/bench_intake.py)
        # If the time is wrong, all that is known is that the old spread stood until the quote before.
        until_ns = ts_ns if 0 < ts_ns - self._spread_since_ns <= MAX_STOOD_NS else before_ns
        self._spread_time, self._quoted_ns = self._spread_sums(until_ns)
        self._spread_since_ns = ts_ns
        self.spread = spread if spread is not None and isfinite(spread) else None

    def place(self, order: TimeOrder, ts_ns: int, now_ns: int) -> tuple[bool, int]:
        """Places an event that arrived at `now_ns` and is not simply the next of its order (see `TimeOrder.place`)."""
        if 0 < now_ns < self.updated_ns - MAX_BACK_NS:
            self._go_back(now_ns)
        placed = order.place(ts_ns, now_ns)
        # A time that cannot be right would make every other event look slow.
        if now_ns > 0 and (ts_ns - now_ns <= MAX_AHEAD_NS or order.clock_offset_ns is not None):
            self.add_offset(now_ns - ts_ns)
        return placed

    def _spread_sums(self, until_ns: int) -> tuple[float, int]:
        """Returns the sums of spread * nanoseconds and of nanoseconds, the current spread until `until_ns` included."""
        stood_ns = until_ns - self._spread_since_ns
        if self.spread is None or not 0 < stood_ns <= MAX_STOOD_NS:
            return self._spread_time, self._quoted_ns
        return self._spread_time + self.spread * stood_ns, self._quoted_ns + stood_ns

    def roll_over(self, now_ns: int) -> None:
        """Begins the second and the session of `now_ns`, an event's arrival, unless they are current."""
        if self.second_end_ns == MAX_NS:
            # Seconds begin with the symbol's first event, so that those of all symbols do not end on the same tick.
            self.second_end_ns = now_ns + NS_PER_S
        elif now_ns >= self.second_end_ns:
            self._end_second(now_ns)
        if now_ns >= self.session_end_ns:
            self._begin_session(now_ns)
        self._schedule_rollover()

    def mark_inputs(self, now_ns: int) -> MarkInputs:
        """Returns what the mark at `now_ns` is made from."""
        # hot: once per open position per tick (benchmarks/bench_tick.py)
        quotes, prints = self.quotes, self.prints
        is_mid_current = quotes.is_fresh(now_ns, self.stale_after_ns) or (
            (quotes.arrived_ns, quotes.newest_ns) >= (prints.arrived_ns, prints.newest_ns)
        )
        return self.bid, self.ask, self.last_price, is_mid_current

    def mid_expires_ns(self) -> int:
        """Returns the first moment at which the mark is the last price because its quote is stale; MAX_NS where time
        alone does not change the mark."""
        quotes, prints = self.quotes, self.prints
        if quotes.arrived_ns <= 0 or (quotes.arrived_ns, quotes.newest_ns) >= (prints.arrived_ns, prints.newest_ns):
            return MAX_NS
        return quotes.arrived_ns + self.stale_after_ns + 1

    def source_arrived_ns(self, source: MarkSource) -> int:
        """Returns when the quote or print that a mark is from has arrived; 0 if it is not from the market."""
        return 0 if source == "fill" else self.quotes.arrived_ns if source == "mid" else self.prints.arrived_ns

    def is_source_stale(self, source: MarkSource, now_ns: int) -> bool:
        """Returns whether the quote or print that a mark is from is too old, or not from the market."""
        order = self.quotes if source == "mid" else self.prints
        return source == "fill" or not order.is_fresh(now_ns, self.stale_after_ns)

    def refresh(self, now_ns: int) -> bool:
        """Brings the JSON up to `now_ns`; returns whether it may have changed. It changes with the time alone at
        `due_ns`, and at no time before."""
        # hot: once per symbol per tick that has an input or is due (benchmarks/bench_tick.py)
        is_changed = self.has_input
        if now_ns >= self.second_end_ns and not self._is_silent:
            is_changed |= self._end_second(now_ns)
            self._schedule_rollover()
        if now_ns >= self.bars.due_ns:
            self.bars.finish(now_ns)
        if self.has_input:
            if self.updated_ns <= 0:
                self._note_arrivals(now_ns)
            if len(self.feed.arrived) > MAX_WAITING:
                self.feed.count_arrived()
            self.has_input = False
        if not is_changed and now_ns <= self._fresh_until_ns:
            return False
        self._note_ages(now_ns)
        self._derive()
        return True

    @property
    def due_ns(self) -> int:
        """When the symbol must be refreshed next if no event comes: when a second ends that counts, a bar is finished,
        or a price becomes stale."""
        due_ns = min(self._fresh_until_ns + 1, self.bars.due_ns)
        # Seconds that are silent in every figure may end together, with the next event.
        return due_ns if self._is_silent else min(due_ns, self.second_end_ns)

    @property
    def _is_silent(self) -> bool:
        return not (self.updates or self._rate.value) and self.feed.is_empty

    def record(self, now_ns: int) -> None:
        """Appends one row to the history, which repeats it until the next one."""
        # hot: once per symbol that changed per tick (benchmarks/bench_tick.py)
        if self.series is None:
            return
        mid = spread = nan
        if not self.is_quote_stale:
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
            quote_ns=self.quotes.newest_ns,
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
            quote_arrived_ns=self.quotes.arrived_ns,
            print_ns=self.prints.newest_ns,
            print_arrived_ns=self.prints.arrived_ns,
            late=(self.quotes.late, self.prints.late),
            ahead=(self.quotes.ahead, self.prints.ahead),
            clock_offsets_ns=(self.quotes.clock_offset_ns, self.prints.clock_offset_ns),
        )

    def load_state(self, state: SymbolState, now_ns: int) -> None:
        """Restores the symbol at `now_ns`, which is earlier than the state if the host's clock was set back."""
        self.bid, self.ask = state.bid, state.ask
        self.bid_size, self.ask_size = state.bid_size, state.ask_size
        self.last_price = state.last_price
        self.updated_ns = state.updated_ns
        self.quotes.newest_ns, self.prints.newest_ns = state.quote_ns, state.print_ns
        self.quotes.arrived_ns, self.prints.arrived_ns = state.quote_arrived_ns, state.print_arrived_ns
        (self.quotes.late, self.prints.late), (self.quotes.ahead, self.prints.ahead) = state.late, state.ahead
        self.quotes.restore_clock(state.clock_offsets_ns[0])
        self.prints.restore_clock(state.clock_offsets_ns[1])
        # A checkpoint of an earlier version has one time for both.
        if not self.quotes.arrived_ns and (self.bid is not None or self.ask is not None):
            self.quotes.arrived_ns = state.updated_ns
        if not self.prints.arrived_ns and self.last_price is not None:
            self.prints.arrived_ns = state.updated_ns
        self.session_end_ns = state.session_end_ns
        if state.turnover is not None:
            self.turnover.load_state(state.turnover)
        self.high, self.low = state.high, state.low
        self.locked, self.crossed = state.locked, state.crossed
        self.spread, self._spread_since_ns = state.spread, state.spread_since_ns
        self._spread_time, self._quoted_ns = state.spread_time, state.quoted_ns
        self.second_end_ns = state.second_end_ns
        self._schedule_rollover()
        self.updates = state.updates
        self._rate.load_state(state.update_seconds)
        self.bars.load_state(state.bars)
        self.feed.load_state(state.feed)
        if now_ns < self.updated_ns - MAX_BACK_NS:
            self._go_back(now_ns)

    def _schedule_rollover(self) -> None:
        self.rollover_ns = min(self.second_end_ns, self.session_end_ns)

    def _end_second(self, now_ns: int) -> bool:
        """Ends a second, and silent ones after it; returns whether a figure has changed."""
        passed = (now_ns - self.second_end_ns) // NS_PER_S + 1
        self.second_end_ns += passed * NS_PER_S
        before = (self._rate.value, self.feed.figures)
        self._rate.end_seconds(self.updates, passed)
        self.updates = 0
        self.feed.refresh(now_ns)
        return (self._rate.value, self.feed.figures) != before

    def _begin_session(self, now_ns: int) -> None:
        """Begins the session of `now_ns`; the touch and the last price stay."""
        self.session_end_ns = self._session_end_ns_of(now_ns)
        self.bars.end_session()
        self.high = self.low = None
        self.locked = self.crossed = 0
        self.quotes.begin_session()
        self.prints.begin_session()
        self.spread = None
        self._spread_time = 0.0
        self._quoted_ns = 0

    def _go_back(self, now_ns: int) -> None:
        """Begins anew at an earlier time, because events arrive as at one (see `MAX_BACK_NS`)."""
        self.quotes.forget()
        self.prints.forget()
        self.bars.go_back()
        self.updated_ns = now_ns
        self.second_end_ns = now_ns + NS_PER_S
        if self._session_end_ns_of(now_ns) != self.session_end_ns:
            self._begin_session(now_ns)
        self._schedule_rollover()

    def _note_arrivals(self, now_ns: int) -> None:
        """Takes `now_ns` for the arrival of events without one: a publisher inside this process may leave `ts_init`
        unset, which must not show as 1970."""
        if self.bid is not None or self.ask is not None:
            self.updated_ns = self.quotes.arrived_ns = now_ns
        if self.last_price is not None:
            self.updated_ns = self.prints.arrived_ns = now_ns

    def _note_ages(self, now_ns: int) -> None:
        # hot: once per tick and symbol that has an event (benchmarks/bench_tick.py)
        max_age_ns = self.stale_after_ns
        is_quoted = self.quotes.is_fresh(now_ns, max_age_ns)
        is_printed = self.prints.is_fresh(now_ns, max_age_ns)
        until_ns = self.quotes.arrived_ns + max_age_ns if is_quoted else MAX_NS
        if is_printed and self.prints.arrived_ns + max_age_ns < until_ns:
            until_ns = self.prints.arrived_ns + max_age_ns
        self._fresh_until_ns = until_ns
        self.is_quote_stale, self.is_print_stale = not is_quoted, not is_printed

    def _publish_bar(self, bar: Bar) -> None:
        self._on_bar(self.symbol, bar)

    def _derive(self) -> None:
        bid, ask = finite_or_none(self.bid), finite_or_none(self.ask)
        quotes, prints = self.quotes, self.prints
        self.touch.update(bid, ask)
        turnover, feed = self.turnover, self.feed.figures
        updated = iso_or_none(self.updated_ns)
        # One of the two is the newest event, as a rule.
        quoted = updated if quotes.arrived_ns == self.updated_ns else iso_or_none(quotes.arrived_ns)
        printed = updated if prints.arrived_ns == self.updated_ns else iso_or_none(prints.arrived_ns)
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
                "spread_bps": None if self.is_quote_stale else self.touch.spread_bps,
                "time_weighted_spread": finite_or_none(self.time_weighted_spread),
                "locked": self.locked,
                "crossed": self.crossed,
                "update_rate": self._rate.value,
                "clock_offset_ms": feed.clock_offset_ms,
                "feed_latency_p50_ms": feed.p50_ms,
                "feed_latency_p99_ms": feed.p99_ms,
                "feed_latency_max_ms": feed.max_ms,
                "n_feed_latency": feed.n,
                "late": quotes.late + prints.late,
                "ahead": quotes.ahead + prints.ahead,
                "updated": updated,
                "quote_updated": quoted,
                "print_updated": printed,
                "quote_stale": self.is_quote_stale if quotes.arrived_ns else None,
                "print_stale": self.is_print_stale if prints.arrived_ns else None,
                "stale": self.is_stale,
            }
        )
