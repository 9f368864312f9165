"""The curves of an answer about the past, and their encoding as rows, columns or a table, in slices between ticks."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from observability.clocks.slices import Slice
from observability.clocks.timestamps import format_iso_ms
from observability.metrics.strategy.account import CURVES
from observability.rest.exports import Column

# How much is encoded before the slice of time is checked.
ROWS_PER_STEP: Final = 100
TIMES_PER_STEP: Final = 250


@dataclass(slots=True)
class Curve:
    """The points of one series: one array per field, or per field and aggregate. NaN stands for an undefined value."""

    kind: str
    key: str
    """Its symbol or strategy, if it is of one."""
    times: array[int]
    values: dict[str, array[Any]]
    aggregates: dict[str, dict[str, array[Any]]]

    @property
    def label(self) -> dict[str, str]:
        return {"type": self.kind, self.key_name: self.key} if self.key else {"type": self.kind}

    @property
    def key_name(self) -> str:
        return "strategy" if self.kind == CURVES else "symbol"

    def named_values(self) -> Iterator[tuple[str, array[Any]]]:
        """Yields the arrays with their names in a table; an aggregate is FIELD.AGGREGATE."""
        yield from self.values.items()
        for name, one in self.aggregates.items():
            yield from ((f"{name}.{aggregate}", values) for aggregate, values in one.items())

    def keep_newest(self, limit: int) -> None:
        drop = max(0, len(self.times) - limit)
        if drop:
            del self.times[:drop]
            for values in (*self.values.values(), *(v for one in self.aggregates.values() for v in one.values())):
                del values[:drop]


async def encode_columns(curves: Sequence[Curve], work: Slice) -> list[bytes]:
    """Returns the pieces of an array with an object per curve."""
    pieces = [b"["]
    known_times = array("q")
    known = b"[]"
    for curve in curves:
        # Most series have the same times, and formatting those is most of the work.
        if curve.times != known_times:
            known_times, known = curve.times, await _encode_times(curve.times, work)
        pieces += (orjson.dumps(curve.label)[:-1], b',"timestamp":', known)
        for name, values in curve.values.items():
            pieces += (b",", orjson.dumps({name: values.tolist()})[1:-1])
            await work.offer()
        for name, aggregates in curve.aggregates.items():
            one = {aggregate: values.tolist() for aggregate, values in aggregates.items()}
            pieces += (b",", orjson.dumps({name: one})[1:-1])
            await work.offer()
        pieces.append(b"},")
    return _closed(pieces)


async def encode_rows(curves: Sequence[Curve], limit: int, work: Slice) -> list[bytes]:
    """Returns the pieces of an array with an object per point, the newest `limit` points, by time and then in the order
    of the curves."""
    order = await _newest(curves, limit, work)
    labels = [curve.label for curve in curves]
    values = [tuple(curve.values.items()) for curve in curves]
    aggregates = [tuple((name, tuple(one.items())) for name, one in curve.aggregates.items()) for curve in curves]
    pieces = [b"["]
    for start in range(0, len(order), ROWS_PER_STEP):
        rows = [
            {
                "timestamp": format_iso_ms(ts_ns),
                **labels[rank],
                **{name: column[n] for name, column in values[rank]},
                **{name: {which: column[n] for which, column in one} for name, one in aggregates[rank]},
            }
            for ts_ns, rank, n in order[start : start + ROWS_PER_STEP]
        ]
        pieces += (orjson.dumps(rows)[1:-1], b",")
        await work.offer()
    return _closed(pieces)


def table_columns(curves: Sequence[Curve]) -> list[Column]:
    """Returns the columns of a table of these curves: what each point has, then every field that any curve has."""
    fields: dict[str, Column] = {}
    for curve in curves:
        for name, values in curve.named_values():
            kind = fields[name].kind if name in fields else "integer"
            fields[name] = Column(name, kind if values.typecode == "q" else "number")
    keys = dict.fromkeys(("symbol", *(curve.key_name for curve in curves)))
    return [
        Column("timestamp", "time"),
        Column("type", "text"),
        *(Column(key, "text") for key in keys),
        *fields.values(),
    ]


async def table_pages(
    curves: Sequence[Curve], columns: Sequence[Column], limit: int, work: Slice
) -> AsyncGenerator[list[list[Any]], None]:
    """Yields the rows of a table, in the order of `encode_rows`; what a point does not have is None."""
    places = {column.name: place for place, column in enumerate(columns)}
    values = [[(places[name], numbers) for name, numbers in curve.named_values()] for curve in curves]
    async with work:
        order = await _newest(curves, limit, work)
    for start in range(0, len(order), ROWS_PER_STEP):
        page = []
        # The lock is free while the rows are given away: they are encoded in slices too. That time counts here.
        async with work:
            await work.offer()
            for ts_ns, rank, n in order[start : start + ROWS_PER_STEP]:
                row: list[Any] = [None] * len(columns)
                curve = curves[rank]
                row[:2] = ts_ns, curve.kind
                row[places[curve.key_name]] = curve.key or None
                for place, numbers in values[rank]:
                    if math.isfinite(numbers[n]):
                        row[place] = numbers[n]
                page.append(row)
        yield page


async def _newest(curves: Sequence[Curve], limit: int, work: Slice) -> list[tuple[int, int, int]]:
    """Returns the newest `limit` points, by time and then in the order of the curves: time, curve and place in it."""
    # Each curve is sorted already, so sorting merges runs. Plain times first: a tuple for every point would
    # burden the garbage collector.
    times = [ts_ns for curve in curves for ts_ns in curve.times]
    times.sort()
    await work.offer()
    first_ns = times[-limit] if len(times) > limit else 0
    order = [
        (curve.times[n], rank, n)
        for rank, curve in enumerate(curves)
        for n in range(bisect_left(curve.times, first_ns), len(curve.times))
    ]
    order.sort()
    del order[:-limit]
    await work.offer()
    return order


def _closed(pieces: list[bytes]) -> list[bytes]:
    """Closes an array whose elements each end with a comma."""
    if len(pieces) > 1:
        pieces[-1] = pieces[-1][:-1]
    pieces.append(b"]")
    return pieces


async def _encode_times(times: Sequence[int], work: Slice) -> bytes:
    pieces = []
    for start in range(0, len(times), TIMES_PER_STEP):
        pieces.append(orjson.dumps([format_iso_ms(ts_ns) for ts_ns in times[start : start + TIMES_PER_STEP]])[1:-1])
        await work.offer()
    return b"[" + b",".join(pieces) + b"]"
