"""The components of the trading system, as their heartbeats tell.

No verdict on the whole here (see `health.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from observability.core.events import Heartbeat
from observability.core.timestamps import format_iso_ms

SILENT = "silent"


class ComponentBook:
    """The newest heartbeat of at most `max_components`; beyond, the one not heard of for longest makes room."""

    def __init__(self, max_components: int, silent_after_ns: int) -> None:
        self._max_components = max_components
        self._silent_after_ns = silent_after_ns
        # In the order of the last heartbeat, oldest first.
        self._heartbeats: dict[str, Heartbeat] = {}

    def note(self, event: Heartbeat) -> None:
        """Takes one heartbeat."""
        if self._heartbeats.pop(event.component, None) is None and len(self._heartbeats) >= self._max_components:
            del self._heartbeats[next(iter(self._heartbeats))]
        self._heartbeats[event.component] = event

    def statuses(self, now_ns: int) -> Iterator[tuple[str, str]]:
        """Yields name and status: ok, degraded, down, or silent when the heartbeat is overdue."""
        for name, event in self._heartbeats.items():
            is_silent = now_ns - event.ts_init > self._silent_after_ns
            yield name, SILENT if is_silent else event.status

    def to_json(self, now_ns: int) -> dict[str, dict[str, Any]]:
        """Returns status, detail and last heartbeat by name."""
        return {
            name: {
                "status": status,
                "detail": self._heartbeats[name].detail,
                "last_seen": format_iso_ms(self._heartbeats[name].ts_init),
            }
            for name, status in sorted(self.statuses(now_ns))
        }
