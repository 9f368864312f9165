"""Execution by strategy, symbol and venue, legs and rates, missing reports and unacknowledged cancels."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Event
from observability.metrics.execution import groups
from observability.metrics.execution.quality import SEVERAL_SYMBOLS
from observability.metrics.execution_collector import ExecutionSettings
from trading_desk import DAY, NOON, S, TradingDesk, fill, order, quote

LEGS = {
    "decision_to_send": 2.0,
    "send_to_ack": 3.0,
    "ack_to_first_fill": 4.0,
    "send_to_first_fill": 7.0,
    "send_to_complete": 12.0,
    "cancel_to_ack": 1.5,
}


def test_an_order_counts_in_all_and_in_its_three_groups() -> None:
    desk = TradingDesk()
    desk.publish(
        order("new", strategy="alpha", venue="X"),
        fill("t1", 5, "100", strategy="alpha", venue="X"),
        order("new", order_id="p", symbol="AMZN", strategy="beta", venue="X"),
        order("canceled", order_id="p", symbol="AMZN", strategy="beta", venue="X"),
    )
    quality = desk.quality()
    rates = {
        name: {key: group["fill_rate"]["value"] for key, group in quality[name].items()}
        for name in ("by_strategy", "by_symbol", "by_venue")
    }
    assert rates == {
        "by_strategy": {"alpha": 0.5, "beta": 0.0},
        "by_symbol": {"AAPL": 0.5, "AMZN": 0.0},
        # Shares of one symbol and of another have no common unit.
        "by_venue": {"X": None},
    }
    assert (quality["fill_rate"], quality["orders"], quality["fills"]) == (
        {"value": None, "n": 2, "reason": SEVERAL_SYMBOLS}, 2, 1,
    )  # fmt: skip


def test_orders_without_strategy_or_venue_have_named_groups() -> None:
    desk = TradingDesk()
    desk.publish(order("new"))
    assert (list(desk.quality()["by_strategy"]), list(desk.quality()["by_venue"])) == (["default"], ["(none)"])


@pytest.mark.parametrize("is_report", [False, True])
def test_an_order_moves_to_the_strategy_that_is_named_first(is_report: bool) -> None:
    desk = TradingDesk()
    desk.publish(quote(99.0, 101.0), order("new", at_ms=1), fill("t1", 2, "100", at_ms=2))
    late = order("new", at_ms=3, strategy="alpha") if is_report else fill("t2", 1, "100", at_ms=3, strategy="alpha")
    desk.publish(late, fill("t3", 4, "100", at_ms=4), order("canceled", at_ms=5, strategy="beta"))
    by_strategy = desk.quality()["by_strategy"]
    orders = {name: (group["orders"], group["cancel_rate"]["n"]) for name, group in by_strategy.items()}
    assert orders == {"default": (0, 0), "alpha": (1, 1)}
    # What was filled before stays where it was counted, as in positions and trades.
    fills = {name: (group["fills"], group["effective_spread"]["n"]) for name, group in by_strategy.items()}
    assert fills == {"default": (1, 1), "alpha": (2 - is_report, 2 - is_report)}
    assert by_strategy["alpha"]["fill_rate"] == {"value": (6 if is_report else 7) / 10, "n": 1, "reason": None}


@pytest.mark.parametrize("is_quoted", [False, True])
def test_no_count_of_a_fill_is_lost_while_the_cache_of_names_is_full(
    is_quoted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "MAX_CACHED_NAMES", 1)
    desk = TradingDesk()
    if is_quoted:
        desk.publish(quote(99.0, 101.0))
    sent = (order(status, strategy="alpha") for status in ("pending_new", "new"))
    # The latency of the order is of another strategy than the fill.
    desk.publish(*sent, fill("t1", 2, "100", at_ms=1, strategy="beta"))
    spread = desk.quality()["by_strategy"]["beta"]["effective_spread"]
    assert (spread["n"], spread["left_out"]) == ((1, {}) if is_quoted else (0, {"no_mid": 1}))


def test_a_fill_counts_for_its_own_strategy_and_its_order_for_the_orders() -> None:
    desk = TradingDesk()
    desk.publish(quote(99.0, 101.0), order("new", strategy="alpha"), fill("t1", 2, "100", at_ms=1, strategy="beta"))
    desk.publish(quote(99.0, 101.0, at_ms=100))
    counted = {
        name: (group["orders"], group["fills"], group["effective_spread"]["n"], group["markouts"]["50ms"]["n"])
        for name, group in desk.quality()["by_strategy"].items()
    }
    assert counted == {"alpha": (1, 0, 0, 0), "beta": (0, 1, 1, 1)}


def test_groups_beyond_the_limit_share_one() -> None:
    desk = TradingDesk(settings=ExecutionSettings(max_groups=2))
    for number, strategy in enumerate("abcda"):
        desk.publish(order("new", order_id=f"o{number}", strategy=strategy))
    orders = {name: group["orders"] for name, group in desk.quality()["by_strategy"].items()}
    assert orders == {"a": 2, "b": 1, "(other)": 2}


named = st.tuples(st.sampled_from("abc"), st.sampled_from(["AAPL", "AMZN"]), st.sampled_from(["X", "Y"]))
reports = st.lists(
    st.tuples(named, st.sampled_from(["new", "canceled", "fill"]), st.integers(1, 9), st.integers(0, 5000)), max_size=30
)


@given(reports)
def test_the_groups_of_a_dimension_add_up_to_all(
    reports: list[tuple[tuple[str, str, str], str, int, int]],
) -> None:
    desk = TradingDesk()
    at_ms = 0
    for number, ((strategy, symbol, venue), what, amount, gap_ms) in enumerate(reports):
        at_ms += gap_ms
        names = {"strategy": strategy, "symbol": symbol, "venue": venue, "order_id": "".join((strategy, symbol, venue))}
        event: Event = (
            fill(f"t{number}", amount, str(90 + amount), at_ms, **names)
            if what == "fill"
            else order(what, at_ms, **names)
        )
        desk.publish(quote(99, 100 + amount, at_ms, symbol), event)
    desk.tick(at_ms + 400_000)
    groups = desk.execution._order_groups
    for members in groups.by.values():
        for label, count in groups.all.counts.items():
            assert sum(group.counts.get(label, 0) for group in members.values()) == count
        for name, amount_of_all in groups.all.amounts.items():
            assert sum((group.amounts.get(name, Decimal(0)) for group in members.values()), Decimal(0)) == amount_of_all


# -- legs


def test_each_leg_is_measured_once_per_order() -> None:
    desk = TradingDesk()
    desk.publish(
        order("pending_new", 2, decision_ts=NOON),
        order("new", 5),
        fill("t1", 4, "100", 9),
        order("pending_cancel", 12.5),
        order("pending_cancel", 13),
        order("canceled", 14),
        order("canceled", 15),
    )
    latency = desk.quality()["latency"]
    assert {leg: latency[leg]["max_ms"] for leg in LEGS} == LEGS
    assert {latency[leg]["n"] for leg in LEGS} == {1}
    assert desk.quality()["by_symbol"]["AAPL"]["latency"] == latency


def test_an_order_is_complete_with_the_fill_that_completes_it() -> None:
    desk = TradingDesk()
    desk.publish(order("pending_new"), fill("t1", 4, "100", 3), fill("t2", 6, "100", 8), order("filled", 900))
    assert desk.quality()["latency"]["send_to_complete"]["max_ms"] == 8.0


def test_latencies_since_the_start_span_sessions() -> None:
    desk = TradingDesk()
    desk.publish(order("pending_new"), order("new", 3), order("pending_new", 5, "late"))
    tomorrow_ms = DAY / 1_000_000
    desk.publish(order("new", tomorrow_ms, "late"))
    quality = desk.quality()
    assert quality["latency"]["send_to_ack"]["n"] == 0
    total = quality["latency_total"]["send_to_ack"]
    assert (total["n"], total["min_ms"], total["max_ms"]) == (2, 3.0, tomorrow_ms - 5)


# -- rates


def test_the_fill_rate_by_terminal_order_excludes_open_orders() -> None:
    desk = TradingDesk()
    for number, status in enumerate(("filled", "canceled", "expired", "rejected", "new", "pending_new")):
        desk.publish(order(status, order_id=f"o{number}"))
    quality = desk.quality()
    assert quality["fill_rate_terminal"] == {"value": 0.25, "n": 4}
    assert quality["fill_rate_orders"] == {"value": 0.25, "n": 4}
    desk.publish(order("filled", order_id="o4"))
    assert desk.quality()["fill_rate_terminal"] == {"value": 0.4, "n": 5}
    assert desk.tick()["fill_rate_terminal"] == 0.4


# -- missing reports


def test_a_cancel_is_unacknowledged_until_the_order_ends() -> None:
    desk = TradingDesk()
    desk.publish(
        order("new"), order("pending_cancel", 1), order("pending_cancel", 1, "p"), order("pending_cancel", 1, "q")
    )
    assert desk.tick()["unacknowledged_cancels"] == 3
    desk.publish(order("canceled", 2), order("filled", 2, "p"))
    assert desk.tick()["unacknowledged_cancels"] == 1
    assert desk.quality()["missing_reports"]["cancels_unacknowledged"] == 1
    assert desk.quality()["latency"]["cancel_to_ack"]["n"] == 1


def test_an_unacknowledged_cancel_still_counts_the_next_day() -> None:
    desk = TradingDesk()
    desk.publish(order("new"), order("pending_cancel", 1))
    desk.execution.refresh(NOON + DAY)
    assert desk.execution.fields.to_json()["unacknowledged_cancels"] == 1


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        ([fill("t", 5, "100")], ["orders_without_report", "orders_without_ack"]),
        ([order("new")], ["orders_without_send"]),
        ([order("pending_new")], []),
        ([order("pending_new"), order("rejected", 1)], []),
        ([order("pending_new"), order("new"), fill("t", 10, "100")], []),
        ([order("pending_new"), fill("t", 10, "100")], ["orders_without_ack"]),
        ([order("pending_new"), order("new"), order("filled", 1)], ["orders_without_fills"]),
        ([order("canceled")], ["orders_without_send", "orders_without_ack"]),
    ],
)
def test_an_order_counts_by_the_reports_that_are_missing(events: list[Event], missing: list[str]) -> None:
    desk = TradingDesk()
    desk.publish(*events)
    counts = desk.quality()["missing_reports"]
    assert [what for what, count in counts.items() if count] == missing
    assert desk.tick()["missing_reports"] == (1 if missing else 0)


def test_a_report_that_arrives_late_is_no_longer_missing() -> None:
    desk = TradingDesk()
    desk.publish(order("filled", 3), fill("t", 10, "100", 3), order("new", 1), order("pending_new", 0))
    assert not any(desk.quality()["missing_reports"].values())


def test_symbols_beyond_the_limit_are_measured_without_prices(caplog: pytest.LogCaptureFixture) -> None:
    desk = TradingDesk(settings=ExecutionSettings(max_symbols=1))
    desk.publish(quote(99, 101), quote(99, 101, symbol="AMZN"), order("new"))
    for trade_id in ("t1", "t2"):
        desk.publish(fill(trade_id, 1, "100", symbol="AMZN"))
    amzn = desk.quality()["by_symbol"]["AMZN"]
    assert (amzn["fills"], amzn["effective_spread"]["left_out"]) == (2, {"no_mid": 2})
    assert len(caplog.records) == 1
    desk.execution.refresh(NOON + S)
    assert desk.quality()["pending_markouts"] == 0
