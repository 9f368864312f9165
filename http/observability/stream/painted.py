"""Reports of painted frames: how long what has happened takes to reach the eye of who looks at a page.

newest event --- age ---> tick ------> sent ~~~~> received ------> painted ~~~~> report
                           |                          |- paint_ms -|                |
                           |------------- elapsed, by this host alone -------------|

A page says how long it took itself, and the round trip of its last report. No clock of a page is compared with one of
this host: the way back is taken for half the round trip, and every duration is true to within that half.
"""

from __future__ import annotations

import re
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.memory.counters import Counters
from observability.snapshot.frames import Frame, FrameSource
from observability.stream.subscriptions import ClientMessage, SubscriptionError

TICK_TO_EYE: Final = "tick_to_eye_seconds"
EVENT_TO_EYE: Final = "event_to_eye_seconds"
# A page reports once a second. More often a client has no say in what the histograms become.
MIN_INTERVAL_NS: Final = NS_PER_S // 2

# The ages stand before the sections. That of the system is one of its own sample.
_AGES: Final = re.compile(rb'"age_ms":\{([^}]*)\}')
_AGE: Final = re.compile(rb'"(?:market_data|strategy|execution)":([0-9.e+-]+)')
_HEAD_BYTES: Final = 1024
# Beyond this the event clock is not the host's: in a replay the age of an event says nothing of here.
_SAME_CLOCK_NS: Final = NS_PER_S // 10


class PaintedFrames:
    """Takes the reports of a worker's clients."""

    def __init__(self, frames: FrameSource, counters: Counters, host_clock: Clock) -> None:
        self._frames = frames
        self._clock = host_clock
        self._tick_to_eye = counters.histogram(TICK_TO_EYE, "From the tick to the painted frame, as pages report it")
        self._event_to_eye = counters.histogram(
            EVENT_TO_EYE, "From the newest event to the painted frame, as pages report it"
        )

    def take(self, report: ClientMessage, last_ns: int | None) -> dict[str, Any]:
        """Returns the answer to a report. `last_ns` is when the same client reported last. The first report of a
        connection has no round trip, and counts for nothing; neither does one of a recorded frame. Raises
        SubscriptionError if it comes too soon, says nothing of a frame, or is more than can be true."""
        now_ns = self._clock.mono_ns()
        if last_ns is not None and now_ns - last_ns < MIN_INTERVAL_NS:
            raise SubscriptionError("rate_limited", "expected at most two reports of painted frames a second")
        if report.seq is None or report.paint_ms is None:
            raise SubscriptionError("bad_message", "a report of a painted frame has epoch, seq and paint_ms")
        frame = self._frames.find(report.seq) if report.epoch == self._frames.epoch else None
        answer = {"type": "painted", "seq": report.seq}
        nothing = {"tick_to_eye_ms": None, "event_to_eye_ms": None, "uncertainty_ms": None}
        if frame is None or not frame.mono_ns:
            return answer | nothing
        elapsed_ns, paint_ns = now_ns - frame.mono_ns, round(report.paint_ms * NS_PER_MS)
        if paint_ns > elapsed_ns:
            raise SubscriptionError("bad_message", "the frame was not yet made when the report says it was received")
        if report.rtt_ms is None:
            return answer | nothing
        back_ns = min(round(report.rtt_ms * NS_PER_MS), elapsed_ns - paint_ns) // 2
        tick_ns = elapsed_ns - back_ns
        self._tick_to_eye.record(tick_ns)
        age_ns = self._age_ns(frame, now_ns)
        if age_ns is not None:
            self._event_to_eye.record(age_ns + tick_ns)
        return answer | {
            "tick_to_eye_ms": tick_ns / NS_PER_MS,
            "event_to_eye_ms": None if age_ns is None else (age_ns + tick_ns) / NS_PER_MS,
            "uncertainty_ms": back_ns / NS_PER_MS,
        }

    def _age_ns(self, frame: Frame, now_ns: int) -> int | None:
        """Returns the age of the newest event at the tick; None without one, and in a replay."""
        since_tick_ns = self._clock.time_ns() - frame.ts_ns
        if abs(since_tick_ns - (now_ns - frame.mono_ns)) > _SAME_CLOCK_NS:
            return None
        found = _AGES.search(frame.payload[:_HEAD_BYTES])
        ages = [float(age) for age in _AGE.findall(found[1])] if found else []
        return round(min(ages) * NS_PER_MS) if ages else None
