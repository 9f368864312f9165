"""A symbol's feed: how often its events arrive, and how late, measured so that disagreeing clocks do no harm.

The exchange stamps `ts`, we stamp `ts_init`. Their difference is the latency plus the disagreement of the clocks, which
is often larger than the latency and as often negative. What can be known is how much later than the fastest one an
event came:

    offset  = ts_init - ts                 -1275.018 ms .. -1249.979 ms in a recording whose clock is 1.27 s behind
    clock_offset = the smallest offset     the clocks' disagreement, plus the latency that cannot be seen from one end
    latency = offset - clock_offset        0 .. 25.039 ms

The smallest offset is that of a sliding window of half to one `window_seconds`, so latencies contain the drift of the
clocks only over that time: 1 ppm is 60 us a minute. After a step of a clock they are wrong for as long.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, repeat
from operator import rshift
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S

RATE_SECONDS: Final = 5

# Offsets are counted in steps of 2**shift ns, at first 1.024 us. When more steps than these are in use, each becomes
# twice as wide: a window of 25 ms ends at steps of 65 us, and one event that is a minute late still costs one step.
MAX_STEPS: Final = 512
# How many of them each venue has, of a symbol that is traded at several.
MAX_STEPS_OF_VENUE: Final = 128
_FIRST_SHIFT: Final = 10

# How many offsets may wait for the end of the second; with more they are counted at once.
MAX_WAITING: Final = 1024


class UpdateRate:
    """Quotes and prints per second over the last RATE_SECONDS whole seconds, or over fewer at first."""

    __slots__ = ("_seconds", "value")

    def __init__(self) -> None:
        self._seconds: deque[int] = deque(maxlen=RATE_SECONDS)
        self.value: float | None = None
        """Updates per second; None before the first whole second."""

    def end_seconds(self, updates: int, seconds: int) -> None:
        """Ends a second that had `updates`, and `seconds` - 1 silent ones after it."""
        self._seconds.append(updates)
        self._seconds.extend([0] * min(seconds - 1, RATE_SECONDS))
        self.value = sum(self._seconds) / len(self._seconds)

    def to_state(self) -> list[int]:
        return list(self._seconds)

    def load_state(self, state: list[int]) -> None:
        self._seconds.extend(state)
        self.value = sum(state) / len(state) if state else None


class FeedFigures(msgspec.Struct, frozen=True):
    """The figures of a window: latencies as defined above, and of how many events; None if there are none."""

    n: int = 0
    clock_offset_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    max_ms: float | None = None


class OffsetsState(msgspec.Struct, array_like=True):
    """The offsets of half a window in a checkpoint."""

    shift: int = _FIRST_SHIFT
    steps: dict[int, int] = {}
    count: int = 0
    min_ns: int = 0
    max_ns: int = 0


class FeedState(msgspec.Struct):
    """The latency of a feed in a checkpoint."""

    current: OffsetsState = msgspec.field(default_factory=OffsetsState)
    before: OffsetsState = msgspec.field(default_factory=OffsetsState)
    turn_ns: int = 0
    is_changed: bool = False
    figures: FeedFigures = FeedFigures()


class Offsets:
    """Counts offsets in steps; minimum and maximum are exact."""

    __slots__ = ("_max_steps", "_steps", "count", "max_ns", "min_ns", "shift")

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self._max_steps = max_steps
        self.shift = _FIRST_SHIFT
        self.count = 0
        self.min_ns = 0
        self.max_ns = 0
        self._steps: Counter[int] = Counter()

    def add(self, offsets: array[int]) -> None:
        """Counts at least one offset; their order does not matter."""
        low, high = min(offsets), max(offsets)
        if not self.count or low < self.min_ns:
            self.min_ns = low
        if not self.count or high > self.max_ns:
            self.max_ns = high
        self.count += len(offsets)
        self._steps.update(map(rshift, offsets, repeat(self.shift)))
        while len(self._steps) > self._max_steps:
            self._coarsen()

    def steps_ns(self) -> Iterator[tuple[int, int]]:
        """Yields each step in use, as its middle limited to the minimum and the maximum, with its count."""
        shift, low, high = self.shift, self.min_ns, self.max_ns
        half_step = (1 << shift) // 2
        for step, count in self._steps.items():
            yield max(low, min(high, (step << shift) + half_step)), count

    def to_state(self) -> OffsetsState:
        return OffsetsState(self.shift, dict(self._steps), self.count, self.min_ns, self.max_ns)

    @classmethod
    def from_state(cls, state: OffsetsState, max_steps: int = MAX_STEPS) -> Offsets:
        offsets = cls(max_steps)
        offsets.shift, offsets.count = state.shift, state.count
        offsets.min_ns, offsets.max_ns = state.min_ns, state.max_ns
        offsets._steps.update(state.steps)
        return offsets

    def _coarsen(self) -> None:
        self.shift += 1
        steps: Counter[int] = Counter()
        for step, count in self._steps.items():
            steps[step >> 1] += count
        self._steps = steps


def figures_of(*halves: Offsets) -> FeedFigures:
    """Returns the figures of all offsets: percentiles by nearest rank, within half a step. Each half has some."""
    if not halves:
        return FeedFigures()
    low = min(half.min_ns for half in halves)
    return _latencies([_above(low, halves)], low / NS_PER_MS)


def mixed_figures(feeds: Iterable[FeedLatency]) -> FeedFigures:
    """Returns the figures of several feeds together, where each latency is above the smallest offset of its own feed.
    Their clocks have no offset in common."""
    of_feeds = [halves for feed in feeds if (halves := feed.halves)]
    return _latencies([_above(min(half.min_ns for half in halves), halves) for halves in of_feeds], None)


def _above(low_ns: int, halves: Sequence[Offsets]) -> tuple[list[tuple[int, int]], int]:
    """Returns the latencies above an offset, as steps with their counts, and the highest."""
    steps = [(ns - low_ns, count) for half in halves for ns, count in half.steps_ns()]
    return steps, max(half.max_ns for half in halves) - low_ns


def _latencies(feeds: Sequence[tuple[list[tuple[int, int]], int]], clock_offset_ms: float | None) -> FeedFigures:
    if not feeds:
        return FeedFigures()
    steps = sorted(step for of_feed, _ in feeds for step in of_feed)
    upto = list(accumulate(count for _, count in steps))
    high = max(highest for _, highest in feeds)
    p50, p99 = (steps[bisect_left(upto, -(-percent * upto[-1] // 100))][0] for percent in (50, 99))
    return FeedFigures(upto[-1], clock_offset_ms, *(value / NS_PER_MS for value in (p50, p99, high)))


class FeedLatency:
    """The latency of one feed. `arrived` is appended to once per event; the rest happens once per second."""

    __slots__ = ("_before", "_current", "_half_end_ns", "_half_ns", "_is_changed", "_max_steps", "arrived", "figures")

    def __init__(self, window_seconds: float, max_steps: int = MAX_STEPS) -> None:
        self._max_steps = max_steps
        self.arrived = array("q")
        """Offsets not counted yet."""
        self.figures = FeedFigures()
        self._half_ns = round(window_seconds * NS_PER_S / 2)
        self._half_end_ns = 0
        self._is_changed = False
        self._current = Offsets(max_steps)
        self._before = Offsets(max_steps)

    @property
    def halves(self) -> tuple[Offsets, ...]:
        """The halves of the window that have events."""
        return tuple(half for half in (self._before, self._current) if half.count)

    @property
    def is_empty(self) -> bool:
        """Whether the window has no events, so that time alone changes no figure."""
        return not (self.arrived or self._current.count or self._before.count)

    def count_arrived(self) -> None:
        """Counts the offsets that have arrived, which bounds how many wait for the end of the second."""
        if self.arrived:
            self._current.add(self.arrived)
            del self.arrived[:]
            self._is_changed = True

    def refresh(self, now_ns: int) -> None:
        """Brings `figures` up to `now_ns` (event clock)."""
        if not self._half_end_ns:
            self._half_end_ns = now_ns + self._half_ns
        is_half_over = now_ns >= self._half_end_ns
        if is_half_over:
            is_window_over = now_ns >= self._half_end_ns + self._half_ns
            self._before = Offsets(self._max_steps) if is_window_over else self._current
            self._current = Offsets(self._max_steps)
            self._half_end_ns = now_ns + self._half_ns
        self.count_arrived()
        if self._is_changed or (is_half_over and self.figures.n):
            self._is_changed = False
            self.figures = figures_of(*self.halves)

    def to_state(self) -> FeedState:
        self.count_arrived()
        return FeedState(
            self._current.to_state(), self._before.to_state(), self._half_end_ns, self._is_changed, self.figures
        )

    def load_state(self, state: FeedState) -> None:
        self._current = Offsets.from_state(state.current, self._max_steps)
        self._before = Offsets.from_state(state.before, self._max_steps)
        self._half_end_ns = state.turn_ns
        self._is_changed = state.is_changed
        self.figures = state.figures


class MixedFeeds(FeedLatency):
    """The feeds of several venues as one. Events are added to those of the venues, and never here."""

    __slots__ = ("_feeds",)

    def __init__(self, window_seconds: float, feeds: Callable[[], Iterable[FeedLatency]]) -> None:
        super().__init__(window_seconds)
        self._feeds = feeds

    @property
    def is_empty(self) -> bool:
        return all(feed.is_empty for feed in self._feeds())

    def count_arrived(self) -> None:
        for feed in self._feeds():
            feed.count_arrived()

    def refresh(self, now_ns: int) -> None:
        for feed in self._feeds():
            feed.refresh(now_ns)
        self.figures = mixed_figures(self._feeds())
