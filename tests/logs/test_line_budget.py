"""The budget of log lines: some each minute, and the number of those left out."""

from __future__ import annotations

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.logs.line_budget import LINES_PER_MINUTE, LineBudget


def test_lines_beyond_the_budget_are_left_out_and_counted_in_the_next_minute() -> None:
    now = [0]
    budget = LineBudget(lambda: now[0])
    taken = [budget.take() for _ in range(LINES_PER_MINUTE + 5)]
    assert taken == [0] * LINES_PER_MINUTE + [None] * 5
    now[0] = NS_PER_MINUTE
    assert [budget.take(), budget.take()] == [5, 0]
