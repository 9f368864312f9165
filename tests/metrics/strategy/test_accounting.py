"""Capital, sessions, marks and the engine's own view, as the strategy section accounts for them."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import parse_iso_ns
from observability.events import Equity, Position
from observability.metrics.arithmetic.sessions import SessionCalendar
from strategy_desk import NOON, D, Desk, S

NEW_YORK = ZoneInfo("America/New_York")


def test_a_capital_that_was_set_is_not_changed_by_a_report() -> None:
    desk = Desk(starting_capital=D("1000.5"))
    desk.fill(1, 100)
    desk.quote(110.0, 110.0)
    desk.bus.publish(Equity(D(990), ts=NOON, ts_init=NOON))
    metrics = desk.tick()
    assert (metrics["starting_capital"], metrics["equity"], metrics["reported_equity"]) == (1000.5, 1010.5, 990.0)


def test_a_strategys_drawdown_is_a_part_of_its_capital_as_soon_as_that_is_known() -> None:
    desk = Desk()
    desk.fill(1, 100, strategy="a")
    desk.quote(90.0, 90.0)
    desk.tick()
    desk.bus.publish(Equity(D(190), "a", ts=NOON, ts_init=NOON))
    desk.tick()
    drawdown = desk.strategy.performance()["strategies"]["a"]["drawdown"]
    assert drawdown["current"]["percent"] == drawdown["maximum_percent"]["percent"] == 5.0


def test_a_first_report_of_a_strategy_includes_what_it_earned_since_the_last_tick() -> None:
    desk = Desk()
    desk.quote(110.0, 110.0)
    desk.fill(1, 100, strategy="a")
    desk.tick()
    desk.fill(1, 100, strategy="a")
    desk.bus.publish(Equity(D(120), "a", ts=NOON, ts_init=NOON))
    assert [row[4] for row in desk.strategy.equity_rows(NOON) if row[0] == "a"] == [100]


def test_a_capital_that_was_set_is_there_before_the_first_event() -> None:
    assert Desk(starting_capital=D(1000)).tick()["equity"] == 1000.0


def test_daily_pnl_starts_anew_at_the_boundary_of_the_zone_on_days_of_23_and_25_hours() -> None:
    for before, boundary in (
        ("2024-03-10T20:59:59Z", "2024-03-10T21:00:00Z"),
        ("2024-11-03T21:59:59Z", "2024-11-03T22:00:00Z"),
    ):
        before_ns, boundary_ns = parse_iso_ns(before), parse_iso_ns(boundary)
        desk = Desk(calendar=SessionCalendar(NEW_YORK, time(17)))
        desk.tick(before_ns - 3600 * S)
        desk.fill(10, 100, ts=before_ns, ts_init=before_ns)
        desk.quote(105.0, 105.0, ts=before_ns)
        assert desk.tick(before_ns)["daily_pnl"] == 50.0
        desk.quote(107.0, 107.0, ts=boundary_ns)
        assert desk.tick(boundary_ns)["daily_pnl"] == 20.0


def test_a_boundary_that_the_clocks_skip_turns_the_session_with_the_offset_before() -> None:
    # 02:30 does not exist in New York on that day; the session turns at 03:30 EDT.
    turn_ns = parse_iso_ns("2024-03-10T07:30:00Z")
    desk = Desk(calendar=SessionCalendar(NEW_YORK, time(2, 30)))
    desk.tick(turn_ns - 2 * 3600 * S)
    desk.fill(1, 100, ts=turn_ns - S, ts_init=turn_ns - S)
    desk.quote(105.0, 105.0, ts=turn_ns - S)
    assert desk.tick(turn_ns - 1)["daily_pnl"] == 5.0
    assert desk.tick(turn_ns)["daily_pnl"] == 0.0


def test_a_boundary_that_occurs_twice_turns_the_session_once() -> None:
    turn_ns = parse_iso_ns("2024-11-03T05:30:00Z")
    desk = Desk(calendar=SessionCalendar(NEW_YORK, time(1, 30)))
    desk.tick(turn_ns - S)
    desk.quote(105.0, 105.0, ts=turn_ns)
    desk.fill(1, 100, ts=turn_ns, ts_init=turn_ns)
    assert desk.tick(turn_ns)["daily_pnl"] == 5.0
    assert desk.tick(turn_ns + 3600 * S)["daily_pnl"] == 5.0


def test_an_anchor_is_marked_with_the_last_prices_before_the_boundary_whenever_ticks_are() -> None:
    boundary_ns = parse_iso_ns("2012-06-21T21:00:00Z")
    desk = Desk(calendar=SessionCalendar(NEW_YORK, time(17)))
    desk.fill(10, 100)
    desk.quote(101.0, 101.0)
    desk.tick(NOON)
    desk.quote(105.0, 105.0, ts=boundary_ns - 1)
    desk.quote(107.0, 107.0, ts=boundary_ns)
    desk.quote(108.0, 108.0, ts=boundary_ns + S)
    metrics = desk.tick(boundary_ns + 2 * S)
    assert (metrics["total_pnl"], metrics["daily_pnl"]) == (80.0, 30.0)


def test_a_symbol_that_was_silent_at_the_boundary_is_marked_with_what_it_was_at() -> None:
    boundary_ns = parse_iso_ns("2012-06-21T21:00:00Z")
    desk = Desk(calendar=SessionCalendar(NEW_YORK, time(17)))
    desk.fill(10, 100)
    desk.quote(105.0, 105.0)
    desk.fill(1, 50, symbol="AMZN", ts=boundary_ns, ts_init=boundary_ns)
    desk.quote(107.0, 107.0, ts=boundary_ns + 3600 * S)
    assert desk.tick(boundary_ns + 3600 * S)["daily_pnl"] == 20.0


def test_ticks_before_a_replay_begin_no_session() -> None:
    today_ns = parse_iso_ns("2026-01-01T12:00:00Z")
    desk = Desk()
    desk.tick(today_ns)
    desk.fill(10, 100)
    desk.quote(105.0, 105.0)
    desk.tick(NOON)
    desk.quote(107.0, 107.0, ts=NOON + 86_400 * S)
    assert desk.tick(NOON + 86_400 * S)["daily_pnl"] == 20.0


def test_a_mark_has_the_time_of_the_quote_that_made_it() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.quote(99.0, 101.0, ts=NOON + S)
    desk.tick(NOON + 2 * S)
    desk.quote(99.0, 101.0, ts=NOON + 3 * S)
    desk.tick(NOON + 3 * S)
    assert desk.positions()[0]["mark_updated"] == "2012-06-21T12:00:01.000Z"
    desk.fill(1, 100, ts=NOON + 4 * S, ts_init=NOON + 4 * S)
    desk.tick(NOON + 9 * S)
    position = desk.positions()[0]
    assert (position["mark_updated"], position["stale"]) == ("2012-06-21T12:00:01.000Z", True)


def test_a_break_shows_both_views() -> None:
    desk = Desk()
    desk.fill(5, 100)
    desk.bus.publish(Position("AAPL", D(7), D("99.5"), "mean", ts=NOON, ts_init=NOON + S))
    desk.tick()
    position = desk.positions()[0]
    assert (position["engine_quantity"], position["engine_avg_price"], position["difference"]) == (7.0, 99.5, 2.0)
    assert desk.strategy.breaks() == [
        {
            "strategy": "mean",
            "symbol": "AAPL",
            "quantity": 5.0,
            "engine_quantity": 7.0,
            "difference": 2.0,
            "avg_price": 100.0,
            "engine_avg_price": 99.5,
            "reported": "2012-06-21T12:00:00.000Z",
        }
    ]


def test_a_break_may_be_a_position_that_only_the_engine_has() -> None:
    desk = Desk()
    desk.bus.publish(Position("AMZN", D(-1), D(50), ts=NOON, ts_init=NOON))
    desk.fill(1, 100)
    desk.bus.publish(Position("AAPL", D(1), D(100), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 1
    (only,) = desk.strategy.breaks()
    assert (only["strategy"], only["symbol"], only["quantity"], only["avg_price"]) == ("default", "AMZN", 0.0, None)


def test_a_report_that_made_room_for_another_is_shown_no_more() -> None:
    desk = Desk(max_positions=1)
    desk.fill(1, 100)
    desk.bus.publish(Position("AAPL", D(2), D(100), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 1
    desk.bus.publish(Position("AMZN", D(0), D(0), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 0
    assert desk.positions()[0]["engine_quantity"] is None


def test_strategies_that_are_added_up_together_have_no_break_of_their_own() -> None:
    desk = Desk(max_strategies=1)
    desk.fill(1, 100, strategy="a")
    desk.fill(1, 100, strategy="b")
    desk.bus.publish(Position("AAPL", D(1), D(100), "b", ts=NOON, ts_init=NOON))
    assert (desk.tick()["position_breaks"], desk.strategy.breaks()) == (0, [])


def test_equity_rows_are_exact_and_lead_with_the_account() -> None:
    desk = Desk(starting_capital=D(1000))
    desk.bus.publish(Equity(D(100), "a", ts=NOON, ts_init=NOON))
    desk.fill("0.1", "0.2", strategy="a", commission=D("0.000000000000000001"))
    desk.fill(-1, 3, strategy="b", symbol="AMZN")
    assert list(desk.strategy.equity_rows(NOON)) == [
        ("", D("-0.000000000000000001"), D("-0.000000000000000001"), D(0), D(1000)),
        ("a", D("-0.000000000000000001"), D("-0.000000000000000001"), D(0), D(100)),
        ("b", D(0), D(0), D(0), None),
    ]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["AAPL", "ES"]),
            st.integers(-9, 9).filter(bool),
            st.decimals(min_value=1, max_value=200, places=2),
            st.decimals(min_value=1, max_value=200, places=2),
        ),
        max_size=20,
    )
)
def test_cash_and_positions_are_the_equity_at_every_step(
    fills: list[tuple[str, str, int, Decimal, Decimal]],
) -> None:
    multipliers = {"AAPL": 1, "ES": 50}
    desk = Desk(starting_capital=D(1000), multipliers={"ES": D(50)})
    cash, held, marks = Fraction(1000), {"AAPL": 0, "ES": 0}, {"AAPL": Fraction(0), "ES": Fraction(0)}
    for strategy, symbol, quantity, price, mark in fills:
        desk.fill(quantity, str(price), strategy=strategy, symbol=symbol, commission=D("0.01"))
        desk.quote(float(mark), float(mark), symbol=symbol)
        cash -= quantity * Fraction(price) * multipliers[symbol] + Fraction(1, 100)
        held[symbol] += quantity
        marks[symbol] = Fraction(mark)
        account = next(desk.strategy.equity_rows(NOON))
        value = sum(held[name] * marks[name] * multipliers[name] for name in held)
        assert 1000 + Fraction(account[1]) == cash + value
