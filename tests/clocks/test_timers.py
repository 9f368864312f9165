"""The schedule of the tick: absolute, without drift, and with missed beats counted."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.clock import HostClock
from observability.clocks.timers import KernelTimer, LoopTimer, Schedule, Ticker, beat_timer

INTERVAL_NS = 100_000_000
DAY_SECONDS = 86_400


class Timers:
    """A clock and the loop's timers in one: `run_until` moves time from timer to timer, and each fires `late_ns` late.

    One timer is pending at a time, as with a ticker.
    """

    def __init__(self) -> None:
        self.now_ns = 1_000_000_007
        self.late_ns = 0
        self._due_ns = 0
        self._callback: Callable[[], None] | None = None

    def time_ns(self) -> int:
        return self.now_ns

    def mono_ns(self) -> int:
        return self.now_ns

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.TimerHandle:
        assert self._callback is None
        self._due_ns = self.now_ns + round(seconds * 1e9)
        self._callback = callback
        return cast(asyncio.TimerHandle, self)

    def cancel(self) -> None:
        self._callback = None

    def run_until(self, end_ns: int) -> None:
        while self._callback is not None and self._due_ns <= end_ns:
            self.now_ns = max(self.now_ns, self._due_ns + self.late_ns)
            callback, self._callback = self._callback, None
            callback()


def test_a_day_of_ticks_does_not_drift() -> None:
    timers = Timers()
    start_ns = timers.now_ns
    beats: list[int] = []
    ticker = Ticker(0.1, timers, LoopTimer(timers, timers.call_later), lambda: beats.append(timers.now_ns))
    timers.late_ns = 3_400_000  # every timer fires late, as real ones do
    ticker.start()
    timers.run_until(start_ns + DAY_SECONDS * 1_000_000_000 + 1_000_000)
    lateness = [at_ns - (start_ns + n * INTERVAL_NS) for n, at_ns in enumerate(beats)]
    assert len(beats) == DAY_SECONDS * 10 + 1
    assert ticker.schedule.missed == 0
    # Timers have whole milliseconds; at the end a beat is no later than at the start.
    assert max(lateness) <= 3_400_000 + 1_000_000
    assert max(lateness[-1000:]) == max(lateness[:1000])


def test_missed_beats_are_skipped_and_counted_and_never_made_up() -> None:
    timers = Timers()
    start_ns = timers.now_ns
    beats: list[int] = []

    def on_tick() -> None:
        beats.append(timers.now_ns)
        if len(beats) == 3:
            timers.now_ns += 350_000_000  # a tick that takes three and a half intervals

    ticker = Ticker(0.1, timers, LoopTimer(timers, timers.call_later), on_tick)
    ticker.start()
    timers.run_until(start_ns + 1_000_000_000)
    offsets = [round((at_ns - start_ns) / 1e6) for at_ns in beats]
    assert offsets == [0, 100, 200, 550, 600, 700, 800, 900, 1000]
    assert ticker.schedule.missed == 2


def test_a_failed_tick_is_logged_and_the_next_one_is_on_schedule(caplog: pytest.LogCaptureFixture) -> None:
    timers = Timers()
    calls: list[int] = []

    def on_tick() -> None:
        calls.append(timers.now_ns)
        if len(calls) == 1:
            raise ValueError("no")

    ticker = Ticker(0.1, timers, LoopTimer(timers, timers.call_later), on_tick)
    ticker.start()
    with caplog.at_level(logging.ERROR):
        timers.run_until(timers.now_ns + INTERVAL_NS)
    assert len(calls) == 2
    assert ticker.errors == 1
    assert "tick failed" in caplog.text


def test_a_ticker_knows_how_late_its_latest_beat_was() -> None:
    timers = Timers()
    ticker = Ticker(0.1, timers, LoopTimer(timers, timers.call_later), lambda: None)
    ticker.start()
    assert ticker.take_max_late_ns() is None
    for timers.late_ns in (0, 30_000_000, 10_000_000):
        timers.run_until(timers.now_ns + INTERVAL_NS)
    assert (ticker.late_ns, ticker.take_max_late_ns()) == (10_000_000, 30_000_000)
    assert ticker.take_max_late_ns() is None


def test_a_beat_that_is_due_is_taken_before_its_timer_fires_and_only_once() -> None:
    timers = Timers()
    start_ns = timers.now_ns
    beats: list[int] = []
    ticker = Ticker(
        0.1, timers, LoopTimer(timers, timers.call_later), lambda: beats.append(round((timers.now_ns - start_ns) / 1e6))
    )
    ticker.start()
    timers.run_until(start_ns)
    for timers.now_ns in (
        start_ns + INTERVAL_NS - 1,
        start_ns + INTERVAL_NS + 7_000_000,
        start_ns + 2 * INTERVAL_NS - 1,
    ):
        ticker.catch_up()
    assert beats == [0, 107]
    timers.run_until(start_ns + 3 * INTERVAL_NS)
    assert beats == [0, 107, 200, 300]
    ticker.stop()
    timers.now_ns += 10 * INTERVAL_NS
    ticker.catch_up()
    assert beats == [0, 107, 200, 300]


def test_a_stopped_ticker_does_not_fire_again() -> None:
    timers = Timers()
    beats: list[int] = []
    ticker = Ticker(0.1, timers, LoopTimer(timers, timers.call_later), lambda: (beats.append(1), ticker.stop())[0])
    ticker.start()
    timers.run_until(timers.now_ns + 10 * INTERVAL_NS)
    assert beats == [1]


@pytest.mark.skipif(sys.platform != "linux", reason="timerfd is of Linux")
def test_the_kernels_timer_never_calls_before_a_beat_and_ends_with_its_stop() -> None:
    async def main() -> list[int]:
        clock, beats, over = HostClock(), list[int](), asyncio.Event()
        timer = KernelTimer(asyncio.get_running_loop())
        first_ns = clock.mono_ns() + 10_000_000

        def on_beat() -> None:
            beats.append(clock.mono_ns() - first_ns)
            if len(beats) == 5:
                timer.stop()
                over.set()

        timer.start(first_ns, 10_000_000, on_beat)
        await over.wait()
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(timer._fd)
        return beats

    beats = asyncio.run(main())
    assert all(at_ns >= n * 10_000_000 for n, at_ns in enumerate(beats))


def test_a_beat_that_was_taken_early_is_not_taken_again_by_the_kernels_timer() -> None:
    beats: list[int] = []

    async def main() -> None:
        clock, loop = HostClock(), asyncio.get_running_loop()
        ticker = Ticker(3600.0, clock, beat_timer(clock, loop), lambda: beats.append(1))
        ticker.start()
        ticker.catch_up()
        # By now the timer has fired, and the loop has seen it.
        await asyncio.sleep(0.01)
        ticker.stop()

    asyncio.run(main())
    assert beats == [1]


@given(st.lists(st.integers(min_value=0, max_value=5 * INTERVAL_NS), max_size=50))
def test_beats_taken_and_missed_add_up_to_the_time_passed(delays_ns: list[int]) -> None:
    schedule = Schedule(0, INTERVAL_NS)
    for made, delay_ns in enumerate(delays_ns, 1):
        now_ns = schedule.next_ns + delay_ns
        schedule.advance(now_ns)
        assert schedule.next_ns > now_ns
        assert made + schedule.missed == now_ns // INTERVAL_NS + 1
