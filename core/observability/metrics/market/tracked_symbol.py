"""The live data of one symbol: its touch, the prints of its session, its bars and its feed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite, nan
from typing import Any, Final, Protocol

from observability.clocks.timestamps import MAX_NS, NS_PER_HOUR, NS_PER_S, iso_or_none
from observability.errors import EventError
from observability.events import Print
from observability.history.standing import StandingSeries
from observability.instruments.hours import MarketHours
from observability.metrics.arithmetic.decimals import finite_or_none
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.arithmetic.turnover import ExactTurnover, TurnoverFigures
from observability.metrics.market.bar_table import Bar, BarTable
from observability.metrics.market.bars import SymbolBars
from observability.metrics.market.feed import MAX_WAITING, FeedFigures, FeedLatency, MixedFeeds, UpdateRate
from observability.metrics.market.print_corrections import Counted, KeptPrint, newest_of
from observability.metrics.market.state import SymbolState
from observability.metrics.market.time_order import MAX_AHEAD_NS, MAX_BACK_NS, TimeOrder, happened_ns
from observability.metrics.market.touch import MarkInputs, MarkSource, Sides, Touch
from observability.metrics.market.venues import BestOrder, SymbolVenues, Venue
from observability.snapshot.sections import JsonPart

SERIES_FIELDS = ("last", "mid", "spread", "volume")

# A spread that seems to have stood for longer than this, or for a negative time, comes from a wrong clock. No session
# is longer.
MAX_STOOD_NS: Final = 25 * NS_PER_HOUR
# This long before the end of a session is in the session before it, of 23 to 25 hours.
MAX_SESSIONS_BACK_NS: Final = 26 * NS_PER_HOUR

_Printed = tuple[float | None, float | None, float | None, TurnoverFigures, int]
"""The last price, high, low, turnover and number of prints of a session."""


class Follower(Protocol):
    """Sees every touch and print of one symbol, directly after the market data section and before any other subscriber,
    which may answer them with orders and fills."""

    def on_touch(self, bid: float | None, ask: float | None, ts_ns: int, now_ns: int) -> None:
        """The touch after a quote that is the newest: when it was quoted, by the exchange, and when it arrived."""

    def on_expiry(self, bid: float | None, ask: float | None, arrived_ns: int, now_ns: int) -> None:
        """The best after a venue has ceased to take part: when the newest of its quotes arrived, and when that was."""

    def on_print(self, event: Print) -> None:
        """A print that counts: it is not repeated."""

    def on_venues(self, market: TrackedSymbol) -> None:
        """The symbol is traded at several venues, so that its touch can change by time alone (`expire_quotes`)."""


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

    A symbol that is traded at several venues has `venues`, and its touch is the best of them (`venues.py`).
    """

    __slots__ = (
        "_feed_window_seconds",
        "_is_hours_new",
        "_measured",
        "_on_bar",
        "_printed",
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
        "calendar",
        "crossed",
        "feed",
        "follower",
        "fresh_until_ns",
        "has_input",
        "high",
        "holder",
        "hours",
        "is_closed",
        "is_print_stale",
        "is_quiet",
        "is_quote_stale",
        "last_price",
        "locked",
        "low",
        "number",
        "print_venue",
        "prints",
        "quote_venue",
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
        "venues",
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
        self.hours: MarketHours | None = None
        """Those of its calendar, if it has one; then its sessions are the calendar's."""
        self.calendar = ""
        """Whose session the current one is; empty for that of all others."""
        self._is_hours_new = False
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
        self.quote_venue: str | None = None
        """The only venue that quotes came from; None before the first, and with several."""
        self.print_venue: str | None = None
        self.venues: SymbolVenues | None = None
        """The venues of a symbol that is traded at several."""
        self.updated_ns = 0
        """When the last quote or print arrived."""
        self.has_input = False
        """Whether something has come since the last refresh; set by the collector, which refreshes the symbol then."""
        self.updates = 0
        """Quotes and prints of the current second."""
        self.rollover_ns = 0
        """The first event at or after this ends the second, the session or both."""
        self._feed_window_seconds = feed_window_seconds
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
        self.is_closed: bool | None = None
        """Whether the market is closed; None if its hours are not known."""
        self.is_quiet = False
        """Whether it is closed, or has opened so recently that nothing can be missing: then nothing is stale."""
        # What the fields of prints and of whole seconds were made from.
        self._printed: _Printed | None = None
        self._measured: FeedFigures | None = None
        self.fresh_until_ns = MAX_NS
        """The first tick after this finds something stale that was fresh."""
        self.wake_ns = MAX_NS
        """When the collector has planned to refresh the symbol without an input."""

    @property
    def trades(self) -> int:
        """Prints of the session."""
        return self.turnover.trades

    @property
    def is_stale(self) -> bool:
        """Whether the quote is too old or, where nothing was ever quoted, the last print, while the market is open."""
        return not self.is_quiet and (self.is_quote_stale if self.quotes.arrived_ns else self.is_print_stale)

    @property
    def sides(self) -> tuple[float | None, float | None]:
        """Bid and ask, as far as they may count: none while only the quote of a lost source is left to show."""
        quotes = self.quotes
        is_lost = isinstance(quotes, BestOrder) and quotes.is_lost
        return (None, None) if is_lost else (self.bid, self.ask)

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

    def is_at_several(self, venue: str, *, is_print: bool) -> bool:
        """Returns whether the symbol is traded at several venues, with this one, of an event whose kind had another or
        none so far. Quotes and prints may name it differently if one of them names none."""
        if self.venues is None:
            known, other = self.print_venue, self.quote_venue
            if not is_print:
                known, other = other, known
            if known is None and (not venue or not other or venue == other):
                if is_print:
                    self.print_venue = venue
                else:
                    self.quote_venue = venue
                return False
            self._begin_venues()
        return True

    def venue(self, name: str) -> Venue | None:
        """Returns the venue of an event; None if there is no room for it. Only with `venues`."""
        assert self.venues is not None
        return self.venues.get(name) or self.venues.add(name)

    def add_quote(self, venue: Venue, sides: Sides, ts_ns: int, now_ns: int) -> None:
        """Adds a quote that arrived at `now_ns` from one of several venues."""
        venues, quotes = self.venues, self.quotes
        assert venues is not None
        self._begin_event(venue, now_ns)
        bid, ask = sides[0], sides[1]
        spread = None if bid is None or ask is None else ask - bid
        if spread is not None and spread <= 0:
            venue.locked += spread == 0
            venue.crossed += spread < 0
        is_newest, ts_ns = self._place_at(venue, venue.quotes, ts_ns, now_ns)
        if is_newest:
            venues.set_quote(venue, sides)
            spread = self._combine(ts_ns, now_ns)
        if spread is not None and spread <= 0:
            self.locked += spread == 0
            self.crossed += spread < 0
        if is_newest and self.follower is not None:
            self.follower.on_touch(self.bid, self.ask, quotes.newest_ns, now_ns)
        if is_newest and self.holder is not None:
            self.holder.on_price(self, now_ns)

    def add_print(self, venue: Venue, event: Print, ts_ns: int, now_ns: int) -> None:
        """Adds a print that arrived at `now_ns` from one of several venues. Raises EventError for one that the turnover
        refuses, and then adds nothing."""
        venues, prints, price = self.venues, self.prints, event.price
        assert venues is not None
        if not (isfinite(price) and isfinite(event.size)):
            raise EventError(f"print of {event.size!r} at {price!r}: expected finite numbers")
        self._begin_event(venue, now_ns)
        venue.turnover.add(price, event.size, event.aggressor_side)
        is_newest, ts_ns = self._place_at(venue, venue.prints, ts_ns, now_ns)
        bar = self.bars.current
        if bar.last_ns <= ts_ns < bar.end_ns:
            self.turnover.add(price, event.size, event.aggressor_side)
            bar.widen(ts_ns, price)
        else:
            self.bars.add(ts_ns, price, event.size, event.aggressor_side)
        if is_newest:
            venue.last_price = price
            printed = venues.last_printed(venue)
            assert printed is not None, "this one has a print"
            self.last_price = printed.last_price
            prints.newest_ns, prints.arrived_ns = printed.prints.newest_ns, printed.prints.arrived_ns
        self.high = price if self.high is None else max(self.high, price)
        self.low = price if self.low is None else min(self.low, price)
        if self.follower is not None:
            self.follower.on_print(event)
        if self.holder is not None:
            self.holder.on_price(self, now_ns)

    def split(self, ratio: Ratio, now_ns: int) -> None:
        """Scales the prices and sizes from before a split, which stand until new ones come. Sums of the session and
        bars stay as they were."""
        self.expire_quotes(now_ns)
        self.bid, self.ask = ratio.of_quoted(self.bid), ratio.of_quoted(self.ask)
        self.bid_size, self.ask_size = ratio.of_size(self.bid_size), ratio.of_size(self.ask_size)
        self.last_price = ratio.of_quoted(self.last_price)
        if self.venues is not None:
            self.venues.split(ratio)
        spread = None if self.bid is None or self.ask is None else self.ask - self.bid
        self.change_spread(spread, self.quotes.newest_ns, self.quotes.newest_ns)
        if self.follower is not None and self.quotes.arrived_ns:
            self.follower.on_touch(self.bid, self.ask, self.quotes.newest_ns, now_ns)

    def correct_print(
        self, event: Print, before: Counted, after: Counted | None, kept: Sequence[KeptPrint], now_ns: int
    ) -> bool:
        """Makes a print that counted as `before` count as `after`, or with None no more.

        `kept` are the remembered prints of the symbol after that, in the order of their arrival. Returns whether the
        bar of its minute and the last price are exact now (see `SymbolBars.amend`).
        """
        changed = KeptPrint(happened_ns(event), event.ts_init, *before, event.aggressor_side, event.venue)
        start_ns = self._session_start_ns()
        is_of_session = start_ns <= event.ts_init < self.session_end_ns
        is_exact = self.bars.amend(changed, after, kept, is_of_session=is_of_session)
        venue = None if self.venues is None else self.venues.get(event.venue)
        if is_of_session:
            if venue is not None:
                venue.turnover.remove(before.price, before.size, event.aggressor_side)
                if after is not None:
                    venue.turnover.add(*after, event.aggressor_side)
            self._find_extremes(before, after, kept, start_ns)
        if venue is None:
            is_exact &= self._find_last(changed, after, kept, is_bar_exact=is_exact)
        elif venue.replace_last(changed, kept):
            assert self.venues is not None
            newest = newest_of(kept)
            printed = self.venues.last_printed(None if newest is None else self.venues.get(newest.venue))
            self.last_price = None if printed is None else printed.last_price
            order = venue.prints if printed is None else printed.prints
            self.prints.newest_ns, self.prints.arrived_ns = order.newest_ns, order.arrived_ns
        if self.holder is not None:
            self.holder.on_price(self, now_ns)
        return is_exact

    def _find_extremes(self, before: Counted, after: Counted | None, kept: Sequence[KeptPrint], start_ns: int) -> None:
        """Finds high and low of the session after a print has changed, of all prints if they are remembered, else of
        the bars and those."""
        known = [each.price for each in kept if start_ns <= each.arrived_ns < self.session_end_ns]
        if len(known) != self.turnover.trades:
            if after is not None:
                known.append(after.price)
            assert self.high is not None and self.low is not None, "the session has had a print"
            if self.low < before.price < self.high:
                known += (self.low, self.high)
            else:
                known += self.bars.prices_since(start_ns)
        self.high, self.low = max(known, default=None), min(known, default=None)

    def _find_last(
        self, changed: KeptPrint, after: Counted | None, kept: Sequence[KeptPrint], *, is_bar_exact: bool
    ) -> bool:
        """Finds the last price if the print that has changed was it; returns whether it is known."""
        prints = self.prints
        if prints.arrived_ns != changed.arrived_ns or self.last_price != changed.price:
            return True
        if not is_bar_exact:
            if after is not None:
                self.last_price = after.price
            return after is not None
        newest = newest_of(kept)
        bar = self.bars.newest()
        if newest is None and bar is None:
            self.last_price = None
            prints.newest_ns = prints.arrived_ns = 0
        elif newest is not None and (bar is None or newest.ts_ns >= bar[0]):
            self.last_price = newest.price
            prints.newest_ns, prints.arrived_ns = newest.ts_ns, newest.arrived_ns
        elif bar is not None:
            prints.newest_ns, self.last_price = bar
            prints.arrived_ns = bar[0]
        return True

    def lose_venue(self, name: str, now_ns: int) -> None:
        """Lets the quote of one of several venues take part no more, because its source is lost."""
        self.expire_quotes(now_ns)
        if self.venues is not None and self.venues.lose(name):
            self._expire(now_ns)

    def expire_quotes(self, now_ns: int) -> None:
        """Makes the best of several venues anew as of each moment until `now_ns` at which a quote became stale."""
        venues = self.venues
        if venues is not None:
            while now_ns >= venues.expires_ns:
                self._expire(venues.expires_ns)

    def _expire(self, at_ns: int) -> None:
        quotes = self.quotes
        assert isinstance(quotes, BestOrder)
        before = self.bid, self.ask, quotes.arrived_ns
        self._combine(at_ns, at_ns)
        if self.follower is not None and (quotes.is_lost or (self.bid, self.ask, quotes.arrived_ns) != before):
            self.follower.on_expiry(*self.sides, quotes.arrived_ns, at_ns)
        if self.holder is not None:
            self.holder.on_price(self, at_ns)

    def _combine(self, ts_ns: int, now_ns: int) -> float | None:
        """Makes the touch the best of the venues, from `ts_ns` on; returns its spread."""
        venues, quotes = self.venues, self.quotes
        assert venues is not None and isinstance(quotes, BestOrder)
        venues.combine(now_ns, self.stale_after_ns)
        before_ns = quotes.newest_ns
        quotes.newest_ns = max(before_ns, min(ts_ns, now_ns))
        quotes.arrived_ns, quotes.is_lost = venues.arrived_ns, venues.is_lost
        self.bid, self.ask = bid, ask = venues.bid, venues.ask
        spread = None if bid is None or ask is None else ask - bid
        if spread != self.spread:
            self.change_spread(spread, quotes.newest_ns, before_ns)
        return spread

    def _begin_event(self, venue: Venue, now_ns: int) -> None:
        """Brings the symbol up to an event of one of several venues, before it counts."""
        if 0 < now_ns < self.updated_ns - MAX_BACK_NS:
            self._go_back(now_ns)
        self.expire_quotes(now_ns)
        if now_ns >= self.rollover_ns:
            self.roll_over(now_ns)
        self.updated_ns = venue.updated_ns = now_ns
        self.updates += 1
        venue.is_heard = True

    def _place_at(self, venue: Venue, order: TimeOrder, ts_ns: int, now_ns: int) -> tuple[bool, int]:
        """Places an event in the order of its kind at its venue."""
        placed = True, ts_ns
        if ts_ns < order.newest_ns or ts_ns - now_ns > MAX_AHEAD_NS:
            placed = order.place(ts_ns, now_ns)
        else:
            order.newest_ns, order.arrived_ns = ts_ns, now_ns
        if ts_ns != now_ns and (ts_ns - now_ns <= MAX_AHEAD_NS or order.clock_offset_ns is not None):
            venue.add_offset(now_ns - ts_ns)
        return placed

    def _begin_venues(self) -> None:
        """Hands what came from one venue to that venue, because another has appeared."""
        venues = self.venues = SymbolVenues(self.symbol, self._feed_window_seconds)
        quotes, prints = self.quotes, self.prints
        if self.quote_venue is not None:
            venue = self.venue(self.quote_venue)
            assert venue is not None
            venue.quotes, quotes.name = quotes, venue.quotes.name
            venue.bid_size, venue.ask_size = self.bid_size, self.ask_size
            venue.bid, venue.ask = finite_or_none(self.bid), finite_or_none(self.ask)
            venue.locked, venue.crossed = self.locked, self.crossed
            venue.takes_part = quotes.arrived_ns > 0
            venue.updated_ns = quotes.arrived_ns
            venues.quoted = venue
        if self.print_venue is not None:
            venue = self.venue(self.print_venue)
            assert venue is not None
            venue.prints, prints.name = prints, venue.prints.name
            venue.last_price = self.last_price
            venue.turnover.load_state(self.turnover.to_state())
            venue.updated_ns = max(venue.updated_ns, prints.arrived_ns)
        first = next(iter(venues))
        first.is_heard = True
        first.feed.load_state(self.feed.to_state())
        venues.combine(0, self.stale_after_ns)
        self._show_venues(quotes, prints)
        # Every event is compared with these, and takes the way of those of several venues.
        self.quote_venue = self.print_venue = None

    def _show_venues(self, quotes: TimeOrder, prints: TimeOrder) -> None:
        """Replaces the parts that are of one venue by those that are of several."""
        venues = self.venues
        assert venues is not None
        best, last = BestOrder(f"quotes of {self.symbol}"), TimeOrder(f"prints of {self.symbol}")
        best.newest_ns, best.arrived_ns, best.is_lost = quotes.newest_ns, quotes.arrived_ns, venues.is_lost
        last.newest_ns, last.arrived_ns = prints.newest_ns, prints.arrived_ns
        self.quotes, self.prints = best, last
        figures = self.feed.figures
        self.feed = MixedFeeds(self._feed_window_seconds, lambda: (venue.feed for venue in venues))
        self.feed.figures = figures
        if self.follower is not None:
            self.follower.on_venues(self)

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
        if self.venues is not None:
            self.expire_quotes(now_ns)
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
        if source == "fill":
            return True
        return not order.is_fresh(now_ns, self.stale_after_ns) and not self._note_hours(now_ns)

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
        if self.venues is not None:
            self.expire_quotes(now_ns)
        if self.has_input:
            if self.updated_ns <= 0:
                self._note_arrivals(now_ns)
            if len(self.feed.arrived) > MAX_WAITING:
                self.feed.count_arrived()
            self.has_input = False
        if not is_changed and now_ns <= self.fresh_until_ns:
            return False
        self._note_ages(now_ns)
        self._derive()
        return True

    @property
    def due_ns(self) -> int:
        """When the symbol must be refreshed next if no event comes: when a second ends that counts, a bar is finished,
        or a price becomes stale."""
        # hot: once per symbol per tick that has an input or is due (benchmarks/bench_tick.py)
        due_ns = self.fresh_until_ns + 1
        if self.bars.due_ns < due_ns:
            due_ns = self.bars.due_ns
        # Seconds that are silent in every figure may end together, with the next event.
        if self.second_end_ns < due_ns and not self._is_silent:
            due_ns = self.second_end_ns
        return due_ns

    @property
    def _is_silent(self) -> bool:
        return not (self.updates or self._rate.value) and self.feed.is_empty

    def record(self, now_ns: int) -> None:
        """Appends one row to the history, which repeats it until the next one."""
        # hot: once per symbol that changed per tick (benchmarks/bench_tick.py)
        if self.series is None:
            return
        last, mid, spread = self.last_price, nan, nan
        touch = self.touch
        if touch.mid is not None and touch.spread is not None and not self.is_quote_stale:
            mid, spread = touch.mid, touch.spread
        if last is None or not isfinite(last):
            last = nan
        self.series.record(now_ns, (last, mid, spread, self.turnover.figures[0]))

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
            calendar=self.calendar,
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
            venue_names=(self.quote_venue, self.print_venue),
            venues=None if self.venues is None else self.venues.to_state(),
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
        self.session_end_ns, self.calendar = state.session_end_ns, state.calendar
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
        self.quote_venue, self.print_venue = state.venue_names
        if state.venues is not None:
            self.venues = SymbolVenues(self.symbol, self._feed_window_seconds)
            self.venues.load_state(state.venues, self.stale_after_ns)
            self._show_venues(self.quotes, self.prints)
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
        return (self._rate.value, self.feed.figures) != before or self.venues is not None

    def set_hours(self, hours: MarketHours | None) -> None:
        """Lets the symbol have the sessions of a calendar; None: those of all others. What has come in the current
        session stays in it, which ends with the next one of the calendar."""
        self.hours = hours
        calendar = "" if hours is None else hours.name
        if calendar != self.calendar:
            self.calendar = calendar
            self._is_hours_new = self.session_end_ns > 0
            self.session_end_ns = self.rollover_ns = 0

    def _end_of_session(self, now_ns: int) -> int | None:
        """Returns when the session of `now_ns` ends; None while its calendar is being read."""
        hours = self.hours
        if hours is None or hours.fault is not None:
            return self._session_end_ns_of(now_ns)
        return hours.session_end_ns(now_ns)

    def _session_start_ns(self) -> int:
        hours = self.hours
        if hours is None or hours.fault is not None:
            return self._session_end_ns_of(self.session_end_ns - MAX_SESSIONS_BACK_NS)
        return hours.session_start_ns(self.session_end_ns)

    def _note_hours(self, now_ns: int) -> bool:
        """Notes whether the market is open; returns whether it is quiet."""
        hours = self.hours
        if hours is None:
            self.is_closed, self.is_quiet = None, False
            return False
        is_open = hours.is_open(now_ns)
        self.is_closed = None if is_open is None else not is_open
        self.is_quiet = bool(self.is_closed) or now_ns - hours.opened_ns(now_ns) <= self.stale_after_ns
        return self.is_quiet

    def _quiet_until_ns(self, now_ns: int) -> int:
        """Returns until when neither the hours nor what they hide change."""
        hours = self.hours
        if hours is None:
            return MAX_NS
        edge_ns = hours.next_edge_ns(now_ns)
        until_ns = MAX_NS if edge_ns is None else edge_ns - 1
        if self.is_closed is None and hours.fault is None:
            # The calendar is being read.
            until_ns = now_ns
        elif self.is_quiet and not self.is_closed:
            until_ns = min(until_ns, hours.opened_ns(now_ns) + self.stale_after_ns)
        return until_ns

    def _begin_session(self, now_ns: int) -> None:
        """Begins the session of `now_ns`; the touch and the last price stay."""
        end_ns = self._end_of_session(now_ns)
        if end_ns is None:
            return
        self.session_end_ns = end_ns
        if self._is_hours_new:
            self._is_hours_new = False
            return
        self.bars.end_session()
        self.high = self.low = None
        self.locked = self.crossed = 0
        self.quotes.begin_session()
        self.prints.begin_session()
        if self.venues is not None:
            self.venues.begin_session()
        self.spread = None
        self._spread_time = 0.0
        self._quoted_ns = 0

    def _go_back(self, now_ns: int) -> None:
        """Begins anew at an earlier time, because events arrive as at one (see `MAX_BACK_NS`)."""
        self.quotes.forget()
        self.prints.forget()
        if self.venues is not None:
            self.venues.forget()
        self.bars.go_back()
        self.updated_ns = now_ns
        self.second_end_ns = now_ns + NS_PER_S
        if self._end_of_session(now_ns) != self.session_end_ns:
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
        if self.venues is not None:
            until_ns = min(until_ns, self.venues.note_ages(now_ns, max_age_ns), self.venues.expires_ns - 1)
        self.is_quote_stale, self.is_print_stale = not is_quoted, not is_printed
        if self.hours is not None or self.is_closed is not None:
            self._note_hours(now_ns)
            until_ns = min(until_ns, self._quiet_until_ns(now_ns))
        self.fresh_until_ns = until_ns

    def _publish_bar(self, bar: Bar) -> None:
        self._on_bar(self.symbol, bar)

    def _derive(self) -> None:
        # hot: once per symbol per tick that has an input or is due (benchmarks/bench_tick.py)
        bid, ask, bid_size, ask_size = self.bid, self.ask, self.bid_size, self.ask_size
        # As a rule all are doubles, and finite: only then is the difference 0. Asking so takes a third of a call.
        if type(bid) is not float or bid - bid != 0.0:
            bid = finite_or_none(bid)
        if type(ask) is not float or ask - ask != 0.0:
            ask = finite_or_none(ask)
        self.touch.update(bid, ask)
        if self.venues is not None:
            self.bid_size, self.ask_size = bid_size, ask_size = self.venues.sizes()
        if type(bid_size) is not float or bid_size - bid_size != 0.0:
            bid_size = finite_or_none(bid_size)
        if type(ask_size) is not float or ask_size - ask_size != 0.0:
            ask_size = finite_or_none(ask_size)
        quotes, prints = self.quotes, self.prints
        updated = iso_or_none(self.updated_ns)
        # The copy has all fields in their order; those of prints and of whole seconds stay, as a rule.
        printed = (self.last_price, self.high, self.low, self.turnover.figures, self.turnover.trades)
        if printed == self._printed and self.feed.figures is self._measured:
            json = self.to_json().copy()
        else:
            json = self._json_of_prints(printed)
        json["bid"] = bid
        json["ask"] = ask
        json["bid_size"] = bid_size
        json["ask_size"] = ask_size
        json["spread_bps"] = None if self.is_quote_stale else self.touch.spread_bps
        json["time_weighted_spread"] = finite_or_none(self.time_weighted_spread)
        json["locked"] = self.locked
        json["crossed"] = self.crossed
        json["update_rate"] = self._rate.value
        json["late"] = quotes.late + prints.late
        json["ahead"] = quotes.ahead + prints.ahead
        json["updated"] = updated
        # One of the two is the newest event, as a rule.
        json["quote_updated"] = updated if quotes.arrived_ns == self.updated_ns else iso_or_none(quotes.arrived_ns)
        json["print_updated"] = updated if prints.arrived_ns == self.updated_ns else iso_or_none(prints.arrived_ns)
        json["quote_stale"] = self.is_quote_stale and not self.is_quiet if quotes.arrived_ns else None
        json["print_stale"] = self.is_print_stale and not self.is_quiet if prints.arrived_ns else None
        json["stale"] = self.is_stale
        json["closed"] = self.is_closed
        if self.venues is not None:
            self._add_venues(json, self.venues)
        self.offer(json)

    def _json_of_prints(self, printed: _Printed) -> dict[str, Any]:
        """Returns all fields in their order, with the values of those that prints and whole seconds change."""
        self._printed, self._measured = printed, self.feed.figures
        last_price, high, low, (volume, buy_volume, sell_volume, unknown_volume, vwap), trades = printed
        feed = self._measured
        return {
            "last_price": finite_or_none(last_price),
            "bid": None,
            "ask": None,
            "bid_size": None,
            "ask_size": None,
            "volume": volume,
            "buy_volume": buy_volume,
            "sell_volume": sell_volume,
            "unknown_volume": unknown_volume,
            "trades": trades,
            "vwap": vwap,
            "high": finite_or_none(high),
            "low": finite_or_none(low),
            "spread_bps": None,
            "time_weighted_spread": None,
            "locked": 0,
            "crossed": 0,
            "update_rate": None,
            "clock_offset_ms": feed.clock_offset_ms,
            "feed_latency_p50_ms": feed.p50_ms,
            "feed_latency_p99_ms": feed.p99_ms,
            "feed_latency_max_ms": feed.max_ms,
            "n_feed_latency": feed.n,
            "late": 0,
            "ahead": 0,
            "updated": None,
            "quote_updated": None,
            "print_updated": None,
            "quote_stale": None,
            "print_stale": None,
            "stale": False,
            "closed": None,
        }

    def _add_venues(self, json: dict[str, Any], venues: SymbolVenues) -> None:
        json["late"] = sum(venue.quotes.late + venue.prints.late for venue in venues)
        json["ahead"] = sum(venue.quotes.ahead + venue.prints.ahead for venue in venues)
        json["venues"] = venues.to_json()
        if self.is_quiet:
            json["venues"] = {name: each | {"stale": False} for name, each in json["venues"].items()}
