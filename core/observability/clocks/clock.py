"""Clocks: the host's drives the tick, the events' dates everything that events say."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of the time; passed to every part that needs it."""

    def time_ns(self) -> int:
        """Returns the nanoseconds since the epoch, UTC."""

    def mono_ns(self) -> int:
        """Returns the nanoseconds of a clock that never goes back; CLOCK_MONOTONIC on a real host."""


class HostClock:
    """The host's clocks."""

    time_ns = staticmethod(time.time_ns)
    mono_ns = staticmethod(time.monotonic_ns)


class EventClock:
    """The time in the world that the events come from.

    With live events it is the host's clock. During a replay the source moves it with `advance`; it never goes back, so
    events out of order do not turn it around. A replay that is still to begin holds it at its first event, so that no
    figure of it ever has the host's time.
    """

    __slots__ = ("_host", "_now_ns", "is_waiting")

    def __init__(self, host: Clock) -> None:
        self._host = host
        self._now_ns: int | None = None
        self.is_waiting = False
        """Whether a replay holds the clock, and nothing has happened in it yet."""

    def hold(self, start_ns: int) -> None:
        """Lets the clock stand at `start_ns`, the time of a replay's first event, until the first `advance`."""
        self._now_ns = start_ns
        self.is_waiting = True

    def advance(self, now_ns: int) -> None:
        """Moves the clock to `now_ns`; the first call turns a live clock into a replayed one."""
        self.is_waiting = False
        if self._now_ns is None or now_ns > self._now_ns:
            self._now_ns = now_ns

    def time_ns(self) -> int:
        """Returns the nanoseconds since the epoch in the events' world."""
        return self._host.time_ns() if self._now_ns is None else self._now_ns

    def mono_ns(self) -> int:
        return self._host.mono_ns()

    @property
    def is_replayed(self) -> bool:
        return self._now_ns is not None
