"""Stale data is reported once, and so is its end."""

from __future__ import annotations

import json
from typing import Any

from fake_clock import FakeClock
from observability.memory.mapping import ProcessState, SharedMapping
from observability.monitoring.staleness import Staleness
from observability.snapshot.frames import NO_INDEX, FrameRing

NS_PER_S = 10**9


class Watch:
    """The slot and the frames of a hub, and what is reported about them."""

    def __init__(self, interval_seconds: float = 0.1) -> None:
        self.clock = FakeClock(NS_PER_S)
        self.hub = SharedMapping(3, 1).hub
        self.frames = FrameRing("e")
        self.reports: list[bytes | None] = []
        self.staleness = Staleness(self.hub, self.frames, self.clock, interval_seconds, self.reports.append)
        self.hub.state = ProcessState.SERVING
        self.tick()

    def tick(self) -> None:
        self.frames.publish(b"{}", NO_INDEX, self.clock.now_ns, self.clock.now_ns, {})

    def check_after(self, seconds: float) -> list[dict[str, Any] | None]:
        """Returns the reports of a check that many seconds later."""
        self.clock.advance(seconds)
        self.reports.clear()
        self.staleness.check()
        return [None if message is None else json.loads(message) for message in self.reports]


def test_fresh_data_is_not_reported() -> None:
    assert Watch().check_after(0.5) == []


def test_a_late_hub_is_reported_once() -> None:
    watch = Watch()
    (message,) = watch.check_after(1.5)
    assert message is not None
    assert (message["type"], message["epoch"], message["seq"], message["age_ms"]) == ("stale", "e", 1, 1500.0)
    assert watch.check_after(1.0) == []


def test_a_dead_hub_is_reported_whatever_the_age_of_its_last_frame() -> None:
    watch = Watch()
    watch.hub.clear()
    (message,) = watch.check_after(0.01)
    assert message is not None
    assert "started again" in message["reason"]


def test_the_end_of_an_outage_is_reported_and_so_is_the_next_outage() -> None:
    watch = Watch()
    watch.check_after(2.0)
    watch.tick()
    assert watch.check_after(0.1) == [None]
    assert len(watch.check_after(2.0)) == 1


def test_a_slow_hub_is_not_late_before_three_of_its_ticks_are_overdue() -> None:
    watch = Watch(interval_seconds=10.0)
    assert watch.check_after(29.0) == []
    assert len(watch.check_after(2.0)) == 1
