"""The components of the trading system, by their heartbeats."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from observability.clocks.timestamps import NS_PER_S, format_iso_ms
from observability.events import Heartbeat

SILENT = "silent"


class ComponentBook:
    """The newest heartbeat of each component. A new component beyond `max_components` replaces the one with the oldest
    heartbeat."""

    def __init__(self, max_components: int, silent_after_ns: int) -> None:
        self._max_components = max_components
        self._silent_after_ns = silent_after_ns
        self.dropped = 0
        """Components that were dropped for new ones."""
        # In the order of the last heartbeat, oldest first.
        self._heartbeats: dict[str, Heartbeat] = {}

    def note(self, event: Heartbeat) -> str | None:
        """Applies one heartbeat; returns the name of the component that was dropped for it, if one was."""
        dropped = None
        if self._heartbeats.pop(event.component, None) is None and len(self._heartbeats) >= self._max_components:
            dropped = next(iter(self._heartbeats))
            del self._heartbeats[dropped]
            self.dropped += 1
        self._heartbeats[event.component] = event
        return dropped

    def statuses(self, now_ns: int) -> Iterator[tuple[str, str]]:
        """Yields each name and status: ok, degraded, down, or silent if the heartbeat is overdue."""
        for name, event in self._heartbeats.items():
            is_silent = now_ns - event.ts_init > self._silent_after_ns
            yield name, SILENT if is_silent else event.status

    def to_json(self, now_ns: int) -> dict[str, dict[str, Any]]:
        """Returns by name: status and its reason, the heartbeat's detail, when it arrived and its age."""
        components = {}
        for name, status in sorted(self.statuses(now_ns)):
            event = self._heartbeats[name]
            components[name] = {
                "status": status,
                "detail": event.detail,
                "last_seen": format_iso_ms(event.ts_init),
                "age_seconds": max(0, now_ns - event.ts_init) / NS_PER_S,
                "reason": self._reason(status, event),
            }
        return components

    def to_state(self) -> list[Heartbeat]:
        return list(self._heartbeats.values())

    def load_state(self, state: list[Heartbeat]) -> None:
        self._heartbeats = {event.component: event for event in state[-self._max_components :]}

    def _reason(self, status: str, event: Heartbeat) -> str | None:
        if status == SILENT:
            return f"no heartbeat for more than {self._silent_after_ns / NS_PER_S:g} s"
        return None if status == "ok" else event.detail or f"its heartbeat says {status}"
