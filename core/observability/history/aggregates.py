"""Aggregates of an interval: first, min, max, last, sum and count per field, merged by row or by column.

NaN is an undefined value: it enters no aggregate and is not counted.

    row     one interval    [first min max last sum count | first min max last sum count | ...]   field by field
    block   many intervals  times [t0 t1 t2 ...]   and per wanted column   [v0 v1 v2 ...]
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import add
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
    """One of the six aggregates of one field."""

    field: int
    aggregate: int

    @property
    def offset(self) -> int:
        """Its offset in a row of aggregates."""
        return self.field * layout.AGGREGATE_WORDS + self.aggregate


@dataclass(slots=True)
class Block:
    """Rows of one series as columns, in the order of their times.

    The columns are arrays because each garbage collection traverses lists, which delayed the tick by tens of
    milliseconds (benchmarks/bench_history.py).
    """

    times: array[int]
    columns: list[array[float]]

    @classmethod
    def empty(cls, width: int) -> Block:
        return cls(array("q"), [array("d") for _ in range(width)])

    def extend(self, later: Block) -> None:
        """Appends later rows of the same columns."""
        self.times.extend(later.times)
        for mine, theirs in zip(self.columns, later.columns, strict=True):
            mine.extend(theirs)


def empty_aggregates(fields: int) -> array[float]:
    """Returns the aggregates of no values."""
    return array("d", (NAN, NAN, NAN, NAN, 0.0, 0.0) * fields)


def values_counted(aggregates: Sequence[float]) -> float:
    """Returns how many values a row aggregates, over all its fields."""
    return sum(aggregates[COUNT :: layout.AGGREGATE_WORDS])


def merge_values(into: array[float], values: Sequence[float]) -> None:
    """Merges one value per field into aggregates."""
    base = 0
    for value in values:
        if value == value:  # false only for NaN, at a third of the cost of math.isnan
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


if sys.version_info < (3, 12):
    _add_up: Callable[[Sequence[float], float], float] = sum
else:

    def _add_up(values: Sequence[float], start: float) -> float:
        # sum() rounds once from this version on, and not after each value; this takes ten times as long.
        return reduce(add, values, start)


def merge_column(into: array[float], base: int, values: Sequence[float]) -> None:
    """Merges at least one value into the aggregates of one field, which begin at `base`: the sum is rounded as if one
    after the other."""
    total = _add_up(values, into[base + SUM])
    if total != total:  # NaN: min and max would not notice it
        values = [value for value in values if value == value]
        total = _add_up(values, into[base + SUM])
    if values:
        low, high = min(values), max(values)
        if not into[base + COUNT]:
            into[base] = values[0]
            into[base + MIN] = low
            into[base + MAX] = high
        else:
            if low < into[base + MIN]:
                into[base + MIN] = low
            if high > into[base + MAX]:
                into[base + MAX] = high
        into[base + LAST] = values[-1]
        into[base + SUM] = total
        into[base + COUNT] += len(values)


def aggregate_groups(
    values: Sequence[float], bounds: Sequence[int], counts: Sequence[int]
) -> Sequence[Sequence[float]]:
    """Returns the six aggregates of each group of neighbouring values, as columns: group n is from `bounds[n]` to
    before `bounds[n + 1]`, which are `counts[n]`. A single value stands for as many equal ones as are needed, in
    `values` and in each column."""
    # hot: once per field of a series that is written (benchmarks/bench_tick.py)
    if len(values) == 1:
        return _aggregate_repeated(values[0], counts)
    groups = [values[start:end] for start, end in pairwise(bounds)]
    totals = [_add_up(group, 0.0) for group in groups]
    check = sum(totals)
    if check != check:  # NaN: min and max would not notice it
        groups = [[value for value in group if value == value] for group in groups]
        counts = [len(group) for group in groups]
        totals = [_add_up(group, 0.0) for group in groups]
        if not all(counts):
            groups = [group or [NAN] for group in groups]
    return (
        [group[0] for group in groups],
        [*map(min, groups)],
        [*map(max, groups)],
        [group[-1] for group in groups],
        totals,
        counts,
    )


def _aggregate_repeated(value: float, counts: Sequence[int]) -> Sequence[Sequence[float]]:
    same = (value,)
    if value != value:
        return same, same, same, same, (0.0,), (0.0,)
    count = counts[0]
    if counts.count(count) == len(counts):
        return same, same, same, same, (_add_up((value,) * count, 0.0),), (count,)
    totals = {count: _add_up((value,) * count, 0.0) for count in set(counts)}
    return same, same, same, same, [totals[count] for count in counts], counts


def merge_aggregate_columns(into: array[float], columns: Sequence[Sequence[float]], start: int, end: int) -> None:
    """Merges the aggregates of later intervals, in columns from `start` to before `end`, into those of an earlier one:
    the same as `merge_aggregates` of one after the other. A column of one value has it for every interval."""
    count = end - start
    for base in range(0, len(into), layout.AGGREGATE_WORDS):
        firsts, lows, highs, lasts, totals, counts = columns[base : base + layout.AGGREGATE_WORDS]
        counted = counts[0] * count if len(counts) == 1 else sum(counts[start:end])
        if not counted:
            continue
        if len(firsts) == 1:
            first, low, high, last = firsts[0], lows[0], highs[0], lasts[0]
        else:
            defined: Sequence[int] = range(start, end)
            if not all(counts[start:end]):
                defined = [n for n in defined if counts[n]]
            first, last = firsts[defined[0]], lasts[defined[-1]]
            low, high = min([lows[n] for n in defined]), max([highs[n] for n in defined])
        if into[base + COUNT]:
            if low < into[base + MIN]:
                into[base + MIN] = low
            if high > into[base + MAX]:
                into[base + MAX] = high
        else:
            into[base], into[base + MIN], into[base + MAX] = first, low, high
        into[base + LAST] = last
        # The sum of no values is zero, and adding it changes nothing.
        totals = [totals[0]] * count if len(totals) == 1 else totals[start:end]
        into[base + SUM] = _add_up(totals, into[base + SUM])
        into[base + COUNT] += counted


def merge_aggregates(into: array[float], later: Sequence[float]) -> None:
    """Merges the aggregates of a later interval into those of an earlier one."""
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
    """Returns one aggregate of rows that hold a single value each."""
    if aggregate == SUM:
        return array("d", [value if value == value else 0.0 for value in values])
    if aggregate == COUNT:
        return array("d", [1.0 if value == value else 0.0 for value in values])
    return values


def resample(block: Block, columns: Sequence[Column], spacing_ns: int, not_before_ns: int = 0) -> Block:
    """Merges rows into intervals of `spacing_ns`; one that would begin before `not_before_ns` begins there instead."""
    times = array("q")
    starts: list[int] = []
    end_ns = -1
    for row, ts_ns in enumerate(block.times):
        if ts_ns >= end_ns:
            start_ns = ts_ns - ts_ns % spacing_ns
            end_ns = start_ns + spacing_ns
            times.append(start_ns if start_ns > not_before_ns else not_before_ns)
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
