"""Compares the positions that the engine reports with ours.

A difference, called a break, is shown and counted; our position is never changed by a report. In hedge mode each side
has a report of its own; a report that names no side is about all that is held in its symbol:

    report of    long    short    both       none
    compared     long    short    one-way    the sum of the three
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from decimal import Decimal
from typing import Any

from observability.clocks.timestamps import format_iso_ms
from observability.events import Position, PositionSide, event_time_ns
from observability.metrics.arithmetic.decimals import EXACT, exact_sum, to_float, to_float_or_none
from observability.metrics.strategy.position_part import PositionPart
from observability.metrics.trades.position_side import HeldSide, held_side, place_of

FindPart = Callable[[str, str], PositionPart | None]
"""Finds our position by strategy and key within the account (`place_of`)."""

ReportKey = tuple[str, str, PositionSide]
"""Strategy, symbol and position side as the engine names them."""

_EVERY_SIDE: tuple[HeldSide, ...] = ("", "long", "short")


class Reconciliation:
    """The newest report per strategy, symbol and position side. Beyond `max_reports` the oldest one is dropped."""

    __slots__ = ("_max_reports", "dropped", "reports")

    def __init__(self, max_reports: int) -> None:
        self._max_reports = max_reports
        self.reports: dict[ReportKey, Position] = {}
        """The one that came last is the last."""
        self.dropped = 0
        """Reports that were dropped although the position was open on either side."""

    def add(self, strategy: str, report: Position, find: FindPart) -> ReportKey | None:
        """Keeps the newest report. If that drops the report of another position, this one shows none from now on;
        returns its key if it is open here or there."""
        key = strategy, report.symbol, report.position_side
        is_known = self.reports.pop(key, None) is not None
        dropped = None if is_known or len(self.reports) < self._max_reports else self._drop_oldest(find)
        self.reports[key] = report
        return dropped

    def forget(self, symbol: str) -> None:
        """Forgets the reports of a symbol, whose quantities mean something else from now on."""
        self.reports = {key: report for key, report in self.reports.items() if key[1] != symbol}

    def compare(self, find: FindPart, refused: Container[str]) -> int:
        """Attaches each report to our position and returns how many quantities differ; a position that only the engine
        has counts too. Strategies in `refused` are left out, because they have no account of their own."""
        breaks = 0
        for _, report, parts in self._pairs(find, refused):
            breaks += report.quantity != _quantity(parts)
            only = parts[0] if len(parts) == 1 else None
            if only is not None and only.report is not report:
                only.report = report
                only.has_input = True
            for part in parts if only is None else ():
                # Shown beside one position, the report of several would be a difference that there is not.
                if part.report is report:
                    part.report = None
                    part.has_input = True
        return breaks

    def breaks(self, find: FindPart, refused: Container[str]) -> list[dict[str, Any]]:
        """Returns the positions whose quantities differ; `difference` is the engine's quantity minus ours."""
        return [
            {
                "strategy": strategy,
                "symbol": report.symbol,
                "position_side": report.position_side,
                "quantity": to_float(_quantity(parts)),
                "engine_quantity": to_float(report.quantity),
                "difference": to_float(EXACT.subtract(report.quantity, _quantity(parts))),
                "avg_price": to_float_or_none(parts[0].position.avg_price) if len(parts) == 1 else None,
                "engine_avg_price": to_float(report.avg_price),
                "reported": format_iso_ms(event_time_ns(report)),
            }
            for strategy, report, parts in self._pairs(find, refused)
            if report.quantity != _quantity(parts)
        ]

    def _drop_oldest(self, find: FindPart) -> ReportKey | None:
        oldest = next(iter(self.reports))
        report = self.reports.pop(oldest)
        parts = _parts(oldest, find)
        for part in parts:
            if part.report is report:
                part.report = None
                part.has_input = True
        if not report.quantity and not any(part.position.quantity for part in parts):
            return None
        self.dropped += 1
        return oldest

    def _pairs(self, find: FindPart, refused: Container[str]) -> Iterator[tuple[str, Position, list[PositionPart]]]:
        for key, report in self.reports.items():
            if key[0] not in refused:
                yield key[0], report, _parts(key, find)


def _parts(key: ReportKey, find: FindPart) -> list[PositionPart]:
    """Returns our positions that a report is about."""
    strategy, symbol, side = key
    sides = (held_side(side),) if side else _EVERY_SIDE
    found = (find(strategy, place_of(symbol, each)) for each in sides)
    return [part for part in found if part is not None]


def _quantity(parts: list[PositionPart]) -> Decimal:
    return exact_sum(part.position.quantity for part in parts)
