"""Timers on the event loop: the tick on an absolute schedule, and periodic calls that need no exact beat."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS

logger = logging.getLogger(__name__)

CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Schedule:
    """Beats at start + n * interval: a late beat never moves the next one."""

    __slots__ = ("_start_ns", "beat", "interval_ns", "missed")

    def __init__(self, start_ns: int, interval_ns: int) -> None:
        self._start_ns = start_ns
        self.interval_ns = interval_ns
        self.beat = 0
        """The number of the next beat."""
        self.missed = 0
        """Beats that were skipped so far."""

    @property
    def next_ns(self) -> int:
        return self._start_ns + self.beat * self.interval_ns

    def advance(self, now_ns: int) -> None:
        """Takes the newest beat that is due at `now_ns`; skips and counts the earlier ones that were not taken."""
        due = (now_ns - self._start_ns) // self.interval_ns
        assert due >= self.beat, "advanced before the beat was due"
        self.missed += due - self.beat
        self.beat = due + 1


class Ticker:
    """Calls `on_tick` on each beat of its schedule; missed beats are skipped and counted, never made up in a burst."""

    def __init__(
        self, interval_seconds: float, clock: Clock, call_later: CallLater, on_tick: Callable[[], None]
    ) -> None:
        interval_ns = round(interval_seconds * 1e9)
        self._clock = clock
        self._call_later = call_later
        self._on_tick = on_tick
        self._timer: asyncio.TimerHandle | None = None
        self.schedule = Schedule(clock.mono_ns(), interval_ns)
        self.errors = 0
        self.late_ns: int | None = None
        """How late the last beat was; None before the first one."""
        self._max_late_ns: int | None = None

    def start(self) -> None:
        self.schedule = Schedule(self._clock.mono_ns(), self.schedule.interval_ns)
        self._arm()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def catch_up(self) -> None:
        """Takes a beat that is due. The loop comes to its timers only after everything else that is ready."""
        if self._timer is not None and self._clock.mono_ns() >= self.schedule.next_ns:
            self._timer.cancel()
            self._fire()

    def take_max_late_ns(self) -> int | None:
        """Returns how late the latest beat since the last call was; None if there was no beat."""
        max_late_ns, self._max_late_ns = self._max_late_ns, None
        return max_late_ns

    def _arm(self) -> None:
        # uvloop's timers count whole milliseconds from the start of the loop's turn, and may fire early: rounding up
        # costs at most one millisecond, rounding down would spin until the beat is due.
        delay_ms = math.ceil((self.schedule.next_ns - self._clock.mono_ns()) / NS_PER_MS)
        self._timer = self._call_later(max(delay_ms, 0) / 1e3, self._fire)

    def _fire(self) -> None:
        now_ns = self._clock.mono_ns()
        if now_ns >= self.schedule.next_ns:
            late_ns = self.late_ns = now_ns - self.schedule.next_ns
            if self._max_late_ns is None or late_ns > self._max_late_ns:
                self._max_late_ns = late_ns
            self.schedule.advance(now_ns)
            try:
                self._on_tick()
            except Exception:
                self.errors += 1
                logger.exception("a tick failed; the next one is still on schedule")
        if self._timer is not None:  # else the tick itself stopped it
            self._arm()


class Periodic:
    """Calls `action` at once, then each time `seconds` after it returned; only its first failure is logged."""

    def __init__(self, seconds: float, action: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._seconds = seconds
        self._action = action
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False

    def start(self) -> None:
        try:
            self._action()
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                logger.exception("%r failed and will be tried again; further failures are not logged", self._action)
        self._timer = self._loop.call_later(self._seconds, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
