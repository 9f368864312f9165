"""The execution section's checkpoint: a section that loads it continues as the saved one would."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import CheckpointError
from observability.events import Event
from observability.metrics.execution.figures import is_money
from observability.metrics.execution.groups import GroupsState, GroupState
from observability.metrics.execution_collector import ExecutionState
from observability.metrics.trades.trade_log import EVERY_READER
from observability.store.checkpoint import pack, unpack
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


def restarted(desk: TradingDesk) -> TradingDesk:
    """Returns the desk of a next process, with the market data section's checkpoint and the stored trades."""
    after = TradingDesk()
    after.market.load(desk.market.save())
    for trade in desk.trades.newer_than(0):
        after.trades.restore(trade, EVERY_READER)
    after.execution.load(desk.execution.save())
    return after


@given(st.lists(makes, max_size=25), st.lists(makes, max_size=25))
def test_a_loaded_section_continues_as_the_saved_one_would(before: list[Make], after: list[Make]) -> None:
    desk = TradingDesk()
    at_ms = 0
    resumed = desk
    for number, make in enumerate((*before, *after)):
        if number == len(before):
            resumed = restarted(desk)
            assert show(resumed, at_ms) == show(desk, at_ms)
        at_ms += make[4]
        event = made(number, make, at_ms)
        for each in {id(desk): desk, id(resumed): resumed}.values():
            if event is None:
                each.tick(at_ms)
                # Bytes packed for one checkpoint must not be in the next if the state has changed since.
                each.execution.save()
            else:
                each.bus.publish(event)
    end_ms = at_ms + 400_000
    assert show(resumed, end_ms) == show(desk, end_ms)


def test_counts_of_irregularities_and_the_newest_input_are_kept() -> None:
    desk = TradingDesk()
    desk.publish(order("new"), fill("t1", 15, "100", 5), fill("t1", 15, "100", 5), order("new", 6))
    irregular = {name: desk.tick(6)[name] for name in ("duplicate_fills", "late_reports", "overfilled")}
    after = restarted(desk)
    assert {name: after.tick(6)[name] for name in irregular} == irregular == dict.fromkeys(irregular, 1)
    assert after.execution.last_input_ns == NOON + 6 * MS


def test_the_mids_of_the_last_seconds_are_kept() -> None:
    desk = TradingDesk()
    desk.publish(order("new"), *(quote(99 + n, 101 + n, 20 * n) for n in range(10)))
    after = restarted(desk)
    decided = NOON + 70 * MS  # at a mid of 103
    after.publish(order("new", 200, "p", decision_ts=decided, arrival_price=D(110)), fill("t", 10, "110", 200, "p"))
    assert after.quality()["implementation_shortfall"]["delay"] == 70.0


def test_two_checkpoints_of_the_same_state_are_equal() -> None:
    desk = TradingDesk()
    desk.publish(quote(99, 101), order("new"), fill("t1", 4, "100", 1), order("canceled", 2))
    assert desk.execution.save() == desk.execution.save()


def test_a_changed_order_is_packed_again() -> None:
    desk = TradingDesk()
    desk.publish(order("new"))
    desk.execution.save()
    desk.publish(order("filled", 1))
    assert restarted(desk).tick(1)["open_orders"] == 0


def test_fields_missing_in_an_older_state_take_their_defaults() -> None:
    desk = TradingDesk()
    desk.execution.load(pack(ExecutionState(duplicate_fills=3)))
    assert desk.tick()["duplicate_fills"] == 3


def without_money(packed: msgspec.Raw) -> msgspec.Raw:
    group = unpack(bytes(packed), GroupState)
    amounts = {name: amount for name, amount in group.amounts.items() if not is_money(name)}
    return msgspec.Raw(pack(GroupState(group.counts, amounts, group.legs, group.legs_total)))


def test_a_state_without_money_gets_that_of_the_orders_of_the_session() -> None:
    desk = TradingDesk()
    for symbol in ("AAPL", "AMZN"):
        names = {"order_id": symbol, "symbol": symbol, "arrival_price": D(100)}
        desk.publish(order("new", **names), fill(symbol, 4, "101", 1, order_id=symbol, symbol=symbol))
    desk.publish(order("canceled", 2, order_id="AMZN", symbol="AMZN"))
    state = unpack(desk.execution.save(), ExecutionState)
    assert state.groups is not None
    state.orders.has_money = state.orders.has_traded = False
    by = {by: {name: without_money(group) for name, group in groups.items()} for by, groups in state.groups.by.items()}
    state.groups = GroupsState(without_money(state.groups.all), by)
    after = TradingDesk()
    after.execution.load(pack(state))
    for each in (desk, after):
        each.publish(fill("last", 6, "102", 3, order_id="AAPL"))
    assert show(after, 4) == show(desk, 4)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x91\x01"])
def test_data_that_is_no_state_is_refused_and_changes_nothing(data: bytes) -> None:
    desk = TradingDesk()
    desk.publish(order("new"))
    before = show(desk, 0)
    with pytest.raises(CheckpointError):
        desk.execution.load(data)
    assert show(desk, 0) == before


def test_a_damaged_part_of_a_state_changes_nothing() -> None:
    desk, other = TradingDesk(), TradingDesk()
    other.publish(order("new", order_id="a-long-order-id"))
    data = other.execution.save().replace(b"a-long-order-id", b"\xff-long-order-id")
    with pytest.raises(CheckpointError):
        desk.execution.load(data)
    assert desk.tick()["open_orders"] == 0
