"""How late a symbol's events arrive, in a way that survives clocks that disagree.

No clock here and no histogram of durations known to be true (see `histogram.py`).

The exchange stamps `ts`, we stamp `ts_init`; their difference is the latency plus however much the clocks disagree,
often more than the latency, and as often negative. What can be known is how much later than the fastest an event came:

    offset  = ts_init - ts                 -1275.018 ms .. -1249.979 ms in a recording whose clock is 1.27 s behind
    clock_offset = the smallest offset     the clocks' disagreement, plus the latency nobody can see from one end
    latency = offset - clock_offset        0 .. 25.039 ms

The smallest offset is that of a sliding window of half to one `window_seconds`, so that a drift of the clocks is in the
latencies only as far as it comes within that: 1 ppm is 60 us a minute. A step of a clock is wrong for as long.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, repeat
from operator import rshift
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_MS, NS_PER_S

# Offsets are counted in steps of 2**shift ns, at first 1.024 us. When more steps than these are in use, each becomes
# twice as wide: a window of 25 ms ends at steps of 65 us, and one late event of a minute still costs one step.
MAX_STEPS: Final = 512
_FIRST_SHIFT: Final = 10


class FeedFigures(msgspec.Struct, frozen=True):
    """What is shown of a window: latencies as defined above, and how many events they are of; all None without any."""

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
    """A feed in a checkpoint."""

    current: OffsetsState = msgspec.field(default_factory=OffsetsState)
    before: OffsetsState = msgspec.field(default_factory=OffsetsState)
    turn_ns: int = 0
    is_changed: bool = False
    figures: FeedFigures = FeedFigures()


class Offsets:
    """Counts of offsets in steps; minimum and maximum are exact."""

    __slots__ = ("_steps", "count", "max_ns", "min_ns", "shift")

    def __init__(self) -> None:
        self.shift = _FIRST_SHIFT
        self.count = 0
        self.min_ns = 0
        self.max_ns = 0
        self._steps: Counter[int] = Counter()

    def add(self, offsets: array[int]) -> None:
        """Counts some, at least one; their order does not matter."""
        low, high = min(offsets), max(offsets)
        if not self.count or low < self.min_ns:
            self.min_ns = low
        if not self.count or high > self.max_ns:
            self.max_ns = high
        self.count += len(offsets)
        self._steps.update(map(rshift, offsets, repeat(self.shift)))
        while len(self._steps) > MAX_STEPS:
            self._coarsen()

    def steps_ns(self) -> Iterator[tuple[int, int]]:
        """Yields each step in use, by its middle and kept between minimum and maximum, with its count."""
        shift, low, high = self.shift, self.min_ns, self.max_ns
        half_step = (1 << shift) // 2
        for step, count in self._steps.items():
            yield max(low, min(high, (step << shift) + half_step)), count

    def to_state(self) -> OffsetsState:
        return OffsetsState(self.shift, dict(self._steps), self.count, self.min_ns, self.max_ns)

    def load_state(self, state: OffsetsState) -> None:
        """Takes over what `to_state` returned."""
        self.shift, self.count, self.min_ns, self.max_ns = state.shift, state.count, state.min_ns, state.max_ns
        self._steps = Counter(state.steps)

    def _coarsen(self) -> None:
        self.shift += 1
        steps: Counter[int] = Counter()
        for step, count in self._steps.items():
            steps[step >> 1] += count
        self._steps = steps


def figures_of(*parts: Offsets) -> FeedFigures:
    """Returns the figures of all offsets in `parts`: percentiles by nearest rank, within half a step."""
    parts = tuple(part for part in parts if part.count)
    if not parts:
        return FeedFigures()
    steps = sorted(step for part in parts for step in part.steps_ns())
    upto = list(accumulate(count for _, count in steps))
    low = min(part.min_ns for part in parts)
    high = max(part.max_ns for part in parts)
    p50, p99 = (steps[bisect_left(upto, -(-percent * upto[-1] // 100))][0] for percent in (50, 99))
    return FeedFigures(upto[-1], low / NS_PER_MS, *((value - low) / NS_PER_MS for value in (p50, p99, high)))


class FeedLatency:
    """One symbol's feed. The collector appends to `arrived` once per event; the rest is done once per second.

    A symbol whose events come from several venues mixes their clocks, and shows the disagreement of these too.
    """

    __slots__ = ("_before", "_current", "_half_ns", "_is_changed", "_turn_ns", "arrived", "figures")

    def __init__(self, window_seconds: float) -> None:
        self.arrived = array("q")
        """Offsets that are not counted yet."""
        self.figures = FeedFigures()
        self._half_ns = round(window_seconds * NS_PER_S / 2)
        self._turn_ns = 0
        self._is_changed = False
        self._current = Offsets()
        self._before = Offsets()

    def count_arrived(self) -> None:
        """Counts what has arrived, so that it does not wait for the second in thousands."""
        if self.arrived:
            self._current.add(self.arrived)
            del self.arrived[:]
            self._is_changed = True

    def refresh(self, now_ns: int) -> None:
        """Brings `figures` up to `now_ns` (event clock)."""
        if not self._turn_ns:
            self._turn_ns = now_ns + self._half_ns
        is_turning = now_ns >= self._turn_ns
        if is_turning:
            is_over = now_ns >= self._turn_ns + self._half_ns
            self._before = Offsets() if is_over else self._current
            self._current = Offsets()
            self._turn_ns = now_ns + self._half_ns
        self.count_arrived()
        if self._is_changed or (is_turning and self.figures.n):
            self._is_changed = False
            self.figures = figures_of(self._before, self._current)

    def to_state(self) -> FeedState:
        self.count_arrived()
        return FeedState(
            self._current.to_state(), self._before.to_state(), self._turn_ns, self._is_changed, self.figures
        )

    def load_state(self, state: FeedState) -> None:
        """Takes over what `to_state` returned."""
        self._current, self._before = Offsets(), Offsets()
        self._current.load_state(state.current)
        self._before.load_state(state.before)
        self._turn_ns = state.turn_ns
        self._is_changed = state.is_changed
        self.figures = state.figures
