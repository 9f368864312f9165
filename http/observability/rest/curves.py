"""Curves, the answer to a question about the past: as rows or as columns, encoded in slices.

No reading here (see `routes/history.py`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from observability.clocks.slices import Slice
from observability.clocks.timestamps import format_iso_ms

# What is encoded without looking at the clock.
ROWS_AT_ONCE: Final = 100
TIMES_AT_ONCE: Final = 250


@dataclass(slots=True)
class Curve:
    """The points of one series: an array per name, or one per name and aggregate; NaN is undefined."""

    kind: str
    symbol: str
    times: array[int]
    values: dict[str, array[Any]]
    aggregates: dict[str, dict[str, array[Any]]]

    @property
    def label(self) -> dict[str, str]:
        return {"type": self.kind, "symbol": self.symbol} if self.symbol else {"type": self.kind}

    def keep_newest(self, limit: int) -> None:
        drop = max(0, len(self.times) - limit)
        if drop:
            del self.times[:drop]
            for values in (*self.values.values(), *(v for one in self.aggregates.values() for v in one.values())):
                del values[:drop]


async def encode_columns(curves: Sequence[Curve], turn: Slice) -> list[bytes]:
    """Returns the pieces of an array with an object per curve."""
    pieces = [b"["]
    known_times = array("q")
    known = b"[]"
    for curve in curves:
        # Series that tick together share their times, and formatting those is most of the work.
        if curve.times != known_times:
            known_times, known = curve.times, await _encode_times(curve.times, turn)
        pieces += (orjson.dumps(curve.label)[:-1], b',"timestamp":', known)
        for name, values in curve.values.items():
            pieces += (b",", orjson.dumps({name: values.tolist()})[1:-1])
            await turn.offer()
        for name, aggregates in curve.aggregates.items():
            one = {aggregate: values.tolist() for aggregate, values in aggregates.items()}
            pieces += (b",", orjson.dumps({name: one})[1:-1])
            await turn.offer()
        pieces.append(b"},")
    return _closed(pieces)


async def encode_rows(curves: Sequence[Curve], limit: int, turn: Slice) -> list[bytes]:
    """Returns the pieces of an array with an object per point, by time, then in the order of the curves; the newest
    `limit`."""
    # Each curve is a run in order, which sorting merges. Numbers first: tuples of them all are much to collect.
    times = [ts_ns for curve in curves for ts_ns in curve.times]
    times.sort()
    await turn.offer()
    first_ns = times[-limit] if len(times) > limit else 0
    order = [
        (curve.times[n], rank, n)
        for rank, curve in enumerate(curves)
        for n in range(bisect_left(curve.times, first_ns), len(curve.times))
    ]
    order.sort()
    del order[:-limit]
    await turn.offer()
    labels = [curve.label for curve in curves]
    values = [tuple(curve.values.items()) for curve in curves]
    aggregates = [tuple((name, tuple(one.items())) for name, one in curve.aggregates.items()) for curve in curves]
    pieces = [b"["]
    for start in range(0, len(order), ROWS_AT_ONCE):
        rows = [
            {
                "timestamp": format_iso_ms(ts_ns),
                **labels[rank],
                **{name: column[n] for name, column in values[rank]},
                **{name: {which: column[n] for which, column in one} for name, one in aggregates[rank]},
            }
            for ts_ns, rank, n in order[start : start + ROWS_AT_ONCE]
        ]
        pieces += (orjson.dumps(rows)[1:-1], b",")
        await turn.offer()
    return _closed(pieces)


def _closed(pieces: list[bytes]) -> list[bytes]:
    """Ends an array whose members end with commas."""
    if len(pieces) > 1:
        pieces[-1] = pieces[-1][:-1]
    pieces.append(b"]")
    return pieces


async def _encode_times(times: Sequence[int], turn: Slice) -> bytes:
    parts = []
    for start in range(0, len(times), TIMES_AT_ONCE):
        parts.append(orjson.dumps([format_iso_ms(ts_ns) for ts_ns in times[start : start + TIMES_AT_ONCE]])[1:-1])
        await turn.offer()
    return b"[" + b",".join(parts) + b"]"
