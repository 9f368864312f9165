"""Which figures of a path keep something of a fault that was corrected."""

from __future__ import annotations

from observability.metrics.arithmetic.sessions import Session
from observability.metrics.strategy.book.path import CorrectedPath
from observability.metrics.trades.trade import Trade
from strategy_desk import DAY, NOON, D


def trade(arrived_ns: int) -> Trade:
    return Trade(1, "t", "o", "AAPL", "buy", D(1), D(1), arrived_ns, "mean", "", D(0), "")


def test_what_one_fault_has_left_stays_after_the_correction_of_a_later_one() -> None:
    session, day = Session(), Session()
    path = CorrectedPath(session, day)
    for each in (session, day):
        each.roll_over(NOON)
    path.note(trade(NOON), NOON)
    assert path.left == ["drawdown"]
    path.note(trade(NOON - DAY), NOON)
    path.note(trade(NOON), NOON)
    assert path.left == ["drawdown", "daily P&L", "daily returns"]
    assert path.reason is not None and path.reason.endswith("stays in drawdown, daily P&L, daily returns")
