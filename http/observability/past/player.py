"""The player: shows the past to the viewers of one worker. The frames due for all of them are read by one call of the
reader's thread, and sent in slices, so that a tick of the live stream never waits for the past."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from observability.clocks.slices import Slice
from observability.clocks.timers import Periodic
from observability.clocks.timestamps import NS_PER_S
from observability.http11.refusals import NotFound, Unavailable, Unprocessable
from observability.memory.counters import Counters
from observability.past.playback import Outcome
from observability.past.reader import RecordingReader
from observability.past.viewer import PastState, Viewer
from observability.recorder.recording import Recording
from observability.snapshot.frames import Frame
from observability.stream.state import StreamState
from observability.stream.subscriptions import Subscription, WebSocketQuery
from observability.websocket.connection import Accepted

logger = logging.getLogger(__name__)

# Of each worker.
MAX_VIEWERS: Final = 100
# Without a live frame for so many ticks there is no live client whose frames could be held up.
LATE_BEATS: Final = 1.5

_Reads = Sequence[Callable[[Recording], Outcome]]


class Player:
    """Shows a recording to viewers, each at its own time."""

    def __init__(
        self,
        live: StreamState,
        reader: RecordingReader,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        slices: asyncio.Lock,
    ) -> None:
        """`slices` is shared by everything that works in slices."""
        self._live = live
        self._reader = reader
        self._counters = counters
        self._loop = loop
        self._slices = slices
        self._viewers: set[Viewer] = set()
        self._job: asyncio.Task[None] | None = None
        self._is_kicked = False
        self._is_unreadable = False
        self._interval_ns = round(live.settings.interval_seconds * NS_PER_S)
        self._beat = Periodic(live.settings.interval_seconds, self._on_beat, loop)
        self._live_ns = 0
        """When a live frame had been sent last."""
        self._active = counters.gauge("past_viewers", "Clients that look at the past now")
        self._sent = counters.counter("past_frames_sent_total", "Recorded frames sent to clients that look at the past")

    def make_client(self, accepted: Accepted, query: WebSocketQuery, subscription: Subscription) -> Viewer:
        """Returns a client that looks at the past. Raises Refusal."""
        if query.since is not None or query.lane_since is not None:
            raise Unprocessable(
                [{"parameter": "at", "error": "given with `since` or `lane_since`, expected one of them"}]
            )
        if not self._reader.exists:
            raise NotFound(f"this server has no recording: {self._reader.why_absent}")
        if len(self._viewers) >= MAX_VIEWERS:
            raise Unavailable(f"all {MAX_VIEWERS} places of clients that look at the past are in use")
        return Viewer(PastState(self._live, self._counters), accepted, query, subscription, self)

    def add(self, viewer: Viewer) -> None:
        self._viewers.add(viewer)
        self._active.set(len(self._viewers))
        if len(self._viewers) == 1:
            self._beat.start()
        self.kick()

    def discard(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        self._active.set(len(self._viewers))
        if not self._viewers:
            self._beat.stop()

    def kick(self) -> None:
        """Reads and sends what is due."""
        if self._job is None:
            self._job = self._loop.create_task(self._read_and_send(), name="past")
            self._job.add_done_callback(self._on_done)
        else:
            self._is_kicked = True

    def on_sent(self, frame: Frame, duration_ns: int) -> None:
        """Takes the beat from the live frames. What is read and sent for the past, which takes the interpreter from the
        loop, is done in the quiet after a live frame, and not when the next one is due."""
        self._live_ns = self._live.host_clock.mono_ns()
        if self._viewers:
            self.kick()

    def _on_beat(self) -> None:
        # Without live clients, or a hub, there is nobody to wait for.
        if self._live.host_clock.mono_ns() - self._live_ns > LATE_BEATS * self._interval_ns:
            self.kick()

    async def _read_and_send(self) -> None:
        # hot: once per tick for all viewers (benchmarks/bench_past.py)
        due = [(viewer, reads) for viewer in tuple(self._viewers) if (reads := viewer.next_reads())]
        if not due:
            return
        try:
            found, fault, start_ns, end_ns = await self._reader.run(_read, [reads for _, reads in due])
        except Unavailable:
            for viewer, _ in due:
                viewer.fail()
            return
        if fault is not None and not self._is_unreadable:
            logger.warning("a part of the recording cannot be shown: %s", fault)
        self._is_unreadable = fault is not None
        async with Slice(self._slices) as work:
            for (viewer, _), outcomes in zip(due, found, strict=True):
                if outcomes is None:
                    viewer.fail()
                else:
                    self._sent.add(viewer.take(outcomes, start_ns, end_ns))
                await work.offer()

    def _on_done(self, job: asyncio.Task[None]) -> None:
        self._job = None
        error = None if job.cancelled() else job.exception()
        if error is not None:
            logger.error("the past could not be shown", exc_info=error)
        if self._is_kicked:
            self._is_kicked = False
            self._loop.call_soon(self.kick)


def _read(
    recording: Recording, reads_of_all: Sequence[_Reads]
) -> tuple[list[list[Outcome] | None], str | None, int | None, int | None]:
    """Does the reads of all viewers; None stands for those of a viewer whose part of the recording is damaged. Returns
    them, the fault of one of these, and the ends of the recording."""
    fault: str | None = None
    found: list[list[Outcome] | None] = []
    for reads in reads_of_all:
        try:
            found.append([read(recording) for read in reads])
        except (OSError, ValueError) as error:
            fault = str(error)
            found.append(None)
    return found, fault, recording.start_ns(), recording.end_ns()
