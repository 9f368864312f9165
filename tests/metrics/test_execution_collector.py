"""The execution section: the states of orders from reports in any order, and the sums over them."""

from __future__ import annotations

import asyncio
import itertools
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.events import Fill, Order
from observability.history.history import History
from observability.history.layout import Budget
from observability.metrics import ExecutionCollector, StrategyCollector
from observability.metrics.execution.ledger import KnownOrder
from observability.metrics.execution_collector import SERIES_FIELDS, ExecutionSettings
from observability.metrics.trades.trade import TradeFilter
from observability.metrics.trades.trade_log import TradeLog

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
MS = 1_000_000
S = 1_000 * MS
DAY = 86_400 * S
D = Decimal

IRREGULARITIES = ("late_reports", "duplicate_fills")


class Desk:
    """The execution section on a bus."""

    def __init__(self, **settings: Any) -> None:
        self.bus = Bus()
        self.execution = ExecutionCollector(bus=self.bus, **settings)
        asyncio.run(self.execution.start())

    def order(self, status: str, order_id: str = "o", at_ms: float = 0, **changes: Any) -> None:
        self.bus.publish(order(status, order_id, at_ms, **changes))

    def fill(self, trade_id: str, quantity: int | str, order_id: str = "o", at_ms: float = 0, **changes: Any) -> None:
        self.bus.publish(fill(trade_id, quantity, order_id, at_ms, **changes))

    def tick(self, now_ns: int = NOON) -> dict[str, Any]:
        self.execution.refresh(now_ns)
        return self.execution.fields.to_json()

    def count(self, *names: str) -> tuple[Any, ...]:
        metrics = self.tick()
        return tuple(metrics[name] for name in names)


def order(status: Any, order_id: str = "o", at_ms: float = 0, **changes: Any) -> Order:
    ts = NOON + round(at_ms * MS)
    fields: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "quantity": D(10), "ts": ts, "ts_init": NOON}
    return Order(order_id, status=status, **(fields | changes))


def fill(trade_id: str, quantity: int | str, order_id: str = "o", at_ms: float = 0, **changes: Any) -> Fill:
    ts = NOON + round(at_ms * MS)
    fields: dict[str, Any] = {"symbol": "AAPL", "side": "buy", "price": D(100), "ts": ts, "ts_init": NOON}
    return Fill(trade_id, order_id=order_id, quantity=D(quantity), **(fields | changes))


STATES = ("orders_today", "open_orders", "partially_filled", "filled", "cancelled", "rejected", "expired")


def test_rates_are_undefined_without_orders() -> None:
    metrics = Desk().tick()
    undefined = ("fill_rate", "fill_rate_orders", "reject_rate", "cancel_rate", "avg_latency_ms", "latency_p50_ms")
    assert [metrics[name] for name in undefined] == [None] * len(undefined)
    assert (metrics["avg_slippage_bps"], metrics["orders_today"], metrics["commission"]) == (None, 0, 0.0)


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (["pending_new"], (1, 1, 0, 0, 0, 0, 0)),
        (["pending_new", "new"], (1, 1, 0, 0, 0, 0, 0)),
        (["pending_new", "new", "partially_filled"], (1, 1, 1, 0, 0, 0, 0)),
        (["pending_new", "new", "filled"], (1, 0, 0, 1, 0, 0, 0)),
        (["pending_new", "new", "canceled"], (1, 0, 0, 0, 1, 0, 0)),
        (["pending_new", "rejected"], (1, 0, 0, 0, 0, 1, 0)),
        (["new", "expired"], (1, 0, 0, 0, 0, 0, 1)),
        (["new", "replaced"], (1, 1, 0, 0, 0, 0, 0)),
        (["partially_filled", "replaced"], (1, 1, 1, 0, 0, 0, 0)),
        (["canceled", "new", "pending_new"], (1, 0, 0, 0, 1, 0, 0)),
        (["filled", "canceled", "rejected"], (1, 0, 0, 1, 0, 0, 0)),
        (["partially_filled", "new"], (1, 1, 1, 0, 0, 0, 0)),
        (["new", "new", "new"], (1, 1, 0, 0, 0, 0, 0)),
        (["new", "pending_cancel"], (1, 1, 0, 0, 0, 0, 0)),
        (["partially_filled", "pending_replace"], (1, 1, 1, 0, 0, 0, 0)),
        (["pending_cancel", "canceled"], (1, 0, 0, 0, 1, 0, 0)),
        (["pending_cancel", "filled"], (1, 0, 0, 1, 0, 0, 0)),
    ],
)
def test_an_order_has_the_status_of_its_furthest_report(reports: list[str], expected: tuple[int, ...]) -> None:
    desk = Desk()
    for status in reports:
        desk.order(status)
    assert desk.count(*STATES) == expected


@given(st.permutations(range(5)), st.lists(st.integers(0, 4), max_size=5))
def test_order_and_repetition_of_reports_do_not_matter(sequence: list[int], repeats: list[int]) -> None:
    reports = [
        order("pending_new", at_ms=0, arrival_price=D(99)),
        order("new", at_ms=3),
        fill("t1", 4, at_ms=5, price=D(100), commission=D("0.4")),
        fill("t2", 6, at_ms=8, price=D(101), commission=D("0.6")),
        order("filled", at_ms=8),
    ]
    desk = Desk()
    for index in (*sequence, *repeats):
        desk.bus.publish(reports[index])
    metrics = dict(desk.tick())
    in_order = Desk()
    for report in reports:
        in_order.bus.publish(report)
    expected = dict(in_order.tick())
    for name in IRREGULARITIES:
        del metrics[name], expected[name]
    assert metrics == expected
    assert (metrics["filled"], metrics["fill_rate"], metrics["n_latency"], metrics["fills_today"]) == (1, 1.0, 1, 2)


def test_fills_complete_an_order_whose_last_report_is_missing() -> None:
    desk = Desk()
    desk.order("new")
    desk.fill("t1", 4)
    assert desk.count(*STATES) == (1, 1, 1, 0, 0, 0, 0)
    desk.fill("t2", 6)
    assert desk.count(*STATES) == (1, 0, 0, 1, 0, 0, 0)
    desk.order("filled")
    assert desk.count("filled", "late_reports") == (1, 0)


def test_a_fill_without_a_report_is_an_order_of_unknown_size() -> None:
    desk = Desk()
    desk.fill("t1", 4)
    assert desk.count("orders_today", "fills_today", "open_orders", "fill_rate") == (1, 1, 0, None)
    desk.order("new")
    assert desk.count("orders_today", "open_orders", "partially_filled", "fill_rate") == (1, 1, 1, 0.4)


def test_a_fill_after_the_cancel_counts_and_the_order_stays_cancelled() -> None:
    desk = Desk()
    desk.order("new")
    desk.order("canceled")
    desk.fill("t1", 4)
    assert desk.count("cancelled", "open_orders", "fill_rate", "fills_today") == (1, 0, 0.4, 1)


def test_an_order_reported_filled_is_filled_despite_missing_fills() -> None:
    desk = Desk()
    desk.order("new")
    desk.fill("t1", 4)
    desk.order("filled")
    assert desk.count("fill_rate", "fill_rate_orders") == (1.0, 1.0)


def test_fill_rates_are_over_accepted_orders_and_reject_rates_over_all() -> None:
    desk = Desk()
    for number, statuses in enumerate((["new", "filled"], ["new", "canceled"], ["rejected"], ["pending_new"])):
        for status in statuses:
            desk.order(status, f"o{number}", quantity=D(30))
    assert desk.count("fill_rate", "fill_rate_orders", "reject_rate", "cancel_rate") == (0.5, 0.5, 0.25, 0.25)


def test_the_quantity_is_that_of_the_report_with_the_newest_time() -> None:
    desk = Desk()
    desk.order("replaced", at_ms=5, quantity=D(20))
    desk.order("new", at_ms=1, quantity=D(10))
    desk.fill("t1", 10)
    assert desk.count("fill_rate", "open_orders") == (0.5, 1)


def test_an_overfilled_order_is_counted() -> None:
    desk = Desk()
    desk.order("new")
    desk.fill("t1", 15)
    assert desk.count("fill_rate", "overfilled") == (1.5, 1)


def test_latency_is_from_send_to_acknowledgement_or_reject() -> None:
    desk = Desk()
    for number, (status, ms) in enumerate((("new", 10), ("rejected", 30), ("new", 50))):
        desk.order("pending_new", f"o{number}")
        desk.order(status, f"o{number}", at_ms=ms)
        desk.order("new", f"o{number}", at_ms=900)
    metrics = desk.tick()
    assert (metrics["n_latency"], metrics["avg_latency_ms"], metrics["latency_max_ms"]) == (3, 30.0, 50.0)
    assert metrics["latency_p50_ms"] == pytest.approx(30.0, rel=0.0005)
    assert metrics["latency_p99_ms"] == 50.0


@pytest.mark.parametrize("outlier", ["pending_new", "new", "replaced"])
def test_a_report_dated_an_hour_ahead_is_taken_at_its_arrival(outlier: str) -> None:
    desk = Desk()
    for second, (status, quantity) in enumerate((("pending_new", 10), ("new", 10), ("replaced", 20), ("replaced", 30))):
        arrival = NOON + second * S
        ahead = 3600 * S if status == outlier and quantity < 30 else 0
        desk.order(status, quantity=D(quantity), ts=arrival + ahead, ts_init=arrival)
    desk.fill("t", 15, ts=NOON + 4 * S, ts_init=NOON + 4 * S)
    metrics = desk.tick()
    assert (metrics["latency_max_ms"], metrics["n_latency_negative"]) == (1000.0, 0)
    # The newest quantity is the order's, whatever an earlier report was dated.
    assert metrics["fill_rate"] == 0.5


def test_an_order_without_acknowledgement_has_its_first_fills_latency() -> None:
    desk = Desk()
    desk.fill("t1", 1, "a", latency_ms=7.0)
    desk.fill("t2", 1, "a", latency_ms=9.0)
    desk.order("pending_new", "b")
    desk.order("new", "b", at_ms=3)
    desk.fill("t3", 1, "b", latency_ms=500.0)
    metrics = desk.tick()
    assert (metrics["n_latency"], metrics["avg_latency_ms"]) == (2, 5.0)
    assert desk.execution.quality()["latency"]["reported_by_fills"]["n"] == 3


def test_negative_latencies_are_counted_apart() -> None:
    desk = Desk()
    desk.order("pending_new")
    desk.order("new", at_ms=-1272)
    assert desk.count("n_latency", "n_latency_negative", "avg_latency_ms") == (0, 1, None)


@pytest.mark.parametrize("latency_ms", [math.nan, math.inf])
def test_a_latency_that_is_not_finite_is_ignored(latency_ms: float) -> None:
    desk = Desk()
    desk.fill("t1", 4, latency_ms=latency_ms)
    assert desk.count("fills_today", "n_latency") == (1, 0)
    assert desk.bus.handler_errors == 0


def test_slippage_is_weighted_by_notional_and_a_cost_is_positive() -> None:
    desk = Desk()
    desk.order("new", "buy", arrival_price=D(100))
    desk.fill("t1", 1, "buy", price=D("100.10"))
    assert desk.count("avg_slippage_bps", "n_slippage") == (10.0, 1)
    desk.order("new", "sell", side="sell", arrival_price=D(200))
    desk.fill("t2", 3, "sell", side="sell", price=D("200.10"))
    # A cost of 0.1 and a gain of 0.3, of 100 and 600.
    assert desk.count("avg_slippage_bps", "n_slippage") == (pytest.approx(-2 / 7 * 10), 2)


def test_a_fill_before_its_order_gets_its_slippage_with_the_report() -> None:
    trades = TradeLog()
    desk = Desk(trades=trades)
    desk.fill("t1", 10, price=D("99.50"), side="sell")
    assert trades.find("t1")[0].slippage_bps is None
    desk.order("pending_new", side="sell", arrival_price=D(100))
    assert trades.find("t1")[0].slippage_bps == 50.0
    assert desk.count("avg_slippage_bps") == (50.0,)


def test_commissions_are_added_up_exactly() -> None:
    desk = Desk()
    for number in range(10):
        desk.fill(f"t{number}", 1, commission=D("0.1"))
    assert desk.count("commission") == (1.0,)


def test_duplicate_and_conflicting_fills_count_once() -> None:
    desk = Desk()
    desk.order("new")
    for price in (100, 100, 101):
        desk.fill("t1", 4, price=D(price))
    names = ("fills_today", "fill_rate", "duplicate_fills", "conflicting_fills")
    assert desk.count(*names) == (1, 0.4, 1, 1)


def test_one_order_id_in_two_symbols_is_two_orders() -> None:
    desk = Desk()
    desk.order("new", "1")
    desk.order("canceled", "1", symbol="AMZN")
    assert desk.count("orders_today", "open_orders", "cancelled") == (2, 1, 1)


def test_a_new_session_resets_counts_and_keeps_open_orders() -> None:
    desk = Desk()
    tomorrow = NOON + DAY
    desk.order("new", "a")
    desk.order("pending_new", "b")
    desk.order("rejected", "b", at_ms=5)
    metrics = desk.tick(tomorrow)
    assert [metrics[name] for name in ("orders_today", "rejected", "n_latency", "open_orders")] == [0, 0, 0, 1]
    desk.fill("t1", 10, "a", ts=tomorrow, ts_init=tomorrow)
    metrics = desk.tick(tomorrow)
    assert [metrics[name] for name in ("orders_today", "fills_today", "fill_rate", "open_orders")] == [0, 1, None, 0]


def test_ticks_before_a_replay_start_no_session() -> None:
    desk = Desk()
    desk.tick(NOON + 5000 * DAY)
    desk.order("new", "a")
    assert desk.tick(NOON)["orders_today"] == 1
    assert desk.tick(NOON + DAY)["orders_today"] == 0


def test_the_oldest_open_order_beyond_the_limit_is_no_longer_open(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(settings=ExecutionSettings(max_open_orders=2))
    for name in "abc":
        desk.order("new", name)
    assert desk.count("orders_today", "open_orders", "evicted_orders") == (3, 2, 1)
    assert len(caplog.records) == 1
    desk.order("filled", "a")
    assert desk.count("orders_today", "open_orders", "filled") == (3, 2, 1)


def test_a_limited_number_of_ended_orders_is_remembered() -> None:
    desk = Desk(settings=ExecutionSettings(max_recent_orders=1))
    desk.order("filled", "a")
    desk.order("new", "a")
    assert desk.count("orders_today", "late_reports") == (1, 1)
    desk.order("filled", "b")
    desk.order("new", "a")
    assert desk.count("orders_today", "open_orders") == (3, 1)


def test_each_figure_of_quality_has_a_sample_count() -> None:
    desk = Desk()
    desk.order("pending_new", at_ms=2, decision_ts=NOON, arrival_price=D(100))
    desk.order("new", at_ms=5)
    desk.fill("t1", 4, at_ms=9, price=D("100.01"))
    quality = desk.execution.quality()
    assert quality["fill_rate"] == {"value": 0.4, "n": 1, "reason": None}
    assert quality["fill_rate_orders"] == {"value": 0.0, "n": 1}
    assert quality["arrival_slippage_bps"] == {"value": 1.0, "n": 1, "quantity": 4.0, "notional": 400.0}
    legs = {leg: (summary["n"], summary["max_ms"]) for leg, summary in quality["latency"].items()}
    assert legs == {
        "decision_to_send": (1, 2.0),
        "send_to_ack": (1, 3.0),
        "ack_to_first_fill": (1, 4.0),
        "send_to_first_fill": (1, 7.0),
        "send_to_complete": (0, None),
        "cancel_to_ack": (0, None),
        "reported_by_fills": (0, None),
    }
    desk.fill("t2", 6, at_ms=9)
    assert desk.execution.quality()["fill_rate"] == {"value": 1.0, "n": 1, "reason": None}


def test_the_version_changes_only_with_the_json() -> None:
    desk = Desk()
    desk.order("new")
    desk.tick()
    before = desk.execution.fields.version
    desk.order("new")
    desk.tick(NOON + S)
    assert desk.execution.fields.version == before
    desk.order("canceled")
    desk.tick(NOON + S)
    assert desk.execution.fields.version != before


def test_each_tick_records_one_row() -> None:
    history = History(Budget({len(SERIES_FIELDS): 1}, {}))
    desk = Desk(history=history)
    desk.tick(NOON)
    desk.order("rejected")
    desk.tick(NOON + S)
    first, then = history.series()[0].rings[0].copy_rows(0, NOON + DAY)
    assert list(first.payload)[:2] == [0.0, 0.0] and all(math.isnan(value) for value in first.payload[2:])
    assert dict(zip(SERIES_FIELDS, then.payload, strict=True))["reject_rate"] == 1.0


def test_the_section_is_one_document() -> None:
    desk = Desk()
    desk.order("new")
    metrics = asyncio.run(desk.execution.get_current_metrics())
    assert {"orders_today", "fills_today", "open_orders", "latency_p95_ms"} <= set(metrics)
    assert desk.execution.last_input_ns == NOON


def test_sections_share_trades_in_any_order_of_subscription() -> None:
    for first, then in itertools.permutations((ExecutionCollector, StrategyCollector)):
        bus, trades = Bus(), TradeLog()
        for kind in (first, then):
            asyncio.run(kind(bus=bus, trades=trades).start())
        bus.publish(order("new", arrival_price=D(100)))
        bus.publish(fill("t1", 1, price=D(100)))
        bus.publish(fill("t2", 1, price=D(101), side="sell"))
        page, total = trades.query(TradeFilter())
        assert total == 2
        assert [(trade.pnl, trade.slippage_bps) for trade in page] == [(D(1), 100.0), (None, 0.0)]


def test_a_report_in_the_archive_is_not_counted_again() -> None:
    desk = Desk(settings=ExecutionSettings(max_recent_orders=2))
    desk.execution.remember_reports(lambda event: KnownOrder(1, event.ts == NOON))
    for number in range(4):
        desk.order("rejected", f"o{number}")
    assert desk.count("orders_today", "late_reports") == (2, 2)
    # A reused id is another order: its report has another time.
    desk.order("rejected", "o2", at_ms=1)
    assert desk.count("orders_today", "late_reports") == (3, 2)


def test_a_fill_without_an_order_counts_as_a_fill_and_in_no_figure_of_orders() -> None:
    desk = Desk()
    desk.order("new", strategy="mean")
    desk.fill("liquidated", 3, order_id="", commission=D("0.5"), latency_ms=2.0, strategy="mean")
    counted = ("fills_today", "commission", "orders_today", "open_orders", "fill_rate", "n_latency", "late_reports")
    assert desk.count(*counted) == (1, 0.5, 1, 1, 0.0, 0, 0)
    quality = desk.execution.quality()
    assert (quality["fills"], quality["by_strategy"]["mean"]["fills"]) == (1, 1)
    assert quality["effective_spread"]["left_out"] == {"no_order": 1}
    assert quality["markouts"]["1s"]["left_out"] == {"no_order": 1}


def test_fills_without_an_order_take_no_strategy_from_each_other() -> None:
    trades = TradeLog()
    desk = Desk(trades=trades)
    desk.fill("t1", 1, order_id="", strategy="mean")
    desk.fill("t2", 1, order_id="")
    page, _ = trades.query(TradeFilter())
    assert [(trade.trade_id, trade.strategy) for trade in page] == [("t2", "default"), ("t1", "mean")]
