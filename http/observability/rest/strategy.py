"""`/api/strategy`: how well the strategies did, and where our positions differ from the engine's.

Nothing is computed here: documents come encoded from the hub.
"""

from __future__ import annotations

from observability.rest.published import Published
from observability.routing.router import RouteDescription, Router


class StrategyRoutes:
    """The handlers, over the published documents."""

    def __init__(self, published: Published) -> None:
        self._published = published

    def add_to(self, router: Router) -> None:
        for path, document, summary in (
            (
                "/api/strategy/performance",
                "strategy_performance",
                "Ratios, outcomes, holding time and drawdown of the account and of each strategy, with sample counts",
            ),
            ("/api/strategy/breaks", "strategy_breaks", "Positions whose quantity differs from the engine's view"),
        ):
            router.add(
                "GET",
                path,
                self._published.handler(document),
                name=document,
                description=RouteDescription(summary, tags=("strategy",), statuses=(200, 304)),
            )
