"""`GET /api/system/health` on a host of a desk: the hub's document, and the desk as the host that answers sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson

from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import Unavailable
from observability.rest.published import Published
from observability.routing.router import Router

HEALTH: Final = "system_health"

DescribeDesk = Callable[[], Awaitable[dict[str, Any]]]
"""Returns the desk as this host sees it. Raises Unavailable."""


class DeskHealth:
    """The handler. What keeps this host from showing the present degrades the verdict, which the hub cannot know."""

    def __init__(self, published: Published, describe: DescribeDesk) -> None:
        self._published = published
        self._describe = describe

    def replace_in(self, router: Router) -> None:
        """Answers in place of the document as the hub publishes it."""
        router.replace_handler(HEALTH, self.health)

    async def health(self, request: Request) -> Response:
        try:
            desk = await self._describe()
            trouble = desk["trouble"]
        except Unavailable as unavailable:
            desk, trouble = None, unavailable.detail
        found = self._published.document(HEALTH)
        document = orjson.loads((found if isinstance(found, ReadyDocument) else await found).body)
        document["desk"] = desk
        if trouble is not None:
            document["reasons"].append(f"desk: {trouble}")
            if document["status"] == "healthy":
                document["status"] = "degraded"
        return json_response(document)
