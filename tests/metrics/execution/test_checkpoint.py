"""The execution section's checkpoint: loaded, it goes on as if the process had never ended."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observability.errors import CheckpointError
from observability.events import Event
from observability.metrics.execution_collector import ExecutionState
from observability.metrics.trades.trade_log import EVERY_READER
from observability.store.checkpoint import pack
from trading_desk import MS, NOON, D, TradingDesk, fill, market_print, order, quote

STATUSES = ("pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "pending_cancel", "replaced")

Make = tuple[str, int, int, int, int, bool]
makes = st.tuples(
    st.sampled_from(["quote", "print", "order", "fill", "tick"]),
    st.integers(0, 3),
    st.integers(0, len(STATUSES) - 1),
    st.integers(1, 30),
    st.sampled_from([0, 3, 40, 900, 20_000, 20_000_000]),
    st.booleans(),
)


def made(number: int, make: Make, at_ms: int) -> Event | None:
    kind, which, status, amount, _, is_plain = make
    symbol = ("AAPL", "AMZN")[which % 2]
    names: dict[str, Any] = {"order_id": f"o{which}", "symbol": symbol, "strategy": ("", "alpha")[which // 2]}
    if kind == "quote":
        return quote(90 + amount / 7, None if amount == 30 else 91 + amount / 7, at_ms, symbol)
    if kind == "print":
        return market_print(100 + amount / 3, amount, at_ms, symbol)
    if kind == "order":
        changes: dict[str, Any] = (
            {} if is_plain else {"arrival_price": D(amount), "decision_ts": NOON + at_ms * MS - amount * 20 * MS}
        )
        return order(STATUSES[status], at_ms, **names, **changes)
    if kind == "fill":
        return fill(f"t{number}", amount, str(90 + amount), at_ms, commission=D("0.1"), latency_ms=amount / 10, **names)
    return None


def show(desk: TradingDesk, at_ms: int) -> tuple[dict[str, Any], dict[str, Any]]:
    return dict(desk.tick(at_ms)), dict(desk.quality())


def take_over(desk: TradingDesk) -> TradingDesk:
    """Starts another process: the market data section as it was, the trades as a store keeps them."""
    after = TradingDesk()
    after.market.load(desk.market.save())
    for trade in desk.trades.newer_than(0):
        after.trades.restore(trade, EVERY_READER)
    after.execution.load(desk.execution.save())
    return after


@settings(max_examples=200)
@given(st.lists(makes, max_size=25), st.lists(makes, max_size=25))
def test_what_was_loaded_goes_on_as_if_nothing_had_happened(before: list[Make], after: list[Make]) -> None:
    desk = TradingDesk()
    at_ms = 0
    resumed = desk
    for number, make in enumerate((*before, *after)):
        if number == len(before):
            resumed = take_over(desk)
            assert show(resumed, at_ms) == show(desk, at_ms)
        at_ms += make[4]
        event = made(number, make, at_ms)
        for each in {id(desk): desk, id(resumed): resumed}.values():
            if event is None:
                each.tick(at_ms)
                # What was packed for one checkpoint must not be in the next if it has changed since.
                each.execution.save()
            else:
                each.bus.publish(event)
    end_ms = at_ms + 400_000
    assert show(resumed, end_ms) == show(desk, end_ms)


def test_counts_of_irregularities_and_the_newest_input_are_kept() -> None:
    desk = TradingDesk()
    desk.take(order("new"), fill("t1", 15, "100", 5), fill("t1", 15, "100", 5), order("new", 6))
    irregular = {name: desk.tick(6)[name] for name in ("duplicate_fills", "late_reports", "overfilled")}
    after = take_over(desk)
    assert {name: after.tick(6)[name] for name in irregular} == irregular == dict.fromkeys(irregular, 1)
    assert after.execution.last_input_ns == NOON + 6 * MS


def test_the_mids_of_the_last_seconds_are_kept() -> None:
    desk = TradingDesk()
    desk.take(order("new"), *(quote(99 + n, 101 + n, 20 * n) for n in range(10)))
    after = take_over(desk)
    decided = NOON + 70 * MS  # at a mid of 103
    after.take(order("new", 200, "p", decision_ts=decided, arrival_price=D(110)), fill("t", 10, "110", 200, "p"))
    assert after.quality()["implementation_shortfall"]["delay"] == 70.0


def test_a_checkpoint_that_was_made_twice_is_the_same() -> None:
    desk = TradingDesk()
    desk.take(quote(99, 101), order("new"), fill("t1", 4, "100", 1), order("canceled", 2))
    assert desk.execution.save() == desk.execution.save()


def test_an_order_that_changed_is_packed_again() -> None:
    desk = TradingDesk()
    desk.take(order("new"))
    desk.execution.save()
    desk.take(order("filled", 1))
    assert take_over(desk).tick(1)["open_orders"] == 0


def test_a_state_of_an_earlier_version_lacks_what_it_did_not_know() -> None:
    desk = TradingDesk()
    desk.execution.load(pack(ExecutionState(duplicate_fills=3)))
    assert desk.tick()["duplicate_fills"] == 3


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x01"])
def test_what_is_no_state_is_refused_and_changes_nothing(data: bytes) -> None:
    desk = TradingDesk()
    desk.take(order("new"))
    before = show(desk, 0)
    with pytest.raises(CheckpointError):
        desk.execution.load(data)
    assert show(desk, 0) == before


def test_a_damaged_part_of_a_state_changes_nothing_either() -> None:
    desk, other = TradingDesk(), TradingDesk()
    other.take(order("new", order_id="a-long-order-id"))
    data = other.execution.save().replace(b"a-long-order-id", b"\xff-long-order-id")
    with pytest.raises(CheckpointError):
        desk.execution.load(data)
    assert desk.tick()["open_orders"] == 0
