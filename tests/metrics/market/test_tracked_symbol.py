"""A tracked symbol over time: its time-weighted spread, volumes, update rate and feed latency."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.events import Print, Quote
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
MS = 1_000_000
HOUR = 3600 * S


class Market:
    """A collector with one symbol."""

    def __init__(self, **settings: Any) -> None:
        self.bus = Bus()
        self.collector = MarketDataCollector(bus=self.bus, settings=MarketDataSettings(**settings))
        asyncio.run(self.collector.start())

    def quote(self, ns: int, bid: float | None = 10.0, ask: float | None = 10.02, ts_init: int | None = None) -> None:
        ts_init = NOON + ns if ts_init is None else ts_init
        self.bus.publish(Quote("AAPL", bid, ask, 1.0, 1.0, ts=NOON + ns, ts_init=ts_init))

    def trade(self, ns: int, price: float = 10.0, side: Any = None) -> None:
        self.bus.publish(Print("AAPL", price, 1.0, side, ts=NOON + ns, ts_init=NOON + ns))

    def shown(self, ns: int) -> dict[str, Any]:
        self.collector.refresh(NOON + ns)
        return self.collector.groups[0].parts["AAPL"].to_json()

    def version(self) -> int:
        return self.collector.groups[0].parts["AAPL"].version

    def time_weighted_spread(self) -> Any:
        state = self.collector.symbol("AAPL")
        assert state is not None
        return state.time_weighted_spread


# -- the time-weighted spread


def test_a_spread_is_weighted_by_how_long_it_stood() -> None:
    market = Market()
    market.quote(0, 10.0, 10.5)
    market.quote(3 * S, 10.0, 12.5)
    market.quote(4 * S, 10.0, 99.0)
    assert market.shown(50 * S)["time_weighted_spread"] == (0.5 * 3 + 2.5 * 1) / 4


def test_an_unchanged_spread_counts_up_to_the_newest_quote() -> None:
    market = Market()
    market.quote(0, 10.0, 10.5)
    market.quote(1 * S, 10.0, 11.0)
    market.quote(3 * S, 10.0, 11.0)
    assert market.shown(50 * S)["time_weighted_spread"] == (0.5 * 1 + 1.0 * 2) / 3


def test_one_quote_alone_has_no_time_weighted_spread() -> None:
    market = Market()
    market.quote(0)
    assert market.shown(10 * S)["time_weighted_spread"] is None


def test_crossed_spreads_are_negative_and_locked_ones_zero() -> None:
    market = Market()
    for seconds, ask in ((0, 9.0), (1, 10.0), (3, 10.5)):
        market.quote(seconds * S, 10.0, ask)
    assert market.time_weighted_spread() == -1.0 / 3


@pytest.mark.parametrize(("bid", "ask"), [(None, 10.0), (10.0, None), (math.nan, 10.0), (10.0, math.inf)])
def test_time_without_a_spread_is_left_out(bid: float | None, ask: float | None) -> None:
    market = Market()
    market.quote(0, 10.0, 10.5)
    market.quote(2 * S, bid, ask)
    market.quote(9 * S, 10.0, 11.0)
    market.quote(10 * S, 10.0, 99.0)
    assert market.time_weighted_spread() == (0.5 * 2 + 1.0) / 3


def test_spreads_are_weighted_by_ts_and_not_by_arrival() -> None:
    market = Market()
    for seconds, ask in ((0, 10.5), (3, 12.5), (4, 99.0)):
        market.quote(seconds * S, 10.0, ask, ts_init=NOON + 5 * S)
    assert market.time_weighted_spread() == 1.0


@pytest.mark.parametrize("before", [10.5, 11.0])
def test_a_quote_from_the_far_future_has_no_part_in_the_spread(before: float) -> None:
    market = Market()
    market.quote(0, 10.0, 10.5)
    market.quote(1 * S, 10.0, before)
    market.quote(2 * S, 10.0, before)
    market.quote(500_000 * HOUR, 10.0, 99.0, ts_init=NOON + 3 * S)
    market.quote(4 * S, 10.0, 12.0)
    market.quote(5 * S, 10.0, 99.0)
    assert market.time_weighted_spread() == pytest.approx((0.5 + (before - 10.0) * 3 + 2.0) / 5, rel=1e-12)


def test_a_late_quote_has_no_part_in_the_spread() -> None:
    market = Market()
    for ms, ask in ((0, 10.5), (1000, 11.0), (999, 12.0), (2000, 99.0)):
        market.quote(ms * MS, 10.0, ask)
    assert market.time_weighted_spread() == pytest.approx((0.5 * 1000 + 1.0 * 1000) / 2000, rel=1e-12)


def test_a_quote_that_goes_back_in_time_subtracts_nothing() -> None:
    market = Market()
    for ms, ask in ((0, 10.5), (1000, 11.0), (900, 11.0)):
        market.quote(ms * MS, 10.0, ask)
    assert market.time_weighted_spread() == 0.5


def test_a_spread_of_the_last_session_is_not_in_the_next() -> None:
    market = Market()
    market.quote(0, 10.0, 99.0)
    market.quote(S, 10.0, 98.0)
    market.quote(13 * HOUR, 10.0, 10.5)
    market.quote(13 * HOUR + S, 10.0, 11.0)
    assert market.time_weighted_spread() == 0.5


cents = st.integers(min_value=1, max_value=10**7)


@given(st.lists(st.tuples(cents, st.integers(-500, 500), st.integers(1, 10**12)), min_size=2, max_size=50))
def test_the_average_spread_is_exact_within_a_trillionth(touches: list[tuple[int, int, int]]) -> None:
    market = Market(session_end_ns=lambda now_ns: now_ns + 100 * HOUR)
    ns = 0
    for bid, spread, stood_ns in touches:
        market.quote(ns, bid / 100, (bid + spread) / 100)
        ns += stood_ns
    market.quote(ns)
    exact = Fraction(sum(s * t for _, s, t in touches), 100 * sum(t for _, _, t in touches))
    weight = max(bid for bid, _, _ in touches) / 100
    assert market.time_weighted_spread() == pytest.approx(float(exact), rel=1e-12, abs=4e-16 * weight)


# -- volumes by aggressor


def test_volume_is_split_by_aggressor() -> None:
    market = Market()
    for side in ("buy", "buy", "buy", "sell", None, None):
        market.trade(0, side=side)
    shown = market.shown(0)
    volumes = [shown[name] for name in ("volume", "buy_volume", "sell_volume", "unknown_volume")]
    assert volumes == [6.0, 3.0, 1.0, 2.0]


def test_volumes_by_aggressor_start_from_zero_with_the_session() -> None:
    market = Market()
    market.trade(0, side="buy")
    market.trade(13 * HOUR, side="sell")
    shown = market.shown(13 * HOUR)
    assert [shown[name] for name in ("volume", "buy_volume", "sell_volume")] == [1.0, 0.0, 1.0]


def test_a_session_ends_where_the_calendar_says() -> None:
    market = Market(session_end_ns=lambda now_ns: now_ns - now_ns % HOUR + HOUR)
    market.trade(HOUR - 1)
    assert market.shown(HOUR)["volume"] == 1.0
    market.trade(HOUR)
    assert market.shown(HOUR)["volume"] == 1.0


def test_high_and_low_cover_the_session_and_not_the_minute() -> None:
    market = Market()
    for minute, price in enumerate((11.0, 10.0, 12.0, 11.0)):
        market.trade(minute * 60 * S, price)
    shown = market.shown(240 * S)
    assert (shown["high"], shown["low"]) == (12.0, 10.0)


# -- the rate of updates


def test_the_update_rate_covers_the_last_five_whole_seconds() -> None:
    market = Market()
    for ns in (0, 300 * MS, 600 * MS, 1500 * MS):
        market.quote(ns)
    market.trade(1600 * MS)
    assert market.shown(1900 * MS)["update_rate"] == 3.0
    assert market.shown(2000 * MS)["update_rate"] == 2.5
    assert market.shown(5000 * MS)["update_rate"] == 1.0
    assert market.shown(6000 * MS)["update_rate"] == 0.4
    assert market.shown(7000 * MS)["update_rate"] == 0.0


def test_there_is_no_update_rate_before_the_first_second_is_over() -> None:
    market = Market()
    market.quote(0)
    assert market.shown(999 * MS)["update_rate"] is None


def test_the_update_rate_does_not_depend_on_when_ticks_come() -> None:
    ticked, silent = Market(), Market()
    for ns in range(0, 7 * S, 170 * MS):
        for market in (ticked, silent):
            market.quote(ns)
        ticked.shown(ns)
    assert silent.shown(7 * S)["update_rate"] == ticked.shown(7 * S)["update_rate"] == 6.0


def test_a_silent_symbol_changes_once_a_second_until_its_rate_is_zero() -> None:
    market = Market()
    for ns in range(0, 5 * S, 100 * MS):
        market.quote(ns)
    versions = []
    for ns in range(5 * S, 20 * S, 100 * MS):
        market.shown(ns)
        versions.append(market.version())
    # It also becomes stale, which is one more change.
    assert len(set(versions)) <= 7
    assert market.shown(20 * S)["update_rate"] == 0.0


# -- the feed's latency


def test_feed_latency_is_measured_from_the_fastest_event() -> None:
    market = Market()
    for number, latency_ms in enumerate((3, 1, 2, 11)):
        market.quote(number * MS, ts_init=NOON + (number + latency_ms - 1272) * MS)
    shown = market.shown(2 * S)
    assert (shown["clock_offset_ms"], shown["feed_latency_max_ms"], shown["n_feed_latency"]) == (-1271.0, 10.0, 4)
    assert shown["feed_latency_p50_ms"] == pytest.approx(1.0, abs=0.001)


def test_an_event_without_both_times_has_no_feed_latency() -> None:
    market = Market()
    market.quote(0)
    market.bus.publish(Quote("AAPL", 10.0, 10.02, ts_init=NOON))
    market.bus.publish(Print("AAPL", 10.0, 1.0, ts=NOON))
    shown = market.shown(2 * S)
    assert (shown["clock_offset_ms"], shown["feed_latency_p99_ms"], shown["n_feed_latency"]) == (None, None, 0)


def test_a_tick_counts_offsets_when_too_many_wait() -> None:
    market = Market()
    for number in range(5000):
        market.quote(number, ts_init=NOON + MS)
    market.shown(2 * MS)
    state = market.collector.symbol("AAPL")
    assert state is not None
    assert len(state.feed.arrived) == 0
    assert market.shown(2 * S)["n_feed_latency"] == 5000
