"""Clocks: the host's clock drives the tick; the event clock dates everything that is computed from events."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """A source of the time; passed to every part that needs it."""

    def time_ns(self) -> int:
        """Returns the nanoseconds since the epoch, UTC."""

    def mono_ns(self) -> int:
        """Returns the nanoseconds of a clock that never goes back: on a real host, CLOCK_MONOTONIC."""


class HostClock:
    """The host's clocks."""

    time_ns = staticmethod(time.time_ns)
    mono_ns = staticmethod(time.monotonic_ns)


class EventClock:
    """The time in the world that the events come from.

    With live events it is the host's clock. During a replay the source moves it with `advance`; it never goes back, so
    events out of order do not turn it back. Until a replay begins, the clock is held at its first event, so that no
    figure of the replay is ever dated by the host.
    """

    __slots__ = ("_host", "_now_ns", "is_waiting")

    def __init__(self, host: Clock) -> None:
        self._host = host
        self._now_ns: int | None = None
        self.is_waiting = False
        """Whether the clock is held for a replay that has not published an event yet."""

    def hold(self, start_ns: int) -> None:
        """Holds the clock at `start_ns`, the time of a replay's first event, until the first `advance`."""
        self._now_ns = start_ns
        self.is_waiting = True

    def advance(self, now_ns: int) -> None:
        """Moves the clock to `now_ns`; the first call turns a live clock into a replayed one."""
        self.is_waiting = False
        if self._now_ns is None or now_ns > self._now_ns:
            self._now_ns = now_ns

    def time_ns(self) -> int:
        """Returns the event time, in nanoseconds since the epoch."""
        return self._host.time_ns() if self._now_ns is None else self._now_ns

    def mono_ns(self) -> int:
        return self._host.mono_ns()

    @property
    def is_replayed(self) -> bool:
        return self._now_ns is not None
