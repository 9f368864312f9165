"""How long the path takes: the tick, its lateness, the fan-out, the age of an event at the kernel and at the eye.

newest event ---- wait for the beat ----> beat ---- encode ----> frame ---- fan-out ----> last byte handed over
                                   late --|--------- tick --------|
                                          |-------------------- fanout --------------------|
|------------------------------------------ age_at_send -----------------------------------|

What pages report of painted frames is longer: `tick_to_eye` from the beat on, `event_to_eye` from the event on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from observability.clocks.timestamps import NS_PER_MS
from observability.memory.counters import BucketHistogram, Counted
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub
from observability.snapshot.sections import Section

PERCENTS: Final = (50, 95, 99)
"""The percentiles that are shown of a latency."""
# So many ticks are counted at a time, which costs a tenth of counting each of them.
NOTED_TICKS: Final = 50
# What workers count of the reports of their clients' pages, by the name of the stretch.
_EYE: Final = {"tick_to_eye": "tick_to_eye_seconds", "event_to_eye": "event_to_eye_seconds"}


class PathLatency:
    """Measures each tick and each frame sent. `sections` are those that events go into. In a replay their times are not
    those of this host's clock, and no age is measured. `counted` are the counters of all processes."""

    def __init__(
        self, hub: Hub, sections: Sequence[Section], fanout: DurationHistogram, counted: Callable[[], Counted]
    ) -> None:
        self._tick = DurationHistogram()
        self._late = DurationHistogram()
        # Durations of ticks, and their lateness, that are in no histogram yet.
        self._noted: list[tuple[int, int | None]] = []
        self.age_at_send = DurationHistogram()
        self.fanout = fanout
        self._counted = counted
        self._hub = hub
        self._sections = tuple(sections)
        self._newest_ns = 0
        self._age_ns: int | None = None

    def on_frame(self, frame: Frame) -> None:
        """Measures a tick; called before its frame is sent."""
        # hot: once per tick (benchmarks/bench_tick.py)
        hub = self._hub
        self._noted.append((hub.last_tick_ns, None if hub.ticker is None else hub.ticker.late_ns))
        if len(self._noted) >= NOTED_TICKS:
            self._count_noted()
        newest_ns = 0
        for section in self._sections:
            input_ns = section.last_input_ns
            if input_ns is not None and input_ns > newest_ns:
                newest_ns = input_ns
        self._age_ns = None
        if newest_ns != self._newest_ns:
            if newest_ns > self._newest_ns and not hub.event_clock.is_replayed:
                self._age_ns = frame.ts_ns - newest_ns
            self._newest_ns = newest_ns

    def on_sent(self, frame: Frame, duration_ns: int) -> None:
        """Measures a frame that was sent to every client of a worker."""
        if self._age_ns is not None:
            self.age_at_send.record(self._age_ns + duration_ns)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Returns count, percentiles and maximum of each stretch since the start; null if nothing was measured."""
        self._count_noted()
        stretches = {"tick": self._tick, "late": self._late, "fanout": self.fanout, "age_at_send": self.age_at_send}
        return {name: _summary(histogram) for name, histogram in stretches.items()} | self._eyes()

    def _count_noted(self) -> None:
        for tick_ns, late_ns in self._noted:
            self._tick.record(tick_ns)
            if late_ns is not None:
                self._late.record(late_ns)
        self._noted.clear()

    def _eyes(self) -> dict[str, dict[str, Any]]:
        histograms = {
            family.name: sample
            for name in _EYE.values()
            if (family := self._counted().family(name)) is not None
            for sample in family.samples.values()
            if isinstance(sample, BucketHistogram)
        }
        return {name: _bucket_summary(histograms.get(family)) for name, family in _EYE.items()}


def _summary(histogram: DurationHistogram) -> dict[str, Any]:
    return {
        "n": histogram.count,
        **{f"p{percent}_ms": histogram.percentile_ms(percent) for percent in PERCENTS},
        "max_ms": histogram.max_ms,
    }


def _bucket_summary(histogram: BucketHistogram | None) -> dict[str, Any]:
    """Returns the same of a histogram of buckets, which does not know its maximum."""
    found = {percent: None if histogram is None else histogram.percentile_ns(percent) for percent in PERCENTS}
    return {
        "n": 0 if histogram is None else sum(histogram.counts),
        **{f"p{percent}_ms": None if ns is None else ns / NS_PER_MS for percent, ns in found.items()},
        "max_ms": None,
    }
