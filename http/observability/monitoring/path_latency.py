"""How long the server's own path takes: the tick, its lateness, the fan-out, and the age of an event at the kernel.

newest event ---- wait for the beat ----> beat ---- encode ----> frame ---- fan-out ----> last byte handed over
                                   late --|--------- tick --------|
                                          |-------------------- fanout --------------------|
|------------------------------------------ age_at_send -----------------------------------|
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub
from observability.snapshot.sections import Section

PERCENTS: Final = (50, 95, 99)
"""The percentiles that are shown of a latency."""


class PathLatency:
    """Measures each tick and each frame sent. `sections` are those that events go into. In a replay their times are not
    those of this host's clock, and no age is measured."""

    def __init__(self, hub: Hub, sections: Sequence[Section], fanout: DurationHistogram) -> None:
        self.tick = DurationHistogram()
        self.late = DurationHistogram()
        self.age_at_send = DurationHistogram()
        self.fanout = fanout
        self._hub = hub
        self._sections = tuple(sections)
        self._newest_ns = 0
        self._age_ns: int | None = None

    def on_frame(self, frame: Frame) -> None:
        """Measures a tick; called before its frame is sent."""
        # hot: once per tick (benchmarks/bench_tick.py)
        hub = self._hub
        self.tick.record(hub.last_tick_ns)
        if hub.ticker is not None and hub.ticker.late_ns is not None:
            self.late.record(hub.ticker.late_ns)
        newest_ns = max((section.last_input_ns or 0 for section in self._sections), default=0)
        has_news = newest_ns > self._newest_ns and not hub.event_clock.is_replayed
        self._newest_ns = newest_ns
        self._age_ns = frame.ts_ns - newest_ns if has_news else None

    def on_sent(self, frame: Frame, duration_ns: int) -> None:
        """Measures a frame that was sent to every client of a worker."""
        if self._age_ns is not None:
            self.age_at_send.record(self._age_ns + duration_ns)

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Returns count, percentiles and maximum of each stretch since the start; null if nothing was measured."""
        stretches = {"tick": self.tick, "late": self.late, "fanout": self.fanout, "age_at_send": self.age_at_send}
        return {name: _summary(histogram) for name, histogram in stretches.items()}


def _summary(histogram: DurationHistogram) -> dict[str, Any]:
    return {
        "n": histogram.count,
        **{f"p{percent}_ms": histogram.percentile_ms(percent) for percent in PERCENTS},
        "max_ms": histogram.max_ms,
    }
