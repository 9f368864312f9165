"""The alerts that are active: raised by the engine, not yet acknowledged.

No durability here (the store keeps alerts and acknowledgements) and no rules that raise them.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from observability.core.events import Alert
from observability.core.timestamps import format_iso_ms
from observability.metrics.sessions import event_time_ns

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class AlertState:
    """All events of one key."""

    alert_id: str
    key: str
    severity: str
    title: str
    detail: str
    first_seen_ns: int
    last_seen_ns: int
    count: int = 1
    acknowledged_ns: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "alert_id": self.alert_id,
            "key": self.key,
            "severity": self.severity,
            "title": self.title,
            "detail": self.detail,
            "first_seen": format_iso_ms(self.first_seen_ns),
            "last_seen": format_iso_ms(self.last_seen_ns),
            "count": self.count,
            "acknowledged": None if self.acknowledged_ns is None else format_iso_ms(self.acknowledged_ns),
        }


def alert_id(event: Alert) -> str:
    """Returns the id of an alert: the same for the same key (or title) on every host and after every restart."""
    return blake2b((event.key or event.title).encode(), digest_size=8).hexdigest()


class AlertBook:
    """At most `max_alerts` alerts; beyond, an acknowledged one makes room, else the oldest (counted in `evicted`)."""

    def __init__(self, max_alerts: int) -> None:
        self.evicted = 0
        self._max_alerts = max_alerts
        self._alerts: dict[str, AlertState] = {}

    def note(self, event: Alert) -> AlertState:
        """Takes one alert; one that was acknowledged is active again."""
        ident, ts_ns = alert_id(event), event_time_ns(event)
        state = self._alerts.get(ident)
        if state is None:
            if len(self._alerts) >= self._max_alerts:
                self._make_room()
            state = self._alerts[ident] = AlertState(
                ident, event.key or event.title, event.severity, event.title, event.detail, ts_ns, ts_ns
            )
            return state
        state.severity, state.title, state.detail = event.severity, event.title, event.detail
        state.last_seen_ns = ts_ns
        state.count += 1
        state.acknowledged_ns = None
        return state

    def acknowledge(self, ident: str, now_ns: int) -> AlertState | None:
        """Acknowledges an alert; None if it is unknown. A second time changes nothing."""
        state = self._alerts.get(ident)
        if state is not None and state.acknowledged_ns is None:
            state.acknowledged_ns = now_ns
        return state

    def get(self, ident: str) -> AlertState | None:
        return self._alerts.get(ident)

    def all(self) -> list[AlertState]:
        """Returns every alert kept, newest first by when it was first seen."""
        return list(reversed(self._alerts.values()))

    def active(self) -> list[AlertState]:
        """Returns those not acknowledged, newest first."""
        return [state for state in self.all() if state.acknowledged_ns is None]

    def _make_room(self) -> None:
        for ident, state in self._alerts.items():
            if state.acknowledged_ns is not None:
                del self._alerts[ident]
                return
        del self._alerts[next(iter(self._alerts))]
        self.evicted += 1
        if self.evicted == 1:
            logger.warning("more than %d alerts are active: the oldest make room", self._max_alerts)
