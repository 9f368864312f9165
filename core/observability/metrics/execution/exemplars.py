"""Exemplars of latencies: for each leg and bucket of its histogram, the newest order that fell into it. They lead from
a slow bucket to an order; a restart begins without."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

from observability.clocks.timestamps import NS_PER_S
from observability.memory.counters import DURATION_BOUNDS_SECONDS

BOUNDS_NS: Final = tuple(round(bound * NS_PER_S) for bound in DURATION_BOUNDS_SECONDS)


Exemplar = tuple[str, str, float, float]
"""The id and symbol of an order, the length of its leg and when it ended, both in seconds."""


class LegExemplars:
    """The exemplars of all legs."""

    __slots__ = ("_newest",)

    def __init__(self) -> None:
        self._newest: dict[str, dict[int, tuple[str, str, int, int]]] = {}

    def note(self, leg: str, order_id: str, symbol: str, duration_ns: int, end_ns: int) -> None:
        """Notes an order. One without an id, or that ended before it began, leads nowhere."""
        # hot: a few times per order (benchmarks/bench_intake.py)
        if order_id and duration_ns >= 0:
            found = self._newest.get(leg)
            if found is None:
                found = self._newest[leg] = {}
            found[bisect_left(BOUNDS_NS, duration_ns)] = (order_id, symbol, duration_ns, end_ns)

    def of(self, leg: str) -> Mapping[int, Exemplar]:
        """Returns the exemplars of a leg by the number of the bucket."""
        return {
            bucket: (order_id, symbol, duration_ns / NS_PER_S, end_ns / NS_PER_S)
            for bucket, (order_id, symbol, duration_ns, end_ns) in self._newest.get(leg, {}).items()
        }
