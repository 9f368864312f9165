"""What a worker reads from the hub: frames, lanes and event time, out of its own process or out of the mapping."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial

from observability.clocks.clock import Clock
from observability.errors import HubUnavailable
from observability.http11.refusals import Unavailable
from observability.listeners import ERRORS, Listeners
from observability.memory.counters import Counters
from observability.memory.entry_log import EntryLog
from observability.memory.mapping import SharedMapping
from observability.processes.wakeup import WakeUp
from observability.snapshot.frames import Frame, FrameSource
from observability.snapshot.shared_frames import SharedEventClock, SharedFrames
from observability.store.reader import StoreReader
from observability.stream.lane_feed import make_lanes
from observability.stream.lanes import Entry, Lane, Page, SymbolFilter

ReadLanePage = Callable[[str, int, SymbolFilter, int], Awaitable[Page]]
"""Reads a page of a lane, by its channel. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class LocalFeed:
    """The feed of a worker in the hub's own process: the hub's objects themselves."""

    frames: FrameSource
    lanes: Mapping[str, Lane]
    event_clock: Clock
    catch_up: Callable[[], None]
    """Has the hub tick if a tick is due; beyond that, the worker sees everything the hub has."""


class SharedFeed:
    """The feed of a worker in a process of its own: copies what the hub publishes into the mapping, whenever it is
    woken. When one hub replaces another, the feed continues."""

    def __init__(
        self,
        mapping: SharedMapping,
        wakeup: WakeUp,
        host_clock: Clock,
        counters: Counters,
        reader: StoreReader | None = None,
        read_page: ReadLanePage | None = None,
    ) -> None:
        """`reader` reads the store that the lanes are written to, if there is one; on a host without it `read_page`
        asks the hub, which has one."""
        self.frames = SharedFrames(mapping)
        self.lanes: Mapping[str, Lane] = make_lanes(reader)
        if read_page is not None:
            for channel, lane in self.lanes.items():
                lane.archive = _RemoteArchive(partial(read_page, channel))
                lane.may_be_behind = True
        self.event_clock = SharedEventClock(mapping, host_clock)
        self.lost = counters.counter("shared_records_lost_total", "Records overwritten before this worker copied them")
        self._wakeup = wakeup
        self._followers = [_LaneFollower(log, self.lanes[name]) for name, log in mapping.lanes().items()]
        self._listeners: Listeners[Frame] = Listeners("a frame", counters.counter(*ERRORS))
        self._has_frame = asyncio.Event()
        self._lost_before = 0

    def add_frame_listener(self, listener: Callable[[Frame], None]) -> None:
        """Calls `listener` with each new frame."""
        self._listeners.add(listener)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Reads what has been published so far, then whatever the hub wakes this worker for."""
        loop.add_reader(self._wakeup.fileno(), self._on_wake)
        self.catch_up()
        # What was overwritten before this worker started is not lost to any of its clients.
        self._lost_before = self._records_lost()

    def stop(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._wakeup.fileno())

    async def first_frame(self) -> None:
        """Returns once there is a frame."""
        await self._has_frame.wait()

    def catch_up(self) -> None:
        """Copies everything new, and calls the listeners if there is a new frame."""
        # hot: once per tick and worker (observability bench --only workers)
        # The lanes come after the frame, so that they hold every entry the frame refers to.
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
        self._listeners.call(frame)

    def _on_wake(self) -> None:
        self._wakeup.drain()
        self.catch_up()

    def _records_lost(self) -> int:
        return self.frames.records_lost + sum(follower.entries_lost for follower in self._followers)


class _RemoteArchive:
    """The entries of one lane in the store of another host."""

    def __init__(self, read: Callable[[int, SymbolFilter, int], Awaitable[Page]]) -> None:
        self._read = read

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        try:
            return await self._read(after_seq, symbols, limit)
        except Unavailable as unavailable:
            raise HubUnavailable(unavailable.detail) from None


class _LaneFollower:
    """Copies the entries of one of the hub's lanes into this worker's lane."""

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
                lane.append(Entry(*copied))
