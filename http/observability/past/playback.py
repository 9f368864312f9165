"""Playing a recording: which frames are due, by the time that has passed; done in the reader's thread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from observability.clocks.timestamps import NS_PER_S
from observability.recorder.recording import Cursor, Place, Recording
from observability.snapshot.frames import Frame

# A time without frames that is longer than this is left out.
GAP_NS: Final = 2 * NS_PER_S
GAP_TICKS: Final = 5
# Beyond this, playing shows the full frames alone, which are there at once.
COARSE_NS: Final = 10 * NS_PER_S
# Frames that a client at its own speed gets at once: it may be late for a moment, and misses none.
MAX_FRAMES: Final = 10
MAX_STEP: Final = 1_000

State = Literal["playing", "paused", "end"]


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame, and the newest entry of the lanes by then."""

    frame: Frame
    lane_seq: int


@dataclass(slots=True)
class Outcome:
    """What a request has found."""

    shown: list[Shown] = field(default_factory=list)
    is_end: bool = False
    """Whether there is nothing after it."""
    skipped: tuple[int, int] | None = None
    """A time without frames that was left out; its end is before its start where the clock was set back."""


class Playback:
    """The position of one viewer. Its methods run in the reader's thread, one at a time."""

    def __init__(self, interval_ns: int) -> None:
        """`interval_ns` is the time between two ticks."""
        self._gap_ns = max(GAP_NS, GAP_TICKS * interval_ns)
        self._cursor: Cursor | None = None
        self._place: Place | None = None
        self._ts_ns = 0

    def seek(self, recording: Recording, time_ns: int) -> Outcome:
        """Goes to the newest frame at or before a time, or to the first."""
        place = recording.find(time_ns) or recording.first_place()
        return self._show(recording, [] if place is None else [place])

    def step(self, recording: Recording, count: int) -> Outcome:
        """Goes so many frames further on, or back if `count` is below 0."""
        place = self._place
        move = recording.next_place if count > 0 else recording.place_before
        for _ in range(min(abs(count), MAX_STEP)):
            further = None if place is None else move(place)
            if further is None:
                break
            place = further
        return self._show(recording, [] if place is None else [place])

    def play(self, recording: Recording, until_ns: int | None, *, is_every: bool) -> Outcome:
        """Goes on to the newest frame by a time; to the newest there is without one. `is_every` shows those between
        too, unless they are many."""
        place = self._place
        if place is None:
            return Outcome(is_end=True)
        further = recording.next_place(place)
        if further is None:
            return Outcome(is_end=True)
        due_ns = recording.record(further).ts_ns
        if until_ns is not None and not self._ts_ns <= due_ns <= until_ns:
            if 0 <= due_ns - self._ts_ns <= self._gap_ns:
                return Outcome()
            skipped = self._ts_ns, due_ns
            outcome = self._show(recording, [further])
            outcome.skipped = skipped
            return outcome
        places: list[Place] = []
        while further is not None and len(places) < (MAX_FRAMES if is_every else 1):
            ts_ns = recording.record(further).ts_ns
            # Where the clock was set back, time goes on from there.
            if until_ns is not None and not due_ns <= ts_ns <= until_ns:
                break
            due_ns = ts_ns
            places.append(further)
            further = recording.next_place(further)
        is_late = further is not None and (until_ns is None or due_ns <= recording.record(further).ts_ns <= until_ns)
        if is_late and until_ns is not None:
            newest = recording.find_after(place, until_ns, is_coarse=until_ns - self._ts_ns > COARSE_NS)
            if newest is not None:
                places = [newest]
        return self._show(recording, places)

    def _show(self, recording: Recording, places: Sequence[Place]) -> Outcome:
        if self._cursor is None:
            self._cursor = Cursor(recording)
        outcome = Outcome()
        for place in places:
            # Kept also if the frame is damaged: the next one is what follows it.
            self._place = place
            frame = self._cursor.go(place)
            self._ts_ns = frame.ts_ns
            outcome.shown.append(Shown(frame, recording.record(place).lane_seq))
        return outcome
