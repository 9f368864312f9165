"""Counters of answered requests."""

from __future__ import annotations

from observability.clocks.timestamps import NS_PER_S
from observability.memory.counters import BucketHistogram, Counter, Counters


class RequestCounters:
    """Counts answers by method, route and status, and times them by route."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[tuple[str, str, int], tuple[Counter, BucketHistogram]] = {}

    def on_request(self, method: str, route: str, status: int, seconds: float) -> None:
        # hot: once per request (observability bench --only rest)
        known = self._known.get((method, route, status))
        if known is None:
            known = self._known[method, route, status] = (
                self._counters.counter(
                    "http_requests_total", "HTTP requests answered", method=method, route=route, status=str(status)
                ),
                self._counters.histogram(
                    "http_request_duration_seconds", "From the parsed request to its written answer", route=route
                ),
            )
        known[0].add()
        known[1].record(int(seconds * NS_PER_S))
