"""Published documents: the snapshot and other documents that the hub encodes on each tick, as answers to requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request
from observability.routing.router import RouteDescription, Router
from observability.snapshot.frames import FrameSource

SNAPSHOT: Final = "current_metrics"

# Tag, path, name of the document and of its route, summary.
_ROUTES: Final = (
    ("metrics", "/api/metrics/current", SNAPSHOT, "The current snapshot: the bytes of the last tick"),
    ("metrics", "/api/metrics/symbols", "symbols", "Tracked symbols"),
    ("metrics", "/api/metrics/summary", "summary", "The headline numbers"),
    (
        "trades",
        "/api/trades/execution/quality",
        "execution_quality",
        "How well orders were executed, each number with its sample count",
    ),
    (
        "strategy",
        "/api/strategy/performance",
        "strategy_performance",
        "Ratios, outcomes, holding time and drawdown of the account and of each strategy, with sample counts",
    ),
    (
        "strategy",
        "/api/strategy/breaks",
        "strategy_breaks",
        "Positions whose quantity differs from the engine's view",
    ),
    ("system", "/api/system/health", "system_health", "Health, with its reasons"),
    ("system", "/api/system/performance", "system_performance", "Measured latencies and rates of this server"),
    ("system", "/api/system/components", "system_components", "Collectors, and components by their heartbeats"),
    ("system", "/api/system/stats", "system_stats", "Counts since the start"),
    ("system", "/api/system/alerts/rules", "alert_rules", "Alert rules, what they see and whether they are raised"),
)


class Published:
    """The documents of the newest frame. Each is prepared on the first request for it and kept until the next frame."""

    def __init__(self, frames: FrameSource) -> None:
        self._frames = frames
        self._seq = 0
        self._ready: dict[str, ReadyDocument] = {}

    def add_to(self, router: Router) -> None:
        """Adds a route for each document."""
        for tag, path, name, summary in _ROUTES:
            description = RouteDescription(summary, tags=(tag,), statuses=(200, 304))
            router.add("GET", path, self._handler(name), name=name, description=description)

    def document(self, name: str) -> ReadyDocument:
        """Returns one of the hub's documents, or the snapshot."""
        # hot: once per poll (benchmarks/bench_http.py)
        frame = self._frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        if frame.seq != self._seq:
            self._ready = {}
            self._seq = frame.seq
        ready = self._ready.get(name)
        if ready is None:
            body = frame.payload if name == SNAPSHOT else frame.documents[name]
            ready = self._ready[name] = ReadyDocument(body, f'"{self._frames.epoch}-{frame.seq}"'.encode())
        return ready

    def _handler(self, name: str) -> Callable[[Request], ReadyDocument]:
        def answer(request: Request) -> ReadyDocument:
            return self.document(name)

        return answer
