"""Questions to the history: rows of any interval a tier can answer, finished and current ones alike.

Nothing is recorded here (see `rings.py`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from observability.core import layout
from observability.core.rings import Series, empty_aggregates, merge_aggregates, merge_values

LAST = 3
"""Offset of a field's last value in its six aggregates."""


@dataclass(frozen=True, slots=True)
class Point:
    """One interval of one series: six numbers per field (first, min, max, last, sum, count), NaN where nothing was."""

    ts_ns: int
    aggregates: array[float]

    def last(self, field_index: int) -> float:
        return self.aggregates[field_index * layout.AGGREGATE_WORDS + LAST]


def read_points(series: Series, start_ns: int, end_ns: int, interval_ns: int) -> Iterator[Point]:
    """Yields the intervals that begin in start_ns <= t < end_ns and hold a value, oldest first.

    It reads the coarsest tier whose interval divides `interval_ns`, and finer ones for what that tier has not finished.
    """
    start_ns -= start_ns % interval_ns
    current: Point | None = None
    for ts_ns, aggregates in _read_tier(series, _coarsest_tier(interval_ns), start_ns, end_ns):
        bucket_ns = ts_ns - ts_ns % interval_ns
        if current is None or bucket_ns != current.ts_ns:
            if current is not None:
                yield current
            current = Point(bucket_ns, empty_aggregates(len(series.fields)))
        merge_aggregates(current.aggregates, aggregates)
    if current is not None:
        yield current


def _coarsest_tier(interval_ns: int) -> int:
    tiers = range(1, len(layout.TIERS))
    return max((i for i in tiers if interval_ns % layout.TIERS[i].interval_ns == 0), default=0)


def _read_tier(series: Series, tier: int, start_ns: int, end_ns: int) -> Iterator[tuple[int, array[float]]]:
    ring = series.rings[tier]
    if tier == 0:
        for row in ring.copy_rows(start_ns, end_ns):
            aggregates = empty_aggregates(len(series.fields))
            merge_values(aggregates, row.payload)
            yield row.ts_ns, aggregates
        return
    newest = ring.copy_row(ring.cursor) if ring.cursor else None
    for row in ring.copy_rows(start_ns, end_ns):
        yield row.ts_ns, row.payload
    if newest is not None:
        start_ns = max(start_ns, newest.ts_ns + layout.TIERS[tier].interval_ns)
    yield from _read_tier(series, tier - 1, start_ns, end_ns)
