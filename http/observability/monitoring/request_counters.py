"""Counters of answered requests."""

from __future__ import annotations

from observability.memory.counters import BucketHistogram, Counter, Counters


class RequestCounters:
    """Counts answers by method, route and status, and times them by route."""

    def __init__(self, counters: Counters) -> None:
        self.answers = 0
        """Answers counted so far."""
        self._counters = counters
        self._known: dict[tuple[str, str, int], tuple[Counter, BucketHistogram]] = {}

    def on_answers(self, method: str, route: str, status: int, spent_ns: int, number: int) -> None:
        """Counts `number` answers, which took `spent_ns` together and each about as long as the others."""
        # hot: once per request, or per frame and document that is polled (observability bench --only rest)
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
        self.answers += number
        known[0].add(number)
        known[1].record(spent_ns, number)
