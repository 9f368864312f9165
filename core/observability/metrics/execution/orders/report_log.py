"""The log of recent order reports, which numbers each report once.

report --> ledger --> new to its order?  yes --> add: the next number of the one sequence --> journal, lane
                                         no  --> nothing: it has arrived before
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import msgspec

from observability.clocks.timestamps import format_iso_ms
from observability.events import Order, event_time_ns
from observability.metrics.arithmetic.decimals import to_float, to_float_or_none
from observability.store.checkpoint import EventSequence

MAX_REPORTS: Final = 10_000


class OrderReport(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One report of an order. `seq` rises from report to report."""

    seq: int
    event: Order
    is_first: bool = False
    """Whether no earlier report of its order was known."""

    def to_json(self) -> dict[str, Any]:
        """Returns the report with the order that it is about."""
        event = self.event
        return {
            "order_id": event.order_id,
            "symbol": event.symbol,
            "side": event.side,
            "strategy": event.strategy,
            "venue": event.venue,
            "client_order_id": event.client_order_id,
            **self.life_json(),
        }

    def life_json(self) -> dict[str, Any]:
        """Returns what changes from report to report of one order."""
        event = self.event
        decision_ns = event.decision_ts
        return {
            "status": event.status,
            "quantity": to_float(event.quantity),
            "price": to_float_or_none(event.price),
            "order_type": event.order_type,
            "reason": event.reason,
            "arrival_price": to_float_or_none(event.arrival_price),
            "decision_timestamp": format_iso_ms(decision_ns) if isinstance(decision_ns, int) else None,
            "replaces": event.replaces,
            "timestamp": format_iso_ms(event_time_ns(event)),
            "received": format_iso_ms(event.ts_init),
        }


class ReportLog:
    """The last `max_reports` reports. `sequence` numbers them."""

    def __init__(self, sequence: EventSequence | None = None, max_reports: int = MAX_REPORTS) -> None:
        self.recent: deque[OrderReport] = deque(maxlen=max_reports)
        """The newest reports, oldest first."""
        self._sequence = EventSequence() if sequence is None else sequence
        self._known_seq = 0
        self._repeated: Order | None = None

    def add(self, event: Order, *, is_first: bool) -> OrderReport:
        """Numbers a report that has not arrived before."""
        # hot: once per order report (benchmarks/bench_intake.py)
        seq = self._known_seq or self._sequence.draw()
        self._known_seq = 0
        report = OrderReport(seq, event, is_first)
        self.recent.append(report)
        return report

    def note_repeated(self, event: Order) -> None:
        """Notes that a report has arrived before."""
        self._known_seq = 0
        self._repeated = event

    def report_of(self, event: Order) -> OrderReport | None:
        """Returns the report of the event that is being published; None if it has arrived before."""
        # hot: once per order report (benchmarks/bench_intake.py)
        recent = self.recent
        if recent and recent[-1].event is event:
            return recent[-1]
        # An event that no collector has taken is kept all the same.
        return None if event is self._repeated else self.add(event, is_first=True)

    def expect(self, seq: int) -> None:
        """Lets the next report have the number that it had in an earlier process."""
        self._known_seq = seq

    def restore(self, report: OrderReport) -> None:
        """Adds a report of an earlier process."""
        self.recent.append(report)

    def newer_than(self, seq: int) -> list[OrderReport]:
        """Returns the reports after `seq` that are still in memory, oldest first; costs what it returns."""
        newer: list[OrderReport] = []
        for report in reversed(self.recent):
            if report.seq <= seq:
                break
            newer.append(report)
        newer.reverse()
        return newer
