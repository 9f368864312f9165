"""Replay: recordings merged in the order of arrival and published at the recorded speed, at a multiple, or flat out."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Literal

from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import MAX_NS, NS_PER_MS, NS_PER_S
from observability.errors import ConfigError, SourceError
from observability.events import Event
from observability.sources.recordings.directory import open_recordings
from observability.sources.recordings.laps import Laps
from observability.sources.recordings.recording import Recording

logger = logging.getLogger(__name__)

# The event loop runs other tasks at least this often; at a few µs per event, a batch takes less.
_SLICE_NS = 5 * NS_PER_MS
_BATCH_EVENTS = 128
# A longer gap without events, between two recordings or within one, is shortened to this.
_MAX_IDLE_NS = 5 * NS_PER_S
# A replay that is later than this (a suspended laptop, a speed that the machine cannot reach) postpones its schedule
# instead of catching up.
_MAX_LATE_NS = NS_PER_S
_PROGRESS_NS = 250 * NS_PER_MS


ReplayState = Literal["waiting", "running", "ended", "failed"]


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay has come."""

    state: ReplayState
    bytes_read: int
    bytes_total: int
    events: int
    lap: int
    event_time_ns: int | None
    """`ts_init` of the newest event published; None before the first."""
    events_span_ns: int
    """Time covered by the recordings, with idle gaps shortened (flat out: to the nearest batch)."""
    elapsed_ns: int
    skipped_lines: int
    """Lines that are well-formed and become no event, over all laps."""
    bad_lines: int
    """Lines that cannot be read, over all laps."""

    @property
    def share(self) -> float:
        """The part of the current lap's bytes that was read, from 0 to 1."""
        return min(1.0, self.bytes_read / self.bytes_total) if self.bytes_total else 1.0


class Replay:
    """Publishes the events of recordings in the order of `ts_init`, at the same time in the order of `paths`.

    `speed` is a multiple of the recorded speed, None for as fast as possible. The event clock is at each event as that
    is published, moves evenly to the next one, through a shortened gap too, and follows the host's clock from the end
    on. If a recording cannot be read to its end, the error is logged and kept in `errors`; the others continue.

    The constructor raises SourceError for a path that is not a recording and ConfigError for an invalid speed.
    """

    def __init__(
        self,
        paths: Sequence[str | Path],
        *,
        publish: Callable[[Sequence[Event]], None],
        event_clock: EventClock,
        speed: float | None = None,
        loop: bool = False,
        host_clock: Clock | None = None,
        on_progress: Callable[[ReplayProgress], None] | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        if speed is not None and not (speed > 0 and math.isfinite(speed)):
            raise ConfigError([f"speed: {speed!r}, expected a number above 0"])
        if not paths:
            raise SourceError("no recording given")
        self._clock = HostClock() if host_clock is None else host_clock
        self.recordings = open_recordings(paths, self._clock)
        self.errors: dict[Path, SourceError] = {}
        self.events = 0
        """How many events were published."""
        self.state: ReplayState = "waiting"
        self._publish = publish
        self._event_clock = event_clock
        self._speed = speed
        self._on_progress = on_progress
        self._sleep = sleep
        self._laps = Laps(self._open_lap) if loop else None
        self._stream: Iterator[Event] | None = None
        self._first: list[Event] = []
        self._bytes_total = sum(recording.bytes_total for recording in self.recordings)
        self._event_time_ns: int | None = None
        self._span_ns = 0
        self._started_ns: int | None = None
        self._progress_due_ns = 0

    def prepare(self) -> None:
        """Reads the first event and holds the event clock at its time. Call it before anything asks the clock, so that
        nothing before the first event has the host's time."""
        self._stream = self._open_lap() if self._laps is None else iter(self._laps)
        self._first = list(islice(self._stream, 1))
        for event in self._first:
            self._event_clock.hold(event.ts_init)

    async def run(self) -> None:
        """Publishes everything, or with `loop` until it is cancelled; closes the files in either case."""
        if self._stream is None:
            self.prepare()
        assert self._stream is not None
        self._started_ns = self._clock.mono_ns()
        self.state = "running"
        stream = chain(self._first, self._stream)
        try:
            if self._speed is None:
                await self._run_flat_out(stream)
            else:
                await self._run_paced(stream, self._speed)
            self.state = "ended"
        except Exception:
            self.state = "failed"
            raise
        finally:
            self._stream.close()  # type: ignore[attr-defined]
            self._event_clock.follow_host()
            self._report_progress()

    def progress(self) -> ReplayProgress:
        """Returns how far the replay has come."""
        return ReplayProgress(
            state=self.state,
            bytes_read=sum(recording.bytes_read for recording in self.recordings),
            bytes_total=self._bytes_total,
            events=self.events,
            lap=1 if self._laps is None else max(1, self._laps.lap),
            event_time_ns=self._event_time_ns,
            events_span_ns=self._span_ns,
            elapsed_ns=0 if self._started_ns is None else self._clock.mono_ns() - self._started_ns,
            skipped_lines=sum(sum(recording.counts.skipped.values()) for recording in self.recordings),
            bad_lines=sum(recording.counts.bad_lines for recording in self.recordings),
        )

    async def _run_flat_out(self, stream: Iterator[Event]) -> None:
        mono_ns = self._clock.mono_ns
        slice_began_ns = mono_ns()
        before_ns: int | None = None
        while batch := list(islice(stream, _BATCH_EVENTS)):
            last_ns = batch[-1].ts_init
            if before_ns is not None:
                self._span_ns += min(max(0, last_ns - before_ns), _MAX_IDLE_NS * len(batch))
            before_ns = last_ns
            self._publish_batch(batch)
            if mono_ns() - slice_began_ns >= _SLICE_NS:
                await self._sleep(0)
                slice_began_ns = mono_ns()

    async def _run_paced(self, stream: Iterator[Event], speed: float) -> None:
        mono_ns = self._clock.mono_ns
        # An event is due at origin + span / speed; the span is an integer, so that no rounding accumulates over days.
        origin_ns = now_ns = mono_ns()
        span_ns = 0
        newest_ns: int | None = None
        batch: list[Event] = []
        for event in stream:
            if newest_ns is None:
                newest_ns = event.ts_init
            elif event.ts_init > newest_ns:
                span_ns += min(event.ts_init - newest_ns, _MAX_IDLE_NS)
                newest_ns = event.ts_init
            due_ns = origin_ns + int(span_ns / speed)
            if due_ns > now_ns or len(batch) >= _BATCH_EVENTS:
                if batch:
                    self._publish_batch(batch)
                    batch = []
                now_ns = mono_ns()
                self._event_clock.move_to(event.ts_init, due_ns - now_ns)
                # Sleeping for at least a slice makes one batch of the events that are due in it.
                await self._sleep(max(due_ns - now_ns, _SLICE_NS) / NS_PER_S if due_ns > now_ns else 0)
                now_ns = mono_ns()
                if now_ns - due_ns > _MAX_LATE_NS:
                    origin_ns += now_ns - due_ns
            self._span_ns = span_ns
            batch.append(event)
        if batch:
            self._publish_batch(batch)

    def _publish_batch(self, batch: list[Event]) -> None:
        last_ns = batch[-1].ts_init
        self._event_clock.advance(last_ns)
        self._event_time_ns = last_ns
        self.events += len(batch)
        self._publish(batch)
        if self._on_progress is not None and self._clock.mono_ns() >= self._progress_due_ns:
            self._report_progress()

    def _report_progress(self) -> None:
        if self._on_progress is not None:
            self._progress_due_ns = self._clock.mono_ns() + _PROGRESS_NS
            self._on_progress(self.progress())

    def _open_lap(self) -> Iterator[Event]:
        return self._readable(self.recordings[0]) if len(self.recordings) == 1 else self._merged()

    def _merged(self) -> Iterator[Event]:
        """Yields the events of all recordings in the order of arrival. A recording is opened when its first event is
        due, so that a directory of many days needs few open files."""
        # hot: once per event
        waiting = sorted(enumerate(self.recordings), key=lambda item: (item[1].start_ns, item[0]), reverse=True)
        # Each with the arrival of its next event, its place among the recordings, and the event.
        heads: list[tuple[int, int, Event]] = []
        streams: dict[int, Iterator[Event]] = {}
        try:
            while heads or waiting:
                while waiting and (not heads or waiting[-1][1].start_ns <= heads[0][0]):
                    place, recording = waiting.pop()
                    streams[place] = self._readable(recording)
                    for event in islice(streams[place], 1):
                        heapq.heappush(heads, (event.ts_init, place, event))
                next_start_ns = waiting[-1][1].start_ns if waiting else MAX_NS + 1
                while heads and heads[0][0] < next_start_ns:
                    _, place, event = heads[0]
                    yield event
                    if len(heads) == 1:
                        # Nothing to merge until another recording begins.
                        heads.clear()
                        for event in streams[place]:
                            if event.ts_init >= next_start_ns:
                                heads.append((event.ts_init, place, event))
                                break
                            yield event
                        continue
                    following = next(streams[place], None)
                    if following is None:
                        heapq.heappop(heads)
                    else:
                        heapq.heapreplace(heads, (following.ts_init, place, following))
        finally:
            for stream in streams.values():
                stream.close()  # type: ignore[attr-defined]

    def _readable(self, recording: Recording) -> Iterator[Event]:
        try:
            yield from recording.events()
        except SourceError as error:
            if recording.path not in self.errors:
                logger.error("%s; only the events before this line are replayed", error)
                self.errors[recording.path] = error
