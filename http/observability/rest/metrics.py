"""`/api/metrics`: the snapshot and what is derived from it.

Nothing is computed here: documents come encoded from the hub. The past is in `history.py`.
"""

from __future__ import annotations

from observability.rest.published import Published
from observability.routing.router import RouteDescription, Router


class MetricsRoutes:
    """The handlers, over the published documents."""

    def __init__(self, published: Published) -> None:
        self._published = published

    def add_to(self, router: Router) -> None:
        tags = ("metrics",)
        router.add(
            "GET",
            "/api/metrics/current",
            self._published.snapshot,
            name="current_metrics",
            description=RouteDescription(
                "The current snapshot: the bytes of the last tick", tags=tags, statuses=(200, 304)
            ),
        )
        router.add(
            "GET",
            "/api/metrics/symbols",
            self._published.handler("symbols"),
            name="symbols",
            description=RouteDescription("Tracked symbols", tags=tags, statuses=(200, 304)),
        )
        router.add(
            "GET",
            "/api/metrics/summary",
            self._published.handler("summary"),
            name="summary",
            description=RouteDescription("The headline numbers", tags=tags, statuses=(200, 304)),
        )
