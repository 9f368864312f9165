"""Positions and orders in a symbol that is traded at several venues go by the best of them, at every moment."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.events import Print, Quote
from strategy_desk import Desk, play_to_two
from trading_desk import MS, NOON, S, TradingDesk, fill, order


def quote_at(venue: str, bid: float, ask: float, ms: float = 0, symbol: str = "AAPL", late_ms: float = 0) -> Quote:
    now_ns = NOON + round(ms * MS)
    return Quote(symbol, bid, ask, 1.0, 1.0, venue, ts=now_ns - round(late_ms * MS), ts_init=now_ns)


# -- positions


def test_a_position_is_marked_to_the_mid_of_the_best() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.bus.publish_all([quote_at("A", 99, 103), quote_at("B", 98, 101)])
    assert desk.tick()["total_pnl"] == 0.0


def test_a_best_that_ends_with_a_stale_quote_is_part_of_the_drawdown_without_a_tick() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.bus.publish_all([quote_at("A", 100, 100), quote_at("B", 90, 90.5, 1000)])
    # The quote of A is the best bid until 12:00:05, and B's alone is left from here on.
    desk.bus.publish_all([quote_at("B", 90, 90, 4000), quote_at("A", 100, 100, 9500)])
    metrics = desk.tick(NOON + 10 * S)
    # 100 / 100, 100 / 90.5, 100 / 90, 90 / 90, 100 / 100
    assert (metrics["drawdown"], metrics["max_drawdown"]) == (0.0, 10.0)
    assert metrics["max_drawdown_trough_time"] == "2012-06-21T12:00:05.000Z"
    assert metrics["max_drawdown_recovered_time"] == "2012-06-21T12:00:09.500Z"


def test_a_restart_marks_no_position_to_a_price_that_did_not_count() -> None:
    desk = Desk()
    desk.bus.publish_all([quote_at("A", 101, 103), quote_at("B", 98, 99)])
    desk.fill(1, 100)
    # The mid of the best, which is crossed, counts until 12:00:05, and not this print.
    desk.bus.publish(Print("AAPL", 80.0, 1.0, venue="A", ts=NOON + S, ts_init=NOON + S))
    restored = Desk()
    restored.market.load(desk.market.save())
    restored.strategy.load(desk.strategy.save())
    for each in (desk, restored):
        each.market.refresh(NOON + 2 * S)
        metrics = each.tick(NOON + 2 * S)
        assert (metrics["total_pnl"], metrics["max_drawdown"]) == (0.0, 0.0)
        each.market.refresh(NOON + 6 * S)
        metrics = each.tick(NOON + 6 * S)
        assert (metrics["total_pnl"], metrics["max_drawdown"]) == (-20.0, 20.0)
        assert metrics["max_drawdown_trough_time"] == "2012-06-21T12:00:05.000Z"


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["quote", "quote", "quote", "print", "fill"]),
        st.sampled_from(["A", "B", "C"]),
        st.sampled_from(["AAPL", "AMZN"]),
        st.integers(-9, 9).filter(bool),
        st.integers(1, 200),
        st.sampled_from([0, S // 10, 2 * S, 4 * S, 6 * S, 43_200 * S]),
    ),
    max_size=25,
)


@given(MOVES, st.lists(st.booleans(), min_size=25, max_size=25))
def test_the_drawdown_by_the_best_does_not_depend_on_when_the_section_ticks(
    moves: list[tuple[str, str, str, int, int, int]], ticks: list[bool]
) -> None:
    def publish(desk: Desk, move: tuple[str, str, str, int, int, int], now: int) -> None:
        kind, venue, symbol, quantity, price, _ = move
        if kind == "quote":
            desk.bus.publish(Quote(symbol, float(price), float(price) + 1, 1, 1, venue, ts=now, ts_init=now))
        elif kind == "print":
            desk.bus.publish(Print(symbol, float(price), 1.0, venue=venue, ts=now, ts_init=now))
        else:
            desk.fill(quantity, price, symbol=symbol, ts=now, ts_init=now)

    def tick(desk: Desk, now: int) -> dict[str, Any]:
        desk.market.refresh(now)
        return desk.tick(now)

    play_to_two(moves, ticks, publish, tick, quoted_by=lambda move: move[1:3])


# -- orders


def test_an_order_is_measured_against_the_mid_of_the_best() -> None:
    desk = TradingDesk()
    desk.publish(
        quote_at("A", 99, 105), quote_at("B", 90, 101), order("new"), fill("t1", 10, "101", 1), order("filled", 2)
    )
    shortfall = desk.quality()["implementation_shortfall"]
    assert (shortfall["n"], shortfall["trading"]) == (1, 10.0)


def test_a_quote_that_became_stale_since_the_last_event_is_not_in_the_mid_of_an_order() -> None:
    desk = TradingDesk()
    desk.publish(quote_at("A", 99, 105), order("new", 0, "first"))
    desk.publish(quote_at("B", 90, 101), quote_at("A", 99, 105, 1000))
    # B is stale since 12:00:05, and no event has come.
    desk.publish(order("new", 5500), fill("t1", 10, "102", 5500), order("filled", 5500))
    assert desk.quality()["implementation_shortfall"]["trading"] == 0.0


def test_a_decision_is_measured_by_the_best_that_stood_then() -> None:
    desk = TradingDesk()
    desk.publish(quote_at("A", 99, 105), order("new", 0, "first"))
    desk.publish(quote_at("B", 90, 101, 100), quote_at("A", 99, 105, 2000), quote_at("A", 99, 105, 6000))
    for number, (decided_ms, mid) in enumerate([(50, 102), (4000, 100), (5500, 102)]):
        desk.publish(
            order("new", 6000, f"o{number}", decision_ts=NOON + decided_ms * MS),
            fill(f"t{number}", 10, "102", 6000, f"o{number}"),
            order("filled", 6000, f"o{number}"),
        )
        before = 0.0 if not number else 10.0 * (102 - 100) * (number > 1)
        assert desk.quality()["implementation_shortfall"]["delay"] - before == 10.0 * (102 - mid)


def test_a_best_of_one_old_quote_has_no_mid_once_that_is_stale() -> None:
    desk = TradingDesk()
    desk.publish(quote_at("A", 99, 101), order("new", 0, "first"))
    # Without B from 12:00:05 on, the best is A's quote of 12:00:04, which is stale at 12:00:09.
    desk.publish(quote_at("B", 99, 101, 0), quote_at("A", 99, 101, 4000), quote_at("B", 99, 101, 12_000))
    for decided_ms in (8500, 9500):
        desk.publish(order("new", 12_000, f"o{decided_ms}", decision_ts=NOON + decided_ms * MS))
        desk.publish(order("canceled", 12_000, f"o{decided_ms}"))
    shortfall = desk.quality()["implementation_shortfall"]
    assert (shortfall["n"], shortfall["left_out"]) == (1, {"no_decision_price": 1})


def test_a_markout_is_measured_against_the_best_of_its_moment() -> None:
    desk = TradingDesk()
    desk.publish(quote_at("A", 99, 105), quote_at("B", 90, 101))
    desk.publish(order("new"), fill("t1", 10, "100", 0))
    desk.publish(quote_at("A", 99, 105, 4900), quote_at("A", 99, 105, 9500), quote_at("A", 99, 105, 10_001))
    markouts = desk.quality()["markouts"]
    # B is stale at the horizon of ten seconds, and was the best ask at that of one.
    assert [markouts[horizon]["price"] for horizon in ("1s", "10s")] == [0.0, 2.0]


@pytest.mark.parametrize("is_followed", [True, False])
def test_an_order_has_no_mid_once_the_sources_of_all_venues_are_lost(*, is_followed: bool) -> None:
    desk = TradingDesk()
    desk.market.clock = FakeClock(NOON)
    desk.publish(quote_at("A", 99, 105), quote_at("B", 90, 101))
    if is_followed:
        desk.publish(order("new", 0, "first"))
    for venue in ("A", "B"):
        desk.market.lose_venue(venue, ["AAPL"])
    desk.publish(order("new", 1), fill("t1", 10, "102", 1), order("filled", 1))
    assert desk.quality()["implementation_shortfall"]["left_out"] == {"no_arrival_price": 1}


def test_the_first_order_in_a_symbol_of_several_venues_has_no_mid_of_a_stale_quote() -> None:
    desk = TradingDesk()
    desk.publish(quote_at("B", 90, 101), quote_at("A", 99, 105, 1000))
    desk.publish(order("new", 5500), fill("t1", 10, "102", 5500), order("filled", 5500))
    assert desk.quality()["implementation_shortfall"]["trading"] == 0.0
