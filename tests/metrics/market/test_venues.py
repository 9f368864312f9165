"""A symbol that is traded at several venues: the best of their quotes, the sums of their prints, what each shows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.bus import Bus
from observability.events import Event, Print, Quote
from observability.metrics.market.venues import MAX_VENUES
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
MS = 1_000_000
STALE_AFTER = 2 * S


class Market:
    """A collector with the symbol X, whose quotes are stale after two seconds."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.clock = FakeClock(NOON)
        self.collector = self._started()

    def _started(self) -> MarketDataCollector:
        settings = MarketDataSettings(stale_after_seconds=2, feed_window_seconds=6)
        collector = MarketDataCollector(bus=self.bus, clock=self.clock, settings=settings)
        asyncio.run(collector.start())
        return collector

    def publish(self, event: Event, ms: int) -> None:
        """Publishes an event that arrives, and has happened unless it says so, `ms` after noon."""
        event.ts_init = NOON + ms * MS
        if event.ts is None:
            event.ts = event.ts_init
        self.bus.publish(event)

    def quote(
        self, venue: str, bid: float | None, ask: float | None, ms: int = 0, *, sizes: Any = (1.0, 1.0), late: int = 0
    ) -> None:
        self.publish(Quote("X", bid, ask, *sizes, venue, ts=NOON + (ms - late) * MS), ms)

    def trade(
        self, venue: str, price: float, ms: int = 0, *, size: float = 1.0, late: int = 0, trade_id: Any = None
    ) -> None:
        self.publish(Print("X", price, size, "buy", trade_id, venue, ts=NOON + (ms - late) * MS), ms)

    def shown(self, ms: int = 0) -> dict[str, Any]:
        self.clock.now_ns = NOON + ms * MS
        self.collector.refresh(self.clock.now_ns)
        return dict(self.collector.groups[0].parts["X"].to_json())

    def touch(self, ms: int = 0) -> tuple[Any, Any]:
        metrics = self.shown(ms)
        return metrics["bid"], metrics["ask"]

    def restart(self) -> None:
        """Continues in another collector from the checkpoint of this one."""
        saved = self.collector.save()
        asyncio.run(self.collector.stop())
        self.collector = self._started()
        self.collector.load(saved)


# -- which symbols have venues


@pytest.mark.parametrize(("quotes_of", "prints_of"), [("", ""), ("A", "A"), ("A", ""), ("", "A")])
def test_a_symbol_of_one_venue_or_none_shows_no_venues(quotes_of: str, prints_of: str) -> None:
    market = Market()
    for ms in (0, 1):
        market.quote(quotes_of, 10.0, 11.0, ms)
        market.trade(prints_of, 10.0, ms)
    assert "venues" not in market.shown(1)


@pytest.mark.parametrize(("first", "second"), [("A", "B"), ("", "A"), ("A", "")])
def test_quotes_of_two_names_are_of_two_venues(first: str, second: str) -> None:
    market = Market()
    market.quote(first, 10.0, 11.0)
    market.quote(second, 9.0, 12.0)
    assert list(market.shown()["venues"]) == [first or "(none)", second or "(none)"]


def test_quotes_of_one_venue_and_prints_of_another_are_of_two_venues() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.trade("B", 10.5)
    venues = market.shown()["venues"]
    assert (venues["A"]["bid"], venues["A"]["trades"]) == (10.0, 0)
    assert (venues["B"]["bid"], venues["B"]["trades"], venues["B"]["last_price"]) == (None, 1, 10.5)


def test_the_touch_keeps_its_sizes_as_a_print_of_a_second_venue_comes() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, sizes=(2.0, 3.0))
    market.trade("B", 10.5)
    metrics = market.shown()
    assert (metrics["bid"], metrics["bid_size"], metrics["ask"], metrics["ask_size"]) == (10.0, 2.0, 11.0, 3.0)


def test_what_came_before_the_second_venue_is_of_the_first() -> None:
    market = Market()
    market.quote("A", 10.0, 9.0)
    market.trade("A", 10.5, size=3.0)
    market.trade("A", 11.5)
    market.quote("B", 1.0, 20.0)
    metrics = market.shown()
    assert metrics["venues"]["A"] | {"bid_size": 1.0} == metrics["venues"]["A"]
    assert [metrics["venues"]["A"][name] for name in ("bid", "ask", "volume", "trades", "vwap", "last_price")] == [
        10.0, 9.0, 4.0, 2, 10.75, 11.5,
    ]  # fmt: skip
    assert (metrics["venues"]["A"]["crossed"], metrics["venues"]["B"]["crossed"]) == (1, 0)
    assert (metrics["volume"], metrics["trades"], metrics["last_price"]) == (4.0, 2, 11.5)


# -- the best


def test_the_best_is_the_highest_bid_and_the_lowest_ask() -> None:
    market = Market()
    market.quote("A", 101.0, 102.0)
    market.quote("B", 99.0, 100.0)
    assert market.touch() == (101.0, 100.0)


def test_a_side_that_one_venue_has_not_is_that_of_the_others() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.quote("B", None, 10.5)
    market.quote("C", 9.0, None)
    assert market.touch() == (10.0, 10.5)


def test_a_venue_that_withdraws_its_side_gives_the_best_to_the_next() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.quote("B", 10.5, 10.9)
    market.quote("B", None, 10.9)
    assert market.touch() == (10.0, 10.9)


def test_a_stale_quote_takes_no_part_in_the_best() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, 0)
    market.quote("B", 9.0, 12.0, 1500)
    assert [market.touch(ms) for ms in (2000, 2001)] == [(10.0, 11.0), (9.0, 12.0)]
    assert market.shown(2001)["stale"] is False


def test_a_quote_is_stale_a_nanosecond_after_its_age() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, 0)
    market.quote("B", 9.0, 12.0, 1500)
    # Made anew at the very age of A, and looked at a nanosecond later.
    market.quote("B", 9.0, 12.0, 2000)
    assert market.touch(2000) == (10.0, 11.0)
    market.clock.now_ns += 1
    market.collector.refresh(market.clock.now_ns)
    assert market.collector.groups[0].parts["X"].to_json()["bid"] == 9.0


def test_the_best_is_as_new_as_its_newest_quote() -> None:
    market = Market()
    for venue, ms in (("A", 0), ("B", 1), ("A", 2)):
        market.quote(venue, 10.0, 11.0, ms)
    assert market.shown(2)["quote_updated"] == "2012-06-21T12:00:00.002Z"


def test_the_newest_of_all_stale_quotes_is_shown_as_stale() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, 0)
    market.quote("B", 9.0, 12.0, 1)
    market.quote("A", 10.0, 11.0, 2)
    metrics = market.shown(5000)
    assert (metrics["bid"], metrics["ask"], metrics["stale"], metrics["spread_bps"]) == (10.0, 11.0, True, None)


def test_a_quote_after_all_were_stale_is_the_best_alone() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, 0)
    market.quote("B", 10.5, 10.6, 1)
    market.quote("A", 8.0, 13.0, 5000)
    assert market.touch(5000) == (8.0, 13.0)


def test_the_quote_of_a_lost_source_takes_no_part_until_the_next() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.quote("B", 10.5, 10.6)
    market.collector.lose_venue("B", ["X", "unknown"])
    lost = market.shown()
    assert ((lost["bid"], lost["ask"]), lost["venues"]["B"]["stale"], lost["stale"]) == ((10.0, 11.0), True, False)
    market.quote("B", 10.5, 10.7, 1)
    metrics = market.shown(1)
    assert ((metrics["bid"], metrics["ask"]), metrics["venues"]["B"]["stale"]) == ((10.5, 10.7), False)


def test_a_symbol_whose_sources_are_all_lost_is_stale() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.quote("B", 10.5, 10.6)
    for venue in ("B", "A"):
        market.collector.lose_venue(venue, ["X"])
    metrics = market.shown()
    assert (metrics["bid"], metrics["stale"], metrics["spread_bps"]) == (10.5, True, None)
    market.quote("A", 10.0, 11.0, 1)
    assert (market.touch(1), market.shown(1)["stale"]) == ((10.0, 11.0), False)


def test_sizes_of_equal_prices_are_added_exactly() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, sizes=(0.1, 5.0))
    market.quote("B", 10.0, 12.0, sizes=(0.2, 7.0))
    metrics = market.shown()
    assert (metrics["bid_size"], metrics["ask_size"]) == (0.3, 5.0)


def test_the_size_of_a_price_is_unknown_if_one_venue_names_none() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, sizes=(1.0, 5.0))
    market.quote("B", 10.0, 12.0, sizes=(None, 7.0))
    assert market.shown()["bid_size"] is None


def test_locked_and_crossed_count_across_venues_and_at_each() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.quote("B", 9.0, 10.0)
    market.quote("B", 9.0, 9.5)
    market.quote("B", 9.0, 9.0)
    metrics = market.shown()
    assert (metrics["locked"], metrics["crossed"]) == (1, 2)
    assert [(one["locked"], one["crossed"]) for one in metrics["venues"].values()] == [(0, 0), (1, 0)]


def test_the_spread_is_weighted_by_how_long_the_best_had_it() -> None:
    market = Market()
    market.quote("A", 10.0, 14.0, 0)
    market.quote("B", 10.0, 12.0, 1000)
    market.quote("A", 10.0, 14.0, 2500)
    # B's ask is stale from here on, by a nanosecond.
    market.quote("A", 10.0, 14.0, 4000)
    assert market.shown(4000)["time_weighted_spread"] == pytest.approx((4 * 1 + 2 * 2 + 4 * 1) / 4, rel=1e-8)


# -- order in time, per venue


def test_a_quote_is_late_only_by_its_own_venue() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, 100)
    market.quote("B", 10.5, 10.6, 101, late=50)
    market.quote("B", 10.7, 10.8, 102, late=60)
    metrics = market.shown(102)
    assert ((metrics["bid"], metrics["ask"]), metrics["late"]) == ((10.5, 10.6), 1)
    assert [one["late"] for one in metrics["venues"].values()] == [0, 1]


def test_the_last_price_is_that_of_the_latest_print_of_all_venues() -> None:
    market = Market()
    market.trade("A", 10.0, 100)
    market.trade("B", 11.0, 101, late=50)
    assert (market.shown(101)["last_price"], market.shown(101)["venues"]["B"]["last_price"]) == (10.0, 11.0)
    market.trade("B", 12.0, 102)
    assert market.shown(102)["last_price"] == 12.0


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_late_print_of_a_third_venue_takes_the_last_price_from_none(is_restarted: bool) -> None:
    market = Market()
    market.trade("A", 10.0)
    market.trade("B", 11.0)
    if is_restarted:
        market.restart()
    market.trade("C", 12.0, late=500)
    assert market.shown()["last_price"] == 11.0


def test_clock_offsets_are_those_of_each_venue() -> None:
    market = Market()
    for ms in range(0, 3000, 100):
        market.quote("A", 10.0, 11.0, ms, late=1)
        market.quote("B", 10.0, 11.0, ms, late=-700 - ms % 200 // 100)
        market.shown(ms)
    metrics = market.shown(3000)
    assert metrics["venues"]["A"]["clock_offset_ms"] == 1.0
    assert metrics["venues"]["B"]["clock_offset_ms"] == -701.0
    assert (metrics["clock_offset_ms"], metrics["feed_latency_max_ms"]) == (None, 1.0)


def test_the_clock_offset_of_the_first_venue_goes_on() -> None:
    market = Market()
    for ms in range(0, 2000, 100):
        market.quote("A", 10.0, 11.0, ms, late=7)
        market.shown(ms)
    market.quote("B", 10.0, 11.0, 2000)
    for ms in (2000, 3100):
        market.shown(ms)
    assert market.shown(3100)["venues"]["A"]["clock_offset_ms"] == 7.0


def test_a_quote_dated_ahead_costs_only_itself() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0)
    market.quote("B", 10.5, 10.9, 1, late=-3_600_000)
    market.quote("B", 10.4, 10.8, 2)
    metrics = market.shown(2)
    assert ((metrics["bid"], metrics["ask"]), metrics["ahead"]) == ((10.4, 10.8), 1)
    assert (metrics["venues"]["B"]["ahead"], market.collector.dated_ahead) == (1, 1)


def test_a_print_id_is_known_by_its_venue() -> None:
    market = Market()
    for venue in ("A", "B", "A", "B"):
        market.trade(venue, 10.0, trade_id="7")
    metrics = market.shown()
    assert (metrics["trades"], [one["trades"] for one in metrics["venues"].values()]) == (2, [1, 1])


# -- bounds and sessions


def test_venues_beyond_the_bound_are_refused_by_name() -> None:
    market = Market()
    for number in range(MAX_VENUES):
        market.quote(f"V{number}", 10.0, 11.0)
    market.quote("one too many", 10.5, 10.6)
    assert market.bus.remark is not None and market.bus.remark.is_refusal
    assert (market.bus.remark.field, market.bus.remark.text) == (
        "venue", f"no room: all {MAX_VENUES} venues of X are in use",
    )  # fmt: skip
    assert (market.touch(), market.collector.events_refused) == ((10.0, 11.0), 1)


def test_a_venue_that_was_silent_for_a_session_gives_its_room_away() -> None:
    market = Market()
    day = 24 * 3600 * 1000
    for number in range(MAX_VENUES):
        market.quote(f"V{number}", 10.0, 11.0, number)
    for number in range(1, MAX_VENUES):
        market.quote(f"V{number}", 10.0, 11.0, day)
    market.quote("new", 10.5, 10.6, day)
    venues = market.shown(day)["venues"]
    assert "V0" not in venues and "new" in venues and len(venues) == MAX_VENUES


def test_a_session_begins_at_every_venue() -> None:
    market = Market()
    day = 24 * 3600 * 1000
    market.trade("A", 10.0)
    market.quote("B", 10.0, 10.0)
    market.trade("B", 11.0, day)
    venues = market.shown(day)["venues"]
    assert [(one["trades"], one["locked"]) for one in venues.values()] == [(0, 0), (1, 0)]


def test_time_that_has_gone_back_begins_every_venue_anew() -> None:
    market = Market()
    market.quote("A", 10.0, 11.0, 3_600_000)
    market.quote("B", 10.5, 10.6, 3_600_000)
    market.quote("A", 9.0, 12.0, 0)
    assert market.touch(0) == (9.0, 12.0)


# -- against a book that keeps every quote


@dataclass
class Book:
    """The consolidated book by its definition, from all that has come: slow, and with nothing in common with the one
    that is tested."""

    quotes: list[tuple[str, int, int, Any, Any, float, float]] = field(default_factory=list)
    prints: list[tuple[str, int, int, int, int]] = field(default_factory=list)
    locked: int = 0
    crossed: int = 0

    def newest(self) -> dict[str, Any]:
        """The quote of each venue that is the latest there, and its place among all."""
        found: dict[str, Any] = {}
        for place, quote in enumerate(self.quotes):
            if quote[0] not in found or quote[1] >= found[quote[0]][1][1]:
                found[quote[0]] = (place, quote)
        return found

    def best(self, now: int) -> tuple[Any, ...]:
        newest = self.newest()
        fresh = [quote for _, quote in newest.values() if now - quote[2] <= STALE_AFTER // MS]
        is_stale = not fresh
        if is_stale and newest:
            fresh = [max(newest.values())[1]]
        bids = [quote[3] for quote in fresh if quote[3] is not None]
        asks = [quote[4] for quote in fresh if quote[4] is not None]
        bid, ask = max(bids, default=None), min(asks, default=None)
        bid_size = sum(quote[5] for quote in fresh if quote[3] == bid) if bids else None
        ask_size = sum(quote[6] for quote in fresh if quote[4] == ask) if asks else None
        return bid, ask, bid_size, ask_size, is_stale

    def add_quote(self, venue: str, ts: int, now: int, bid: Any, ask: Any, size: float) -> None:
        self.quotes.append((venue, ts, now, bid, ask, size, 2 * size))
        if self.newest()[venue][0] == len(self.quotes) - 1:
            bid, ask = self.best(now)[:2]
        if bid is not None and ask is not None:
            self.locked += bid == ask
            self.crossed += bid > ask

    def last(self) -> float | None:
        return max(self.prints, key=lambda one: one[1:3])[3] if self.prints else None

    def sums(self, venue: str | None = None) -> tuple[float, int, float | None]:
        counted = [one for one in self.prints if venue in (None, one[0])]
        volume = sum(one[4] for one in counted)
        notional = sum(one[3] * one[4] for one in counted)
        return volume, len(counted), float(Fraction(notional, volume)) if volume else None


prices = st.one_of(st.none(), st.integers(95, 105))
steps = st.lists(
    st.tuples(
        st.sampled_from(["quote", "quote", "quote", "print", "tick", "restart"]),
        st.sampled_from(["A", "B", "C"]),
        st.integers(0, 1500),
        st.integers(0, 40),
        st.tuples(prices, prices, st.integers(1, 9)),
    ),
    max_size=40,
)


@given(steps)
def test_the_best_is_that_of_a_book_that_keeps_every_quote(steps: list[Any]) -> None:
    market, book = Market(), Book()
    # Two venues from the start, so that the symbol has venues.
    for venue in ("A", "B"):
        market.quote(venue, 90.0, 110.0, sizes=(1.0, 2.0))
        book.add_quote(venue, 0, 0, 90, 110, 1.0)
    now = 0
    for kind, venue, wait, late, (bid, ask, size) in steps:
        now += wait
        if kind == "quote":
            market.quote(venue, bid, ask, now, sizes=(float(size), 2.0 * size), late=late)
            book.add_quote(venue, now - late, now, bid, ask, float(size))
        elif kind == "print":
            price = bid or 100
            market.trade(venue, float(price), now, size=float(size), late=late)
            book.prints.append((venue, now - late, len(book.prints), price, size))
        elif kind == "restart":
            market.restart()
        metrics = market.shown(now)
        found = tuple(metrics[name] for name in ("bid", "ask", "bid_size", "ask_size", "stale"))
        assert found == book.best(now)
        assert (metrics["locked"], metrics["crossed"]) == (book.locked, book.crossed)
        assert (metrics["volume"], metrics["trades"], metrics["vwap"]) == book.sums()
        assert metrics["last_price"] == book.last()
        for name, one in metrics["venues"].items():
            assert (one["volume"], one["trades"], one["vwap"]) == book.sums(name)
