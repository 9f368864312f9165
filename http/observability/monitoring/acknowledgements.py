"""Acknowledging alerts, durably and idempotently."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from observability.clocks.clock import Clock
from observability.metrics.alerts.book import AlertBook, AlertState


class Acknowledged(msgspec.Struct, frozen=True):
    """An alert right after its acknowledgement."""

    alert: AlertState
    is_on_disk: bool
    """False if the acknowledgement holds but could not be written in time."""


class Acknowledger(Protocol):
    """Acknowledges alerts: in the hub's process, or by a call to it."""

    async def acknowledge(self, alert_id: str, author: str = "", comment: str = "") -> Acknowledged | None:
        """Acknowledges an alert and waits until that is on disk; returns None if there is no such alert. A second call
        changes nothing."""


class HubAcknowledger:
    """Acknowledges alerts of the hub's book."""

    def __init__(self, book: AlertBook, event_clock: Clock, is_written: Callable[[], Awaitable[bool]]) -> None:
        """`is_written` waits until everything so far is on disk; it returns False if that takes too long."""
        self._book = book
        self._event_clock = event_clock
        self._is_written = is_written

    async def acknowledge(self, alert_id: str, author: str = "", comment: str = "") -> Acknowledged | None:
        alert = self._book.acknowledge(alert_id, self._event_clock.time_ns(), author, comment)
        if alert is None:
            return None
        # The alert may be raised again while the disk is waited for.
        acknowledged = msgspec.structs.replace(alert)
        return Acknowledged(acknowledged, await self._is_written())
