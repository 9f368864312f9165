"""The feed of a worker's process: it copies the hub's frames and lanes out of the mapping, and counts what it loses."""

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
from observability.snapshot.frames import NO_INDEX, FrameRing
from observability.snapshot.on_demand import SharedDocuments
from observability.snapshot.shared_frames import FrameWriter
from observability.stream.lanes import Lane, LaneReader
from server_process import TIMEOUT_SECONDS


class Hub:
    """Writes frames and lanes, and wakes the worker."""

    def __init__(self, mapping: SharedMapping, wakeup: WakeUp) -> None:
        self.lanes = mapping.lanes()
        self._ring = FrameRing("e")
        self._writer = FrameWriter(mapping, "e", EventClock(HostClock()), Counters())
        self._wakeup = wakeup

    def tick(self) -> None:
        self._writer.write_frame(self._ring.publish(b"{}", NO_INDEX, 1, 1, {}), SharedDocuments({}, ()))
        self._wakeup.wake()


class Host:
    """A hub, and the feed of one worker."""

    def __init__(self) -> None:
        self.mapping = SharedMapping(3, 1)
        self.wakeup = WakeUp()
        self.hub = Hub(self.mapping, self.wakeup)
        self.counters = Counters()
        self.feed = SharedFeed(self.mapping, self.wakeup, HostClock(), self.counters)

    @property
    def trades(self) -> Lane:
        return self.feed.lanes["trades"]

    def read(self, reader: LaneReader) -> list[bytes]:
        messages = []
        while (message := reader.next_message()) is not None:
            messages.append(message)
        return messages


def run(main: Coroutine[Any, Any, None]) -> None:
    uvloop.run(asyncio.wait_for(main, TIMEOUT_SECONDS))


def test_a_woken_worker_reads_the_newest_frame_and_the_lanes() -> None:
    async def main() -> None:
        host = Host()
        loop = asyncio.get_running_loop()
        seen: list[tuple[int, int]] = []
        done = asyncio.Event()

        def on_frame(frame: Any) -> None:
            seen.append((frame.seq, host.trades.seq))
            done.set()

        host.feed.add_frame_listener(on_frame)
        host.feed.start(loop)
        host.hub.lanes["trades"].append(7, "A", b'"x":1')
        host.hub.tick()
        await host.feed.first_frame()
        await done.wait()
        assert seen == [(1, 7)]
        host.feed.stop(loop)

    run(main())


def test_many_wake_ups_before_a_worker_reads_count_as_one() -> None:
    async def main() -> None:
        host = Host()
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        host.feed.add_frame_listener(lambda frame: seen.append(frame.seq))
        host.feed.start(loop)
        for _ in range(100_000):  # more than a pipe holds
            host.wakeup.wake()
        host.hub.tick()
        host.hub.tick()
        await host.feed.first_frame()
        assert seen == [2]
        host.feed.stop(loop)

    run(main())


def test_a_worker_that_starts_late_can_replay_what_a_lane_still_holds() -> None:
    host = Host()
    for seq in range(1, 6):
        host.hub.lanes["trades"].append(seq, "A", b'"n":%d' % seq)
    host.feed.catch_up()
    assert host.read(LaneReader(host.trades, None, 3)) == [
        b'{"type":"trade","seq":4,"prev":3,"n":4}',
        b'{"type":"trade","seq":5,"prev":4,"n":5}',
    ]


def test_entries_that_a_worker_was_too_late_for_are_counted_as_lost() -> None:
    host = Host()
    log = host.hub.lanes["trades"]
    log.append(1, "A", b"")
    host.feed.catch_up()
    reader = LaneReader(host.trades, None, None)
    for seq in range(2, 10_020):
        log.append(seq, "A", b"")
    host.hub.tick()
    host.feed.catch_up()
    assert reader.has_lost
    assert host.counters.total("shared_records_lost_total") == 18
    assert host.trades.seq == 10_019


def test_entries_overwritten_before_the_worker_started_are_not_lost() -> None:
    async def main() -> None:
        host = Host()
        log = host.hub.lanes["trades"]
        for seq in range(1, 3000):  # more bytes than the lane has room for
            log.append(seq, None, bytes([seq % 256]) * 8000)
        host.feed.start(asyncio.get_running_loop())
        host.hub.tick()
        await host.feed.first_frame()
        assert host.counters.total("shared_records_lost_total") == 0
        assert 1 < host.trades.oldest_seq < 2999
        host.feed.stop(asyncio.get_running_loop())

    run(main())


def test_catching_up_reads_what_another_worker_has_sent_already() -> None:
    host = Host()
    log = host.hub.lanes["trades"]
    log.append(1, "A", b"")
    host.feed.catch_up()
    # Another worker has been woken for these already, this one has not.
    log.append(2, "A", b"")
    host.hub.tick()
    host.feed.catch_up()
    assert host.feed.frames.latest_seq == 1
    reader = LaneReader(host.trades, None, 2)
    assert host.read(reader) == []
    log.append(3, "A", b"")
    host.feed.catch_up()
    assert host.read(reader) == [b'{"type":"trade","seq":3,"prev":2,}']
