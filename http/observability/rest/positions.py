"""`/api/positions`: the open positions as the snapshot shows them, with their exact figures."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Annotated, Any, Final

import orjson
from msgspec import Meta, Struct

from observability.events import Name
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response, json_response
from observability.rest.published import Published
from observability.routing.parameters import parameters_of, parse_query
from observability.routing.router import RouteDescription, Router

POSITIONS: Final = "positions"
"""Names the document in which the hub publishes all open positions."""


class PositionsQuery(Struct, frozen=True):
    """The query of `GET /api/positions`."""

    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None


class PositionsRoutes:
    """The handler."""

    def __init__(self, published: Published) -> None:
        self._published = published

    def add_to(self, router: Router) -> None:
        router.add(
            "GET",
            "/api/positions",
            self.positions,
            name="positions",
            description=RouteDescription(
                "Open positions as the snapshot shows them, with exact figures",
                tags=("strategy",),
                parameters=parameters_of(PositionsQuery),
                statuses=(200, 304, 400, 422, 503),
            ),
        )

    async def positions(self, request: Request) -> Response | ReadyDocument:
        wanted = parse_query(request, PositionsQuery)
        answer = self._published.answer(request, POSITIONS)
        document = await answer if inspect.isawaitable(answer) else answer
        if wanted.strategy is None and wanted.symbol is None:
            return document
        found = orjson.loads(document.body)
        found["positions"] = select_positions(found["positions"], wanted)
        return json_response(found)


def select_positions(positions: Iterable[dict[str, Any]], wanted: PositionsQuery) -> list[dict[str, Any]]:
    """Returns the positions of the strategy and the symbol that a query names."""
    return [
        position
        for position in positions
        if wanted.strategy in (None, position["strategy"]) and wanted.symbol in (None, position["symbol"])
    ]
