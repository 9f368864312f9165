"""The lag of the event loop, measured as the delay of a periodic timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S

PROBE_INTERVAL_SECONDS = 0.05


class LoopLagProbe:
    """Wakes up every PROBE_INTERVAL_SECONDS and keeps the longest delay. uvloop's timers have a resolution of one
    millisecond, so up to one millisecond of the result is not lag."""

    def __init__(self, mono_ns: Callable[[], int], interval_seconds: float = PROBE_INTERVAL_SECONDS) -> None:
        self._mono_ns = mono_ns
        self._interval_seconds = interval_seconds
        self._handle: asyncio.TimerHandle | None = None
        self._due_ns = 0
        self._max_ns: int | None = None

    def start(self) -> None:
        """Starts on the running loop."""
        self._schedule()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def take_max_ms(self) -> float | None:
        """Returns the longest delay since the last call; None if the timer has not fired since."""
        max_ns, self._max_ns = self._max_ns, None
        return None if max_ns is None else max_ns / NS_PER_MS

    def _schedule(self) -> None:
        self._due_ns = self._mono_ns() + round(self._interval_seconds * NS_PER_S)
        self._handle = asyncio.get_running_loop().call_later(self._interval_seconds, self._fire)

    def _fire(self) -> None:
        self._max_ns = max(self._max_ns or 0, self._mono_ns() - self._due_ns)
        self._schedule()
