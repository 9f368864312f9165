"""Which figures of a path keep something of a fault that was corrected."""

from __future__ import annotations

from observability.metrics.strategy.book.path import CorrectedPath
from strategy_desk import NOON


def test_what_one_fault_has_left_stays_after_the_correction_of_a_later_one() -> None:
    path = CorrectedPath()
    path.note([], NOON)
    assert path.reason is None
    path.note(["drawdown"], NOON)
    assert path.left == ["drawdown"]
    path.note(["daily returns", "daily P&L"], NOON)
    path.note([], NOON)
    path.note(["drawdown"], NOON)
    assert path.left == ["drawdown", "daily P&L", "daily returns"]
    assert path.reason is not None and path.reason.endswith("stays in drawdown, daily P&L, daily returns")
