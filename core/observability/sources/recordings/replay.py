"""Replay: recordings merged in the order of arrival and published at the recorded speed, at a multiple, or flat out.

No event is changed here (see `laps.py`), and nothing is shown (see `progress.py`).
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import attrgetter
from pathlib import Path

from observability.clocks.clock import Clock, EventClock, HostClock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.errors import ConfigError, SourceError
from observability.events import Event
from observability.sources.recordings.laps import Laps
from observability.sources.recordings.recording import Recording

logger = logging.getLogger(__name__)

# The loop gets its turn at least this often; a batch is small enough not to overrun it with a few µs per event.
_TURN_NS = 5 * NS_PER_MS
_BATCH_EVENTS = 128
# Nothing for longer than this, between two recordings or in one, is shortened to it.
_MAX_IDLE_NS = 5 * NS_PER_S
# Behind schedule by more than this (a suspended laptop, a speed beyond the machine's) it goes on from where it is.
_MAX_LATE_NS = NS_PER_S
_PROGRESS_NS = 250 * NS_PER_MS

_TS_INIT = attrgetter("ts_init")


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay is."""

    bytes_read: int
    bytes_total: int
    events: int
    lap: int
    event_time_ns: int | None
    """`ts_init` of the newest event published; None before the first."""
    events_span_ns: int
    """How far the recordings' time went, idle gaps shortened (flat out: to the nearest batch)."""
    elapsed_ns: int


class Replay:
    """Publishes the events of recordings in order of `ts_init`; those of the same time in the order of `paths`.

    `speed` is a factor of the recorded speed, None for as fast as possible. The event clock stands at the newest event
    published. A recording that cannot be read to its end costs only its rest: the error is logged and kept in `errors`.
    Raises SourceError at once for a path that is no recording, ConfigError for a speed that is none.
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
        self.recordings = tuple(Recording(path, self._clock) for path in paths)
        self.errors: dict[Path, SourceError] = {}
        self.events = 0
        """Events published."""
        self._publish = publish
        self._event_clock = event_clock
        self._speed = speed
        self._on_progress = on_progress
        self._sleep = sleep
        self._laps = Laps(self._open_lap) if loop else None
        self._open: list[Iterator[Event]] = []
        self._bytes_total = sum(recording.bytes_total for recording in self.recordings)
        self._event_time_ns: int | None = None
        self._span_ns = 0
        self._started_ns: int | None = None
        self._progress_due_ns = 0

    async def run(self) -> None:
        """Publishes everything, for ever with `loop`; ends early only by cancellation; closes the files in any case."""
        self._started_ns = self._clock.mono_ns()
        stream = self._open_lap() if self._laps is None else iter(self._laps)
        try:
            if self._speed is None:
                await self._run_flat_out(stream)
            else:
                await self._run_paced(stream, self._speed)
        finally:
            self._close(stream)
            self._report_progress()

    def progress(self) -> ReplayProgress:
        """Returns how far the replay is."""
        return ReplayProgress(
            bytes_read=sum(recording.bytes_read for recording in self.recordings),
            bytes_total=self._bytes_total,
            events=self.events,
            lap=1 if self._laps is None else max(1, self._laps.lap),
            event_time_ns=self._event_time_ns,
            events_span_ns=self._span_ns,
            elapsed_ns=0 if self._started_ns is None else self._clock.mono_ns() - self._started_ns,
        )

    async def _run_flat_out(self, stream: Iterator[Event]) -> None:
        mono_ns = self._clock.mono_ns
        turn_began_ns = mono_ns()
        before_ns: int | None = None
        while batch := list(islice(stream, _BATCH_EVENTS)):
            last_ns = batch[-1].ts_init
            if before_ns is not None:
                self._span_ns += min(max(0, last_ns - before_ns), _MAX_IDLE_NS * len(batch))
            before_ns = last_ns
            self._publish_batch(batch)
            if mono_ns() - turn_began_ns >= _TURN_NS:
                await self._sleep(0)
                turn_began_ns = mono_ns()

    async def _run_paced(self, stream: Iterator[Event], speed: float) -> None:
        mono_ns = self._clock.mono_ns
        # An event is due at origin + span / speed; the span is kept in integers so that nothing adds up over days.
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
                # Sleeping no shorter than a turn makes batches of what is due together.
                await self._sleep(max(due_ns - now_ns, _TURN_NS) / NS_PER_S if due_ns > now_ns else 0)
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
        self._open = [self._readable(recording) for recording in self.recordings]
        return self._open[0] if len(self._open) == 1 else heapq.merge(*self._open, key=_TS_INIT)

    def _readable(self, recording: Recording) -> Iterator[Event]:
        try:
            yield from recording.events()
        except SourceError as error:
            if recording.path not in self.errors:
                logger.error("%s; its events up to there are replayed", error)
                self.errors[recording.path] = error

    def _close(self, stream: Iterator[Event]) -> None:
        for generator in (stream, *self._open):
            generator.close()  # type: ignore[attr-defined]
