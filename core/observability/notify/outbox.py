"""The outbox of one route: the notices that are still to be delivered, in order.

    transition --> notice, stored in the same commit --> committed? --> due? --> delivered | failed | dropped

The notices about one alert are delivered in the order of its transitions: one that has to wait holds back those after
it, and no others.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any, Final

from observability.clocks.timestamps import iso_or_none
from observability.memory.counters import Counters
from observability.notify.delivery import Channel
from observability.notify.notice import SCHEDULED, Notice, State
from observability.notify.route import Route

MAX_PENDING: Final = 10_000
MAX_MESSAGE_NOTICES: Final = 50


class Outbox:
    """The notices of one route, and how its deliveries have gone."""

    def __init__(self, route: Route, channel: Channel, counters: Counters) -> None:
        self.route = route
        self.channel = channel
        self.wake = asyncio.Event()
        """Set when a notice may have become ready."""
        self.pending: list[Notice] = []
        """In the order of the transitions."""
        self.uncommitted: set[int] = set()
        """Numbers of transitions that are not on disk yet."""
        self.sending: Sequence[Notice] = ()
        """The notices that the channel is delivering."""
        self.threads: list[threading.Thread] = []
        """Those of attempts that may not have ended."""
        self.told: dict[str, int] = {}
        """The occurrence that the route was told of, or is about to be, by alert."""
        self.counts = {"delivered": 0, "failed": 0, "dropped": 0}
        """By outcome, since the start."""
        self.failures = 0
        """Attempts that have failed since the last one that did not."""
        self.retry_ns = 0
        """Nothing is sent before this, by the host's clock."""
        self.delivered_ns: int | None = None
        self.error = ""
        """Why the last attempt failed; empty after one that did not."""
        self._outcomes = {
            outcome: counters.counter(
                "notifications_total", "Notices by route and outcome", route=route.name, outcome=outcome
            )
            for outcome in self.counts
        }
        self._failed = counters.counter(
            "notification_attempts_failed_total", "Attempts to deliver that failed", route=route.name
        )
        self._waiting = counters.gauge("notifications_pending", "Notices to be delivered", route=route.name)

    def count(self, outcome: State) -> None:
        """Counts a notice that is done with."""
        self.counts[outcome] += 1
        self._outcomes[outcome].add()

    def fail(self, why: str) -> None:
        """Counts an attempt that has failed."""
        self.failures += 1
        self.error = why
        self._failed.add()

    def show_pending(self) -> None:
        """Brings the gauge of the notices that wait up to date."""
        self._waiting.set(len(self.pending))

    def add(self, notice: Notice) -> Notice | None:
        """Adds a notice; returns the oldest one if it is dropped for it."""
        dropped = self.pending.pop(0) if len(self.pending) >= MAX_PENDING else None
        self.pending.append(notice)
        return dropped

    def remove(self, notices: Sequence[Notice]) -> None:
        gone = {notice.key for notice in notices}
        self.pending = [notice for notice in self.pending if notice.key not in gone]

    def scheduled(self, ident: str) -> list[Notice]:
        """Returns the notices of an alert that wait for their time, in case the alert is still there then."""
        return [
            notice
            for notice in self.pending
            if notice.alert_id == ident and notice.kind in SCHEDULED and notice not in self.sending
        ]

    def ready(self, now_ns: int) -> list[Notice]:
        """Returns the notices that may be sent now, as one message, of each alert the first; empty while the first of a
        group waits for others."""
        if now_ns < self.retry_ns:
            return []
        group_ns = self.route.group_ns
        # Found once: a night may gather thousands of notices, and time zones take their time.
        is_quiet = self.route.quiet is not None and self.route.quiet.end_ns(now_ns) is not None
        max_notices = MAX_MESSAGE_NOTICES if group_ns or self.channel.is_batched else 1
        ready = []
        held: set[str] = set()
        for notice in self.pending:
            if notice.alert_id not in held and self._may_go(notice, now_ns, is_quiet):
                ready.append(notice)
                if len(ready) == max_notices:
                    break
            held.add(notice.alert_id)
        if group_ns and ready and now_ns < min(notice.due_ns for notice in ready) + group_ns:
            return []
        return ready

    def next_ns(self, now_ns: int) -> int | None:
        """Returns when `ready` may return more than now; None if that takes an event."""
        # Each time once: most are due already.
        times = {
            (max(notice.due_ns + self.route.group_ns, self.retry_ns, now_ns), self.route.heeds_quiet(notice.document))
            for notice in self.pending
            if notice.seq not in self.uncommitted
        }
        quiet = self.route.quiet
        ends = (
            max(due_ns, quiet.end_ns(due_ns) or 0) if is_held and quiet is not None else due_ns
            for due_ns, is_held in times
        )
        return min((due_ns for due_ns in ends if due_ns > now_ns), default=None)

    def to_json(self) -> dict[str, Any]:
        route = self.route
        return {
            "route": route.name,
            "to": self.channel.place,
            "severity": route.severity,
            "state": "failing" if self.error else "ok",
            "pending": len(self.pending),
            **self.counts,
            "last_delivered": iso_or_none(self.delivered_ns),
            "last_error": self.error or None,
            "next_attempt": iso_or_none(self.retry_ns or None),
        }

    def _may_go(self, notice: Notice, now_ns: int, is_quiet: bool) -> bool:
        return (
            notice.due_ns <= now_ns
            and notice.seq not in self.uncommitted
            and not (is_quiet and self.route.heeds_quiet(notice.document))
        )
