"""The feed of a worker in a process of its own: copies what the hub has put into the mapping, when woken.

Nothing is written here, and no client is known (see `worker.py`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from observability.clocks.clock import Clock
from observability.memory.counters import Counters
from observability.memory.entry_log import EntryLog
from observability.memory.mapping import SharedMapping
from observability.processes.wakeup import WakeUp
from observability.server.feed import Feed
from observability.snapshot.frames import Frame
from observability.snapshot.shared_frames import SharedEventClock, SharedFrames
from observability.stream.lanes import Entry, Lane, make_lanes


class SharedFeed:
    """Follows one hub after the other through the same mapping."""

    def __init__(self, mapping: SharedMapping, wakeup: WakeUp, host_clock: Clock, counters: Counters) -> None:
        lanes = make_lanes()
        self.frames = SharedFrames(mapping)
        self.feed = Feed(self.frames, lanes, SharedEventClock(mapping, host_clock), self.refresh)
        self._wakeup = wakeup
        self._followers = [_LaneFollower(log, lanes[name]) for name, log in mapping.lanes().items()]
        self._listeners: list[Callable[[Frame], None]] = []
        self._has_frame = asyncio.Event()
        self.lost = counters.counter("shared_records_lost_total", "Records overwritten before this worker copied them")
        self._lost_before = 0

    def add_frame_listener(self, listener: Callable[[Frame], None]) -> None:
        """Calls `listener` with each new frame."""
        self._listeners.append(listener)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begins to wait for the hub, and takes what is there already."""
        loop.add_reader(self._wakeup.fileno(), self._on_wake)
        self.refresh()
        # What was gone before this worker came is nobody's loss.
        self._lost_before = self._records_lost()

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for the hub no longer."""
        loop.remove_reader(self._wakeup.fileno())

    async def first_frame(self) -> None:
        """Returns once there is a frame."""
        await self._has_frame.wait()

    def refresh(self) -> None:
        """Takes over everything new, and tells the listeners if there is a new frame."""
        # hot: once per tick and worker (benchmarks/bench_workers.py)
        # Lanes after the frame: what a frame speaks of is in them by then.
        frame = self.frames.refresh()
        for follower in self._followers:
            follower.follow()
        if frame is None:
            return
        self._has_frame.set()
        lost = self._records_lost()
        if lost > self._lost_before:
            self.lost.add(lost - self._lost_before)
            self._lost_before = lost
        for listener in self._listeners:
            listener(frame)

    def _on_wake(self) -> None:
        self._wakeup.drain()
        self.refresh()

    def _records_lost(self) -> int:
        return self.frames.records_lost + sum(follower.entries_lost for follower in self._followers)


class _LaneFollower:
    """Brings a lane of this worker up to the hub's."""

    def __init__(self, log: EntryLog, lane: Lane) -> None:
        self._log = log
        self._lane = lane
        self._position = log.start

    @property
    def entries_lost(self) -> int:
        return self._log.entries_lost

    def follow(self) -> None:
        log, lane = self._log, self._lane
        end, start = log.end, log.start
        if self._position < start:
            log.entries_lost += start - self._position
            lane.lose_older()
            self._position = start
        while self._position < end:
            copied = log.copy(self._position)
            self._position += 1
            if copied is None:
                lane.lose_older()
            else:
                lane.add(Entry(*copied))
