"""The interval of a coarse tier that is not over yet, and its form in a checkpoint.

No rings here (see `history_memory.py`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import msgspec

from observability.errors import CheckpointError
from observability.history import layout
from observability.history.aggregates import empty_aggregates
from observability.memory.layout import WORD_BYTES


class OpenBucket:
    """The aggregates of a coarse tier's current interval, until it is over."""

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

    def resume(self, start_ns: int, aggregates: array[float]) -> None:
        """Goes on with an interval that an earlier process began."""
        self.start_ns = start_ns
        self.aggregates = aggregates

    def dump_state(self) -> OpenState | None:
        return None if self.start_ns is None else OpenState(self.start_ns, self.aggregates.tobytes())

    def clear(self) -> None:
        self.reset(0)
        self.start_ns = None


class OpenState(msgspec.Struct, array_like=True):
    """An interval that is not over, in a checkpoint."""

    start_ns: int
    aggregates: bytes

    def aligned(self, stored: Sequence[str], wanted: Sequence[str]) -> array[float]:
        """Returns its row in the order of the wanted fields."""
        aggregates = array("d")
        aggregates.frombytes(self.aggregates)
        return align_fields(stored, wanted, aggregates)


class SeriesState(msgspec.Struct):
    """What a series has in none of its rings, in a checkpoint: the open interval of each coarse tier."""

    section: str = ""
    key: str = ""
    fields: tuple[str, ...] = ()
    open: tuple[OpenState | None, ...] = ()


class HistoryState(msgspec.Struct):
    """All series in a checkpoint."""

    series: list[SeriesState] = []

    def check(self, tiers: int) -> None:
        """Raises CheckpointError for a series that this version could not go on with."""
        for series in self.series:
            row_bytes = len(series.fields) * layout.AGGREGATE_WORDS * WORD_BYTES
            sizes = [len(saved.aggregates) for saved in series.open if saved is not None]
            if len(series.open) != tiers or any(size != row_bytes for size in sizes):
                raise CheckpointError(
                    f"the state of the series {series.section} {series.key} cannot be read: expected {tiers} intervals "
                    f"of {row_bytes} bytes"
                )


def align_fields(stored: Sequence[str], wanted: Sequence[str], aggregates: array[float]) -> array[float]:
    """Returns a row in the order of the wanted fields; a field it does not have has no values."""
    if tuple(stored) == tuple(wanted):
        return aggregates
    aligned = empty_aggregates(len(wanted))
    size = layout.AGGREGATE_WORDS
    for n, name in enumerate(wanted):
        if name in stored:
            source = stored.index(name) * size
            aligned[n * size : (n + 1) * size] = aggregates[source : source + size]
    return aligned
