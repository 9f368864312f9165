"""1-minute bars: which prints they contain, when they are published, and how late prints amend them."""

from __future__ import annotations

import asyncio
import math
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import NS_PER_MINUTE
from observability.events import Print
from observability.metrics.market.bar_table import Bar
from observability.metrics.market.bars import AMENDABLE_MINUTES, GRACE_NS
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
MIDNIGHT = NOON + 12 * 3600 * S


class Market:
    """A collector and the bars that it has published."""

    def __init__(self, clock: Clock | None = None, **settings: Any) -> None:
        self.bus = Bus()
        self.collector = MarketDataCollector(bus=self.bus, clock=clock, settings=MarketDataSettings(**settings))
        self.published: list[Bar] = []
        self.collector.add_bar_listener(lambda _, bar: self.published.append(bar))
        asyncio.run(self.collector.start())

    def trade(self, seconds: float, price: float, size: float = 1.0, ts_init: int | None = None) -> None:
        ts = NOON + round(seconds * S)
        self.bus.publish(Print("AAPL", price, size, ts=ts, ts_init=ts if ts_init is None else ts_init))

    def tick(self, seconds: float) -> list[Bar]:
        """Returns the bars published when the event clock has come to `seconds`."""
        self.published.clear()
        self.collector.refresh(NOON + round(seconds * S))
        return list(self.published)

    def bars(self) -> list[Bar]:
        return list(self.collector.bars("AAPL", 0, 2 * NOON))


def test_a_bar_holds_the_prints_of_its_minute() -> None:
    market = Market()
    for seconds, price, size in ((0, 10.0, 2.0), (20, 10.5, 1.0), (40, 9.5, 1.0), (59.9, 10.25, 4.0), (60, 99.0, 1.0)):
        market.trade(seconds, price, size)
    assert market.tick(62)[0] == Bar(NOON, 10.0, 10.5, 9.5, 10.25, 8.0, 4, 10.125)


def test_a_minute_includes_its_first_nanosecond_and_not_the_next_minute() -> None:
    market = Market()
    for nanoseconds in (0, NS_PER_MINUTE - 1, NS_PER_MINUTE):
        market.bus.publish(Print("AAPL", 10.0, 1.0, ts=NOON + nanoseconds, ts_init=NOON + nanoseconds))
    assert [bar.trades for bar in market.tick(200)] == [2, 1]


def test_a_bar_is_finished_when_its_grace_period_is_over() -> None:
    market = Market()
    market.trade(5, 10.0)
    grace = GRACE_NS / S
    assert market.tick(60 + grace - 0.1) == []
    assert [bar.ts_ns for bar in market.tick(60 + grace)] == [NOON]
    assert market.tick(60 + grace + 1) == []


def test_a_bar_that_another_follows_also_waits_for_its_grace_period() -> None:
    market = Market()
    market.trade(59, 10.0)
    market.trade(60.5, 10.0)
    assert market.tick(61) == []
    assert [bar.ts_ns for bar in market.tick(62)] == [NOON]


def test_a_late_print_amends_its_bar_which_is_published_again() -> None:
    market = Market()
    market.trade(10, 10.0, 3.0)
    market.trade(70, 20.0, 1.0)
    market.tick(63)
    market.trade(50, 12.0, 1.0, ts_init=NOON + 75 * S)
    assert market.tick(75) == [Bar(NOON, 10.0, 12.0, 10.0, 12.0, 4.0, 2, 10.5)]
    assert market.tick(122) == [Bar(NOON + NS_PER_MINUTE, 20.0, 20.0, 20.0, 20.0, 1.0, 1, 20.0)]


def test_a_late_print_amends_the_newest_finished_bar_too() -> None:
    market = Market()
    market.trade(10, 10.0)
    market.tick(70)
    market.trade(59, 11.0, ts_init=NOON + 71 * S)
    assert [(bar.close, bar.trades) for bar in market.tick(71)] == [(11.0, 2)]


def test_a_late_print_can_begin_the_bar_of_an_earlier_minute() -> None:
    market = Market()
    market.trade(0, 10.0)
    market.trade(130, 10.0)
    market.trade(70, 11.0, ts_init=NOON + 131 * S)
    assert [(bar.ts_ns - NOON) // NS_PER_MINUTE for bar in sorted(market.tick(300))] == [0, 1, 2]


def test_a_print_too_late_for_its_bar_is_counted() -> None:
    market = Market()
    market.trade(0, 10.0)
    market.trade(AMENDABLE_MINUTES * 60, 10.0)
    market.trade(1, 10.0, ts_init=NOON + AMENDABLE_MINUTES * 60 * S)
    assert market.collector.late_prints == 0
    market.trade((AMENDABLE_MINUTES + 1) * 60, 10.0)
    market.trade(2, 11.0, ts_init=NOON + (AMENDABLE_MINUTES + 1) * 60 * S)
    assert market.collector.late_prints == 1
    market.tick(1000)
    assert [bar.trades for bar in market.bars()] == [2, 1, 1]


@pytest.mark.parametrize("ahead_seconds", [6, 61, 3599, 86_400])
def test_a_print_dated_ahead_is_in_the_minute_of_its_arrival(ahead_seconds: int) -> None:
    market = Market()
    market.trade(0, 10.0)
    market.trade(30 + ahead_seconds, 12.0, ts_init=NOON + 30 * S)
    market.trade(31, 11.0)
    market.trade(70, 11.0)
    assert market.collector.late_prints == 0
    assert [(bar.high, bar.close, bar.trades) for bar in market.tick(130)] == [(12.0, 11.0, 3), (11.0, 11.0, 1)]


def test_open_and_close_follow_the_prints_own_time() -> None:
    market = Market()
    for seconds, price in ((20, 10.0), (40, 11.0), (10, 12.0), (30, 13.0), (40, 14.0)):
        market.trade(seconds, price)
    assert [(bar.open, bar.close) for bar in market.tick(100)] == [(12.0, 14.0)]


def test_a_bar_is_whole_even_if_a_session_ends_within_it() -> None:
    market = Market()
    minute = 12 * 3600
    market.trade(minute + 1, 10.0, 1.0, ts_init=MIDNIGHT - S)
    market.trade(minute + 2, 11.0, 2.0, ts_init=MIDNIGHT)
    market.trade(minute + 3, 12.0, 4.0, ts_init=MIDNIGHT + S)
    assert market.tick(minute + 100) == [Bar(MIDNIGHT, 10.0, 12.0, 10.0, 12.0, 7.0, 3, 80 / 7)]
    assert market.collector.groups[0].parts["AAPL"].to_json()["volume"] == 6.0


def test_a_print_publishes_the_bars_that_it_would_drop() -> None:
    market = Market()
    for minute in range(AMENDABLE_MINUTES + 3):
        market.trade(60 * minute, 10.0)
    assert [(bar.ts_ns - NOON) // NS_PER_MINUTE for bar in market.published] == [0, 1]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_print_with_a_price_that_is_no_number_begins_no_bar(bad: float) -> None:
    market = Market()
    market.trade(0, 10.0)
    market.trade(60, bad)
    market.trade(61, 12.0)
    assert [(bar.open, bar.trades) for bar in market.tick(1000)] == [(10.0, 1), (12.0, 1)]


def test_a_bar_without_volume_has_no_vwap() -> None:
    market = Market()
    market.trade(0, 10.0, 0.0)
    assert [(bar.volume, bar.trades, bar.vwap) for bar in market.tick(100)] == [(0.0, 1, None)]


def test_a_print_without_a_time_is_in_the_minute_of_the_event_clock() -> None:
    clock = EventClock(HostClock())
    clock.advance(NOON + 5 * S)
    market = Market(clock=clock)
    market.bus.publish(Print("AAPL", 10.0, 1.0))
    assert [bar.ts_ns for bar in market.tick(100)] == [NOON]


prices = st.integers(min_value=1, max_value=10_000).map(lambda cents: cents / 100)
sizes = st.integers(min_value=0, max_value=10**6).map(lambda units: units / 1000)


@given(st.lists(st.tuples(st.integers(0, AMENDABLE_MINUTES * 60), prices, sizes), min_size=1, max_size=60), st.data())
def test_bars_are_those_of_the_prints_sorted_by_time(
    prints: list[tuple[int, float, float]], data: st.DataObject
) -> None:
    """In any order of arrival, wherever the ticks and the ends of sessions fall."""
    market = Market(session_end_ns=lambda now_ns: now_ns - now_ns % (7 * S) + 7 * S)
    for number, (seconds, price, size) in enumerate(prints):
        market.trade(seconds, price, size, ts_init=NOON + (AMENDABLE_MINUTES * 60 + number) * S)
        if data.draw(st.booleans()):
            market.collector.refresh(NOON + data.draw(st.integers(0, 400)) * S)
    market.tick(1000)
    minutes: dict[int, list[tuple[int, float, float]]] = {}
    for one in sorted(prints, key=lambda one: one[0]):
        minutes.setdefault(one[0] // 60, []).append(one)
    found = market.bars()
    assert [(bar.ts_ns - NOON) // NS_PER_MINUTE for bar in found] == sorted(minutes)
    for bar, (_, inside) in zip(found, sorted(minutes.items()), strict=True):
        volume = sum(Fraction(repr(size)) for _, _, size in inside)
        notional = sum(Fraction(repr(price)) * Fraction(repr(size)) for _, price, size in inside)
        assert (bar.open, bar.close, bar.trades) == (inside[0][1], inside[-1][1], len(inside))
        assert (bar.high, bar.low) == (max(p for _, p, _ in inside), min(p for _, p, _ in inside))
        assert (bar.volume, bar.vwap) == (float(volume), float(notional / volume) if volume else None)
