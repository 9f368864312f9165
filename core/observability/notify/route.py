"""A route: which alerts are delivered to which channel, and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Any, Final
from zoneinfo import ZoneInfo

from observability.clocks.timestamps import NS_PER_S
from observability.events import Severity
from observability.metrics.alerts.book import SEVERITIES, Action
from observability.metrics.alerts.losses import KEY_PREFIX

FAULT_PREFIX: Final = f"{KEY_PREFIX}notify/"
"""Begins the key of the alert that a route does not deliver; the route's name follows."""

Patterns = tuple[str, ...]
"""Patterns such as `stale_*`, as a shell has them; without any, every name matches."""


@dataclass(frozen=True, slots=True)
class QuietHours:
    """The hours of each day in which a route waits; the end may be before the start, on the next day."""

    start: time
    end: time
    zone: ZoneInfo

    def end_ns(self, now_ns: int) -> int | None:
        """Returns when the quiet hours of `now_ns` end; None if it is in none."""
        now = datetime.fromtimestamp(now_ns // NS_PER_S, UTC).astimezone(self.zone)
        at = now.time()
        is_overnight = self.end <= self.start
        is_quiet = (at >= self.start or at < self.end) if is_overnight else self.start <= at < self.end
        if not is_quiet:
            return None
        day = now.date() + timedelta(days=1) if is_overnight and at >= self.start else now.date()
        return round(datetime.combine(day, self.end, self.zone).timestamp()) * NS_PER_S

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M} {self.zone}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One route, as its file has it."""

    name: str
    to: str
    """The URL of the channel, with its secrets."""
    severity: Severity = "info"
    """The least severity."""
    rules: Patterns = ()
    members: Patterns = ()
    on: tuple[Action, ...] = ("raised", "resolved")
    group_ns: int = 0
    """How long a notification waits for others, to be sent as one message."""
    repeat_ns: int = 0
    """How often an alert is sent again until it is acknowledged; 0 for never."""
    escalate_after_ns: int = 0
    """How long an alert must go without an acknowledgement before the route takes it; 0 to take all at once."""
    quiet: QuietHours | None = None
    """Critical alerts are delivered all the same."""
    secret: str = ""
    """The key of the signature of a webhook."""

    def takes(self, alert: Mapping[str, Any]) -> bool:
        """Returns whether an alert's document is for this route."""
        if SEVERITIES.index(alert["severity"]) < SEVERITIES.index(self.severity):
            return False
        if alert["key"] == FAULT_PREFIX + self.name:
            # It says that this route does not deliver.
            return False
        return selects(alert, self.rules, self.members)

    def heeds_quiet(self, alert: Mapping[str, Any]) -> bool:
        """Returns whether an alert waits while hours are quiet."""
        return self.quiet is not None and alert["severity"] != "critical"


def selects(alert: Mapping[str, Any], rules: Patterns, members: Patterns) -> bool:
    """Returns whether an alert's document matches both: its rule, or its key if the engine raised it, and its
    member."""
    return _matches(alert["rule"] or alert["key"], rules) and _matches(alert["member"], members)


def _matches(name: str, patterns: Patterns) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
