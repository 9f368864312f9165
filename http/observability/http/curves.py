"""Curves, the answer to a question about the past: as rows or as columns, encoded in slices.

No reading here (see `routes/history.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from observability.core.timestamps import format_iso_ms
from observability.http.turns import Turn

# What is encoded without looking at the clock.
ROWS_AT_ONCE: Final = 100
TIMES_AT_ONCE: Final = 250


@dataclass(slots=True)
class Curve:
    """The points of one series: a list per name, or one per name and aggregate; NaN is undefined."""

    kind: str
    symbol: str
    times: list[int]
    values: dict[str, list[Any]]
    aggregates: dict[str, dict[str, list[Any]]]

    @property
    def label(self) -> dict[str, str]:
        return {"type": self.kind, "symbol": self.symbol} if self.symbol else {"type": self.kind}

    def keep_newest(self, limit: int) -> None:
        drop = max(0, len(self.times) - limit)
        if drop:
            del self.times[:drop]
            for values in (*self.values.values(), *(v for one in self.aggregates.values() for v in one.values())):
                del values[:drop]


async def encode_columns(curves: Sequence[Curve], turn: Turn) -> bytes:
    """Returns an array with an object per curve."""
    parts = []
    known_times: list[int] = []
    known = orjson.Fragment(b"[]")
    for curve in curves:
        # Series that tick together share their times, and formatting those is most of the work.
        if curve.times != known_times:
            known_times, known = curve.times, orjson.Fragment(await _encode_times(curve.times, turn))
        head = orjson.dumps({**curve.label, "timestamp": known})[:-1]
        values = [head]
        for name, one in (*curve.values.items(), *curve.aggregates.items()):
            values.append(orjson.dumps({name: one})[1:-1])
            await turn.offer()
        parts.append(b",".join(values) + b"}")
    return b"[" + b",".join(parts) + b"]"


async def encode_rows(curves: Sequence[Curve], limit: int, turn: Turn) -> bytes:
    """Returns an array with an object per point, by time, then in the order of the curves; the newest `limit`."""
    # Each curve is a run in order, which this sort merges.
    order = [(ts_ns, rank, n) for rank, curve in enumerate(curves) for n, ts_ns in enumerate(curve.times)]
    await turn.offer()
    order.sort()
    del order[:-limit]
    await turn.offer()
    labels = [curve.label for curve in curves]
    values = [tuple(curve.values.items()) for curve in curves]
    aggregates = [tuple((name, tuple(one.items())) for name, one in curve.aggregates.items()) for curve in curves]
    parts = []
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
        parts.append(orjson.dumps(rows)[1:-1])
        await turn.offer()
    return b"[" + b",".join(parts) + b"]"


async def _encode_times(times: Sequence[int], turn: Turn) -> bytes:
    parts = []
    for start in range(0, len(times), TIMES_AT_ONCE):
        parts.append(orjson.dumps([format_iso_ms(ts_ns) for ts_ns in times[start : start + TIMES_AT_ONCE]])[1:-1])
        await turn.offer()
    return b"[" + b",".join(parts) + b"]"
