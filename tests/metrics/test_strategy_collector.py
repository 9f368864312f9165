"""The strategy section: every fill counts once, and positions are marked to the market."""

from __future__ import annotations

import asyncio
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Equity, Position, Print, Signal
from observability.history.history import History
from observability.history.layout import Budget
from observability.metrics.arithmetic.decimals import EXACT
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.strategy.totals import SERIES_FIELDS
from observability.metrics.strategy_collector import OTHER_STRATEGIES
from observability.metrics.trades.stats import Money
from observability.metrics.trades.trade import TradeFilter
from observability.metrics.trades.trade_log import TradeLog
from strategy_desk import DAY, NOON, D, Desk, S, play_to_two


def test_profit_is_realised_net_of_fees_and_marked_to_the_mid() -> None:
    desk = Desk()
    desk.fill(100, "150.00", commission=D("1.50"))
    desk.fill(-40, "151.00", commission=D("0.60"))
    desk.quote(151.98, 152.02)
    metrics = desk.tick()
    assert (metrics["realized_pnl"], metrics["realized_gross_pnl"], metrics["fees"]) == (37.9, 40.0, 2.1)
    assert (metrics["unrealized_pnl"], metrics["total_pnl"], metrics["daily_pnl"]) == (120.0, 157.9, 157.9)
    assert (metrics["open_positions"], metrics["gross_exposure"], metrics["net_exposure"]) == (1, 9120.0, 9120.0)
    assert desk.positions() == [
        {
            "key": "mean/AAPL",
            "symbol": "AAPL",
            "strategy": "mean",
            "position_side": "",
            "quantity": 60.0,
            "avg_price": 150.0,
            "mark": 152.0,
            "mark_source": "mid",
            "unrealized_pnl": 120.0,
            "realized_pnl": 37.9,
            "currency": "USD",
            "unvalued_fees": {},
            "engine_quantity": None,
            "engine_avg_price": None,
            "difference": None,
            "mark_updated": "2012-06-21T12:00:00.000Z",
            "updated": "2012-06-21T12:00:00.000Z",
            "stale": False,
        }
    ]


def test_long_and_short_offset_each_other_only_in_net_exposure() -> None:
    desk = Desk()
    desk.fill(10, 100)
    desk.fill(-5, 100, symbol="AMZN")
    metrics = desk.tick()
    assert (metrics["gross_exposure"], metrics["net_exposure"]) == (1500.0, 500.0)


def test_the_mark_is_the_mid_else_the_last_price_else_the_own_fill() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.tick()
    assert (desk.positions()[0]["mark"], desk.positions()[0]["mark_source"]) == (100.0, "fill")
    desk.bus.publish(Print("AAPL", 101.0, 1.0, ts=NOON, ts_init=NOON))
    desk.tick()
    assert (desk.positions()[0]["mark"], desk.positions()[0]["mark_source"]) == (101.0, "last")
    desk.quote(101.0, 102.0)
    desk.tick()
    assert (desk.positions()[0]["mark"], desk.positions()[0]["mark_source"]) == (101.5, "mid")
    desk.quote(101.0, None)
    desk.tick()
    assert (desk.positions()[0]["mark"], desk.positions()[0]["mark_source"]) == (101.0, "last")


def test_a_quote_that_has_died_does_not_hide_behind_prints() -> None:
    desk = Desk()
    desk.quote(100.0, 100.02)
    desk.fill(100, "100.01")
    for seconds in range(1, 8):
        desk.bus.publish(Print("AAPL", 90.0, 1.0, ts=NOON + seconds * S, ts_init=NOON + seconds * S))
        unrealized = desk.tick(NOON + seconds * S)["unrealized_pnl"]
        position = desk.positions()[0]
        is_alive = seconds <= 5
        assert (position["mark"], position["mark_source"]) == ((100.01, "mid") if is_alive else (90.0, "last"))
        assert (unrealized, position["stale"]) == (0.0 if is_alive else -1001.0, False)
    desk.tick(NOON + 20 * S)
    assert desk.positions()[0]["stale"] is True


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["quote", "print", "fill", "wait"]),
            st.sampled_from(["AAPL", "AMZN"]),
            st.sampled_from([99, 101]),
            st.sampled_from([0, 0, S, 6 * S]),
        ),
        max_size=20,
    ),
    st.integers(0, 3),
)
def test_a_position_whose_market_stands_is_what_it_would_be_if_looked_at(
    actions: list[tuple[str, str, int, int]], since_tick: int
) -> None:
    """A section whose market never ticks looks at every position on every tick."""
    skipping, looking = Desk(), Desk()
    now = NOON
    for number, (kind, symbol, price, wait) in enumerate(actions):
        now += wait
        for desk in (skipping, looking):
            if kind == "quote":
                desk.quote(price, price + 1, ts=now, symbol=symbol)
            elif kind == "print":
                desk.bus.publish(Print(symbol, float(price), 1.0, ts=now, ts_init=now))
            elif kind == "fill":
                desk.fill(price - 100, price, symbol=symbol, ts=now, ts_init=now)
        if number % 4 >= since_tick:
            skipping.market.refresh(now)
        assert skipping.tick(now) == looking.tick(now)
        for group in range(3):
            shown, wanted = (desk.strategy.groups[group].parts for desk in (skipping, looking))
            assert {key: part.to_json() for key, part in shown.items()} == {
                key: part.to_json() for key, part in wanted.items()
            }


def test_a_mark_that_is_the_own_fill_is_stale_although_the_market_is_quoted() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.quote(99.0, None)
    desk.tick()
    position = desk.positions()[0]
    assert (position["mark"], position["mark_source"], position["stale"]) == (100.0, "fill", True)


def test_a_section_says_that_it_has_changed_when_a_position_becomes_stale() -> None:
    desk = Desk()
    desk.quote(99.0, 101.0)
    desk.fill(1, 100)
    for now_ns, is_stale in ((NOON, False), (NOON + 6 * S, True)):
        desk.strategy.is_touched = False
        desk.market.refresh(now_ns)
        desk.tick(now_ns)
        assert (desk.positions()[0]["stale"], desk.strategy.is_touched) == (is_stale, True)


@pytest.mark.parametrize("last_seconds", [-10, -1])
def test_a_day_ends_at_the_mark_that_was_current_then(last_seconds: int) -> None:
    desk = Desk()
    midnight = NOON + DAY // 2
    desk.fill(1, 100)
    desk.quote(109.0, 111.0, ts=midnight + last_seconds * S)
    desk.bus.publish(Print("AAPL", 105.0, 1.0, ts=midnight - S, ts_init=midnight - S))
    desk.tick(midnight - S)
    desk.quote(119.0, 121.0, ts=midnight + S)
    # The quote was stale at midnight, and the print was not.
    assert desk.tick(midnight + S)["daily_pnl"] == (15.0 if last_seconds == -10 else 10.0)


def test_duplicate_and_conflicting_fills_change_no_money() -> None:
    desk = Desk()
    event = desk.fill(10, 100, commission=D(1))
    before = dict(desk.tick())
    desk.bus.publish(event)
    desk.fill(10, 999, trade_id=event.trade_id, commission=D(1))
    after = desk.tick()
    assert (after.pop("duplicate_fills"), after.pop("conflicting_fills")) == (1, 1)
    assert {name: before[name] for name in after} == after


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b", ""]),
            st.sampled_from(["AAPL", "AMZN"]),
            st.integers(-9, 9).filter(bool),
            st.decimals(min_value=1, max_value=200, places=2),
        ),
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_repeating_any_fills_leaves_balanced_accounts_unchanged(
    fills: list[tuple[str, str, int, Decimal]], random: Any
) -> None:
    desk = Desk()
    equity = Fraction(0)
    events = []
    for strategy, symbol, quantity, price in fills:
        events.append(desk.fill(quantity, str(price), strategy=strategy, symbol=symbol, commission=D("0.01")))
        equity -= Fraction(price) * quantity + Fraction(1, 100)
        mark = {"AAPL": 101, "AMZN": 52}[symbol]
        equity += mark * quantity
    desk.quote(100.5, 101.5)
    desk.quote(51.0, 53.0, symbol="AMZN")
    metrics = dict(desk.tick())
    assert metrics["total_pnl"] == float(equity)

    random.shuffle(events)
    for event in events:
        desk.bus.publish(event)
    assert desk.tick() == metrics | {"duplicate_fills": len(events)}


def test_strategies_have_separate_accounts_and_no_name_is_default() -> None:
    desk = Desk()
    desk.fill(1, 100, strategy="a")
    desk.fill(-1, 110, strategy="")
    desk.tick()
    assert list(desk.strategy.groups[0].parts) == ["a", "default"]
    assert [position["quantity"] for position in desk.positions()] == [1.0, -1.0]


def test_outcomes_are_those_of_round_trips() -> None:
    desk = Desk()
    desk.fill(4, 100)
    desk.tick()
    assert desk.part(0, "mean")["win_rate"] is None
    for price, expected in ((101, (1, 0, 0)), (98, (0, 1, 0)), (101, (0, 0, 1)), (103, (1, 0, 0))):
        # One round trip all along, with what it has realised so far.
        desk.fill(-1, price)
        desk.tick()
        account = desk.part(0, "mean")
        assert (account["n_wins"], account["n_losses"], account["n_breakeven"]) == expected
    desk.fill(-4, 100)
    desk.fill(6, 101)
    desk.fill(-2, 101)
    metrics = desk.tick()
    # The fill through zero has completed the second and opened the third.
    assert (metrics["n_closing"], metrics["win_rate"], metrics["expectancy"]) == (3, 0.5, -1 / 3)
    assert desk.strategy.performance()["account"]["n_breakeven"] == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from(["AAPL", "ES"]),
            st.integers(-9, 9).filter(bool),
            st.decimals(min_value=1, max_value=200, places=2),
            st.decimals(min_value=-1, max_value=2, places=2),
        ),
        max_size=25,
    )
)
def test_outcomes_of_flat_accounts_add_up_to_the_realised_pnl(
    fills: list[tuple[str, str, int, Decimal, Decimal]],
) -> None:
    multipliers = {"ES": D(50)}
    trades = TradeLog(multipliers=multipliers)
    desk = Desk(trades=trades, multipliers=multipliers)
    held: dict[tuple[str, str], int] = {}
    for strategy, symbol, quantity, price, fee in fills:
        desk.fill(quantity, str(price), strategy=strategy, symbol=symbol, commission=fee)
        held[strategy, symbol] = held.get((strategy, symbol), 0) + quantity
    for (strategy, symbol), quantity in held.items():
        if quantity:
            desk.fill(-quantity, 100, strategy=strategy, symbol=symbol, commission=D("0.01"))
    desk.tick()
    for wanted, accounts in (("", ["a", "b"]), ("a", ["a"]), ("b", ["b"])):
        found = [desk.strategy.performance()["strategies"].get(name) for name in accounts]
        money = trades.stats(TradeFilter(strategy=wanted or None)).money.get("USD", Money())
        assert EXACT.add(money.outcomes.won, money.outcomes.lost) == money.realized_pnl
        n_closing = sum(each["expectancy"]["n"] for each in found if each is not None)
        assert money.outcomes.n_closing == n_closing
    realized = trades.stats(TradeFilter()).money.get("USD", Money()).realized_pnl
    assert desk.strategy.fields.to_json()["realized_pnl"] == float(realized)
    rows = {row[0]: row[2] for row in desk.strategy.equity_rows(NOON)}
    assert rows[""] == realized


def test_each_trade_shows_what_it_realised() -> None:
    trades = TradeLog()
    desk = Desk(trades=trades)
    desk.fill(2, 100, commission=D("0.5"))
    desk.fill(-1, 110, commission=D("0.5"))
    desk.fill(-4, 110, commission=D("0.8"))
    page, _ = trades.query(TradeFilter())
    assert [trade.gross_pnl for trade in page] == [10, 10, None]
    assert [trade.pnl for trade in page] == [D("9.55"), D("9.25"), None]
    assert [trade.round_trip for trade in page] == [1, 1, 1]
    desk.fill(3, 110)
    assert trades.query(TradeFilter())[0][0].round_trip == 3
    assert trades.stats(TradeFilter()).to_json(Rates())["realized_pnl"] == desk.tick()["realized_pnl"] == 18.2


def test_signals_are_counted_and_the_last_one_is_shown() -> None:
    desk = Desk()
    desk.bus.publish(Signal("mean", "AAPL", "buy", 0.7, ts=NOON, ts_init=NOON))
    desk.bus.publish(Signal("mean", "AMZN", "exit", ts=NOON + S, ts_init=NOON + S))
    assert desk.tick(NOON + S)["signals"] == 2
    account = desk.part(0, "mean")
    assert (account["signals"], account["total_pnl"]) == (2, 0.0)
    assert account["last_signal"] == {
        "symbol": "AMZN", "action": "exit", "confidence": None, "timestamp": "2012-06-21T12:00:01.000Z"
    }  # fmt: skip


def test_a_session_is_anchored_to_the_last_price_before_it() -> None:
    desk = Desk()
    midnight = NOON + DAY // 2
    desk.fill(10, 100)
    desk.quote(104.0, 106.0)
    assert desk.tick(midnight - S)["daily_pnl"] == 50.0
    desk.quote(106.0, 108.0, ts=midnight)
    metrics = desk.tick(midnight)
    assert (metrics["total_pnl"], metrics["daily_pnl"]) == (70.0, 20.0)
    assert desk.part(0, "mean")["daily_pnl"] == 20.0


def test_a_fill_after_midnight_is_in_the_new_session_before_the_tick() -> None:
    desk = Desk()
    midnight = NOON + DAY // 2
    desk.fill(10, 100)
    desk.quote(104.0, 106.0)
    desk.tick(midnight - S)
    desk.fill(-10, 107, ts=midnight + 1, ts_init=midnight + 1)
    metrics = desk.tick(midnight + S)
    assert (metrics["total_pnl"], metrics["daily_pnl"], metrics["open_positions"]) == (70.0, 20.0, 0)


def test_an_anchor_includes_fills_since_the_last_tick() -> None:
    desk = Desk()
    midnight = NOON + DAY // 2
    desk.quote(104.0, 106.0)
    desk.fill(10, 100)
    desk.tick(midnight - S)
    desk.fill(-5, 110, ts=midnight - 1, ts_init=midnight - 1)
    metrics = desk.tick(midnight)
    assert (metrics["total_pnl"], metrics["daily_pnl"]) == (75.0, 0.0)


def test_a_late_event_does_not_reopen_its_session() -> None:
    desk = Desk()
    desk.fill(1, 100, ts=NOON + DAY, ts_init=NOON + DAY)
    desk.fill(-1, 105, ts=NOON, ts_init=NOON)
    assert desk.tick(NOON + DAY)["daily_pnl"] == 5.0


def test_drawdown_is_the_distance_to_the_peak_and_has_a_maximum() -> None:
    desk = Desk()
    desk.fill(1, 100)
    drawdowns = []
    for price in (110.0, 104.0, 107.0, 120.0, 119.0):
        desk.quote(price, price)
        metrics = desk.tick()
        drawdowns.append((metrics["drawdown"], metrics["max_drawdown"]))
    assert drawdowns == [(0.0, 0.0), (6.0, 6.0), (3.0, 6.0), (0.0, 6.0), (1.0, 6.0)]
    assert (metrics["drawdown_pct"], metrics["equity"]) == (None, None)


def test_with_a_capital_drawdown_is_also_in_percent_of_the_peak() -> None:
    desk = Desk()
    desk.bus.publish(Equity(D(90), ts=NOON, ts_init=NOON))
    desk.fill(1, 100)
    for price in (110.0, 105.0):
        desk.quote(price, price)
        metrics = desk.tick()
    assert (metrics["equity"], metrics["drawdown"], metrics["drawdown_pct"]) == (95.0, 5.0, 5.0)


def test_a_first_equity_report_includes_the_pnl_until_then() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.fill(-1, 110)
    desk.bus.publish(Equity(D(1010), ts=NOON, ts_init=NOON))
    desk.bus.publish(Equity(D(1000), ts=NOON, ts_init=NOON))
    metrics = desk.tick()
    assert (metrics["starting_capital"], metrics["equity"], metrics["reported_equity"]) == (1000.0, 1010.0, 1000.0)


def test_without_an_account_report_strategies_capitals_add_up() -> None:
    desk = Desk()
    for strategy, value in (("a", 100), ("b", 50)):
        desk.bus.publish(Equity(D(value), strategy, ts=NOON, ts_init=NOON))
    assert desk.tick()["starting_capital"] == 150.0


def test_a_difference_to_the_engine_is_shown_until_it_is_gone() -> None:
    desk = Desk()
    desk.fill(5, 100)
    desk.bus.publish(Position("AAPL", D(7), D(100), "mean", ts=NOON, ts_init=NOON))
    desk.bus.publish(Position("AMZN", D(1), D(50), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 2
    assert (desk.positions()[0]["quantity"], desk.positions()[0]["engine_quantity"]) == (5.0, 7.0)
    desk.fill(2, 100)
    assert desk.tick()["position_breaks"] == 1
    (only,) = desk.strategy.breaks()
    assert (only["symbol"], only["engine_avg_price"]) == ("AMZN", 50.0)


def test_a_reopened_position_reappears_with_a_new_version() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.tick()
    version = desk.strategy.groups[1].parts["mean/AAPL"].version
    desk.fill(-1, 101)
    assert desk.tick()["open_positions"] == 0
    assert desk.positions() == []
    desk.fill(2, 100)
    desk.tick()
    assert desk.strategy.groups[1].parts["mean/AAPL"].version > version
    assert desk.positions()[0]["realized_pnl"] == 1.0


def test_versions_change_only_with_the_json() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.quote(99.0, 101.0)

    def versions() -> list[int]:
        parts = [desk.strategy.fields, *(part for group in desk.strategy.groups for part in group.parts.values())]
        return [part.version for part in parts]

    desk.tick()
    before = versions()
    desk.quote(99.0, 101.0, ts=NOON + S)
    desk.tick(NOON + S)
    assert versions() == before
    desk.tick(NOON + 10 * S)
    fields, account, position, symbol = versions()
    assert [fields, account, symbol] == [*before[:2], before[3]] and position != before[2]
    assert desk.positions()[0]["stale"] is True


def test_strategies_beyond_the_capacity_share_one_account(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk(max_strategies=1)
    for strategy in ("a", "b", "c", "b"):
        desk.fill(1, 100, strategy=strategy)
    desk.quote(101.0, 101.0)
    metrics = desk.tick()
    assert list(desk.strategy.groups[0].parts) == ["a", OTHER_STRATEGIES]
    assert (metrics["total_pnl"], metrics["strategies_refused"], len(caplog.records)) == (4.0, 2, 2)


def test_a_flat_position_is_replaced_and_its_result_stays() -> None:
    desk = Desk(max_positions=1)
    desk.fill(1, 100)
    desk.fill(-1, 105)
    desk.fill(1, 50, symbol="AMZN")
    desk.fill(1, 70, symbol="MSFT")
    metrics = desk.tick()
    assert (metrics["realized_pnl"], metrics["open_positions"], metrics["fills_refused"]) == (5.0, 1, 1)


def test_exposure_and_pnl_include_the_contract_multiplier() -> None:
    desk = Desk(multipliers={"ES": D(50)})
    desk.fill(2, 5000, symbol="ES")
    desk.quote(5001.0, 5001.0, symbol="ES")
    metrics = desk.tick()
    assert (metrics["unrealized_pnl"], metrics["gross_exposure"]) == (100.0, 500_100.0)


def test_prices_that_no_market_has_break_nothing() -> None:
    desk = Desk()
    desk.fill(1, 100)
    for bid, ask in ((math.nan, 1.0), (1e300, 1e300), (1e-300, 1e-300), (-math.inf, math.inf)):
        desk.quote(bid, ask)
        orjson.dumps(desk.tick())
    assert desk.bus.handler_errors == 0
    assert all(math.isfinite(value) for value in desk.tick().values() if isinstance(value, float))


def test_each_tick_appends_one_row() -> None:
    history = History(Budget({len(SERIES_FIELDS): 1}, {}))
    desk = Desk(history=history, starting_capital=D(1000))
    desk.fill(-2, 100, commission=D(1))
    desk.quote(101.0, 101.0)
    desk.tick()
    (row,) = history.series()[0].rings[0].copy_rows(0, NOON + DAY)
    assert dict(zip(SERIES_FIELDS, row.payload, strict=True)) == {
        "total_pnl": -3.0,
        "daily_pnl": -3.0,
        "realized_pnl": -1.0,
        "unrealized_pnl": -2.0,
        "gross_exposure": 202.0,
        "net_exposure": -202.0,
        "drawdown": 3.0,
        "equity": 997.0,
    }


def test_the_current_metrics_have_fields_strategies_and_positions() -> None:
    desk = Desk()
    desk.fill(1, 100)
    metrics = asyncio.run(desk.strategy.get_current_metrics())
    assert metrics["open_positions"] == 1
    assert [position["symbol"] for position in metrics["positions"]] == ["AAPL"]
    assert metrics["strategies"]["mean"]["fills"] == 1
    assert desk.strategy.last_input_ns == NOON


def test_a_fall_between_two_ticks_is_part_of_the_drawdown() -> None:
    desk = Desk(starting_capital=D(10_000))
    for quantity, price in ((100, 10), (-100, 5), (100, 5), (-100, 11)):
        desk.fill(quantity, price)
    metrics = desk.tick()
    assert (metrics["total_pnl"], metrics["max_drawdown"], metrics["max_drawdown_pct"]) == (100.0, 500.0, 5.0)
    desk.fill(10, 11)
    for second, price in enumerate((21.0, 1.0, 31.0)):
        desk.quote(price, price, ts=NOON + second * S)
    desk.bus.publish(Print("AAPL", 1.0, 1.0, ts=NOON + 3 * S, ts_init=NOON + 3 * S))
    metrics = desk.tick(NOON + 4 * S)
    assert (metrics["max_drawdown"], metrics["drawdown"]) == (500.0, 0.0)
    desk.quote(1.0, 1.0, ts=NOON + 10 * S)
    desk.fill(-10, 41, ts=NOON + 11 * S, ts_init=NOON + 11 * S)
    assert desk.tick(NOON + 12 * S)["max_drawdown"] == 500.0
    deepest = desk.part(0, "mean")["max_drawdown"]
    assert deepest == 500.0


def test_a_fill_dated_ahead_is_taken_to_have_happened_when_it_arrived() -> None:
    desk = Desk()
    desk.fill(1, 100, ts=NOON + DAY)
    desk.fill(-1, 101, ts=NOON + 60 * S, ts_init=NOON + 60 * S)
    desk.tick(NOON + 60 * S)
    assert desk.strategy.performance()["account"]["holding_time_seconds"]["value"] == 60.0


def test_a_fill_that_closes_before_it_opens_held_for_no_time() -> None:
    desk = Desk()
    desk.fill(1, 100, ts=NOON - 10 * S)
    desk.fill(-1, 101, ts=NOON - 60 * S)
    desk.fill(1, 100, ts=NOON)
    desk.fill(-1, 101, ts=NOON + 4 * S)
    desk.tick(NOON + 5 * S)
    assert desk.strategy.performance()["account"]["holding_time_seconds"]["value"] == 2.0


def test_a_mid_that_expires_is_part_of_the_drawdown_without_a_tick() -> None:
    desk = Desk()
    desk.fill(1, 100)
    desk.quote(100.0, 100.0)
    desk.bus.publish(Print("AAPL", 90.0, 1.0, ts=NOON + S, ts_init=NOON + S))
    # The mark was the last price from 12:00:05 to here.
    desk.quote(100.0, 100.0, ts=NOON + 9 * S)
    metrics = desk.tick(NOON + 9 * S)
    assert (metrics["drawdown"], metrics["max_drawdown"]) == (0.0, 10.0)
    assert metrics["max_drawdown_trough_time"] == "2012-06-21T12:00:05.000Z"
    assert metrics["max_drawdown_recovered_time"] == "2012-06-21T12:00:09.000Z"


@pytest.mark.parametrize(("quoted", "daily_pnl"), [(-6, 40.0), (-4, 30.0)])
def test_a_session_ends_before_or_after_a_mid_that_expires_without_an_event(quoted: int, daily_pnl: float) -> None:
    desk = Desk()
    midnight = NOON + DAY // 2
    desk.fill(1, 100)
    desk.quote(100.0, 100.0, ts=midnight + quoted * S)
    desk.bus.publish(Print("AAPL", 90.0, 1.0, ts=midnight - 3 * S, ts_init=midnight - 3 * S))
    desk.quote(130.0, 130.0, ts=midnight + 9 * S)
    metrics = desk.tick(midnight + 9 * S)
    # Six seconds before midnight the mark of midnight is the print, four seconds before it is still the mid.
    assert (metrics["daily_pnl"], metrics["total_pnl"], metrics["max_drawdown"]) == (daily_pnl, 30.0, 10.0)


MOVES = st.lists(
    st.tuples(
        st.sampled_from(["quote", "print", "fill", "fill", "equity"]),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["AAPL", "AMZN"]),
        st.integers(-9, 9).filter(bool),
        st.integers(1, 200),
        st.sampled_from([0, S // 10, 2 * S, 6 * S, DAY // 2]),
    ),
    max_size=25,
)


@given(MOVES, st.lists(st.booleans(), min_size=25, max_size=25))
def test_drawdown_does_not_depend_on_when_the_section_ticks(
    moves: list[tuple[str, str, str, int, int, int]], ticks: list[bool]
) -> None:
    def publish(desk: Desk, move: tuple[str, str, str, int, int, int], now: int) -> None:
        kind, strategy, symbol, quantity, price, _ = move
        if kind == "quote":
            desk.quote(float(price), float(price) + 1, ts=now, symbol=symbol)
        elif kind == "print":
            desk.bus.publish(Print(symbol, float(price), 1.0, ts=now, ts_init=now))
        elif kind == "equity":
            desk.bus.publish(Equity(D(price), strategy, ts=now, ts_init=now))
        else:
            desk.fill(quantity, price, strategy=strategy, symbol=symbol, ts=now, ts_init=now, commission=D("0.1"))

    rare, often, now = play_to_two(moves, ticks, publish, Desk.tick, quoted_by=lambda move: move[2])
    for desk in (rare, often):
        desk.tick(now + 2 * DAY)
    assert rare.strategy.performance() == often.strategy.performance()
    calmar = often.strategy.performance()["account"]
    if calmar["calmar"]["value"] is not None:
        deepest_day = (
            abs(calmar["annual_return"]["value"] / calmar["calmar"]["value"]) if calmar["calmar"]["value"] else 0
        )
        assert often.strategy.fields.to_json()["max_drawdown_pct"] >= 100 * deepest_day - 1e-9


@given(MOVES)
def test_totals_are_the_sums_over_strategies_and_over_symbols(moves: list[tuple[str, str, str, int, int, int]]) -> None:
    desk = Desk(max_positions=2)
    now = NOON
    for kind, strategy, symbol, quantity, price, elapsed in moves:
        now += elapsed
        if kind == "quote":
            desk.quote(float(price), float(price) + 1, ts=now, symbol=symbol)
        elif kind != "equity":
            desk.fill(quantity, price, strategy=strategy, symbol=symbol, ts=now, ts_init=now, commission=D("0.25"))
        metrics = desk.tick(now)
        for name in ("total_pnl", "realized_pnl", "realized_gross_pnl", "unrealized_pnl", "fees", "fills"):
            for group in (0, 2):
                parts = desk.strategy.groups[group].parts.values()
                assert sum(part.to_json()[name] for part in parts) == pytest.approx(metrics[name], abs=1e-9), name


def test_a_symbol_shows_what_it_realised_while_its_positions_are_flat() -> None:
    desk = Desk(max_positions=1)
    desk.fill(1, 100, commission=D(1))
    desk.fill(-1, 110)
    desk.fill(1, 50, symbol="AMZN")
    desk.quote(52.0, 52.0, symbol="AMZN")
    desk.tick()
    shown = desk.part(2, "AAPL")
    assert (shown["total_pnl"], shown["realized_pnl"], shown["realized_gross_pnl"]) == (9.0, 9.0, 10.0)
    assert (shown["unrealized_pnl"], shown["fees"], shown["fills"]) == (0.0, 1.0, 2)
    assert desk.part(2, "(other)")["unrealized_pnl"] == 2.0
