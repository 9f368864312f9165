"""Aggregates of an interval: first, min, max, last, sum and count per field, added up by row or by column.

Nothing is kept here (see `history_memory.py`). NaN is an undefined value and counts nothing.

    row     one interval    [first min max last sum count | first min max last sum count | ...]   field by field
    block   many intervals  times [t0 t1 t2 ...]   and per wanted column   [v0 v1 v2 ...]
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from observability.history import layout

NAN: Final = math.nan

FIRST: Final = 0
MIN: Final = 1
MAX: Final = 2
LAST: Final = 3
SUM: Final = 4
COUNT: Final = 5


class Column(NamedTuple):
    """One of the six numbers of one field."""

    field: int
    aggregate: int

    @property
    def offset(self) -> int:
        """Where it is in a row."""
        return self.field * layout.AGGREGATE_WORDS + self.aggregate


@dataclass(slots=True)
class Block:
    """Rows of one series as columns; times rise.

    Arrays, as lists would be looked through by each garbage collection: that made the tick late by tens of milliseconds
    (benchmarks/bench_history.py).
    """

    times: array[int]
    columns: list[array[float]]

    @classmethod
    def empty(cls, width: int) -> Block:
        return cls(array("q"), [array("d") for _ in range(width)])

    def extend(self, later: Block) -> None:
        """Appends rows of the same columns."""
        self.times.extend(later.times)
        for mine, theirs in zip(self.columns, later.columns, strict=True):
            mine.extend(theirs)


def empty_aggregates(fields: int) -> array[float]:
    """Six numbers per field, of no values yet."""
    return array("d", (NAN, NAN, NAN, NAN, 0.0, 0.0) * fields)


def values_counted(aggregates: Sequence[float]) -> float:
    """Returns how many values a row is made of, over all its fields."""
    return sum(aggregates[COUNT :: layout.AGGREGATE_WORDS])


def merge_values(into: array[float], values: Sequence[float]) -> None:
    """Adds one value per field to aggregates."""
    base = 0
    for value in values:
        if value == value:  # false for NaN alone, at a third of the cost of math.isnan
            if into[base + 5]:
                if value < into[base + 1]:
                    into[base + 1] = value
                elif value > into[base + 2]:
                    into[base + 2] = value
            else:
                into[base] = into[base + 1] = into[base + 2] = value
            into[base + 3] = value
            into[base + 4] += value
            into[base + 5] += 1.0
        base += layout.AGGREGATE_WORDS


def merge_aggregates(into: array[float], later: Sequence[float]) -> None:
    """Adds the aggregates of a later interval."""
    for base in range(0, len(into), layout.AGGREGATE_WORDS):
        first, low, high, last, total, count = later[base : base + layout.AGGREGATE_WORDS]
        if not count:
            continue
        if into[base + 5]:
            into[base + 1] = min(into[base + 1], low)
            into[base + 2] = max(into[base + 2], high)
        else:
            into[base], into[base + 1], into[base + 2] = first, low, high
        into[base + 3] = last
        into[base + 4] += total
        into[base + 5] += count


def column_of_values(values: array[float], aggregate: int) -> array[float]:
    """Returns one of the six numbers of rows that hold a single value each."""
    if aggregate == SUM:
        return array("d", [value if value == value else 0.0 for value in values])
    if aggregate == COUNT:
        return array("d", [1.0 if value == value else 0.0 for value in values])
    return values


def resample(block: Block, columns: Sequence[Column], spacing_ns: int, not_before_ns: int = 0) -> Block:
    """Merges rows into intervals of `spacing_ns`; an interval that began before `not_before_ns` is named by that."""
    times = array("q")
    starts: list[int] = []
    bucket_end_ns = -1
    for row, ts_ns in enumerate(block.times):
        if ts_ns >= bucket_end_ns:
            bucket_ns = ts_ns - ts_ns % spacing_ns
            bucket_end_ns = bucket_ns + spacing_ns
            times.append(bucket_ns if bucket_ns > not_before_ns else not_before_ns)
            starts.append(row)
    if len(times) == len(block.times):
        return Block(times, block.columns)
    starts.append(len(block.times))
    return Block(
        times,
        [
            array("d", _REDUCTIONS[column.aggregate](values, starts))
            for column, values in zip(columns, block.columns, strict=True)
        ],
    )


def _first(values: array[float], starts: list[int]) -> list[float]:
    return [next(iter(group), NAN) for group in _defined(values, starts)]


def _last(values: array[float], starts: list[int]) -> list[float]:
    found = [values[end - 1] for end in starts[1:]]
    for n, value in enumerate(found):
        if value != value:
            group = values[starts[n] : starts[n + 1]]
            found[n] = next((earlier for earlier in reversed(group) if earlier == earlier), NAN)
    return found


def _min(values: array[float], starts: list[int]) -> list[float]:
    return [min(group, default=NAN) for group in _defined(values, starts)]


def _max(values: array[float], starts: list[int]) -> list[float]:
    return [max(group, default=NAN) for group in _defined(values, starts)]


def _sum(values: array[float], starts: list[int]) -> list[float]:
    return [sum(values[start:end]) for start, end in pairwise(starts)]


def _defined(values: array[float], starts: list[int]) -> Iterator[list[float]]:
    for start, end in pairwise(starts):
        yield [value for value in values[start:end] if value == value]


_REDUCTIONS: Final[tuple[Callable[[array[float], list[int]], list[float]], ...]] = (
    _first, _min, _max, _last, _sum, _sum
)  # fmt: skip
