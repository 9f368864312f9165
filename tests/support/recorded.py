"""Frames of a small market, and their recording."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.clocks.timestamps import NS_PER_MS
from observability.config.config import Config
from observability.events import Quote
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.recorder.recorder import Recorder, RecordLimits
from observability.recorder.recording import Cursor, Recording
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub

LIMITS = RecordLimits(max_bytes=16_000_000, max_age_days=7)


class Market:
    """A hub whose ticks a test makes; symbols appear one by one, and random ones move."""

    def __init__(self, symbols: int = 6, seed: int = 1) -> None:
        self.clock = FakeClock()
        self._random = random.Random(seed)
        event_clock = EventClock(self.clock)
        self._bus = Bus()
        collectors = make_collectors(Config(max_symbols=symbols), self._bus, event_clock, make_history(symbols))
        for collector in collectors.sections:
            asyncio.run(collector.start())
        self.hub = Hub(0.1, self._bus, self.clock, event_clock, collectors.sections, {}, Counters())
        self._symbols = symbols
        self._ticks = 0

    def tick(self, *, moves: bool | None = None) -> Frame:
        """Returns the frame of the next tick; `moves` says whether the symbols move, by default at random."""
        self._ticks += 1
        self.clock.now_ns += 100 * NS_PER_MS
        for number in range(min(self._symbols, self._ticks)):
            if self._random.random() < 0.5 if moves is None else moves:
                price = self._random.randrange(9000, 11000) / 100
                self._bus.publish(
                    Quote(f"S{number}", price, price + 0.02, ts=self.clock.now_ns, ts_init=self.clock.now_ns)
                )
        self.hub.tick()
        frame = self.hub.frames.latest()
        assert frame is not None
        return frame

    def ticks(self, count: int) -> list[Frame]:
        return [self.tick() for _ in range(count)]


def record(directory: Path, frames: Sequence[Frame], limits: RecordLimits = LIMITS) -> Counters:
    """Records frames until all are written; returns what was counted."""
    counters = Counters()
    recorder = Recorder(directory, limits, counters)
    recorder.start()
    for number, frame in enumerate(frames, 1):
        recorder.on_frame(frame, number)
        if not number % 50:
            recorder.wait()
    recorder.stop()
    assert recorder.trouble is None, recorder.trouble
    return counters


def opened(directory: Path) -> Recording:
    recording = Recording(directory)
    recording.refresh()
    return recording


def every_frame(directory: Path) -> list[Frame]:
    """Returns every frame that a directory has, in the order of recording."""
    recording = opened(directory)
    cursor, place = Cursor(recording), recording.first_place()
    found = []
    while place is not None:
        found.append(cursor.go(place))
        place = recording.next_place(place)
    return found


def described(frame: Frame) -> tuple[object, ...]:
    """Returns what a recording keeps of a frame."""
    index = frame.index
    first = index.shape.first_part
    changed = [number == frame.seq for number in index.numbers[first + 2 :: 3]]
    places = [number for at, number in enumerate(index.numbers) if at < first or (at - first) % 3 != 2]
    return frame.epoch, frame.seq, frame.ts_ns, frame.payload, index.shape, places, changed, index.removed
