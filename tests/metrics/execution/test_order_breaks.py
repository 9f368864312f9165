from __future__ import annotations

from typing import Any

import pytest

from observability.metrics import ExecutionCollector
from trading_desk import MS, NOON, D, TradingDesk, fill, order

OWN_TIME = NOON + 5 * MS


def again(status: str = "new", **changes: Any) -> Any:
    """A report with a time of its own, a millisecond after that."""
    return order(status, **{"ts": OWN_TIME, "ts_init": OWN_TIME + MS, "price": D(100)} | changes)


def breaks(desk: TradingDesk) -> list[dict[str, Any]]:
    assert desk.tick(10)["conflicting_orders"] == desk.execution.order_breaks.count
    return desk.execution.order_breaks.to_json()


@pytest.mark.parametrize(
    ("changes", "differ"),
    [
        ({"quantity": D(11)}, ["quantity"]),
        ({"price": D(101)}, ["price"]),
        ({"quantity": D(11), "price": D(101)}, ["quantity", "price"]),
    ],
)
def test_a_report_that_contradicts_its_first_delivery_is_kept_apart(changes: dict[str, Any], differ: list[str]) -> None:
    desk = TradingDesk()
    desk.publish(again(), again(**changes), again(**changes))
    (found,) = breaks(desk)
    assert (found["differs"], found["counted"]) == (differ, {"quantity": 10.0, "price": 100.0})
    assert found["delivered"] == {name: float(changes.get(name, found["counted"][name])) for name in found["counted"]}
    assert desk.tick(10)["orders_today"] == 1


def test_a_report_is_still_compared_after_fills_have_completed_its_order() -> None:
    desk = TradingDesk()
    desk.publish(again(), fill("t", 10, "100", at_ms=7), again(quantity=D(11)))
    assert [found["status"] for found in breaks(desk)] == ["new"]


def test_the_first_delivery_of_a_contradicted_report_counts() -> None:
    desk = TradingDesk()
    desk.publish(again(), again(quantity=D(20)), again("filled", ts=OWN_TIME + 1))
    assert desk.tick(10)["fill_rate"] == 1.0


@pytest.mark.parametrize(
    "other",
    [
        again(),
        again(price=None),
        again("partially_filled", quantity=D(11)),
        again(quantity=D(11), ts=OWN_TIME + 1),
        again(quantity=D(11), order_id="other"),
    ],
    ids=["the same", "no price", "another status", "another time", "another order"],
)
def test_a_report_that_says_the_same_or_something_else_is_no_break(other: Any) -> None:
    desk = TradingDesk()
    desk.publish(again(), other)
    assert breaks(desk) == []


def test_reports_without_a_time_of_their_own_are_not_compared() -> None:
    desk = TradingDesk()
    desk.publish(order("new", at_ms=5), order("new", at_ms=5, quantity=D(11)))
    assert breaks(desk) == []


def test_breaks_of_orders_are_in_the_checkpoint() -> None:
    desk = TradingDesk()
    desk.publish(again(), again(quantity=D(11)))
    found = breaks(desk)
    restored = ExecutionCollector(bus=desk.bus)
    restored.load(desk.execution.save())
    assert (restored.order_breaks.count, restored.order_breaks.to_json()) == (1, found)
