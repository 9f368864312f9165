"""Compares the positions that the engine reports with ours.

A difference, called a break, is shown and counted; our position is never changed by a report.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import format_iso_ms
from observability.events import Position, event_time_ns
from observability.metrics.arithmetic.decimals import EXACT, ZERO, to_float, to_float_or_none
from observability.metrics.strategy.position_part import PositionPart

FindPart = Callable[[str, str], PositionPart | None]
"""Finds our position by strategy and symbol."""


class Reconciliation:
    """The newest report per (strategy, symbol). Beyond `max_reports` the oldest one is dropped."""

    __slots__ = ("_max_reports", "dropped", "reports")

    def __init__(self, max_reports: int) -> None:
        self._max_reports = max_reports
        self.reports: dict[tuple[str, str], Position] = {}
        """The one that came last is the last."""
        self.dropped = 0
        """Reports that were dropped although the position was open on either side."""

    def add(self, strategy: str, report: Position, find: FindPart) -> tuple[str, str] | None:
        """Keeps the newest report. If that drops the report of another position, this one shows none from now on;
        returns its strategy and symbol if it is open on either side."""
        key = strategy, report.symbol
        is_known = self.reports.pop(key, None) is not None
        dropped = None if is_known or len(self.reports) < self._max_reports else self._drop_oldest(find)
        self.reports[key] = report
        return dropped

    def compare(self, find: FindPart, refused: Container[str]) -> int:
        """Attaches each report to our position and returns how many quantities differ; a position that only the engine
        has counts too. Strategies in `refused` are left out, because they have no account of their own."""
        breaks = 0
        for _, report, part in self._pairs(find, refused):
            breaks += report.quantity != _quantity(part)
            if part is not None and part.report is not report:
                part.report = report
                part.has_input = True
        return breaks

    def breaks(self, find: FindPart, refused: Container[str]) -> list[dict[str, Any]]:
        """Returns the positions whose quantities differ; `difference` is the engine's quantity minus ours."""
        return [
            {
                "strategy": strategy,
                "symbol": report.symbol,
                "quantity": to_float(_quantity(part)),
                "engine_quantity": to_float(report.quantity),
                "difference": to_float(EXACT.subtract(report.quantity, _quantity(part))),
                "avg_price": None if part is None else to_float_or_none(part.position.avg_price),
                "engine_avg_price": to_float(report.avg_price),
                "reported": format_iso_ms(event_time_ns(report)),
            }
            for strategy, report, part in self._pairs(find, refused)
            if report.quantity != _quantity(part)
        ]

    def _drop_oldest(self, find: FindPart) -> tuple[str, str] | None:
        oldest = next(iter(self.reports))
        report, part = self.reports.pop(oldest), find(*oldest)
        if part is not None:
            part.report = None
            part.has_input = True
        if not report.quantity and not _quantity(part):
            return None
        self.dropped += 1
        return oldest

    def _pairs(self, find: FindPart, refused: Container[str]) -> Iterator[tuple[str, Position, PositionPart | None]]:
        for (strategy, symbol), report in self.reports.items():
            if strategy not in refused:
                yield strategy, report, find(strategy, symbol)


def _quantity(part: PositionPart | None) -> Decimal:
    return ZERO if part is None else part.position.quantity
