"""Execution against the market: shortfall, VWAP deviation, effective spread, and which orders they leave out."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Event, Print, Quote
from observability.metrics.trades.trade import Trade
from observability.metrics.trades.trade_log import Reader
from trading_desk import MS, NOON, D, TradingDesk, fill, market_print, order, quote


def shortfall_after(*events: Event) -> dict[str, Any]:
    desk = TradingDesk()
    desk.publish(*events)
    shortfall: dict[str, Any] = desk.quality()["implementation_shortfall"]
    return shortfall


PARTS = ("total", "delay", "trading", "opportunity", "fees")


def parts(shortfall: dict[str, Any]) -> list[float]:
    return [shortfall[part] for part in PARTS]


# -- implementation shortfall


def test_shortfall_has_parts_in_currency_and_bps() -> None:
    desk = TradingDesk()
    # The symbol is followed from its first order on, so that later mids are known.
    desk.publish(quote(99, 101, -9000), order("pending_new", -9000, "first"), quote(99.5, 100.5, -50))
    desk.publish(
        quote(100, 102, -10),
        order("pending_new", 0, decision_ts=NOON - 20 * MS),
        fill("t1", 6, "102", 5, commission=D("0.6")),
        quote(103, 105, 10),
        order("canceled", 20),
    )
    shortfall = desk.quality()["implementation_shortfall"]
    # Decided at 100, arrived at 101, 6 bought at 102, 4 not filled at 104.
    assert parts(shortfall) == [28.6, 10.0, 6.0, 12.0, 0.6]
    assert (shortfall["n"], shortfall["notional"], shortfall["left_out"]) == (1, 1000.0, {})
    assert [shortfall[f"{part}_bps"] for part in PARTS] == [286.0, 100.0, 60.0, 120.0, 6.0]
    assert desk.tick(20)["shortfall_bps"] == 286.0


def test_an_order_without_a_decision_time_has_no_delay() -> None:
    shortfall = shortfall_after(quote(99, 101), order("pending_new"), fill("t1", 10, "101", 1), order("filled", 1))
    assert parts(shortfall) == [10.0, 0.0, 10.0, 0.0, 0.0]


def test_the_engines_arrival_price_precedes_the_mid_at_the_first_report() -> None:
    shortfall = shortfall_after(
        quote(99, 101), order("pending_new", arrival_price=D(99)), fill("t1", 10, "101", 1), order("filled", 1)
    )
    assert shortfall["trading"] == 20.0


def test_a_rejected_order_has_only_an_opportunity_cost() -> None:
    shortfall = shortfall_after(quote(99, 101), order("pending_new"), quote(101, 103, 5), order("rejected", 6))
    assert parts(shortfall) == [20.0, 0.0, 0.0, 20.0, 0.0]


def test_an_open_order_has_no_shortfall() -> None:
    shortfall = shortfall_after(quote(99, 101), order("pending_new"), order("new"), fill("t1", 5, "101", 1))
    assert (shortfall["n"], shortfall["left_out"], shortfall["total_bps"]) == (0, {}, None)


def test_a_fill_after_the_cancel_counts_in_the_shortfall() -> None:
    shortfall = shortfall_after(quote(99, 101), order("new"), order("canceled", 1), fill("t1", 4, "101", 2))
    assert (shortfall["n"], shortfall["trading"]) == (1, 4.0)


def test_an_order_ends_with_its_first_final_report() -> None:
    shortfall = shortfall_after(
        quote(99, 101), order("new"), quote(101, 103, 1), order("canceled", 2), quote(1, 3, 3), order("canceled", 4)
    )
    assert shortfall["opportunity"] == 20.0


def test_a_completely_filled_order_needs_no_end_price() -> None:
    shortfall = shortfall_after(quote(99, 101), order("new"), fill("t1", 10, "101", 6000), order("filled", 6000))
    assert parts(shortfall) == [10.0, 0.0, 10.0, 0.0, 0.0]


def test_a_quantity_filled_beyond_the_order_counts_as_ordered() -> None:
    shortfall = shortfall_after(quote(99, 101), order("new"), fill("t1", 15, "101", 1), quote(199, 201, 2))
    assert (parts(shortfall), shortfall["notional"]) == ([15.0, 0.0, 15.0, 0.0, 0.0], 1500.0)


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([order("new"), order("canceled", 1)], "no_arrival_price"),
        ([quote(99, 101), order("new", decision_ts=NOON - MS), order("canceled", 1)], "no_decision_price"),
        ([quote(99, 101), order("new"), quote(99, None, 1), order("canceled", 1)], "no_end_price"),
        ([quote(99, 101), order("new"), order("canceled", 6000)], "no_end_price"),
        ([quote(99, 101), order("new"), fill("t1", 5, "100", 1), order("filled", 1)], "missing_fills"),
    ],
)
def test_a_shortfall_that_cannot_be_computed_is_left_out_with_a_reason(events: list[Event], reason: str) -> None:
    shortfall = shortfall_after(*events)
    assert (shortfall["n"], shortfall["left_out"]) == (0, {reason: 1})


def test_a_touch_older_than_the_decision_gives_its_price() -> None:
    shortfall = shortfall_after(
        quote(99, 101, -30), order("new", decision_ts=NOON - 20 * MS), fill("t1", 10, "100", 1), order("filled", 1)
    )
    assert (shortfall["n"], shortfall["delay"]) == (1, 0.0)


def test_the_decision_has_the_mid_that_stood_at_its_very_moment() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101, -9000), order("pending_new", -9000, "first"))
    desk.publish(quote(100, 102, -4), quote(101, 103, -1))
    desk.publish(order("new", decision_ts=NOON - 3 * MS), fill("t1", 10, "102"), order("filled"))
    assert desk.quality()["implementation_shortfall"]["delay"] == 10.0


def test_a_decision_goes_by_the_time_of_the_exchange_where_events_come_in_one_batch() -> None:
    desk = TradingDesk()
    arrival = NOON + 900 * MS
    desk.publish(quote(89, 91, -9000), order("pending_new", -9000, "first"))
    batch: list[Event] = [
        quote(99, 101, 0), quote(100, 102, 5), quote(101, 103, 8), order("new", 9, decision_ts=NOON + 6 * MS),
        fill("t1", 10, "102", 9), order("filled", 9),
    ]  # fmt: skip
    for event in batch:
        event.ts_init = arrival
    desk.publish(*batch)
    assert desk.quality()["implementation_shortfall"]["delay"] == 10.0


def test_a_quote_was_not_quoted_after_it_had_arrived() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101, -9000), order("pending_new", -9000, "first"))
    # The exchange's clock is 2 s ahead.
    for mid, arrival_ms in ((100, -20), (101, -10), (102, -1)):
        desk.publish(
            Quote("AAPL", mid - 1, mid + 1, ts=NOON + (arrival_ms + 2000) * MS, ts_init=NOON + arrival_ms * MS)
        )
    desk.publish(order("new", decision_ts=NOON - 5 * MS), fill("t1", 10, "102"), order("filled"))
    assert desk.quality()["implementation_shortfall"]["delay"] == 10.0


def test_a_touch_that_had_become_stale_before_the_first_order_has_no_mid() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101, -6000), market_print(120, 1, -1))
    desk.publish(order("new"), fill("t1", 1, "120"), order("filled"))
    quality = desk.quality()
    assert (quality["effective_spread"]["price"], quality["effective_spread"]["left_out"]) == (None, {"no_mid": 1})
    assert quality["implementation_shortfall"]["left_out"] == {"no_arrival_price": 1}


def test_a_late_quote_changes_no_mid_of_an_order() -> None:
    desk = TradingDesk()
    late = quote(89, 91, -50)
    late.ts_init = NOON - MS
    desk.publish(quote(99, 101, -10), order("pending_new", -9, "first"), late, order("new"), fill("t1", 1, "101"))
    assert desk.quality()["effective_spread"]["price"] == 2.0


touches_in_time = st.lists(st.tuples(st.integers(0, 4000), st.sampled_from([100, 101, 102, None])), max_size=30)


@given(touches_in_time, st.integers(0, 20_000))
def test_any_decision_has_the_mid_of_the_newest_quote_before_it(
    steps: list[tuple[int, int | None]], decided_ms: int
) -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), order("new", 0, "first"))
    touches: list[tuple[int, int | None]] = [(0, 100)]
    for gap_ms, mid in steps:
        at_ms = touches[-1][0] + gap_ms
        touches.append((at_ms, mid))
        desk.publish(quote(None, 103, at_ms) if mid is None else quote(mid - 1, mid + 1, at_ms))
    market = desk.execution._markets.follow("AAPL")
    assert market is not None
    then_ms, mid = max(touch for touch in enumerate(touches) if touch[1][0] <= decided_ms)[1]
    expected = None if decided_ms - then_ms > 5000 else mid
    assert market.mid_at(NOON + decided_ms * MS) == expected


# -- deviation from VWAP


def test_the_vwap_is_that_from_the_first_report_to_the_last_fill() -> None:
    desk = TradingDesk()
    desk.publish(
        order("new", 0, "first"),
        market_print(50, 1000, 1),
        order("pending_new", 2),
        market_print(100, 30, 3),
        market_print(104, 10, 4),
        fill("t1", 10, "102.01", 5),
        market_print(50, 1000, 6),
        order("filled", 7),
    )
    # (100 * 30 + 104 * 10) / 40 = 101; 1.01 above it.
    assert desk.quality()["vwap_deviation_bps"] == {
        "value": 100.0, "n": 1, "quantity": 10.0, "notional": 1010.0, "left_out": {}
    }  # fmt: skip


def test_the_vwap_includes_the_print_that_a_fill_follows() -> None:
    desk = TradingDesk()
    desk.bus.subscribe(Print, lambda _: desk.bus.publish(fill("t", 1, "101")))
    desk.publish(order("new"), market_print(100, 5))
    assert desk.quality()["vwap_deviation_bps"]["value"] == 100.0


def test_a_sell_above_the_vwap_is_a_gain() -> None:
    desk = TradingDesk()
    desk.publish(order("new", side="sell"), market_print(100, 1, 1), fill("t1", 5, "101", 2, side="sell"))
    assert desk.quality()["vwap_deviation_bps"]["value"] == -100.0


def test_the_vwap_deviation_is_left_out_without_market_volume() -> None:
    desk = TradingDesk()
    desk.publish(order("new"), fill("t1", 5, "101", 2))
    deviation = desk.quality()["vwap_deviation_bps"]
    assert (deviation["value"], deviation["n"], deviation["left_out"]) == (None, 0, {"no_market_volume": 1})


# -- any sequence of fills


pieces = st.lists(
    st.tuples(st.integers(1, 50), st.integers(95, 105), st.sampled_from([1, 2, 3])), min_size=1, max_size=5
)


@given(pieces, st.sampled_from(["buy", "sell"]), st.randoms(use_true_random=False))
def test_splitting_and_repeating_fills_changes_no_figure(
    pieces: list[tuple[int, int, int]], side: str, random: Random
) -> None:
    whole, split = TradingDesk(), TradingDesk()
    total = sum(quantity for quantity, _, _ in pieces)
    few: list[Event] = []
    many: list[Event] = []
    for number, (quantity, price, parts) in enumerate(pieces):
        few.append(fill(f"{number}", quantity, str(price), 2, side=side, commission=D(parts)))
        share = D(quantity) / 4
        sizes = [share] * (parts - 1) + [quantity - share * (parts - 1)]
        for part, size in enumerate(sizes):
            name = f"{number}/{part}"
            many.append(fill(name, size, str(price), 2, side=side, commission=D(1)))
    many += random.choices(many, k=3)
    random.shuffle(many)
    for desk, fills in ((whole, few), (split, many)):
        desk.publish(quote(99.5, 100.25), order("new", side=side, quantity=D(total + 5), arrival_price=D(101)))
        desk.publish(market_print(100.5, 7, 1), *fills, quote(101, 102, 30), order("canceled", 3000, side=side))
        desk.tick(400_000)
    assert split.execution._order_groups.all.amounts.keys() == whole.execution._order_groups.all.amounts.keys()
    for name, amount in whole.execution._order_groups.all.amounts.items():
        # Costs in bps are quotients that are rounded to 18 digits once per fill or order.
        slack = D("1e-16") if name.endswith("_bps") else 0
        assert abs(split.execution._order_groups.all.amounts[name] - amount) <= slack, name
    assert split.quality()["implementation_shortfall"] == whole.quality()["implementation_shortfall"]


# -- effective spread, and the mid of a fill


def test_the_effective_spread_is_twice_the_distance_from_the_mid() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), fill("t1", 1, "101", 1), fill("t2", 3, "99.5", 1, "p", side="sell"))
    spread = desk.quality()["effective_spread"]
    # (1 * 2 * 1 + 3 * 2 * 0.5) / 4
    assert spread == {
        "price": 1.25, "bps": 125.0, "n": 2, "quantity": 4.0, "notional": 400.0, "left_out": {}, "reason": None
    }  # fmt: skip


def test_a_trade_keeps_the_mid_at_its_fill() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 100.01), fill("t1", 1, "101", 1), quote(10, 20, 2), fill("t1", 1, "101", 3))
    assert [trade.mid for trade in desk.trades.find("t1")] == [D("99.505")]


def test_a_fill_that_follows_a_quote_has_the_mid_of_that_quote() -> None:
    desk = TradingDesk()
    desk.bus.subscribe(Quote, lambda event: desk.bus.publish(fill(f"t{event.bid}", 1, "100")))
    desk.publish(order("new"), quote(99, 101), quote(103, 105))
    assert [trade.mid for trade in desk.trades.newer_than(0)] == [100, 104]


def test_a_replayed_fill_keeps_its_mid() -> None:
    desk = TradingDesk()
    first = TradingDesk()
    first.publish(quote(99, 101), fill("t1", 1, "101", 1))
    (trade,) = first.trades.find("t1")
    desk.trades.restore(trade, Reader.ACCOUNTING)
    desk.publish(quote(10, 20), fill("t1", 1, "101", 1))
    assert trade.mid == 100
    assert desk.quality()["effective_spread"]["price"] == 2.0


@pytest.mark.parametrize("touch", [[], [quote(None, 101)], [quote(99, 101, -6000)]])
def test_a_fill_without_a_fresh_mid_is_left_out(touch: list[Event]) -> None:
    desk = TradingDesk()
    desk.publish(*touch, fill("t1", 1, "101"))
    quality = desk.quality()
    assert quality["effective_spread"]["left_out"] == {"no_mid": 1}
    assert quality["markouts"]["50ms"]["left_out"] == {"no_mid": 1}
    assert desk.trades.find("t1")[0].mid is None


def test_the_longest_numbers_of_events_are_added_up_exactly() -> None:
    desk = TradingDesk()
    longest, smallest = D("999999999999999999.999999999999999999"), "0.000000000000000001"
    desk.publish(
        quote(1e-18, 2e-18), market_print(1e-12, 1e17),
        order("new", quantity=longest, arrival_price=D(smallest), decision_ts=NOON),
        market_print(1e17, 1e-12),
        fill("t1", longest - 1, str(longest)), fill("t2", D(smallest), smallest),
        quote(1e17, 1.23456789e17, 10), order("canceled", 20),
    )  # fmt: skip
    desk.tick(400_000)
    quality = desk.quality()
    assert (quality["implementation_shortfall"]["n"], quality["effective_spread"]["n"]) == (1, 2)
    assert quality["markouts"]["50ms"]["n"] == 2


def test_a_negative_mid_has_no_effective_spread_in_bps() -> None:
    desk = TradingDesk()
    desk.publish(quote(-38, -37), fill("t1", 1, "-37"))
    assert desk.quality()["effective_spread"]["left_out"] == {"mid_not_positive": 1}


def test_a_late_arrival_price_amends_the_trades() -> None:
    desk = TradingDesk()
    amended: list[Trade] = []
    desk.trades.add_amended_listener(amended.append)
    desk.publish(fill("t1", 1, "101"), fill("t2", 1, "102"), order("new", 1, arrival_price=D(100)))
    assert [(trade.trade_id, trade.slippage_bps) for trade in amended] == [("t1", 100.0), ("t2", 200.0)]
    desk.publish(fill("t3", 1, "103"))
    assert len(amended) == 2
