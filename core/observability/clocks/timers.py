"""Timers on the event loop: the tick on an absolute schedule, and periodic calls that need no exact beat."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import math
import os
import time
from collections.abc import Callable
from struct import Struct
from typing import Final, Protocol

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S

logger = logging.getLogger(__name__)

# timerfd_settime(2): interval and first time, each in seconds and nanoseconds.
_TIMER_SPEC: Final = Struct("@4l")
_TIMER_ABSTIME: Final = 1
# What a read of the descriptor returns: how often the timer has fired since the last one.
_COUNT_BYTES: Final = 8

_libc = ctypes.CDLL(None, use_errno=True)

CallLater = Callable[[float, Callable[[], None]], asyncio.TimerHandle]


class Schedule:
    """Beats at start + n * interval: a late beat never moves the next one."""

    __slots__ = ("_start_ns", "beat", "interval_ns", "missed", "next_ns")

    def __init__(self, start_ns: int, interval_ns: int) -> None:
        self._start_ns = start_ns
        self.interval_ns = interval_ns
        self.beat = 0
        """The number of the next beat."""
        self.missed = 0
        """Beats that were skipped so far."""
        self.next_ns = start_ns
        """The time of the next beat."""

    def advance(self, now_ns: int) -> None:
        """Takes the newest beat that is due at `now_ns`; skips and counts the earlier ones that were not taken."""
        due = (now_ns - self._start_ns) // self.interval_ns
        assert due >= self.beat, "advanced before the beat was due"
        self.missed += due - self.beat
        self.beat = due + 1
        self.next_ns = self._start_ns + self.beat * self.interval_ns


class BeatTimer(Protocol):
    """What calls a ticker on its beats: never before one is due, and perhaps once more after it was taken."""

    def start(self, first_ns: int, interval_ns: int, on_beat: Callable[[], None]) -> None:
        """Calls `on_beat` from `first_ns` on, by the monotonic clock."""

    def set_next(self, next_ns: int) -> None:
        """Called when a beat was taken, with the time of the next."""

    def stop(self) -> None: ...


class LoopTimer:
    """A timer of the event loop per beat."""

    def __init__(self, clock: Clock, call_later: CallLater) -> None:
        self._clock = clock
        self._call_later = call_later
        self._on_beat: Callable[[], None] = lambda: None
        self._timer: asyncio.TimerHandle | None = None

    def start(self, first_ns: int, interval_ns: int, on_beat: Callable[[], None]) -> None:
        self._on_beat = on_beat
        self._arm(first_ns)

    def set_next(self, next_ns: int) -> None:
        self.stop()
        self._arm(next_ns)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, next_ns: int) -> None:
        # uvloop's timers count whole milliseconds from the start of the loop's turn, and may fire early: rounding up
        # costs at most one millisecond, rounding down would spin until the beat is due.
        delay_ms = math.ceil((next_ns - self._clock.mono_ns()) / NS_PER_MS)
        self._timer = self._call_later(max(delay_ms, 0) / 1e3, self._on_beat)


class KernelTimer:
    """A timer of Linux that fires on all beats by itself (timerfd_create(2)), to the microsecond. A beat costs the loop
    one turn and a short read, where a timer of its own costs two turns.

    Raises OSError where there is none.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        if not hasattr(_libc, "timerfd_create"):
            raise OSError(errno.ENOSYS, "this system has no timerfd_create")
        self._fd = _called(_libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
        self._loop = loop
        self._on_beat: Callable[[], None] = lambda: None

    def start(self, first_ns: int, interval_ns: int, on_beat: Callable[[], None]) -> None:
        self._on_beat = on_beat
        times = (*divmod(interval_ns, NS_PER_S), *divmod(first_ns, NS_PER_S))
        _called(_libc.timerfd_settime(self._fd, _TIMER_ABSTIME, _TIMER_SPEC.pack(*times), None))
        self._loop.add_reader(self._fd, self._on_readable)

    def set_next(self, next_ns: int) -> None:
        """Does nothing: the kernel knows all beats."""

    def stop(self) -> None:
        self._loop.remove_reader(self._fd)
        os.close(self._fd)

    def _on_readable(self) -> None:
        # Until it is read, the loop finds it readable again.
        os.read(self._fd, _COUNT_BYTES)
        self._on_beat()


def beat_timer(clock: Clock, loop: asyncio.AbstractEventLoop) -> BeatTimer:
    """Returns the kernel's timer, or the loop's where there is none. `clock` is the host's."""
    try:
        return KernelTimer(loop)
    except OSError:
        return LoopTimer(clock, loop.call_later)


class Ticker:
    """Calls `on_tick` on each beat of its schedule; missed beats are skipped and counted, never made up in a burst."""

    def __init__(self, interval_seconds: float, clock: Clock, timer: BeatTimer, on_tick: Callable[[], None]) -> None:
        interval_ns = round(interval_seconds * 1e9)
        self._clock = clock
        self._timer = timer
        self._on_tick = on_tick
        self._is_running = False
        self.schedule = Schedule(clock.mono_ns(), interval_ns)
        self.errors = 0
        self.late_ns: int | None = None
        """How late the last beat was; None before the first one."""
        self._max_late_ns: int | None = None

    def start(self) -> None:
        self.schedule = Schedule(self._clock.mono_ns(), self.schedule.interval_ns)
        self._is_running = True
        self._timer.start(self.schedule.next_ns, self.schedule.interval_ns, self._fire)

    def stop(self) -> None:
        if self._is_running:
            self._is_running = False
            self._timer.stop()

    def catch_up(self) -> None:
        """Takes a beat that is due. The loop comes to its timers only after everything else that is ready."""
        if self._is_running and self._clock.mono_ns() >= self.schedule.next_ns:
            self._fire()

    def take_max_late_ns(self) -> int | None:
        """Returns how late the latest beat since the last call was; None if there was no beat."""
        max_late_ns, self._max_late_ns = self._max_late_ns, None
        return max_late_ns

    def _fire(self) -> None:
        # hot: once per tick (benchmarks/bench_tick.py)
        schedule, now_ns = self.schedule, self._clock.mono_ns()
        late_ns = now_ns - schedule.next_ns
        if late_ns >= 0:
            self.late_ns = late_ns
            if self._max_late_ns is None or late_ns > self._max_late_ns:
                self._max_late_ns = late_ns
            schedule.advance(now_ns)
            try:
                self._on_tick()
            except Exception:
                self.errors += 1
                logger.exception("a tick failed; the next one is still on schedule")
        if self._is_running:  # else the tick itself stopped it
            self._timer.set_next(schedule.next_ns)


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


def _called(result: int) -> int:
    """Returns the result of a system call. Raises OSError if it failed."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
