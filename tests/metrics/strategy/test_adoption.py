"""Positions that were opened before the first fill came are taken over, once."""

from __future__ import annotations

from typing import Any

import pytest

from observability.events import Position
from strategy_desk import NOON, D, Desk, S


def adopt(desk: Desk, quantity: int | str, price: int | str = 100, **changes: Any) -> str:
    """Returns why the position was refused; an empty text if it was not."""
    fields: dict[str, Any] = {"symbol": "AAPL", "strategy": "mean", "ts": NOON, "ts_init": NOON}
    event = Position(quantity=D(quantity), avg_price=D(price), adopt=True, **(fields | changes))
    desk.bus.remark = None
    desk.bus.publish(event)
    desk.tick()
    remark: Any = desk.bus.remark
    return "" if remark is None else str(remark.text)


def test_an_adopted_position_has_its_cost_and_no_profit() -> None:
    desk = Desk()
    assert adopt(desk, "10", "187.25") == ""
    metrics = desk.tick()
    assert (metrics["total_pnl"], metrics["fills"], metrics["open_positions"]) == (0.0, 0, 1)
    position = desk.positions()[0]
    assert (position["quantity"], position["avg_price"], position["engine_quantity"]) == (10.0, 187.25, None)
    desk.quote(189.25, 191.25)
    assert desk.tick()["unrealized_pnl"] == desk.part(2, "AAPL")["unrealized_pnl"] == 30.0
    desk.fill(-10, "190.25", commission=D("0.5"))
    metrics = desk.tick()
    assert (metrics["realized_pnl"], metrics["n_closing"], metrics["win_rate"]) == (29.5, 1, 1.0)


def test_its_cost_is_value_brought_in_as_a_deposit_is() -> None:
    desk = Desk(starting_capital=D(500))
    desk.fill(1, 10, symbol="B")
    desk.quote(109, 111)
    adopt(desk, 10, 100)
    metrics = desk.tick()
    assert (metrics["external_flows"], metrics["equity"], metrics["total_pnl"]) == (1000.0, 1600.0, 100.0)
    assert desk.part(0, "mean")["currencies"]["USD"]["cash"] == -10.0


def test_what_it_brings_in_is_stored_because_a_replay_has_other_marks() -> None:
    desk = Desk(starting_capital=D(500))
    desk.quote(109, 111, symbol="B")
    desk.fill(1, 100, symbol="B")
    adopt(desk, 10, 100)
    (booking,) = desk.strategy.bookings.newer_than(0)
    stored = booking.effect["flow"]
    assert {name: float(each) for name, each in stored.items()} == {"value": 1000, "of_all": 10, "of_strategy": 10}
    again = Desk(starting_capital=D(500))
    again.fill(1, 100, symbol="B")
    again.strategy.bookings.replay(booking, "recovery")
    assert booking.effect["flow"] == stored
    assert again.tick()["external_flows"] == 1000.0


def test_it_is_marked_to_the_market_at_once() -> None:
    desk = Desk()
    desk.quote(101, 103)
    assert adopt(desk, -5) == ""
    assert (desk.positions()[0]["mark"], desk.tick()["total_pnl"]) == (102.0, -10.0)


def test_a_second_delivery_changes_nothing_even_after_fills() -> None:
    desk = Desk()
    adopt(desk, 10)
    desk.fill(-4, 110, venue="V")
    desk.tick()
    expected = desk.positions(), desk.tick()["realized_pnl"]
    assert "venues" not in expected[0][0]
    # Its time may be that of the delivery.
    assert adopt(desk, "10.0", ts=NOON + S) == ""
    assert (desk.positions(), desk.tick()["realized_pnl"]) == expected
    assert desk.strategy.bookings.duplicates == 1


def test_other_content_is_kept_apart_and_shown() -> None:
    desk = Desk()
    adopt(desk, 10)
    adopt(desk, 11)
    assert desk.positions()[0]["quantity"] == 10.0
    (conflict,) = desk.strategy.bookings.breaks()
    assert (conflict["kind"], conflict["counted"]["quantity"], conflict["delivered"]["quantity"]) == ("adopt", 10, 11)


@pytest.mark.parametrize(("quantities", "reason"), [((5,), "holds 5 already"), ((5, -5), "has had fills")])
def test_a_position_that_is_known_is_not_adopted(quantities: tuple[int, ...], reason: str) -> None:
    desk = Desk()
    for quantity in quantities:
        desk.fill(quantity, 100)
    assert reason in adopt(desk, 10)
    assert len(desk.strategy.bookings) == 0
    # Another strategy, symbol or side is another position.
    assert [adopt(desk, 1, **other) for other in ({"strategy": "x"}, {"symbol": "B"}, {"position_side": "long"})] == [
        "", "", ""
    ]  # fmt: skip


def test_there_is_no_room_beyond_the_bounds() -> None:
    desk = Desk(max_positions=1, max_strategies=1)
    assert adopt(desk, 1) == ""
    assert "all 1 positions (MAX_POSITIONS) are open" in adopt(desk, 1, symbol="B")
    assert "all 1 strategies are in use" in adopt(desk, 1, strategy="other")


def test_later_reports_of_the_engine_are_compared_with_it() -> None:
    desk = Desk()
    adopt(desk, 10)
    desk.bus.publish(Position("AAPL", D(12), D(100), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 1
    assert desk.positions()[0]["difference"] == 2.0


def test_it_comes_back_from_a_checkpoint() -> None:
    desk = Desk()
    adopt(desk, 10, position_side="long")
    restored = Desk()
    restored.strategy.load(desk.strategy.save())
    restored.tick()
    assert restored.positions() == desk.positions()
