"""Stale data is told once, and so is its end."""

from __future__ import annotations

import json
from typing import Any

from fake_clock import FakeClock
from observability.memory.mapping import ProcessState, SharedMapping
from observability.monitoring.staleness import Staleness
from observability.snapshot.frames import FrameRing
from observability.snapshot.index import SnapshotIndex

NS_PER_S = 10**9


class World:
    """A hub's slot, its frames, and what clients are told."""

    def __init__(self, interval_seconds: float = 0.1) -> None:
        self.clock = FakeClock(NS_PER_S)
        self.hub = SharedMapping(3, 1).hub
        self.frames = FrameRing("e", SnapshotIndex([]))
        self.told: list[bytes | None] = []
        self.staleness = Staleness(self.hub, self.frames, self.clock, interval_seconds, self.told.append)
        self.hub.state = ProcessState.SERVING
        self.tick()

    def tick(self) -> None:
        self.frames.publish(b"{}", self.clock.now_ns, self.clock.now_ns, {})

    def check_after(self, seconds: float) -> list[dict[str, Any] | None]:
        """What was told by a check so much later."""
        self.clock.advance(seconds)
        self.told.clear()
        self.staleness.check()
        return [None if message is None else json.loads(message) for message in self.told]


def test_fresh_data_is_nothing_to_tell() -> None:
    assert World().check_after(0.5) == []


def test_a_late_hub_is_told_once() -> None:
    world = World()
    (message,) = world.check_after(1.5)
    assert message is not None
    assert (message["type"], message["epoch"], message["seq"], message["age_ms"]) == ("stale", "e", 1, 1500.0)
    assert world.check_after(1.0) == []


def test_a_dead_hub_is_told_whatever_the_age_of_its_last_frame() -> None:
    world = World()
    world.hub.clear()
    (message,) = world.check_after(0.01)
    assert message is not None
    assert "started again" in message["reason"]


def test_the_end_is_told_and_the_next_outage_again() -> None:
    world = World()
    world.check_after(2.0)
    world.tick()
    assert world.check_after(0.1) == [None]
    assert len(world.check_after(2.0)) == 1


def test_a_hub_that_ticks_slowly_is_not_late_before_three_of_its_beats() -> None:
    world = World(interval_seconds=10.0)
    assert world.check_after(29.0) == []
    assert len(world.check_after(2.0)) == 1
