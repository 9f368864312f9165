"""Clocks: the host's for the tick, the events' for everything the events say.

No timers here; see `tick.py`.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What every part that needs the time is given."""

    def time_ns(self) -> int:
        """Nanoseconds since the epoch, UTC."""

    def mono_ns(self) -> int:
        """Nanoseconds of a clock that never goes back; CLOCK_MONOTONIC on a real host."""


class HostClock:
    """The host's own clocks."""

    time_ns = staticmethod(time.time_ns)
    mono_ns = staticmethod(time.monotonic_ns)


class EventClock:
    """The time in the world the events come from.

    Live, it is the host's clock. During a replay a source moves it with `advance`, and it never goes back:
    events that arrive out of order do not turn time around.
    """

    __slots__ = ("_host", "_now_ns")

    def __init__(self, host: Clock) -> None:
        self._host = host
        self._now_ns: int | None = None

    def advance(self, now_ns: int) -> None:
        """Moves the clock to `now_ns`; the first call makes a replayed clock of a live one."""
        if self._now_ns is None or now_ns > self._now_ns:
            self._now_ns = now_ns

    def time_ns(self) -> int:
        """Nanoseconds since the epoch in the events' world."""
        return self._host.time_ns() if self._now_ns is None else self._now_ns

    def mono_ns(self) -> int:
        return self._host.mono_ns()

    @property
    def is_replayed(self) -> bool:
        return self._now_ns is not None
