"""Latencies along the server's own path: what is measured, and when."""

from __future__ import annotations

from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.clocks.timestamps import NS_PER_MS
from observability.memory.counters import Counters
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.monitoring.path_latency import PathLatency
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub

NOW_NS = 1_700_000_000_000_000_000


class SteppedClock:
    """Moves a millisecond with each look at the monotonic clock."""

    def __init__(self) -> None:
        self._mono_ns = 0

    def time_ns(self) -> int:
        return NOW_NS

    def mono_ns(self) -> int:
        self._mono_ns += NS_PER_MS
        return self._mono_ns


class FakeSection:
    """A section with nothing but the time of its newest input."""

    name = "market_data"
    groups = ()
    fields = None

    def __init__(self) -> None:
        self.last_input_ns: int | None = None

    def refresh(self, now_ns: int, *, is_recorded: bool = True) -> None: ...


class Path:
    """A hub that ticks by hand, and what is measured of it."""

    def __init__(self) -> None:
        clock = SteppedClock()
        self.event_clock = EventClock(clock)
        self.hub = Hub(0.1, Bus(), clock, self.event_clock, [], {}, Counters())
        self.section = FakeSection()
        self.latency = PathLatency(self.hub, [self.section], DurationHistogram(), Counters)
        self.hub.add_frame_listener(self._on_frame)

    def _on_frame(self, frame: Frame) -> None:
        self.latency.on_frame(frame)
        self.latency.on_sent(frame, 2 * NS_PER_MS)


def test_each_tick_is_measured() -> None:
    path = Path()
    path.hub.tick()
    path.hub.tick()
    assert path.latency.to_json()["tick"] == {"n": 2, "p50_ms": 1.0, "p95_ms": 1.0, "p99_ms": 1.0, "max_ms": 1.0}


def test_the_age_of_an_event_is_its_age_at_the_tick_plus_the_fan_out() -> None:
    path = Path()
    path.section.last_input_ns = NOW_NS - 40 * NS_PER_MS
    path.hub.tick()
    assert path.latency.to_json()["age_at_send"]["max_ms"] == 42.0


def test_an_event_is_measured_once() -> None:
    path = Path()
    path.section.last_input_ns = NOW_NS - 40 * NS_PER_MS
    path.hub.tick()
    path.hub.tick()
    assert path.latency.to_json()["age_at_send"]["n"] == 1


def test_no_age_is_measured_in_a_replay() -> None:
    path = Path()
    path.event_clock.advance(NOW_NS)
    path.section.last_input_ns = NOW_NS - 40 * NS_PER_MS
    path.hub.tick()
    assert path.latency.to_json()["age_at_send"] == {
        "n": 0, "p50_ms": None, "p95_ms": None, "p99_ms": None, "max_ms": None
    }  # fmt: skip
