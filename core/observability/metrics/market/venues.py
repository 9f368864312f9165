"""The venues of one symbol that is traded at several: the quotes and prints of each, and the best of all of them.

    A   101.0 / 102.0            best: 101.0 / 100.0, crossed         the highest bid and the lowest ask of the venues
    B    99.0 / 100.0                                                 that take part
    C    90.0 / 103.0  stale

A venue takes part while its newest quote is fresh and its source is connected; a side that it has not does not remove
another's. If none takes part, the newest quote is shown, and is stale. The best changes by time alone when one of
several quotes becomes stale: that moment is known, and is observed as of then, whatever comes next and however late.

Which event of a venue is its newest is a matter of that venue alone (`time_order.py`), because clocks differ. The best
changes in the order of arrival; by the exchanges' clocks, it never changes earlier than it did before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import MAX_NS, iso_or_none
from observability.metrics.arithmetic.decimals import exact_decimal, exact_sum, finite_or_none, to_float
from observability.metrics.arithmetic.splits import Ratio
from observability.metrics.arithmetic.turnover import ExactTurnover, TurnoverState
from observability.metrics.market.feed import MAX_STEPS_OF_VENUE, MAX_WAITING, FeedLatency, FeedState
from observability.metrics.market.print_corrections import KeptPrint, newest_of
from observability.metrics.market.time_order import TimeOrder
from observability.metrics.market.touch import Sides

MAX_VENUES: Final = 32
"""How many venues of a symbol have a state of their own; the events of further ones are refused."""
NO_VENUE: Final = "(none)"
"""The name that events without one get, once the symbol has several venues."""


class VenueState(msgspec.Struct):
    """One venue of a symbol in a checkpoint."""

    name: str
    bid: float | None = None
    ask: float | None = None
    bid_size: float | None = None
    ask_size: float | None = None
    last_price: float | None = None
    times_ns: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Of the newest quote, its arrival, of the newest print, its arrival."""
    late: tuple[int, int] = (0, 0)
    ahead: tuple[int, int] = (0, 0)
    clock_offsets_ns: tuple[int | None, int | None] = (None, None)
    turnover: TurnoverState | None = None
    locked: int = 0
    crossed: int = 0
    feed: FeedState = msgspec.field(default_factory=FeedState)
    updated_ns: int = 0
    takes_part: bool = False
    is_lost: bool = False
    is_heard: bool = False


class VenuesState(msgspec.Struct):
    """The venues of a symbol in a checkpoint, and which of them the newest quote and the last print are from."""

    venues: list[VenueState] = []
    quoted: str | None = None
    printed: str | None = None


class Venue:
    """The state of one symbol at one venue; volumes and counts are of the session."""

    __slots__ = (
        "ask", "ask_size", "bid", "bid_size", "crossed", "feed", "is_heard", "is_lost", "is_stale", "last_price",
        "locked", "name", "prints", "quotes", "takes_part", "turnover", "updated_ns",
    )  # fmt: skip

    def __init__(self, name: str, symbol: str, feed_window_seconds: float) -> None:
        self.name = name
        self.bid: float | None = None
        self.ask: float | None = None
        self.bid_size: float | None = None
        self.ask_size: float | None = None
        self.last_price: float | None = None
        self.quotes = TimeOrder(f"quotes of {symbol} at {name}")
        self.prints = TimeOrder(f"prints of {symbol} at {name}")
        self.turnover = ExactTurnover()
        self.locked = 0
        self.crossed = 0
        self.feed = FeedLatency(feed_window_seconds, MAX_STEPS_OF_VENUE)
        self.updated_ns = 0
        """When the last quote or print arrived."""
        self.takes_part = False
        """Whether its quote counts for the best: it was fresh when that was last asked, and its source connected."""
        self.is_lost = False
        """Whether the connection that its newest quote came over has been lost since."""
        self.is_heard = False
        """Whether it had an event in the session."""
        self.is_stale = True

    def add_offset(self, offset_ns: int) -> None:
        """Adds `ts_init - ts` of an event that has both."""
        arrived = self.feed.arrived
        arrived.append(offset_ns)
        if len(arrived) > MAX_WAITING:
            self.feed.count_arrived()

    def replace_last(self, changed: KeptPrint, kept: Sequence[KeptPrint]) -> bool:
        """Finds the last price if a print that has changed was it, among the remembered ones; returns whether it
        was."""
        prints = self.prints
        if prints.arrived_ns != changed.arrived_ns or self.last_price != changed.price:
            return False
        newest = newest_of([each for each in kept if each.venue == changed.venue])
        self.last_price = None if newest is None else newest.price
        prints.newest_ns = 0 if newest is None else newest.ts_ns
        prints.arrived_ns = 0 if newest is None else newest.arrived_ns
        return True

    def begin_session(self) -> None:
        self.turnover.clear()
        self.locked = self.crossed = 0
        self.quotes.begin_session()
        self.prints.begin_session()
        self.is_heard = False

    def to_json(self) -> dict[str, Any]:
        quotes, prints, turnover, feed = self.quotes, self.prints, self.turnover, self.feed.figures
        return {
            "bid": self.bid,
            "ask": self.ask,
            "bid_size": finite_or_none(self.bid_size),
            "ask_size": finite_or_none(self.ask_size),
            "last_price": finite_or_none(self.last_price),
            "volume": turnover.volume,
            "trades": turnover.trades,
            "vwap": turnover.vwap,
            "locked": self.locked,
            "crossed": self.crossed,
            "clock_offset_ms": feed.clock_offset_ms,
            "feed_latency_p99_ms": feed.p99_ms,
            "late": quotes.late + prints.late,
            "ahead": quotes.ahead + prints.ahead,
            "updated": iso_or_none(self.updated_ns),
            "stale": self.is_stale,
        }

    def to_state(self) -> VenueState:
        quotes, prints = self.quotes, self.prints
        return VenueState(
            self.name, self.bid, self.ask, self.bid_size, self.ask_size, self.last_price,
            (quotes.newest_ns, quotes.arrived_ns, prints.newest_ns, prints.arrived_ns),
            (quotes.late, prints.late), (quotes.ahead, prints.ahead), (quotes.clock_offset_ns, prints.clock_offset_ns),
            self.turnover.to_state(), self.locked, self.crossed, self.feed.to_state(), self.updated_ns,
            self.takes_part, self.is_lost, self.is_heard,
        )  # fmt: skip

    def load_state(self, state: VenueState) -> None:
        quotes, prints = self.quotes, self.prints
        self.bid, self.ask, self.bid_size, self.ask_size = state.bid, state.ask, state.bid_size, state.ask_size
        self.last_price = state.last_price
        quotes.newest_ns, quotes.arrived_ns, prints.newest_ns, prints.arrived_ns = state.times_ns
        (quotes.late, prints.late), (quotes.ahead, prints.ahead) = state.late, state.ahead
        quotes.restore_clock(state.clock_offsets_ns[0])
        prints.restore_clock(state.clock_offsets_ns[1])
        if state.turnover is not None:
            self.turnover.load_state(state.turnover)
        self.locked, self.crossed = state.locked, state.crossed
        self.feed.load_state(state.feed)
        self.updated_ns = state.updated_ns
        self.takes_part, self.is_lost, self.is_heard = state.takes_part, state.is_lost, state.is_heard


class BestOrder(TimeOrder):
    """The time of a symbol's best: when the newest quote that takes part was quoted, and when it arrived."""

    __slots__ = ("is_lost",)

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.is_lost = False
        """Whether the newest quote of all is shown, and its source has been lost."""

    def is_fresh(self, now_ns: int, max_age_ns: int) -> bool:
        return not self.is_lost and super().is_fresh(now_ns, max_age_ns)


class SymbolVenues:
    """The venues of one symbol, in the order in which they appeared, and the best of them."""

    __slots__ = (
        "_all", "_by_name", "_feed_window_seconds", "_symbol", "arrived_ns", "ask", "bid", "expires_ns", "is_lost",
        "printed", "quoted",
    )  # fmt: skip

    def __init__(self, symbol: str, feed_window_seconds: float) -> None:
        self._symbol = symbol
        self._feed_window_seconds = feed_window_seconds
        self._by_name: dict[str, Venue] = {}
        self._all: list[Venue] = []
        self.bid: float | None = None
        self.ask: float | None = None
        self.arrived_ns = 0
        """When the newest quote of the best arrived; of all, if no venue takes part."""
        self.is_lost = False
        """Whether no venue takes part, and the source of the newest quote is lost."""
        self.expires_ns = MAX_NS
        """When the first of the quotes that the best is made of becomes stale."""
        self.quoted: Venue | None = None
        """The venue whose quote arrived last."""
        self.printed: Venue | None = None
        """The venue whose print is the last of all."""

    def __iter__(self) -> Iterator[Venue]:
        return iter(self._all)

    def get(self, name: str) -> Venue | None:
        return self._by_name.get(name or NO_VENUE)

    def add(self, name: str) -> Venue | None:
        """Adds a venue, in place of one that had no event in the session if all are in use; None if all had one."""
        if len(self._all) >= MAX_VENUES:
            silent = [venue for venue in self._all if not (venue.is_heard or venue.takes_part)]
            if not silent:
                return None
            self._remove(min(silent, key=lambda venue: venue.updated_ns))
        venue = self._by_name[name or NO_VENUE] = Venue(name or NO_VENUE, self._symbol, self._feed_window_seconds)
        self._all.append(venue)
        return venue

    def split(self, ratio: Ratio) -> None:
        """Scales the prices and sizes from before a split."""
        for venue in self._all:
            venue.bid, venue.ask = ratio.of_quoted(venue.bid), ratio.of_quoted(venue.ask)
            venue.bid_size, venue.ask_size = ratio.of_size(venue.bid_size), ratio.of_size(venue.ask_size)
            venue.last_price = ratio.of_quoted(venue.last_price)
        self.bid, self.ask = ratio.of_quoted(self.bid), ratio.of_quoted(self.ask)

    def set_quote(self, venue: Venue, sides: Sides) -> None:
        """Replaces the quote of a venue, whose order in time is known to the venue already. Call `combine` then."""
        bid, ask, venue.bid_size, venue.ask_size = sides
        venue.bid = bid if bid is not None and isfinite(bid) else None
        venue.ask = ask if ask is not None and isfinite(ask) else None
        venue.takes_part, venue.is_lost = True, False
        self.quoted = venue

    def combine(self, now_ns: int, stale_after_ns: int) -> None:
        """Makes the best of the quotes that are fresh at `now_ns`."""
        # hot: once per quote of a symbol with several venues
        bid: float | None = None
        ask: float | None = None
        newest_ns = 0
        oldest_ns = MAX_NS
        several = False
        for venue in self._all:
            if not venue.takes_part:
                continue
            arrived_ns = venue.quotes.arrived_ns
            if now_ns - arrived_ns > stale_after_ns:
                venue.takes_part = False
                continue
            price = venue.bid
            if price is not None and (bid is None or price > bid):
                bid = price
            price = venue.ask
            if price is not None and (ask is None or price < ask):
                ask = price
            several = newest_ns > 0
            if arrived_ns > newest_ns:
                newest_ns = arrived_ns
            if arrived_ns < oldest_ns:
                oldest_ns = arrived_ns
        self.expires_ns = oldest_ns + stale_after_ns + 1 if several else MAX_NS
        self.is_lost = False
        newest = self.quoted
        if not newest_ns and newest is not None:
            bid, ask, newest_ns, self.is_lost = newest.bid, newest.ask, newest.quotes.arrived_ns, newest.is_lost
        self.bid, self.ask, self.arrived_ns = bid, ask, newest_ns

    def sizes(self) -> tuple[float | None, float | None]:
        """Returns the sizes at the best bid and ask: the sum of the venues that quote it, None if one of them names no
        size."""
        best = [venue for venue in self._all if venue.takes_part] or ([self.quoted] if self.quoted else [])
        return (
            _sum_of(venue.bid_size for venue in best if venue.bid is not None and venue.bid == self.bid),
            _sum_of(venue.ask_size for venue in best if venue.ask is not None and venue.ask == self.ask),
        )

    def last_printed(self, latest: Venue | None) -> Venue | None:
        """Returns the venue whose newest print is the last of all; None without any. Of prints of equal times, that of
        `latest` is the last, else the one that was."""
        before = self.printed
        self.printed = max(
            (one for one in self._all if one.last_price is not None),
            key=lambda one: (one.prints.newest_ns, one.prints.arrived_ns, one is latest, one is before),
            default=None,
        )
        return self.printed

    def lose(self, name: str) -> bool:
        """Lets the quote of a venue take part no more, because its source is lost; returns whether it did."""
        venue = self._by_name.get(name)
        if venue is None or venue.is_lost:
            return False
        took_part = venue.takes_part
        venue.takes_part, venue.is_lost = False, True
        return took_part

    def note_ages(self, now_ns: int, max_age_ns: int) -> int:
        """Notes which venues are stale; returns until when none becomes so."""
        until_ns = MAX_NS
        for venue in self._all:
            order = venue.quotes if venue.quotes.arrived_ns else venue.prints
            venue.is_stale = venue.is_lost or not order.is_fresh(now_ns, max_age_ns)
            if not venue.is_stale and order.arrived_ns + max_age_ns < until_ns:
                until_ns = order.arrived_ns + max_age_ns
        return until_ns

    def begin_session(self) -> None:
        for venue in self._all:
            venue.begin_session()

    def forget(self) -> None:
        """Lets any next event be the newest."""
        for venue in self._all:
            venue.quotes.forget()
            venue.prints.forget()
        self.expires_ns = MAX_NS

    def to_json(self) -> dict[str, dict[str, Any]]:
        return {venue.name: venue.to_json() for venue in self._all}

    def to_state(self) -> VenuesState:
        return VenuesState(
            [venue.to_state() for venue in self._all],
            None if self.quoted is None else self.quoted.name,
            None if self.printed is None else self.printed.name,
        )

    def load_state(self, state: VenuesState, stale_after_ns: int) -> None:
        """Restores the venues, and the best of those that took part in it; what has become stale since is found with
        the next event or tick, as of its moment."""
        for each in state.venues:
            venue = self.add(each.name)
            if venue is not None:
                venue.load_state(each)
        self.quoted = self._by_name.get(state.quoted or "")
        self.printed = self._by_name.get(state.printed or "")
        # No quote is stale at that time.
        self.combine(0, stale_after_ns)

    def _remove(self, venue: Venue) -> None:
        del self._by_name[venue.name]
        self._all.remove(venue)
        # Its quote or last price may still be shown, as the newest of all.


def _sum_of(sizes: Iterator[float | None]) -> float | None:
    known = [finite_or_none(size) for size in sizes]
    if not known or None in known:
        return None
    return to_float(exact_sum(exact_decimal(size) for size in known if size is not None))
