"""The hub: it owns bus, collectors and tick. On each tick it encodes one snapshot and publishes it as one frame.

Workers, which own the sockets, are in the HTTP layer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol

from observability.bus import Bus
from observability.clocks.clock import Clock, EventClock
from observability.clocks.timers import Ticker, beat_timer
from observability.clocks.timestamps import NS_PER_MS
from observability.listeners import ERRORS, Listeners
from observability.memory.counters import Counters
from observability.snapshot.custom_collectors import Collector, CustomCollectors
from observability.snapshot.frames import Frame, FrameRing
from observability.snapshot.on_demand import OnDemandDocuments, SharedDocuments
from observability.snapshot.sections import Section
from observability.snapshot.serializer import Serializer

logger = logging.getLogger(__name__)

CUSTOM_COLLECTOR_TIMEOUT_SECONDS = 1.0


class SectionCollector(Section, Collector, Protocol):
    """A built-in collector: a section of the snapshot, refreshed on each tick."""


class Hub:
    """The data path from the bus to the frames.

    `documents` are REST documents by name, encoded when they are read.
    """

    def __init__(
        self,
        interval_seconds: float,
        bus: Bus,
        host_clock: Clock,
        event_clock: EventClock,
        collectors: Sequence[SectionCollector],
        custom: Mapping[str, Collector],
        counters: Counters,
        *,
        frames_shown: int = 0,
    ) -> None:
        """`frames_shown` is the highest number that a frame of an earlier hub may have had."""
        self.bus = bus
        self.event_clock = event_clock
        self.collectors = tuple(collectors)
        self.counters = counters
        self.custom = CustomCollectors(custom, interval_seconds, CUSTOM_COLLECTOR_TIMEOUT_SECONDS, counters)
        self._on_demand = OnDemandDocuments(host_clock)
        self._tick_documents = self._on_demand.of_tick(0, 0)
        self.documents = self._on_demand.makers
        epoch = f"{host_clock.time_ns():x}"
        self.serializer = Serializer(epoch, self.collectors)
        self.frames = FrameRing(epoch, frames_shown)
        self.ticker: Ticker | None = None
        self.last_tick_ns = 0
        """How long the last tick took, until its frame was published."""
        self.source_failures: list[str] = []
        """Name and error of each source that failed, newest last."""
        self._host_clock = host_clock
        self._interval_seconds = interval_seconds
        self._frame_listeners: Listeners[Frame] = Listeners("a frame", counters.counter(*ERRORS))
        self._source_tasks: list[asyncio.Task[None]] = []
        self._polled: dict[str, Callable[[], None]] = {}
        self._tick_duration = counters.histogram(
            "tick_duration_seconds", "Time from the beginning of a tick to its published frame"
        )
        self._snapshot_bytes = counters.gauge("snapshot_bytes", "Size of the newest snapshot")

    def add_frame_listener(self, listener: Callable[[Frame], None]) -> None:
        """Calls `listener` with each new frame, within the tick."""
        self._frame_listeners.add(listener)

    async def start_collectors(self) -> None:
        """Starts the collectors. The state of an earlier hub may be restored between this and `start`."""
        for collector in self.collectors:
            await collector.start()

    async def start(self) -> None:
        """Publishes the first frame at once, then one per interval."""
        await self.start_collectors()
        await self.custom.start()
        self.tick()
        timer = beat_timer(self._host_clock, asyncio.get_running_loop())
        self.ticker = Ticker(self._interval_seconds, self._host_clock, timer, self.tick)
        self.ticker.start()

    def add_source(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Runs a source until it ends. A source that fails ends alone, and degrades the health."""
        self._source_tasks.append(asyncio.create_task(self._run_source(name, run), name=f"source {name}"))

    def add_polled_source(self, name: str, poll: Callable[[], None]) -> None:
        """Calls `poll` before each tick. For a source that has its events ready at any time: a wake-up of its own would
        cost more than they do. One that fails is not called again, and degrades the health."""
        self._polled[name] = poll

    async def stop(self) -> None:
        """Stops sources, tick and collectors, in the direction of the data."""
        self._polled.clear()
        for task in self._source_tasks:
            task.cancel()
        await asyncio.gather(*self._source_tasks, return_exceptions=True)
        if self.ticker is not None:
            self.ticker.stop()
        await self.custom.stop()
        for collector in self.collectors:
            await collector.stop()

    @property
    def ticks_missed(self) -> int:
        """Ticks that were skipped because the loop was late."""
        return 0 if self.ticker is None else self.ticker.schedule.missed

    def take_lag_ms(self) -> float | None:
        """Returns by how much the latest tick since the last call was late, which is the lag of the event loop; None if
        there was no tick."""
        late_ns = None if self.ticker is None else self.ticker.take_max_late_ns()
        return None if late_ns is None else late_ns / NS_PER_MS

    def catch_up(self) -> None:
        """Ticks if a tick is due."""
        if self.ticker is not None:
            self.ticker.catch_up()

    def not_ready(self) -> list[str]:
        """Returns the names of the collectors that do not run: stopped, or custom and not started yet."""
        collectors: list[Collector] = [*self.collectors, *self.custom.collectors.values()]
        return [collector.name for collector in collectors if not collector.is_running]

    def tick(self) -> None:
        """Refreshes every section, encodes one snapshot and publishes it."""
        # hot: once per tick (benchmarks/bench_tick.py)
        if self._polled:
            self._poll_sources()
        mono_ns = self._host_clock.mono_ns()
        now_ns = self.event_clock.time_ns()
        is_recorded = not self.event_clock.is_waiting
        for collector in self.collectors:
            collector.refresh(now_ns, is_recorded=is_recorded)
            collector.metrics_collected += 1
        frames = self.frames
        seq = frames.latest_seq + 1
        payload, index = self.serializer.encode(seq, now_ns, mono_ns, self.custom.encoded)
        self._tick_documents = self._on_demand.of_tick(seq, now_ns)
        frame = frames.publish(payload, index, now_ns, mono_ns, self._tick_documents)
        self._snapshot_bytes.set(payload.size)
        self.last_tick_ns = self._host_clock.mono_ns() - mono_ns
        self._tick_duration.record(self.last_tick_ns)
        self._frame_listeners.call(frame)

    def documents_to_share(self, always: Collection[str]) -> SharedDocuments:
        """Returns the newest documents for other processes; those in `always` are current."""
        return self._tick_documents.to_share(always)

    def peek_document(self, name: str) -> bytes:
        """Returns a document as of the newest tick, without counting it as read. Raises KeyError."""
        return self._tick_documents.peek(name)

    def _poll_sources(self) -> None:
        for name, poll in tuple(self._polled.items()):
            try:
                poll()
            except Exception as error:
                del self._polled[name]
                self._note_failure(name, error)

    def _note_failure(self, name: str, error: Exception) -> None:
        """Notes why a source has ended; called while the exception is handled."""
        self.source_failures.append(f"{name}: {error}")
        logger.exception("source %s failed", name)

    async def _run_source(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
            logger.info("source %s has ended", name)
        except Exception as error:
            self._note_failure(name, error)
