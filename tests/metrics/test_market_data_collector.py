"""The market data section: what each symbol shows, and when its version changes."""

from __future__ import annotations

import asyncio
import logging
import math
from decimal import Decimal
from typing import Any

import orjson
import pytest

from observability.bus import Bus, default_bus
from observability.clocks.clock import Clock, EventClock, HostClock
from observability.errors import CapacityError, EventError
from observability.events import Print, Quote
from observability.history.history import History
from observability.history.layout import Budget
from observability.metrics.market.bar_table import FIELDS as BAR_FIELDS
from observability.metrics.market.tracked_symbol import SERIES_FIELDS
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
DAY = 86_400 * S


def started(
    clock: Clock | None = None, history: History | None = None, **settings: Any
) -> tuple[Bus, MarketDataCollector]:
    bus = Bus()
    collector = MarketDataCollector(bus=bus, clock=clock, history=history, settings=MarketDataSettings(**settings))
    asyncio.run(collector.start())
    return bus, collector


def quote(bid: float | None, ask: float | None, ts: int = NOON, symbol: str = "AAPL") -> Quote:
    return Quote(symbol, bid, ask, 3.0, 4.0, ts=ts, ts_init=ts)


def trade(price: float, size: float, ts: int = NOON, symbol: str = "AAPL") -> Print:
    return Print(symbol, price, size, ts=ts, ts_init=ts)


def shown(collector: MarketDataCollector, now_ns: int = NOON, symbol: str = "AAPL") -> dict[str, Any]:
    collector.refresh(now_ns)
    return collector.groups[0].parts[symbol].to_json()


def version(collector: MarketDataCollector, symbol: str = "AAPL") -> int:
    return collector.groups[0].parts[symbol].version


def test_the_bare_collector_works_on_the_default_bus() -> None:
    async def main() -> dict[str, Any]:
        collector = MarketDataCollector()
        await collector.start()
        await collector.add_symbol("AAPL")
        default_bus().publish(Quote("MSFT", 10.0, 10.5))
        metrics = await collector.get_current_metrics()
        await collector.stop()
        return metrics

    metrics = asyncio.run(main())
    assert list(metrics) == ["AAPL", "MSFT"]
    assert metrics["AAPL"]["last_price"] is None and metrics["AAPL"]["stale"] is True
    assert metrics["MSFT"]["bid"] == 10.0 and metrics["MSFT"]["stale"] is False


def test_a_symbol_shows_its_touch_and_its_session() -> None:
    bus, collector = started()
    bus.publish_all([quote(150.24, 150.26), trade(150.25, 100.0), trade(150.5, 50.0), trade(150.0, 50.0)])
    assert shown(collector) == {
        "last_price": 150.0,
        "bid": 150.24,
        "ask": 150.26,
        "bid_size": 3.0,
        "ask_size": 4.0,
        "volume": 200.0,
        "buy_volume": 0.0,
        "sell_volume": 0.0,
        "unknown_volume": 200.0,
        "trades": 3,
        "vwap": 150.25,
        "high": 150.5,
        "low": 150.0,
        "spread_bps": pytest.approx(1.3311, abs=1e-4),
        "time_weighted_spread": None,
        "locked": 0,
        "crossed": 0,
        "update_rate": None,
        "clock_offset_ms": None,
        "feed_latency_p50_ms": None,
        "feed_latency_p99_ms": None,
        "feed_latency_max_ms": None,
        "n_feed_latency": 0,
        "updated": "2012-06-21T12:00:00.000Z",
        "stale": False,
    }


def test_locked_and_crossed_markets_are_kept_and_counted() -> None:
    bus, collector = started()
    bus.publish_all([quote(10.0, 10.0), quote(10.02, 10.0), quote(10.03, 10.0)])
    metrics = shown(collector)
    assert (metrics["bid"], metrics["ask"], metrics["locked"], metrics["crossed"]) == (10.03, 10.0, 1, 2)
    assert metrics["spread_bps"] < 0


def test_a_missing_side_leaves_the_spread_undefined() -> None:
    bus, collector = started()
    bus.publish(quote(None, 10.0))
    metrics = shown(collector)
    assert (metrics["bid"], metrics["ask"], metrics["spread_bps"]) == (None, 10.0, None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_side_that_json_cannot_carry_is_shown_as_null(bad: float) -> None:
    bus, collector = started()
    bus.publish(quote(bad, 10.0))
    metrics = shown(collector)
    assert (metrics["bid"], metrics["spread_bps"]) == (None, None)
    assert collector.symbol("AAPL").mark() is None  # type: ignore[union-attr]


def test_a_print_that_is_no_number_changes_nothing() -> None:
    bus, collector = started()
    bus.publish_all([trade(10.0, 1.0), trade(math.nan, 1.0), trade(10.0, math.inf)])
    metrics = shown(collector)
    assert (metrics["last_price"], metrics["trades"], metrics["volume"], bus.handler_errors) == (10.0, 1, 1.0, 2)


def test_the_version_changes_only_with_the_json() -> None:
    bus, collector = started()
    bus.publish(quote(10.0, 10.5))
    collector.refresh(NOON)
    before = version(collector)
    bus.publish(quote(10.0, 10.5))
    collector.refresh(NOON + S // 10)
    assert version(collector) == before
    bus.publish(quote(10.0, 10.51))
    collector.refresh(NOON + S // 10)
    assert version(collector) != before


def test_becoming_stale_changes_the_version_once() -> None:
    bus, collector = started(stale_after_seconds=15.0)
    bus.publish(quote(10.0, 10.5))
    versions = []
    for seconds in (14, 15, 16, 17):
        collector.refresh(NOON + seconds * S)
        versions.append(version(collector))
    assert versions[0] == versions[1] != versions[2] == versions[3]
    assert shown(collector, NOON + 18 * S)["stale"] is True


def test_a_symbol_can_have_its_own_staleness_threshold() -> None:
    bus, collector = started(stale_after_seconds_by_symbol={"BOND": 60.0})
    bus.publish_all([quote(10.0, 10.5), quote(99.0, 99.5, symbol="BOND")])
    assert shown(collector, NOON + 30 * S)["stale"] is True
    assert shown(collector, NOON + 30 * S, "BOND")["stale"] is False


def test_every_version_of_a_symbol_can_be_encoded() -> None:
    bus, collector = started()
    bus.publish_all([quote(-37.63, -37.6), trade(-37.62, 0.0)])
    metrics = orjson.loads(orjson.dumps(shown(collector)))
    assert (metrics["spread_bps"], metrics["vwap"], metrics["last_price"]) == (None, None, -37.62)


def test_all_events_of_a_symbol_beyond_the_capacity_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    bus, collector = started(max_symbols=1)
    with caplog.at_level(logging.WARNING):
        bus.publish_all([quote(1.0, 2.0), quote(1.0, 2.0, symbol="X"), trade(1.0, 1.0, symbol="X")])
    collector.refresh(NOON)
    assert list(collector.groups[0].parts) == ["AAPL"]
    assert (collector.symbols_refused, collector.events_refused) == (1, 2)
    assert len(caplog.records) == 1
    with pytest.raises(CapacityError):
        asyncio.run(collector.add_symbol("Y"))


def test_the_number_of_refused_names_kept_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    bus, collector = started(max_symbols=0)
    bus.publish_all([quote(1.0, 2.0, symbol=f"S{n}") for n in range(3000)])
    assert (collector.symbols_refused, collector.events_refused) == (1024, 3000)
    assert len(caplog.records) == 1024


def test_a_symbol_beyond_the_history_s_capacity_is_refused() -> None:
    bus, collector = started(history=History(Budget({len(SERIES_FIELDS): 1}, {len(BAR_FIELDS): 1})))
    bus.publish_all([quote(1.0, 2.0), quote(1.0, 2.0, symbol="X")])
    assert (collector.symbols, collector.symbols_refused) == (("AAPL",), 1)


@pytest.mark.parametrize("name", ["", "X" * 129])
def test_a_symbol_with_a_bad_name_is_refused(name: str) -> None:
    _, collector = started()
    with pytest.raises(EventError):
        asyncio.run(collector.add_symbol(name))


def test_each_tick_appends_one_row_per_symbol() -> None:
    history = History(Budget({len(SERIES_FIELDS): 4}, {len(BAR_FIELDS): 4}))
    bus, collector = started(history=history)
    bus.publish(trade(10.25, 2.0))
    collector.refresh(NOON)
    bus.publish(quote(10.0, 10.5))
    collector.refresh(NOON + S)
    (series,) = history.series()
    first, then = series.rings[0].copy_rows(0, NOON + DAY)
    assert list(first.payload)[::3] == [10.25, 2.0]
    assert math.isnan(first.payload[1]) and math.isnan(first.payload[2])
    assert list(then.payload) == [10.25, 10.25, 0.5, 2.0]


def test_a_session_ends_with_the_first_event_of_the_next_day() -> None:
    bus, collector = started()
    bus.publish_all([quote(9.0, 8.0), trade(10.0, 5.0)])
    assert shown(collector, NOON + DAY)["volume"] == 5.0
    bus.publish(quote(9.0, 9.5, ts=NOON + DAY))
    metrics = shown(collector, NOON + DAY)
    assert [metrics[name] for name in ("volume", "trades", "vwap", "high", "low", "crossed", "last_price")] == [
        0.0, 0, None, None, None, 0, 10.0,
    ]  # fmt: skip
    bus.publish(trade(11.0, 2.0, ts=NOON + DAY))
    metrics = shown(collector, NOON + DAY)
    assert (metrics["volume"], metrics["vwap"], metrics["low"]) == (2.0, 11.0, 11.0)


def test_the_time_of_the_newest_event_of_the_section_is_known() -> None:
    bus, collector = started()
    collector.refresh(NOON)
    assert collector.last_input_ns is None
    bus.publish_all([quote(1.0, 2.0, ts=NOON + S), trade(1.0, 2.0, ts=NOON, symbol="X")])
    collector.refresh(NOON + S)
    assert collector.last_input_ns == NOON + S


def test_an_event_without_a_time_has_that_of_the_tick() -> None:
    bus, collector = started()
    bus.publish(Quote("AAPL", 1.0, 2.0))
    metrics = shown(collector)
    assert (metrics["updated"], metrics["stale"]) == ("2012-06-21T12:00:00.000Z", False)


def test_a_mark_is_the_exact_mid_or_else_the_last_price() -> None:
    bus, collector = started()
    bus.publish(trade(0.3, 1.0))
    state = collector.symbol("AAPL")
    assert state is not None
    assert state.mark() == (Decimal("0.3"), "last")
    bus.publish(quote(0.1, 0.2))
    assert state.mark() == (Decimal("0.15"), "mid")


def test_a_stopped_collector_ignores_events() -> None:
    bus, collector = started(clock=EventClock(HostClock()))
    bus.publish(trade(1.0, 1.0))
    asyncio.run(collector.stop())
    bus.publish(trade(2.0, 1.0))
    assert shown(collector)["last_price"] == 1.0
