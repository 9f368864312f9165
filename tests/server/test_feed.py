"""A worker's feed out of the mapping: frames and lanes are the hub's, and what is lost is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import uvloop

from observability.clocks.clock import EventClock, HostClock
from observability.memory.counters import Counters
from observability.memory.mapping import SharedMapping
from observability.processes.wakeup import WakeUp
from observability.server.feed import SharedFeed
from observability.snapshot.frames import FrameRing
from observability.snapshot.index import SnapshotIndex
from observability.snapshot.shared_frames import FrameWriter
from observability.stream.lanes import Lane, LaneReader


class Hub:
    """Writes frames and lanes, and wakes the worker."""

    def __init__(self, mapping: SharedMapping, wakeup: WakeUp) -> None:
        index = SnapshotIndex([])
        self.lanes = mapping.lanes()
        self._ring = FrameRing("e", index)
        self._writer = FrameWriter(mapping, "e", index, EventClock(HostClock()), Counters())
        self._wakeup = wakeup

    def tick(self) -> None:
        self._writer.write_frame(self._ring.publish(b"{}", 1, 1, {}))
        self._wakeup.wake()


class World:
    """One hub and one worker's feed."""

    def __init__(self) -> None:
        self.mapping = SharedMapping(3, 1)
        self.wakeup = WakeUp()
        self.hub = Hub(self.mapping, self.wakeup)
        self.counters = Counters()
        self.shared = SharedFeed(self.mapping, self.wakeup, HostClock(), self.counters)

    @property
    def trades(self) -> Lane:
        return self.shared.lanes["trades"]

    def read(self, reader: LaneReader) -> list[bytes]:
        messages = []
        while (message := reader.next_message()) is not None:
            messages.append(message)
        return messages


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(main, 10))


def test_a_worker_that_is_woken_takes_the_newest_frame_and_what_the_lanes_have() -> None:
    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()
        seen: list[tuple[int, int]] = []
        done = asyncio.Event()

        def on_frame(frame: Any) -> None:
            seen.append((frame.seq, world.trades.seq))
            done.set()

        world.shared.add_frame_listener(on_frame)
        world.shared.start(loop)
        world.hub.lanes["trades"].append(7, "A", b'"x":1')
        world.hub.tick()
        await world.shared.first_frame()
        await done.wait()
        assert seen == [(1, 7)]
        world.shared.stop(loop)

    run(main())


def test_many_wake_ups_before_the_worker_looks_are_one() -> None:
    async def main() -> None:
        world = World()
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        world.shared.add_frame_listener(lambda frame: seen.append(frame.seq))
        world.shared.start(loop)
        for _ in range(100_000):  # more than a pipe holds
            world.wakeup.wake()
        world.hub.tick()
        world.hub.tick()
        await world.shared.first_frame()
        assert seen == [2]
        world.shared.stop(loop)

    run(main())


def test_a_worker_that_comes_later_can_replay_what_the_lane_still_has() -> None:
    world = World()
    for seq in range(1, 6):
        world.hub.lanes["trades"].append(seq, "A", b'"n":%d' % seq)
    world.shared.catch_up()
    assert world.read(LaneReader(world.trades, None, 3)) == [
        b'{"type":"trade","seq":4,"prev":3,"n":4}',
        b'{"type":"trade","seq":5,"prev":4,"n":5}',
    ]


def test_a_reader_is_told_when_its_worker_was_too_late() -> None:
    world = World()
    log = world.hub.lanes["trades"]
    log.append(1, "A", b"")
    world.shared.catch_up()
    reader = LaneReader(world.trades, None, None)
    for seq in range(2, 10_020):
        log.append(seq, "A", b"")
    world.hub.tick()
    world.shared.catch_up()
    assert reader.has_lost
    assert world.counters.total("shared_records_lost_total") == 18
    assert world.trades.seq == 10_019


def test_what_was_gone_before_the_worker_came_is_nobodys_loss() -> None:
    async def main() -> None:
        world = World()
        log = world.hub.lanes["trades"]
        for seq in range(1, 3000):  # more bytes than the lane has room for
            log.append(seq, None, bytes([seq % 256]) * 8000)
        world.shared.start(asyncio.get_running_loop())
        world.hub.tick()
        await world.shared.first_frame()
        assert world.counters.total("shared_records_lost_total") == 0
        assert 1 < world.trades.oldest_seq < 2999
        world.shared.stop(asyncio.get_running_loop())

    run(main())


def test_a_client_that_comes_from_a_worker_that_knew_more_finds_no_less_here() -> None:
    world = World()
    log = world.hub.lanes["trades"]
    log.append(1, "A", b"")
    world.shared.catch_up()
    # Another worker has been woken for these already, this one has not.
    log.append(2, "A", b"")
    world.hub.tick()
    world.shared.catch_up()
    assert world.shared.frames.latest_seq == 1
    reader = LaneReader(world.trades, None, 2)
    assert world.read(reader) == []
    log.append(3, "A", b"")
    world.shared.catch_up()
    assert world.read(reader) == [b'{"type":"trade","seq":3,"prev":2,}']
