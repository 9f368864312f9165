"""The order in time of a symbol's quotes and prints: what is late, what is dated ahead, and when a clock is wrong."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.bus import Bus
from observability.events import Event, Print, Quote
from observability.metrics.market.bar_table import Bar
from observability.metrics.market.time_order import MAX_AHEAD_NS, MAX_BACK_NS, RUN_EVENTS, RUN_NS, TimeOrder
from observability.metrics.market_data_collector import MarketDataCollector

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
HOUR = 3600 * S


class Market:
    """A collector with one symbol, whose events arrive one after another."""

    def __init__(self) -> None:
        self.bus = Bus()
        self.collector = MarketDataCollector(bus=self.bus)
        self.bars: list[Bar] = []
        self.collector.add_bar_listener(lambda _, bar: self.bars.append(bar))
        asyncio.run(self.collector.start())

    def quote(self, mid: float, ts: int, arrival: int) -> None:
        self._publish(Quote("X", mid - 1, mid + 1, 1.0, 1.0), ts, arrival)

    def trade(self, price: float, ts: int, arrival: int) -> None:
        self._publish(Print("X", price, 1.0), ts, arrival)

    def shown(self, now: int) -> dict[str, Any]:
        """Returns the symbol at a time after noon."""
        self.collector.refresh(NOON + now)
        return self.collector.groups[0].parts["X"].to_json()

    def mid(self, now: int) -> float:
        shown = self.shown(now)
        middle: float = (shown["bid"] + shown["ask"]) / 2
        return middle

    def _publish(self, event: Event, ts: int, arrival: int) -> None:
        event.ts, event.ts_init = NOON + ts, NOON + arrival
        self.bus.publish(event)
        assert self.bus.handler_errors == 0


# -- late


def test_a_late_print_counts_everywhere_but_is_not_the_last_price() -> None:
    market = Market()
    market.trade(100.0, 0, 0)
    market.trade(101.0, 180 * S, 180 * S)
    market.trade(90.0, 65 * S, 181 * S)
    shown = market.shown(400 * S)
    assert (shown["last_price"], shown["low"], shown["volume"], shown["vwap"]) == (101.0, 90.0, 3.0, 97.0)
    assert (shown["late"], shown["print_updated"]) == (1, "2012-06-21T12:03:00.000Z")
    assert [(bar.ts_ns - NOON, bar.close) for bar in sorted(market.bars)] == [
        (0, 100.0), (60 * S, 90.0), (180 * S, 101.0)
    ]  # fmt: skip


def test_a_late_quote_is_counted_and_changes_neither_touch_nor_age() -> None:
    market = Market()
    market.quote(100.0, 10 * S, 10 * S)
    market.quote(90.0, 9 * S, 13 * S)
    shown = market.shown(16 * S)
    assert (market.mid(16 * S), shown["late"]) == (100.0, 1)
    assert (shown["updated"], shown["quote_updated"]) == ("2012-06-21T12:00:13.000Z", "2012-06-21T12:00:10.000Z")
    assert (shown["quote_stale"], shown["spread_bps"]) == (True, None)


def test_of_equal_times_the_one_that_arrived_last_is_the_newest() -> None:
    market = Market()
    for price in (1.0, 3.0, 2.0):
        market.quote(price, 10 * S, 10 * S)
        market.trade(price, 10 * S, 10 * S)
    assert (market.mid(10 * S), market.shown(10 * S)["last_price"]) == (2.0, 2.0)


moments = st.lists(st.integers(0, 200), min_size=1, max_size=12, unique=True)


@given(moments, st.randoms(use_true_random=False), st.booleans())
def test_in_any_order_of_arrival_the_newest_by_time_stands(moments: list[int], random: Any, is_print: bool) -> None:
    shuffled = list(moments)
    random.shuffle(shuffled)
    market = Market()
    for number, moment in enumerate(shuffled):
        publish = market.trade if is_print else market.quote
        publish(100.0 + moment, moment * S, 200 * S + number * S // 10)
    found = market.shown(201 * S)["last_price"] if is_print else market.mid(201 * S)
    assert found == 100.0 + max(moments)
    if is_print:
        market.shown(400 * S)
        assert sum(bar.trades for bar in {bar.ts_ns: bar for bar in market.bars}.values()) == len(moments)


# -- dated ahead


@pytest.mark.parametrize("ahead", [MAX_AHEAD_NS + 1, 61 * S, HOUR - 1, 24 * HOUR, 200 * 365 * 24 * HOUR])
def test_an_event_dated_ahead_costs_itself_only(ahead: int, caplog: pytest.LogCaptureFixture) -> None:
    market = Market()
    with caplog.at_level(logging.WARNING):
        for number, (price, lead) in enumerate(((100.0, 0), (500.0, ahead), (101.0, 0), (102.0, 0))):
            market.quote(price, number * S + lead, number * S)
            market.trade(price, number * S + lead, number * S)
            assert market.shown(number * S)["last_price"] == market.mid(number * S) != 500.0
    shown = market.shown(3 * S)
    assert (shown["last_price"], market.mid(3 * S), shown["ahead"], shown["trades"]) == (102.0, 102.0, 2, 4)
    # Nor does it spoil the bars, the spread, or the latency of the others.
    assert (shown["time_weighted_spread"], shown["feed_latency_max_ms"], shown["clock_offset_ms"]) == (2.0, None, None)
    market.shown(100 * S)
    assert [(bar.ts_ns, bar.trades, bar.close) for bar in market.bars] == [(NOON, 4, 102.0)]
    assert len([record for record in caplog.records if "cannot be right" in record.message]) == 2


def test_an_event_within_the_tolerance_is_dated_as_it_says() -> None:
    market = Market()
    market.quote(100.0, MAX_AHEAD_NS, 0)
    market.quote(101.0, MAX_AHEAD_NS - 1, S)
    assert (market.mid(S), market.shown(S)["ahead"]) == (100.0, 0)


def test_a_first_event_dated_ahead_stands_until_any_other_comes() -> None:
    market = Market()
    market.quote(500.0, HOUR, 0)
    market.trade(500.0, HOUR, 0)
    shown = market.shown(0)
    assert (market.mid(0), shown["last_price"], shown["stale"]) == (500.0, 500.0, False)
    assert market.shown(6 * S)["stale"] is True
    market.quote(100.0, -10 * S, 7 * S)
    market.trade(100.0, -10 * S, 7 * S)
    assert (market.mid(7 * S), market.shown(7 * S)["last_price"]) == (100.0, 100.0)


def test_events_of_a_clock_that_was_always_ahead_are_in_order_of_arrival() -> None:
    market = Market()
    for number in range(3):
        market.quote(100.0 + number, number * S + HOUR, number * S)
        market.trade(100.0 + number, number * S + HOUR, number * S)
        assert market.mid(number * S) == market.shown(number * S)["last_price"] == 100.0 + number


def test_events_dated_ahead_are_counted_also_once_their_clock_is_followed() -> None:
    market = Market()
    market.quote(100.0, 0, 0)
    for second in range(1, 121):
        market.quote(200.0, second * S + HOUR, second * S)
    assert market.mid(120 * S) == 200.0
    assert (market.shown(120 * S)["ahead"], market.collector.dated_ahead) == (120, 120)


# -- a clock that disagrees


@pytest.mark.parametrize("offset", [-2 * HOUR, 2 * HOUR])
def test_after_a_minute_a_clock_that_was_set_is_followed(offset: int, caplog: pytest.LogCaptureFixture) -> None:
    market = Market()
    market.quote(100.0, 0, 0)
    with caplog.at_level(logging.WARNING):
        for second in range(1, 60):
            market.quote(101.0, second * S + offset, second * S)
        assert market.mid(59 * S) == 100.0
        for second in range(60, 64):
            market.quote(200.0 + second, second * S + offset, second * S)
    shown = market.shown(63 * S)
    assert (market.mid(63 * S), shown["stale"]) == (263.0, False)
    assert shown["clock_offset_ms"] in (-offset / 1e6, None)
    assert "a clock is wrong" in caplog.text
    # One whose time is better ends it.
    market.quote(300.0, 64 * S, 64 * S)
    market.quote(301.0, 65 * S + offset, 65 * S)
    assert market.mid(65 * S) == 300.0


def order_with_one_event() -> TimeOrder:
    order = TimeOrder("prints of X")
    order.newest_ns = order.arrived_ns = NOON
    return order


def late_events(*lateness_and_arrival: tuple[int, int]) -> list[bool]:
    """Returns for each of some late events whether it became the newest."""
    order = order_with_one_event()
    return [order.place(NOON + arrival - late, NOON + arrival)[0] for late, arrival in lateness_and_arrival]


def test_a_run_of_late_events_needs_time_number_and_one_lateness() -> None:
    minute = [(HOUR, n * RUN_NS // 20) for n in range(1, 22)]
    assert late_events(*minute) == [False] * 20 + [True]
    # A backlog that comes in one go, a few prints that are reported late, and late ones of any lateness.
    assert not any(late_events(*((HOUR, S + n) for n in range(1000))))
    assert not any(late_events(*((HOUR, n * RUN_NS) for n in range(1, RUN_EVENTS))))
    assert not any(late_events(*((HOUR + n % 2 * 6 * S, n * S) for n in range(1, 200))))


def test_an_event_in_order_ends_a_run() -> None:
    order = order_with_one_event()
    for second in range(1, 59):
        assert order.place(NOON + second * S - HOUR, NOON + second * S)[0] is False
    order.newest_ns = order.arrived_ns = NOON + 59 * S
    assert not any(order.place(NOON + n * S - HOUR, NOON + n * S)[0] for n in range(60, 110))


# -- time that goes back


def test_events_that_arrive_long_before_earlier_ones_begin_anew() -> None:
    market = Market()
    market.quote(100.0, HOUR, HOUR)
    market.trade(100.0, HOUR, HOUR)
    market.shown(HOUR + 100 * S)
    for second in range(10):
        market.quote(50.0 + second, second * S, second * S)
        market.trade(50.0 + second, second * S, second * S)
    shown = market.shown(10 * S)
    assert (market.mid(10 * S), shown["last_price"], shown["stale"]) == (59.0, 59.0, False)
    assert (shown["update_rate"], market.collector.late_prints) == (2.0, 0)
    assert market.shown(16 * S)["stale"] is True
    market.shown(100 * S)
    assert [(bar.ts_ns, bar.trades) for bar in market.bars] == [(NOON + HOUR, 1), (NOON, 10)]


def test_a_symbol_restored_under_a_clock_that_was_set_back_is_stale() -> None:
    before = Market()
    before.quote(100.0, 2 * HOUR, 2 * HOUR)
    before.trade(100.0, 2 * HOUR, 2 * HOUR)
    market = Market()
    market.collector.clock = FakeClock(NOON)
    market.collector.load(before.collector.save())
    assert market.shown(0)["stale"] is True
    assert market.collector.last_input_ns == NOON
    market.quote(50.0, S, S)
    market.trade(50.0, S, S)
    shown = market.shown(S)
    assert (market.mid(S), shown["last_price"], shown["stale"], shown["trades"]) == (50.0, 50.0, False, 2)
    market.shown(100 * S)
    assert market.collector.late_prints == 0


def test_an_age_is_never_negative() -> None:
    order = order_with_one_event()
    assert order.is_fresh(NOON - MAX_BACK_NS, 5 * S)
    assert not order.is_fresh(NOON - MAX_BACK_NS - 1, 5 * S)
