"""The log of recent trades: each reader is handed a fill once, and trades can be found."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import StoreError
from observability.events import Fill
from observability.logs.line_budget import LINES_PER_MINUTE
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.trades.rows import fill_row, trade_of
from observability.metrics.trades.trade import Trade, TradeFilter
from observability.metrics.trades.trade_log import DUPLICATE, EVERY_READER, DailyIds, Reader, Rejection, TradeLog
from observability.store.checkpoint import EventSequence

NOON = 1_340_280_000_000_000_000
S = 1_000_000_000
ALL = TradeFilter()


def fill(trade_id: str = "1", **changes: Any) -> Fill:
    fields: dict[str, Any] = {
        "order_id": "o1",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": Decimal(10),
        "price": Decimal("150.25"),
        "ts": NOON,
        "ts_init": NOON,
    }
    return Fill(trade_id, **(fields | changes))


def admitted(log: TradeLog, event: Fill, reader: Reader = Reader.ACCOUNTING) -> Trade:
    trade = log.admit(event, reader)
    assert isinstance(trade, Trade)
    return trade


def ids(trades: list[Trade]) -> list[str]:
    return [trade.trade_id for trade in trades]


def test_all_readers_are_handed_the_same_trade_once() -> None:
    log = TradeLog()
    first = log.admit(fill(), Reader.ACCOUNTING)
    assert log.admit(fill(), Reader.EXECUTION) is first
    assert log.admit(fill(), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert log.admit(fill(), Reader.EXECUTION) is Rejection.DUPLICATE
    assert len(log) == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(Reader))), max_size=60))
def test_repeated_deliveries_hand_each_fill_to_each_reader_once(deliveries: list[tuple[int, Reader]]) -> None:
    log = TradeLog()
    given_out = [
        (number, reader)
        for number, reader in deliveries
        if isinstance(log.admit(fill(str(number)), reader), Trade)
    ]  # fmt: skip
    assert sorted(given_out) == sorted(set(deliveries))
    assert len(log) == len({number for number, _ in deliveries})


def test_an_equal_amount_with_other_digits_is_a_duplicate() -> None:
    log = TradeLog()
    log.admit(fill(), Reader.ACCOUNTING)
    assert log.admit(fill(quantity=Decimal("10.00")), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert log.admit(fill(quantity=Decimal("1E+1"), commission=Decimal("-0.0")), Reader.ACCOUNTING) is DUPLICATE


def test_a_conflict_is_kept_apart_and_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    log = TradeLog()
    log.admit(fill(), Reader.ACCOUNTING)
    with caplog.at_level(logging.ERROR):
        for reader in Reader:
            assert log.admit(fill(price=Decimal(151)), reader) is Rejection.CONFLICT
    assert (log.conflicts, len(log), len(caplog.records)) == (1, 1, 1)
    assert [trade.price for trade in log.find("1")] == [Decimal("150.25")]
    conflict = log.number_conflict(fill(price=Decimal(151)))
    assert conflict is not None and (conflict.price, conflict.seq) == (151, 2)
    assert log.number_conflict(fill(price=Decimal(151))) is None


# -- what identifies a fill


@pytest.mark.parametrize(
    "other",
    [{"side": "sell"}, {"order_id": "o2"}, {"side": "sell", "order_id": "o2"}, {"venue": "BATS"}, {"symbol": "AMZN"}],
)
def test_an_id_of_another_side_order_venue_or_symbol_is_another_fill(other: dict[str, str]) -> None:
    log = TradeLog()
    for event in (fill(), fill(**other, quantity=Decimal(7))):
        admitted(log, event)
        assert log.admit(event, Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert (len(log.find("1")), log.conflicts) == (2, 0)


@pytest.mark.parametrize("changes", [{"quantity": Decimal(3)}, {"price": Decimal(1)}, {"commission": Decimal(1)}])
def test_other_content_under_the_same_key_is_a_conflict(changes: dict[str, Decimal]) -> None:
    log = TradeLog()
    admitted(log, fill())
    assert log.admit(fill(**changes), Reader.ACCOUNTING) is Rejection.CONFLICT


def test_a_break_shows_what_counts_beside_what_was_delivered() -> None:
    log = TradeLog()
    admitted(log, fill(strategy="mm"))
    log.admit(fill(price=Decimal("150.5"), commission=Decimal("0.1")), Reader.ACCOUNTING)
    log.admit(fill(quantity=Decimal(3), strategy="other"), Reader.ACCOUNTING)
    newest, oldest = log.fill_breaks()
    assert newest["differs"] == ["quantity", "strategy"]
    assert oldest == {
        "trade_id": "1", "order_id": "o1", "symbol": "AAPL", "side": "buy", "venue": "",
        "timestamp": "2012-06-21T12:00:00.000Z",
        "counted": {
            "quantity": 10.0, "price": 150.25, "commission": 0.0, "commission_asset": None, "strategy": "mm",
            "position_side": "",
        },
        "delivered": {
            "quantity": 10.0, "price": 150.5, "commission": 0.1, "commission_asset": None, "strategy": "default",
            "position_side": "",
        },
        "differs": ["price", "commission"],
    }  # fmt: skip


def test_a_break_outlives_the_trade_that_counts() -> None:
    log = TradeLog(max_trades=1)
    admitted(log, fill())
    log.admit(fill(price=Decimal(1)), Reader.ACCOUNTING)
    admitted(log, fill("2"))
    (only,) = log.fill_breaks()
    assert (only["counted"], only["differs"], only["delivered"]["price"]) == (None, None, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("alpha", "alpha", Rejection.DUPLICATE),
        ("alpha", "", Rejection.DUPLICATE),
        ("", "alpha", Rejection.DUPLICATE),
        ("alpha", "beta", Rejection.CONFLICT),
    ],
)
def test_strategies_conflict_only_where_both_deliveries_name_one(first: str, second: str, expected: Rejection) -> None:
    log = TradeLog()
    admitted(log, fill(strategy=first))
    assert log.admit(fill(strategy=second), Reader.ACCOUNTING) is expected


DAY = 86_400 * S


def test_ids_that_begin_anew_each_day_are_told_apart_at_the_venues_that_are_named() -> None:
    log = TradeLog(daily_ids=DailyIds(frozenset({"SHFE"})))
    for venue, expected in (("SHFE", Trade), ("XNAS", Rejection)):
        admitted(log, fill(venue=venue))
        assert isinstance(log.admit(fill(venue=venue, ts=NOON + DAY), Reader.ACCOUNTING), expected)
        # The same moment of the same day is the same fill.
        assert log.admit(fill(venue=venue), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert log.conflicts == 0


def test_a_session_and_not_a_calendar_day_tells_daily_ids_apart() -> None:
    log = TradeLog(daily_ids=DailyIds(is_every_venue=True, session_end_ns=lambda ns: (ns // (2 * DAY) + 1) * 2 * DAY))
    first_ns = NOON - NOON % (2 * DAY)
    admitted(log, fill(ts=first_ns))
    assert log.admit(fill(ts=first_ns + DAY), Reader.ACCOUNTING) is Rejection.DUPLICATE
    admitted(log, fill(ts=first_ns + 2 * DAY))


def closing(log: TradeLog, *, is_flat: bool = True) -> Trade:
    trade = admitted(log, fill())
    trade.is_flat = is_flat
    for reader in (Reader.EXECUTION, Reader.JOURNAL):
        assert log.admit(fill(), reader) is trade
    return trade


def test_a_fill_through_zero_may_come_in_two_legs() -> None:
    log = TradeLog()
    closing(log)
    second = fill(quantity=Decimal(3))
    trade = admitted(log, second)
    assert (trade.leg, trade.quantity) == (2, 3)
    assert log.admit(second, Reader.EXECUTION) is trade
    assert log.admit(second, Reader.JOURNAL) is trade
    for repeated in (second, fill()):
        assert all(log.admit(repeated, reader) is Rejection.DUPLICATE for reader in Reader)
    assert log.admit(fill(quantity=Decimal(4)), Reader.ACCOUNTING) is Rejection.CONFLICT
    assert (len(log), log.conflicts) == (2, 1)


@pytest.mark.parametrize(
    ("is_flat", "changes"),
    [
        (False, {}),
        (True, {"price": Decimal(1)}),
        (True, {"ts": NOON + 1}),
        (True, {"quantity": Decimal(10), "commission": Decimal(1)}),
    ],
)
def test_what_is_no_second_leg_is_a_conflict(is_flat: bool, changes: dict[str, Any]) -> None:
    log = TradeLog()
    closing(log, is_flat=is_flat)
    assert log.admit(fill(**({"quantity": Decimal(3)} | changes)), Reader.ACCOUNTING) is Rejection.CONFLICT


def test_both_legs_are_known_after_a_restart() -> None:
    log, restarted = TradeLog(), TradeLog()
    first, second = closing(log), admitted(log, fill(quantity=Decimal(3)))
    for trade in (first, second):
        restarted.restore(trade, EVERY_READER)
    for event in (fill(), fill(quantity=Decimal(3))):
        assert restarted.admit(event, Reader.ACCOUNTING) is Rejection.DUPLICATE
    # The second leg may come after the restart only.
    late = TradeLog()
    late.restore(first, EVERY_READER)
    assert admitted(late, fill(quantity=Decimal(3))).leg == 2


def test_conflicts_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    log = TradeLog()
    admitted(log, fill())
    for number in range(500):
        assert log.admit(fill(price=Decimal(number)), Reader.ACCOUNTING) is Rejection.CONFLICT
    assert log.conflicts == 500
    assert LINES_PER_MINUTE <= len(caplog.records) <= 2 * LINES_PER_MINUTE


def test_an_id_of_several_symbols_or_venues_has_several_trades() -> None:
    log = TradeLog()
    for changes in ({}, {"symbol": "AMZN"}, {"venue": "BATS"}):
        log.admit(fill(**changes), Reader.ACCOUNTING)
    assert [(trade.symbol, trade.venue) for trade in log.find("1")] == [("AAPL", ""), ("AMZN", ""), ("AAPL", "BATS")]
    assert log.find("2") == []


def test_pages_have_the_newest_trades_first() -> None:
    log = TradeLog()
    for number in range(10):
        log.admit(fill(str(number)), Reader.ACCOUNTING)
    page, total = log.query(ALL, limit=3, offset=2)
    assert (ids(page), total) == (["7", "6", "5"], 10)


def test_new_trades_do_not_shift_pages_by_cursor() -> None:
    log = TradeLog()
    for number in range(6):
        log.admit(fill(str(number)), Reader.ACCOUNTING)
    page, _ = log.query(ALL, limit=2)
    log.admit(fill("new"), Reader.ACCOUNTING)
    following, _ = log.query(ALL, limit=2, before_seq=page[-1].seq)
    assert ids(page) + ids(following) == ["5", "4", "3", "2"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (TradeFilter(symbol="AMZN"), ["b"]),
        (TradeFilter(side="sell"), ["c"]),
        (TradeFilter(strategy="default"), ["b", "a"]),
        (TradeFilter(strategy="mean", side="sell"), ["c"]),
        (TradeFilter(start_ns=NOON + S), ["c", "b"]),
        (TradeFilter(end_ns=NOON + S), ["a"]),
        (TradeFilter(min_quantity=Decimal(10), max_quantity=Decimal(20)), ["b", "a"]),
        (TradeFilter(symbol="NONE"), []),
    ],
)
def test_each_field_of_a_filter_selects_trades(wanted: TradeFilter, expected: list[str]) -> None:
    log = TradeLog()
    log.admit(fill("a"), Reader.ACCOUNTING)
    log.admit(fill("b", symbol="AMZN", quantity=Decimal(20), ts=NOON + S), Reader.ACCOUNTING)
    log.admit(fill("c", side="sell", strategy="mean", quantity=Decimal(30), ts=NOON + 2 * S), Reader.ACCOUNTING)
    page, total = log.query(wanted)
    assert (ids(page), total) == (expected, len(expected))


def test_keys_are_remembered_longer_than_their_trades() -> None:
    log = TradeLog(max_trades=2, max_keys=3)
    for number in range(3):
        log.admit(fill(str(number)), Reader.ACCOUNTING)
    assert (len(log), log.find("0")) == (2, [])
    assert log.admit(fill("0"), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert isinstance(log.admit(fill("0"), Reader.EXECUTION), Trade)
    log.admit(fill("3"), Reader.ACCOUNTING)
    assert isinstance(log.admit(fill("0"), Reader.ACCOUNTING), Trade)


def test_the_json_of_a_trade_has_every_field_of_the_api() -> None:
    log = TradeLog()
    trade = admitted(log, fill(venue="NASDAQ", commission=Decimal("0.35"), latency_ms=1.5))
    assert trade.to_json() == {
        "trade_id": "1",
        "order_id": "o1",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": 10.0,
        "price": 150.25,
        "timestamp": "2012-06-21T12:00:00.000Z",
        "strategy": "default",
        "venue": "NASDAQ",
        "commission": 0.35,
        "commission_asset": None,
        "latency_ms": 1.5,
        "slippage_bps": None,
        "pnl": None,
        "gross_pnl": None,
        "pnl_currency": None,
        "round_trip": None,
        "liquidity": "",
        "position_side": "",
        "reason": "",
        "status": None,
        "corrected_by": None,
        "original": None,
    }


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("long", "long", Rejection.DUPLICATE),
        ("long", "", Rejection.DUPLICATE),
        ("long", "both", Rejection.DUPLICATE),
        ("both", "", Rejection.DUPLICATE),
        ("long", "short", Rejection.CONFLICT),
        ("", "long", Rejection.CONFLICT),
    ],
)
def test_deliveries_of_one_fill_differ_if_the_later_names_another_position_side(
    first: Any, second: Any, expected: Rejection
) -> None:
    log = TradeLog()
    admitted(log, fill(position_side=first))
    assert log.admit(fill(position_side=second), Reader.ACCOUNTING) is expected
    assert [each["differs"] for each in log.fill_breaks()] == [["position_side"]] * (expected is Rejection.CONFLICT)


def test_statistics_without_trades_are_undefined() -> None:
    stats = TradeLog().stats(ALL).to_json(Rates())
    assert (stats["count"], stats["volume"]) == (0, 0.0)
    undefined = ("avg_price", "avg_size", "realized_pnl", "win_rate", "profit_factor", "expectancy", "best", "worst")
    assert [stats[name] for name in undefined] == [None] * len(undefined)


def test_statistics_are_sums_over_the_trades() -> None:
    log = TradeLog(multipliers={"AAPL": Decimal(50)})
    # What each has realised before fees and net, and in which round trip.
    realized = {
        "a": (None, None, 1), "b": (30, "29.8", 1), "c": (-10, "-10.1", 1), "d": (0, "-0.1", 4), "e": ("0.2", "0.1", 4),
        "f": (2, "-0.7", 6),
    }  # fmt: skip
    for number, (trade_id, (gross, net, trip)) in enumerate(realized.items()):
        side = "buy" if number % 2 else "sell"
        event = fill(trade_id, side=side, quantity=Decimal(number + 1), price=Decimal(100), commission=Decimal("0.1"))
        trade = admitted(log, event)
        trade.gross_pnl = None if gross is None else Decimal(gross)
        trade.pnl = None if net is None else Decimal(net)
        trade.round_trip = trip
    assert log.stats(ALL).to_json(Rates()) == {
        "count": 6,
        "volume": 21.0,
        "notional": 105_000.0,
        "avg_price": 100.0,
        "avg_size": 3.5,
        "buy": {"count": 3, "volume": 12.0, "notional": 60_000.0},
        "sell": {"count": 3, "volume": 9.0, "notional": 45_000.0},
        "commission": 0.6,
        "realized_pnl": 21.6,
        "n_closing": 3,
        "n_wins": 1,
        "n_losses": 1,
        "n_breakeven": 1,
        "n_unvalued": 0,
        "win_rate": 0.5,
        "profit_factor": 19.7 / 0.7,
        "expectancy": 19 / 3,
        "best": 19.7,
        "worst": -0.7,
        "reporting_currency": "USD",
        "currencies": {"USD": {"notional": 105_000.0, "commission": 0.6, "realized_pnl": 21.6}},
        "unconverted_reason": None,
    }


def test_trades_of_several_symbols_have_no_average_price() -> None:
    log = TradeLog()
    admitted(log, fill("1", symbol="AAPL"))
    assert log.stats(ALL).to_json(Rates())["avg_price"] == 150.25
    admitted(log, fill("2", symbol="AMZN"))
    stats = log.stats(ALL).to_json(Rates())
    assert (stats["avg_price"], stats["notional"]) == (None, 3005.0)


def test_a_trade_of_an_earlier_version_is_an_outcome_of_its_own() -> None:
    log = TradeLog()
    admitted(log, fill("1", commission=Decimal(1)))
    for trade_id in ("2", "3"):
        admitted(log, fill(trade_id, commission=Decimal(1))).pnl = Decimal(4)
    stats = log.stats(ALL)
    (money,) = stats.money.values()
    assert (money.realized_pnl, money.outcomes.n_wins, money.outcomes.best) == (7, 2, 4)


def test_the_profit_factor_is_undefined_without_losses() -> None:
    log = TradeLog()
    admitted(log, fill()).pnl = Decimal(5)
    assert log.stats(ALL).to_json(Rates())["profit_factor"] is None


def test_a_restored_trade_is_new_only_to_readers_that_have_not_had_it() -> None:
    before = TradeLog()
    trade = admitted(before, fill(strategy=""))
    log = TradeLog()
    log.restore(trade, Reader.ACCOUNTING)
    assert log.admit(fill(), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert log.admit(fill(), Reader.EXECUTION) is trade
    assert log.admit(fill(price=Decimal(1)), Reader.EXECUTION) is Rejection.CONFLICT


def test_a_forgotten_key_is_looked_up_in_the_archive() -> None:
    log = TradeLog(max_trades=1, max_keys=1)
    archived = {number: admitted(log, fill(number)) for number in ("1", "2", "3")}
    log.archive = lambda key: [archived[key[2]]] if key[2] in archived and key[-1] == 1 else []
    assert log.admit(fill("1"), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert log.admit(fill("2", price=Decimal(1)), Reader.ACCOUNTING) is Rejection.CONFLICT
    assert isinstance(log.admit(fill("4"), Reader.ACCOUNTING), Trade)


def test_a_fill_without_a_strategy_belongs_to_that_of_its_order() -> None:
    log = TradeLog()
    log.strategy_of_order = lambda symbol, order_id: {("AAPL", "o1"): "mean"}.get((symbol, order_id))
    assert admitted(log, fill("1")).strategy == "mean"
    assert admitted(log, fill("2", strategy="own")).strategy == "own"
    assert admitted(log, fill("3", symbol="AMZN")).strategy == "default"


@pytest.mark.parametrize(
    ("first", "second"), [("", "mean"), ("mean", ""), ("", ""), ("", "default"), ("mean", "default"), ("other", "")]
)
@pytest.mark.parametrize("is_restored", [False, True])
def test_a_delivery_without_a_strategy_is_the_same_fill(first: str, second: str, is_restored: bool) -> None:
    log = TradeLog()
    log.strategy_of_order = lambda *_: "mean"
    trade = admitted(log, fill(strategy=first))
    if is_restored:
        log = TradeLog()
        log.restore(trade, Reader.ACCOUNTING)
    assert log.admit(fill(strategy=second), Reader.ACCOUNTING) is Rejection.DUPLICATE
    assert log.admit(fill(strategy=second), Reader.EXECUTION) is trade
    assert log.admit(fill(strategy="third"), Reader.ACCOUNTING) is Rejection.CONFLICT
    assert log.admit(fill(strategy=second, price=Decimal(1)), Reader.ACCOUNTING) is Rejection.CONFLICT


def test_trades_are_numbered_by_the_shared_sequence() -> None:
    sequence = EventSequence(41)
    log = TradeLog(sequence=sequence)
    assert admitted(log, fill("1")).seq == 42
    sequence.draw()
    assert admitted(log, fill("2")).seq == 44


def test_a_fill_that_is_refused_for_want_of_its_strategy_is_new_when_it_comes_again() -> None:
    log = TradeLog()

    def fail(symbol: str, order_id: str) -> str | None:
        raise StoreError("made up")

    log.strategy_of_order = fail
    with pytest.raises(StoreError):
        log.admit(fill(), Reader.ACCOUNTING)
    log.strategy_of_order = lambda *_: "mean"
    assert admitted(log, fill()).strategy == "mean"


@pytest.mark.parametrize("column", [7, 8, 9, 14, 16])
def test_a_damaged_row_is_an_error_of_the_store(column: int) -> None:
    row = list(fill_row(Trade.from_fill(1, fill(), ""), 0))
    row[column] = "1x5"
    with pytest.raises(StoreError, match="row 1 of the trades is damaged"):
        trade_of(row)
