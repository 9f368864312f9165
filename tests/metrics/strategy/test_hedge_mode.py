"""Hedge mode: long and short of one symbol are positions of their own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from observability.events import Position
from observability.metrics.trades.trade import TradeFilter
from observability.metrics.trades.trade_log import TradeLog
from strategy_desk import NOON, D, Desk, S


def report(desk: Desk, quantity: int, **changes: Any) -> None:
    desk.bus.publish(Position("AAPL", D(quantity), D(100), "mean", ts=NOON, ts_init=NOON, **changes))
    desk.tick()


def held(desk: Desk) -> dict[str, tuple[str, float, float | None, float]]:
    desk.tick()
    return {
        each["key"]: (each["position_side"], each["quantity"], each["avg_price"], each["realized_pnl"])
        for each in desk.positions()
    }


def test_each_side_has_its_own_cost_and_realises_by_itself() -> None:
    desk = Desk()
    desk.fill(2, 100, position_side="long")
    desk.fill(-3, 105, position_side="short")
    desk.fill(1, 90)
    desk.fill(-1, 110, position_side="long", commission=D("0.5"))
    desk.fill(1, 101, position_side="short")
    assert held(desk) == {
        "mean/AAPL:long": ("long", 1.0, 100.0, 9.5),
        "mean/AAPL:short": ("short", -2.0, 105.0, 4.0),
        "mean/AAPL": ("", 1.0, 90.0, 0.0),
    }
    desk.quote(101.5, 102.5)
    metrics = desk.tick()
    assert (metrics["realized_pnl"], metrics["unrealized_pnl"], metrics["open_positions"]) == (13.5, 20.0, 3)
    assert (metrics["gross_exposure"], metrics["net_exposure"]) == (408.0, 0.0)
    assert desk.part(2, "AAPL")["total_pnl"] == metrics["total_pnl"] == 33.5


def test_both_is_the_position_that_goes_through_zero() -> None:
    desk = Desk()
    desk.fill(1, 100, position_side="both")
    desk.fill(-3, 100)
    assert held(desk) == {"mean/AAPL": ("", -2.0, 100.0, 0.0)}


@pytest.mark.parametrize(("side", "opening"), [("long", 1), ("short", -1)])
def test_a_fill_that_closes_more_than_its_side_holds_is_refused_until_it_is_held(side: Any, opening: int) -> None:
    trades = TradeLog()
    desk = Desk(trades)
    desk.fill(3 * opening, 100, position_side=side)
    desk.fill(9 * opening, 100)
    closing = desk.fill(-5 * opening, 100, position_side=side, trade_id="closing")
    assert f"closes 5 of the {side} side, which holds 3" in desk.refusal()
    assert (desk.tick()["overclosing_fills"], trades.query(TradeFilter())[1]) == (1, 2)
    desk.fill(2 * opening, 100, position_side=side)
    desk.bus.publish(closing)
    assert held(desk) == {"mean/AAPL": ("", 9.0 * opening, 100.0, 0.0)}
    # Delivered once more it is a duplicate, although nothing is held now.
    desk.bus.remark = None
    desk.bus.publish(closing)
    assert (desk.bus.remark, desk.tick()["overclosing_fills"], desk.tick()["duplicate_fills"]) == (None, 1, 1)


def test_a_fee_in_the_base_asset_takes_no_side_through_zero() -> None:
    desk = Desk()
    pair: Any = {"symbol": "BTC/USD", "position_side": "long", "commission_asset": "BTC"}
    desk.fill(1, 100, **pair)
    desk.fill(-1, 100, commission=D("0.01"), **pair)
    assert "closes 1.01 of the long side, which holds 1" in desk.refusal()
    assert [quantity for _, quantity, _, _ in held(desk).values()] == [1.0]
    desk.fill("-0.99", 100, commission=D("0.01"), **pair)
    assert held(desk) == {}


def test_the_engine_is_compared_side_by_side() -> None:
    desk = Desk()
    desk.fill(2, 100, position_side="long")
    desk.fill(-3, 105, position_side="short")
    report(desk, 2, position_side="long")
    # Some engines report a short side without its sign.
    report(desk, 4, position_side="short")
    report(desk, 0, position_side="both")
    shown = {each["key"]: (each["engine_quantity"], each["difference"]) for each in desk.positions()}
    assert shown == {"mean/AAPL:long": (2.0, 0.0), "mean/AAPL:short": (-4.0, -1.0)}
    (only,) = desk.strategy.breaks()
    assert (only["position_side"], only["quantity"], only["difference"]) == ("short", -3.0, -1.0)


def test_a_report_without_a_side_is_compared_with_the_sum_of_all() -> None:
    desk = Desk()
    desk.fill(7, 100)
    report(desk, 6)
    assert (desk.positions()[0]["difference"], desk.tick()["position_breaks"]) == (-1.0, 1)
    desk.fill(2, 100, position_side="long")
    desk.fill(-3, 105, position_side="short")
    assert desk.tick()["position_breaks"] == 0
    assert [each["difference"] for each in desk.positions()] == [None, None, None]
    report(desk, 5)
    (only,) = desk.strategy.breaks()
    assert (only["position_side"], only["quantity"], only["avg_price"]) == ("", 6.0, None)


def test_the_sides_come_back_from_a_checkpoint() -> None:
    desk = Desk()
    desk.fill(2, 100, position_side="long")
    desk.fill(-3, 105, position_side="short")
    desk.fill(1, 105, symbol="X:long")
    report(desk, 5, position_side="long")
    expected = held(desk)
    restored = Desk()
    restored.strategy.load(desk.strategy.save())
    assert held(restored) == expected
    assert restored.strategy.breaks() == desk.strategy.breaks()
    restored.fill(-2, 101, position_side="long", trade_id="later", ts=NOON + S, ts_init=NOON + S)
    assert asyncio.run(restored.strategy.get_current_metrics())["realized_pnl"] == 2.0


def test_a_report_that_contradicts_its_side_is_refused() -> None:
    with pytest.raises(ValueError, match="expected 0 or more on the long side, got -1"):
        Position("AAPL", D(-1), D(1), position_side="long")
