"""Replaced orders: another id goes on for the old one, or the same id does with other values."""

from __future__ import annotations

from typing import Any

import pytest

from observability.metrics.execution_collector import ExecutionState
from observability.store.checkpoint import unpack
from trading_desk import D, TradingDesk, fill, order

FIGURES = ("orders_today", "open_orders", "replaced", "fill_rate", "filled", "cancelled", "late_reports")


def figures(*events: Any) -> dict[str, Any]:
    desk = TradingDesk()
    desk.publish(*events)
    return {name: desk.tick()[name] for name in FIGURES}


def of_one_order(**changes: Any) -> dict[str, Any]:
    nothing = {"open_orders": 0, "replaced": 0, "fill_rate": None, "filled": 0, "cancelled": 0, "late_reports": 0}
    return {"orders_today": 1, **nothing, **changes}


def test_a_new_order_goes_on_for_the_replaced_one_like_it() -> None:
    assert figures(
        order("new", 1, "a"), order("replaced", 2, "a"), order("new", 3, "b"), fill("t", 10, "2", 4, "b")
    ) == of_one_order(replaced=1, fill_rate=1.0, filled=1)


def test_a_chain_of_replacements_is_one_order() -> None:
    chain = [
        order(status, 2 * number + index, f"a{number}")
        for number in range(5)
        for index, status in enumerate(("new", "replaced"))
    ]
    assert figures(*chain, order("new", 20, "a5"), order("canceled", 21, "a5")) == of_one_order(
        replaced=5, fill_rate=0.0, cancelled=1
    )


@pytest.mark.parametrize("named_first", [False, True])
def test_an_order_may_name_the_one_it_replaces(named_first: bool) -> None:
    old, new = order("replaced", 2, "a"), order("new", 3, "b", replaces="a", side="buy", strategy="other")
    events = (new, old) if named_first else (old, new)
    assert figures(order("new", 1, "a"), *events) == of_one_order(open_orders=1, replaced=1, fill_rate=0.0)


def test_a_replacement_that_is_rejected_closes_nothing() -> None:
    assert figures(
        order("new", 1, "a"), order("pending_new", 2, "b", replaces="a"), order("rejected", 3, "b", replaces="a")
    ) == of_one_order(orders_today=2, open_orders=1, fill_rate=0.0)


@pytest.mark.parametrize("changes", [{"quantity": D(12)}, {"price": D(3)}])
def test_the_same_id_goes_on_with_another_quantity_or_price(changes: dict[str, Any]) -> None:
    usual = {"quantity": D(10), "price": D(2)} | changes
    assert figures(
        order("new", 1, "a", price=D(2)),
        order("replaced", 2, "a", **usual),
        order("new", 3, "other"),
        fill("t", usual["quantity"], "2", 4, "a"),
    ) == of_one_order(
        orders_today=2, open_orders=1, fill_rate=float(usual["quantity"] / (usual["quantity"] + 10)), filled=1
    )


@pytest.mark.parametrize("changes", [{"quantity": D(12)}, {"price": D(3)}])
def test_another_order_does_not_close_one_that_goes_on_under_its_id(changes: dict[str, Any]) -> None:
    replaced = order("replaced", 2, "a", **({"quantity": D(10), "price": D(2)} | changes))
    assert figures(order("new", 1, "a", price=D(2)), replaced, order("new", 3, "other"))["open_orders"] == 2


@pytest.mark.parametrize("other", [{"symbol": "AMZN"}, {"side": "sell"}, {"strategy": "beta"}])
def test_an_order_unlike_the_replaced_one_is_not_its_successor(other: dict[str, str]) -> None:
    events = [order("new", 1, "a"), order("replaced", 2, "a"), order("new", 3, "b", **other)]
    assert figures(*events)["open_orders"] == 2


def test_each_replaced_order_gets_one_successor() -> None:
    ladder = [order("new", 1, "a1"), order("new", 2, "a2"), order("replaced", 3, "a1"), order("replaced", 4, "a2")]
    assert figures(*ladder, order("new", 5, "b1"), order("new", 6, "b2")) == of_one_order(
        orders_today=2, open_orders=2, replaced=2, fill_rate=0.0
    )


def test_what_was_filled_before_the_replacement_counts_and_the_rest_is_the_successors() -> None:
    assert figures(
        order("new", 1, "a"), fill("t1", 4, "2", 2, "a"), order("replaced", 3, "a"),
        order("new", 4, "b", quantity=D(6)), fill("t2", 3, "2", 5, "b"),
    ) == of_one_order(open_orders=1, replaced=1, fill_rate=0.7)  # fmt: skip


def test_a_late_fill_of_a_replaced_order_does_not_open_it_again() -> None:
    events = [order("new", 1, "a"), order("replaced", 2, "a"), order("new", 3, "b"), fill("t", 4, "2", 1.5, "a")]
    assert figures(*events)["open_orders"] == 1


def test_a_replaced_order_that_reports_itself_alive_goes_on() -> None:
    events = [order("new", 1, "a"), order("replaced", 2, "a"), order("new", 3, "b"), order("partially_filled", 4, "a")]
    assert figures(*events)["open_orders"] == 2


def test_a_replaced_order_that_is_also_reported_cancelled_stays_replaced() -> None:
    events = [order("new", 1, "a"), order("new", 2, "b", replaces="a"), order("canceled", 3, "a")]
    assert figures(*events) == of_one_order(open_orders=1, replaced=1, fill_rate=0.0)


def test_an_order_waits_for_its_successor_over_a_restart() -> None:
    desk, after = TradingDesk(), TradingDesk()
    desk.publish(order("new", 1, "a"), order("replaced", 2, "a"))
    after.execution.load(desk.execution.save())
    after.publish(order("new", 3, "b"))
    assert [after.tick()[name] for name in ("open_orders", "orders_today", "replaced")] == [1, 1, 1]
    assert unpack(after.execution.save(), ExecutionState).orders.open
