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
from observability.metrics.market.touch import mark_of
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
        "late": 0,
        "ahead": 0,
        "updated": "2012-06-21T12:00:00.000Z",
        "quote_updated": "2012-06-21T12:00:00.000Z",
        "print_updated": "2012-06-21T12:00:00.000Z",
        "quote_stale": False,
        "print_stale": False,
        "stale": False,
        "closed": None,
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
    assert mark_of(collector.symbol("AAPL").mark_inputs(NOON)) is None  # type: ignore[union-attr]


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


@pytest.mark.parametrize(("max_symbols", "accepted"), [(1, ("AAPL",)), (2, ("AAPL", "X"))])
def test_a_refused_symbol_finds_room_after_a_restart_with_more_of_it(
    max_symbols: int, accepted: tuple[str, ...]
) -> None:
    bus, collector = started(max_symbols=1)
    bus.publish_all([quote(1.0, 2.0), quote(1.0, 2.0, symbol="X")])
    bus, after = started(max_symbols=max_symbols)
    after.load(collector.save())
    bus.publish(quote(1.0, 2.0, symbol="X"))
    assert after.symbols == accepted


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
    assert mark_of(state.mark_inputs(NOON)) == (Decimal("0.3"), "last")
    bus.publish(quote(0.1, 0.2))
    assert mark_of(state.mark_inputs(NOON)) == (Decimal("0.15"), "mid")


@pytest.mark.parametrize(
    ("seconds", "mark"),
    [(5, (10.5, "mid")), (6, (9.0, "last")), (3600, (9.0, "last"))],
)
def test_a_stale_quote_yields_its_mark_to_a_later_print(seconds: int, mark: tuple[float, str]) -> None:
    bus, collector = started()
    bus.publish_all([trade(8.0, 1.0), quote(10.0, 11.0), trade(9.0, 1.0, NOON + S)])
    state = collector.symbol("AAPL")
    assert state is not None
    price, source = mark_of(state.mark_inputs(NOON + seconds * S)) or (None, None)
    assert (price, source) == mark


def test_a_stale_quote_keeps_its_mark_while_no_print_has_come_after_it() -> None:
    bus, collector = started()
    bus.publish_all([trade(9.0, 1.0, NOON - S), quote(10.0, 11.0)])
    state = collector.symbol("AAPL")
    assert state is not None
    assert mark_of(state.mark_inputs(NOON + 3600 * S)) == (Decimal("10.5"), "mid")
    assert (state.is_source_stale("mid", NOON + 5 * S), state.is_source_stale("mid", NOON + 6 * S)) == (False, True)


def test_prints_do_not_hide_that_the_quote_is_stale() -> None:
    bus, collector = started(history=History(Budget({len(SERIES_FIELDS): 1}, {len(BAR_FIELDS): 1})))
    bus.publish(quote(10.0, 10.5))
    versions = []
    for seconds in range(8):
        bus.publish(trade(10.0, 1.0, NOON + seconds * S))
        metrics = shown(collector, NOON + seconds * S)
        versions.append([metrics[name] for name in ("stale", "quote_stale", "print_stale", "spread_bps")])
    assert versions[5] == [False, False, False, pytest.approx(487.8, abs=0.1)]
    assert versions[6] == [True, True, False, None]
    assert (metrics["quote_updated"], metrics["print_updated"]) == (
        "2012-06-21T12:00:00.000Z", "2012-06-21T12:00:07.000Z"
    )  # fmt: skip
    # Nor is there a mid or a spread of it in the history.
    tracked = collector.symbol("AAPL")
    assert tracked is not None
    assert tracked.series is not None
    ring = tracked.series.series.view().span(0).ring
    rows = [list(row.payload) for row in ring.copy_rows(0, NOON + DAY)]
    assert rows[5][:3] == [10.0, 10.25, 0.5]
    assert math.isnan(rows[6][1]) and math.isnan(rows[6][2])


def test_a_symbol_that_is_only_printed_goes_by_its_prints() -> None:
    bus, collector = started()
    bus.publish(trade(10.0, 1.0))
    metrics = shown(collector, NOON + 5 * S)
    assert (metrics["stale"], metrics["quote_stale"], metrics["print_stale"]) == (False, None, False)
    assert shown(collector, NOON + 6 * S)["stale"] is True


def test_a_side_that_is_not_there_is_shown_as_null_and_has_no_mid() -> None:
    bus, collector = started()
    bus.publish_all([trade(100.0, 1.0), Quote("AAPL", 100.0, 0.0, 5.0, 0.0, ts=NOON, ts_init=NOON)])
    metrics = shown(collector)
    assert [metrics[name] for name in ("bid", "ask", "bid_size", "ask_size", "spread_bps", "crossed")] == [
        100.0, None, 5.0, None, None, 0,
    ]  # fmt: skip
    assert mark_of(collector.symbol("AAPL").mark_inputs(NOON)) == (Decimal(100), "last")  # type: ignore[union-attr]


# -- repeated prints


def numbered(trade_id: str | int, ts: int = NOON, **changes: Any) -> Print:
    fields: dict[str, Any] = {"symbol": "AAPL", "price": 10.0, "size": 2.0, "venue": "X"}
    return Print(trade_id=trade_id, ts=ts, ts_init=ts, **(fields | changes))


def test_a_print_that_is_delivered_again_counts_once() -> None:
    bus, collector = started()
    bus.publish_all(
        [numbered("a"), numbered("a"), numbered("a", NOON + 60 * S), numbered("b"), numbered(7), numbered("7")]
    )
    metrics = shown(collector)
    assert (metrics["trades"], metrics["volume"], collector.repeated_prints) == (3, 6.0, 3)


@pytest.mark.parametrize(
    "other",
    [{"symbol": "AMZN"}, {"venue": "Y"}, {"price": 10.5}, {"size": 3.0}, {"ts": NOON + 13 * 3600 * S}],
    ids=lambda other: next(iter(other)),
)
def test_an_id_may_occur_again_elsewhere_for_another_trade_or_another_day(other: dict[str, Any]) -> None:
    bus, collector = started()
    bus.publish_all([numbered("a"), numbered("a", **other)])
    assert collector.repeated_prints == 0


def test_prints_without_an_id_are_all_counted() -> None:
    bus, collector = started()
    bus.publish_all([trade(10.0, 1.0), trade(10.0, 1.0)])
    assert shown(collector)["trades"] == 2


def test_a_print_is_recognised_after_a_restart() -> None:
    bus, before = started()
    bus.publish(numbered("a"))
    bus, after = started()
    after.load(before.save())
    bus.publish(numbered("a"))
    assert (shown(after)["trades"], after.repeated_prints) == (1, 1)


def test_a_stopped_collector_ignores_events() -> None:
    bus, collector = started(clock=EventClock(HostClock()))
    bus.publish(trade(1.0, 1.0))
    asyncio.run(collector.stop())
    bus.publish(trade(2.0, 1.0))
    assert shown(collector)["last_price"] == 1.0
