"""Accounts: sessions, marks and exact equity."""

from __future__ import annotations

from datetime import time
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import parse_iso_ns
from observability.events import Equity
from observability.metrics.arithmetic.sessions import SessionCalendar
from strategy_desk import NOON, D, Desk, S

NEW_YORK = ZoneInfo("America/New_York")


def test_daily_pnl_starts_at_the_zone_s_boundary_on_odd_days() -> None:
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


def test_a_boundary_that_clocks_skip_ends_the_session() -> None:
    # 02:30 does not exist in New York on that day; the session ends at 03:30 EDT.
    boundary_ns = parse_iso_ns("2024-03-10T07:30:00Z")
    desk = Desk(calendar=SessionCalendar(NEW_YORK, time(2, 30)))
    desk.tick(boundary_ns - 2 * 3600 * S)
    desk.fill(1, 100, ts=boundary_ns - S, ts_init=boundary_ns - S)
    desk.quote(105.0, 105.0, ts=boundary_ns - S)
    assert desk.tick(boundary_ns - 1)["daily_pnl"] == 5.0
    assert desk.tick(boundary_ns)["daily_pnl"] == 0.0


def test_a_boundary_that_occurs_twice_ends_one_session() -> None:
    boundary_ns = parse_iso_ns("2024-11-03T05:30:00Z")
    desk = Desk(calendar=SessionCalendar(NEW_YORK, time(1, 30)))
    desk.tick(boundary_ns - S)
    desk.quote(105.0, 105.0, ts=boundary_ns)
    desk.fill(1, 100, ts=boundary_ns, ts_init=boundary_ns)
    assert desk.tick(boundary_ns)["daily_pnl"] == 5.0
    assert desk.tick(boundary_ns + 3600 * S)["daily_pnl"] == 5.0


def test_an_anchor_has_the_last_prices_before_the_boundary() -> None:
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


def test_an_anchor_has_the_last_price_of_a_silent_symbol() -> None:
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


def test_a_mark_has_the_time_of_the_quote_that_changed_it() -> None:
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


def test_equity_rows_are_exact_and_begin_with_the_account() -> None:
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
def test_equity_is_cash_plus_positions_after_every_fill(
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
