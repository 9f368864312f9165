"""The interval of a coarse tier that is still open: in the hub, in shared memory across hubs, and in a checkpoint.

    OpenInterval    the current interval, in the hub's own memory
    SavedInterval   beside the ring, in shared memory: what a hub restored from the store or from a checkpoint
    ...State        in a checkpoint

When a hub dies, the next one rebuilds the open intervals from the rings and the saved intervals.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import IntEnum

import msgspec

from observability.errors import CheckpointError
from observability.history import layout
from observability.history.aggregates import empty_aggregates
from observability.memory.layout import WORD_BYTES


class OpenInterval:
    """The aggregates of the current interval of a coarse tier."""

    __slots__ = ("aggregates", "interval_ns", "start_ns")

    def __init__(self, interval_ns: int, fields: int) -> None:
        self.interval_ns = interval_ns
        self.start_ns: int | None = None
        self.aggregates = empty_aggregates(fields)

    def is_over(self, ts_ns: int) -> bool:
        return self.start_ns is not None and ts_ns >= self.start_ns + self.interval_ns

    def reset(self, ts_ns: int) -> None:
        self.start_ns = ts_ns - ts_ns % self.interval_ns
        self.aggregates = empty_aggregates(len(self.aggregates) // layout.AGGREGATE_WORDS)

    def restore(self, start_ns: int, aggregates: array[float]) -> None:
        """Continues an interval that an earlier process began."""
        self.start_ns = start_ns
        self.aggregates = aggregates

    def to_state(self) -> OpenIntervalState | None:
        return None if self.start_ns is None else OpenIntervalState(self.start_ns, self.aggregates.tobytes())

    def clear(self) -> None:
        self.reset(0)
        self.start_ns = None


class IntervalState(IntEnum):
    NONE = 0
    OPEN = 1
    OVER = 2


class SavedInterval:
    """The partial aggregate of an interval that was still open when the previous process ended and that no finer tier
    covers. It is in shared memory: written before the first frame, and over once the ring has the whole interval."""

    __slots__ = ("_doubles", "_words")

    def __init__(self, words: memoryview[int], doubles: memoryview[float]) -> None:
        """`words` and `doubles` are the same memory."""
        self._words = words
        self._doubles = doubles

    @property
    def start_ns(self) -> int | None:
        """Start of the saved interval, which may be over; None if there is none."""
        return self._words[layout.SAVED_START_NS] if self._words[layout.SAVED_STATE] else None

    @property
    def is_open(self) -> bool:
        return self._words[layout.SAVED_STATE] == IntervalState.OPEN

    def copy(self) -> tuple[int, array[float]] | None:
        """Returns start and aggregates while the interval is open."""
        if not self.is_open:
            return None
        return self._words[layout.SAVED_START_NS], array("d", self._doubles[layout.SAVED_HEADER_WORDS :])

    def save(self, start_ns: int, aggregates: array[float]) -> None:
        """Replaces the saved interval. There must be no readers yet."""
        self._words[layout.SAVED_START_NS] = start_ns
        self._doubles[layout.SAVED_HEADER_WORDS :] = aggregates
        self._words[layout.SAVED_STATE] = IntervalState.OPEN

    def end(self) -> None:
        """Marks the interval as over: the ring has all of it."""
        self._words[layout.SAVED_STATE] = IntervalState.OVER

    def clear(self) -> None:
        self._words[layout.SAVED_STATE] = IntervalState.NONE


class OpenIntervalState(msgspec.Struct, array_like=True):
    """An open interval in a checkpoint."""

    start_ns: int
    aggregates: bytes

    def aligned(self, stored: Sequence[str], wanted: Sequence[str]) -> array[float]:
        """Returns the aggregates in the order of the wanted fields."""
        aggregates = array("d")
        aggregates.frombytes(self.aggregates)
        return align_fields(stored, wanted, aggregates)


class SeriesState(msgspec.Struct):
    """A series in a checkpoint: the open interval of each coarse tier, which is in none of the rings."""

    section: str = ""
    key: str = ""
    fields: tuple[str, ...] = ()
    open: tuple[OpenIntervalState | None, ...] = ()


class HistoryState(msgspec.Struct):
    """Every series in a checkpoint."""

    series: list[SeriesState] = []

    def check(self, tiers: int) -> None:
        """Raises CheckpointError for a series that this version cannot continue."""
        for series in self.series:
            row_bytes = len(series.fields) * layout.AGGREGATE_WORDS * WORD_BYTES
            sizes = [len(saved.aggregates) for saved in series.open if saved is not None]
            if len(series.open) != tiers or any(size != row_bytes for size in sizes):
                raise CheckpointError(
                    f"the state of the series {series.section} {series.key} cannot be read: expected {tiers} intervals "
                    f"of {row_bytes} bytes"
                )


def align_fields(stored: Sequence[str], wanted: Sequence[str], aggregates: array[float]) -> array[float]:
    """Returns aggregates in the order of the wanted fields; a field that was not stored has no values."""
    if tuple(stored) == tuple(wanted):
        return aggregates
    aligned = empty_aggregates(len(wanted))
    size = layout.AGGREGATE_WORDS
    for n, name in enumerate(wanted):
        if name in stored:
            source = stored.index(name) * size
            aligned[n * size : (n + 1) * size] = aggregates[source : source + size]
    return aligned
