"""The positions that the engine reports, compared with ours."""

from __future__ import annotations

from observability.events import Position
from strategy_desk import NOON, D, Desk, S


def test_a_break_shows_the_position_of_either_side() -> None:
    desk = Desk()
    desk.fill(5, 100)
    desk.bus.publish(Position("AAPL", D(7), D("99.5"), "mean", ts=NOON, ts_init=NOON + S))
    desk.tick()
    position = desk.positions()[0]
    assert (position["engine_quantity"], position["engine_avg_price"], position["difference"]) == (7.0, 99.5, 2.0)
    assert desk.strategy.breaks() == [
        {
            "strategy": "mean",
            "symbol": "AAPL",
            "position_side": "",
            "quantity": 5.0,
            "engine_quantity": 7.0,
            "difference": 2.0,
            "avg_price": 100.0,
            "engine_avg_price": 99.5,
            "reported": "2012-06-21T12:00:00.000Z",
        }
    ]


def test_a_position_that_only_the_engine_has_is_a_break() -> None:
    desk = Desk()
    desk.bus.publish(Position("AMZN", D(-1), D(50), ts=NOON, ts_init=NOON))
    desk.fill(1, 100)
    desk.bus.publish(Position("AAPL", D(1), D(100), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 1
    (only,) = desk.strategy.breaks()
    assert (only["strategy"], only["symbol"], only["quantity"], only["avg_price"]) == ("default", "AMZN", 0.0, None)


def test_a_report_dropped_for_another_is_no_longer_shown() -> None:
    desk = Desk(max_positions=1)
    desk.fill(1, 100)
    desk.bus.publish(Position("AAPL", D(2), D(100), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 1
    desk.bus.publish(Position("AMZN", D(0), D(0), "mean", ts=NOON, ts_init=NOON))
    assert desk.tick()["position_breaks"] == 0
    assert desk.positions()[0]["engine_quantity"] is None


def test_the_report_that_came_first_is_dropped_and_counted_while_it_matters() -> None:
    desk = Desk(max_positions=2)

    def report(symbol: str, quantity: int) -> None:
        desk.bus.publish(Position(symbol, D(quantity), D(0), "mean", ts=NOON, ts_init=NOON))
        desk.tick()

    for symbol, quantity in (("A", 0), ("B", 1), ("A", 0), ("C", 1)):
        report(symbol, quantity)
    assert [each["symbol"] for each in desk.strategy.breaks()] == ["C"]
    assert desk.strategy.reports_dropped == 1
    report("D", 1)  # in place of A, which is flat on both sides
    assert desk.strategy.reports_dropped == 1


def test_strategies_that_share_an_account_have_no_breaks() -> None:
    desk = Desk(max_strategies=1)
    desk.fill(1, 100, strategy="a")
    desk.fill(1, 100, strategy="b")
    desk.bus.publish(Position("AAPL", D(1), D(100), "b", ts=NOON, ts_init=NOON))
    assert (desk.tick()["position_breaks"], desk.strategy.breaks()) == (0, [])
