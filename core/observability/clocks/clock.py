"""Clocks: the host's clock drives the tick; the event clock dates everything that is computed from events."""

from __future__ import annotations

import time
from typing import Protocol

from observability.clocks.timestamps import MAX_NS


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

    With live events it is the host's clock. A replay moves it: to each event, evenly from one event to the next, and
    from the last event on at the host's pace. It never goes back, so events out of order do not turn it back. Until a
    replay begins, the clock is held at its first event, so that no figure of the replay is ever dated by the host.
    """

    __slots__ = ("_base_ns", "_host", "_host_span_ns", "_limit_ns", "_since_ns", "_span_ns", "is_waiting", "mono_ns")

    def __init__(self, host: Clock) -> None:
        self._host = host
        self.mono_ns = host.mono_ns
        # The clock was at `base` when the host's monotonic clock was at `since`. From then on it moves by `span` in
        # each `host_span` of the host, up to `limit`.
        self._base_ns: int | None = None
        self._since_ns = 0
        self._span_ns = 0
        self._host_span_ns = 1
        self._limit_ns = 0
        self.is_waiting = False
        """Whether the clock is held for a replay that has not published an event yet."""

    def hold(self, start_ns: int) -> None:
        """Holds the clock at `start_ns`, the time of a replay's first event, until the first `advance`."""
        self._base_ns = self._limit_ns = start_ns
        self.is_waiting = True

    def advance(self, now_ns: int) -> None:
        """Moves the clock to `now_ns`, where it stands; the first call turns a live clock into a replayed one."""
        self.is_waiting = False
        if self._base_ns is not None and self._span_ns:
            now_ns = max(now_ns, self.time_ns())
        if self._base_ns is None or now_ns > self._base_ns:
            self._base_ns = self._limit_ns = now_ns
        self._span_ns = 0

    def move_to(self, end_ns: int, host_span_ns: int) -> None:
        """Lets the clock of a replay move evenly, so that it reaches `end_ns` after a time of the host, and then
        stands."""
        if host_span_ns > 0:
            self._move(end_ns, max(0, end_ns - self.time_ns()), host_span_ns)

    def follow_host(self) -> None:
        """Lets the clock of a replay move at the host's pace from where it is."""
        if self._base_ns is not None and not self.is_waiting:
            self._move(MAX_NS, 1, 1)

    def time_ns(self) -> int:
        """Returns the event time, in nanoseconds since the epoch."""
        base_ns = self._base_ns
        if base_ns is None:
            return self._host.time_ns()
        if not self._span_ns:
            return base_ns
        passed_ns = self._host.mono_ns() - self._since_ns
        return min(self._limit_ns, base_ns + passed_ns * self._span_ns // self._host_span_ns)

    @property
    def is_replayed(self) -> bool:
        return self._base_ns is not None

    def _move(self, limit_ns: int, span_ns: int, host_span_ns: int) -> None:
        self._base_ns = self.time_ns()
        self._since_ns = self._host.mono_ns()
        self._span_ns = span_ns
        self._host_span_ns = host_span_ns
        self._limit_ns = max(limit_ns, self._base_ns)
