"""Markouts: the market after each fill, measured at any pace of ticks and only once a horizon has passed."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.instruments.instrument import Instrument
from observability.instruments.table import InstrumentTable
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.execution.amounts import Sums
from observability.metrics.execution.orders.life import life_json
from observability.metrics.execution.orders.queries import OrderLife
from observability.metrics.execution.quality import FEW_ORDERS, HORIZONS_NS, NOT_OBSERVED, quality_of
from observability.metrics.execution_collector import ExecutionSettings
from trading_desk import DAY, MS, NOON, TradingDesk, fill, order, quote


def markout(desk: TradingDesk, horizon: str) -> tuple[Any, ...]:
    figures = desk.quality()["markouts"][horizon]
    return figures["price"], figures["n"], figures["left_out"]


def test_a_markout_is_a_gain_when_the_market_follows_the_fill() -> None:
    desk = TradingDesk()
    desk.publish(
        quote(99, 101), fill("b", 1, "101"), fill("s", 3, "101", side="sell"), quote(102, 104, 40), quote(1, 2, 60)
    )
    figures = desk.quality()["markouts"]["50ms"]
    # Mid 103 at 50 ms: the buy gains 2, the sells lose 2 each; the mid at the fill was 100.
    assert figures == {
        "price": -1.0,
        "bps": -100.0,
        "realized_spread": 2.0,
        "realized_spread_bps": 200.0,
        "standard_error_bps": None,
        "orders": 1,
        "standard_error_reason": FEW_ORDERS,
        "n": 2,
        "quantity": 4.0,
        "notional": 400.0,
        "left_out": {},
        "reason": None,
    }


# Orders of a quantity at a price, all of the mid 100 and measured at 103.
FILLS = {"a": [(4, "101")], "b": [(1, "99")], "c": [(3, "102")]}


def error_of(fills: dict[str, list[tuple[int, str]]]) -> tuple[float | None, float | None, int]:
    """Returns the mean in bps, its standard error, and the number of orders."""
    desk = TradingDesk()
    desk.publish(quote(99, 101))
    for order_id, parts in fills.items():
        desk.publish(*(fill(f"{order_id}{at}", n, price, order_id=order_id) for at, (n, price) in enumerate(parts)))
    desk.publish(quote(102, 104, 40))
    desk.tick(60)
    found = desk.quality()["markouts"]["50ms"]
    return found["bps"], found["standard_error_bps"], found["orders"]


def test_the_standard_error_is_that_of_a_ratio_of_sums_over_orders() -> None:
    gains = [sum(n * (103 - float(price)) for n, price in parts) for parts in FILLS.values()]
    notionals = [sum(n * 100 for n, _ in parts) for parts in FILLS.values()]
    mean = sum(gains) / sum(notionals)
    squares = sum((gain - mean * notional) ** 2 for gain, notional in zip(gains, notionals, strict=True))
    error = math.sqrt(3 / 2 * squares) / sum(notionals)
    assert error_of(FILLS) == (pytest.approx(1e4 * mean), pytest.approx(1e4 * error), 3)
    assert error > 0


def test_the_standard_error_is_the_same_in_however_many_fills_an_order_was_filled() -> None:
    split = {"a": [(1, "101"), (3, "101")], "b": [(1, "99")], "c": [(1, "102")] * 3}
    assert error_of(split) == error_of(FILLS)


def test_one_order_has_no_standard_error_in_however_many_fills() -> None:
    assert error_of({"a": [(4, "101"), (1, "99")]})[1:] == (None, 1)


def test_orders_that_agree_have_an_error_of_zero() -> None:
    assert error_of({"a": [(4, "101")], "b": [(7, "101")]})[1:] == (0.0, 2)


def test_the_standard_error_goes_on_after_a_restart() -> None:
    desk, other = TradingDesk(), TradingDesk()
    desk.publish(quote(99, 101), fill("a", 1, "101", order_id="a"), fill("b", 1, "99", order_id="b"))
    desk.publish(fill("a2", 2, "100", order_id="a"), quote(102, 104, 40), quote(1, 2, 60))
    other.execution.load(desk.execution.save())
    for each in (desk, other):
        each.publish(quote(99, 101, 5000), fill("a3", 1, "98", 5000, order_id="a"), quote(1, 2, 5100))
    assert desk.quality()["markouts"]["50ms"] == other.quality()["markouts"]["50ms"]
    assert desk.quality()["markouts"]["50ms"]["orders"] == 2


def test_fills_of_an_order_whose_strategy_is_named_late_are_observed_in_each_strategy() -> None:
    desk, alone = TradingDesk(), TradingDesk()
    for each in (desk, alone):
        each.publish(quote(99, 101))
    for order_id, price in (("a", "101"), ("b", "98")):
        named = fill(f"{order_id}2", 3, price, order_id=order_id, strategy="alpha")
        desk.publish(fill(f"{order_id}1", 4, "101", order_id=order_id), named)
        alone.publish(named)
    for each in (desk, alone):
        each.publish(quote(102, 104, 40))
        each.tick(60)
    found, wanted = (each.quality()["by_strategy"]["alpha"]["markouts"]["50ms"] for each in (desk, alone))
    assert found == wanted
    assert (found["orders"], found["standard_error_bps"] > 0) == (2, True)


def test_fills_of_inverse_contracts_have_no_standard_error_for_that_reason() -> None:
    instruments = InstrumentTable("BTC")
    instruments.put(Instrument("AAPL", kind="perpetual", base="BTC", quote="USD", contract="inverse", settlement="BTC"))
    desk = TradingDesk(instruments=instruments, rates=Rates("BTC"))
    desk.publish(quote(99, 101), *(fill(each, 1, "100", order_id=each) for each in "abc"), quote(102, 104, 40))
    desk.tick(60)
    found = desk.quality()["markouts"]["50ms"]
    assert (found["n"], found["standard_error_bps"], found["standard_error_reason"]) == (3, None, NOT_OBSERVED)


def test_sums_of_an_earlier_version_have_no_standard_error() -> None:
    counts = {"markout_1s": 5, "markout_1s_orders": 3}
    amounts = Sums({"markout_1s_money": Decimal(4), "markout_1s_notional": Decimal(500)})
    found = quality_of(counts, amounts, is_mixed=False)["markouts"]["1s"]
    assert (found["bps"], found["standard_error_bps"]) == (-80.0, None)
    assert found["standard_error_reason"] == NOT_OBSERVED


def test_a_horizon_counts_only_once_it_has_passed() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), fill("t", 1, "100"), quote(101, 103, 20))
    desk.tick(50)
    assert markout(desk, "50ms") == (None, 0, {})
    desk.publish(quote(103, 105, 50))
    desk.tick(51)
    # A quote at the time of the horizon counts.
    assert markout(desk, "50ms") == (4.0, 1, {})


def test_a_quote_at_a_later_horizon_counts_there_too() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), fill("t", 1, "100"), quote(103, 105, 1000))
    desk.tick(1001)
    assert (markout(desk, "50ms"), markout(desk, "1s")) == ((0.0, 1, {}), (4.0, 1, {}))


def test_a_tick_settles_horizons_without_further_quotes() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), fill("t", 1, "100"))
    desk.tick(1001)
    assert (markout(desk, "50ms")[:2], markout(desk, "1s")[:2], markout(desk, "10s")[:2]) == ((0, 1), (0, 1), (None, 0))


def test_a_horizon_with_a_stale_touch_is_left_out() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), fill("t", 1, "100"))
    desk.tick(400_000)
    assert [markout(desk, horizon)[1:] for horizon in HORIZONS_NS] == [
        (1, {}), (1, {}), (0, {"no_fresh_mid": 1}), (0, {"no_fresh_mid": 1}), (0, {"no_fresh_mid": 1})
    ]  # fmt: skip
    assert desk.quality()["pending_markouts"] == 0


def test_a_fill_that_arrives_late_is_measured_at_its_own_time() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), order("new"))
    desk.publish(*(quote(99 + n, 101 + n, 10 * n) for n in range(1, 20)))
    late = fill("t", 1, "100", 0)
    desk.publish(late)
    desk.tick(200)
    assert markout(desk, "50ms") == (5.0, 1, {})


def test_a_fill_beyond_the_limit_is_left_out_of_the_markouts() -> None:
    desk = TradingDesk(settings=ExecutionSettings(max_pending_markouts=1))
    desk.publish(quote(99, 101), fill("a", 1, "100"), fill("b", 1, "100"))
    desk.tick(60)
    assert markout(desk, "50ms") == (0.0, 1, {"too_many_pending": 1})
    assert desk.quality()["effective_spread"]["n"] == 2


@pytest.mark.parametrize("symbol", ["AAPL", "AMZN"])
def test_a_horizon_belongs_to_the_session_in_which_it_passes(symbol: str) -> None:
    desk = TradingDesk()
    midnight_ms = 43_200_000
    desk.publish(quote(99, 101, midnight_ms - 100), fill("a", 1, "100", midnight_ms - 60))
    desk.publish(quote(101, 103, midnight_ms - 20), quote(105, 107, midnight_ms + 2000, symbol))
    desk.tick(midnight_ms + 2000)
    assert (markout(desk, "50ms"), markout(desk, "1s")) == ((None, 0, {}), (2.0, 1, {}))


Step = tuple[int, str, int, bool]
steps: st.SearchStrategy[list[Step]] = st.lists(
    st.tuples(st.integers(0, 40_000), st.sampled_from(["quote", "fill"]), st.integers(2, 50), st.booleans()),
    max_size=40,
)


@given(steps)
def test_markouts_are_those_of_plain_arithmetic_at_any_pace_of_ticks(steps: list[Step]) -> None:
    desk, rarely = TradingDesk(), TradingDesk()
    at_ms = 0
    touches: list[tuple[int, int]] = [(0, 100)]
    fills: list[tuple[int, int, int]] = []
    for each in (desk, rarely):
        each.publish(quote(99, 101))
    for number, (gap_ms, kind, amount, is_tick) in enumerate(steps):
        at_ms += gap_ms
        if kind == "quote":
            event: Any = quote(amount - 1, amount + 1, at_ms)
            touches.append((at_ms, amount))
        else:
            event = fill(f"t{number}", amount, "100", at_ms, f"o{number}")
            if at_ms - touches[-1][0] <= 5000:
                fills.append((at_ms, amount, touches[-1][1]))
        for each in (desk, rarely):
            each.publish(event)
        if is_tick:
            desk.tick(at_ms)
    end_ms = at_ms + 1_000_000
    for each in (desk, rarely):
        each.tick(end_ms)
    assert desk.quality() == rarely.quality()
    for horizon, delay_ns in HORIZONS_NS.items():
        gain, quantity, n = 0, 0, 0
        for taken_ms, amount, _ in fills:
            due_ms = taken_ms + delay_ns // MS
            touch_ms, mid = next(touch for touch in reversed(touches) if touch[0] <= due_ms)
            if due_ms - touch_ms <= 5000:
                gain, quantity, n = gain + amount * (mid - 100), quantity + amount, n + 1
        price = float(Decimal(gain) / quantity) if quantity else None
        figures = desk.quality()["markouts"][horizon]
        assert (figures["n"], figures["quantity"]) == (n, quantity)
        assert figures["price"] == (None if price is None else pytest.approx(price, rel=1e-12))


def test_a_fill_belongs_to_the_session_of_its_arrival() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), fill("t", 1, "100", ts=NOON - DAY))
    desk.tick(60)
    assert markout(desk, "50ms")[1] == 1


def test_an_order_has_the_markouts_of_its_fills() -> None:
    desk = TradingDesk()
    desk.publish(
        quote(99, 101),
        fill("a", 1, "101"),
        fill("b", 3, "102"),
        fill("c", 5, "100", order_id="other"),
        quote(102, 104, 9),
    )
    desk.tick(60)
    restarted = TradingDesk()
    restarted.execution.load(desk.execution.save())
    restarted.publish(quote(103, 105, 900))
    restarted.tick(1001)
    life = life_json(OrderLife(restarted.execution.ledger.orders()[0], [], []))
    # Mid 100 at the fills, 103 at 50 ms, 104 at 1 s.
    assert life["effective_spread"] == {"price": 3.5, "bps": 350.0, "n": 2}
    assert life["markouts"]["50ms"] == {"price": 1.25, "bps": 125.0, "n": 2}
    assert life["markouts"]["1s"] == {"price": 2.25, "bps": 225.0, "n": 2}
    assert life["markouts"]["10s"] == {"price": None, "bps": None, "n": 0}
