"""The routes of an aggregator: what it shows of all sites, and with `?site=NAME` what the hub of one site answers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final
from urllib.parse import quote

import msgspec
import orjson

from observability.encoding import encode_json
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import NotFound, Refusal, Unavailable, Unprocessable
from observability.rest.positions import POSITIONS, PositionsQuery, select_positions
from observability.rest.published import Published
from observability.routing.forwarding import ForwardedAnswer, ForwardedRequest, forwarded, forwarder
from observability.routing.parameters import parse_query
from observability.routing.router import API_PREFIX, Answer, Handler, Parameter, Router
from observability.sites.naming import alert_at, renamed, split_id
from observability.snapshot.frames import Stamp

SITE: Final = "site"
ACKNOWLEDGE: Final = "acknowledge_alert"
# The routes, by name, that are about all sites unless a request names one.
OF_ALL_SITES: Final = frozenset({
    "current_metrics", "symbols", "summary", "metrics_history", "system_alerts", "alert_history", "system_health",
    "system_performance", "system_components", "system_stats", "alert_rules", "recent_logs",
})  # fmt: skip
# Events belong to a hub, which answers a sender once they are on its disk.
REFUSED: Final = frozenset({"ingest", "alertmanager_webhook"})

AskSite = Callable[[str, ForwardedRequest], Awaitable[ForwardedAnswer]]


class SiteRoutes:
    """Replaces the handlers of the routes below `/api/`."""

    def __init__(self, sites: Sequence[str], ask: AskSite, published: Published, slices: asyncio.Lock) -> None:
        """`slices` is shared by everything that works in slices."""
        self._sites = sites
        self._slices = slices
        self._published = published
        self._ask = ask

    def replace_in(self, router: Router) -> None:
        for resource in router.resources:
            if not resource.pattern.startswith(API_PREFIX):
                continue
            for route in list(resource.routes.values()):
                if route.name in REFUSED:
                    router.replace_handler(route.name, _refuse)
                elif route.name == ACKNOWLEDGE:
                    router.replace_handler(route.name, self._acknowledging(route.handler))
                else:
                    of_all = route.handler if route.name in OF_ALL_SITES else None
                    if route.name == POSITIONS:
                        of_all = self._positions
                    parameter = Parameter(
                        SITE, str, f"answered by the hub of this site: {self._expected}", required=of_all is None
                    )
                    router.replace_handler(route.name, self._for_site(of_all), (parameter,))

    def _for_site(self, of_all: Handler | None) -> Handler:
        """Returns the handler of a route; `of_all` answers what names no site."""

        async def handle(request: Request, **params: str) -> Answer:
            site = self._site_of(request)
            if site is not None:
                forward: Any = forwarder(partial(self._ask_without_name, site), self._slices)
                forwarded_answer: Answer = await forward(request)
                return forwarded_answer
            if of_all is None:
                raise Refusal(
                    422,
                    f"an aggregator answers this for one site at a time: add {SITE}=NAME",
                    errors=[{"parameter": SITE, "error": f"expected {self._expected}"}],
                )
            found: Any = of_all(request, **params)
            answer: Answer = await found if inspect.isawaitable(found) else found
            return answer

        return handle

    async def _positions(self, request: Request) -> Answer:
        """Answers with the positions of every site whose hub answers; the others are named."""
        wanted = parse_query(request, PositionsQuery)
        target = request.target.partition("?")[0]
        frame = self._published.frame()
        answers = await asyncio.gather(*(self._document_of(site, request, target) for site in self._sites))
        found = [
            renamed(site, position, is_stale=False)
            for site, document in zip(self._sites, answers, strict=True)
            if document is not None
            for position in document["positions"]
        ]
        return json_response(
            {
                **Stamp(frame.seq, frame.ts_ns).to_json(),
                "positions": select_positions(found, wanted),
                "missing_sites": [
                    site for site, document in zip(self._sites, answers, strict=True) if document is None
                ],
            }
        )

    async def _document_of(self, site: str, request: Request, target: str) -> dict[str, Any] | None:
        """Returns a document of a site; None if its hub does not answer."""
        try:
            response = await self._answer_of(site, request, target)
        except Unavailable:
            return None
        document: dict[str, Any] | None = orjson.loads(response.body) if response.status == 200 else None
        return document

    def _acknowledging(self, own: Handler) -> Handler:
        """Returns the handler that lets the hub acknowledge whose alert it is."""

        async def handle(request: Request, alert_id: str) -> Answer:
            site, own_id = split_id(alert_id)
            if not site:
                found: Any = own(request, alert_id=alert_id)
                answer: Answer = await found
                return answer
            if site not in self._sites:
                raise NotFound("no alert of that id")
            path, _, query = request.target.partition("?")
            target = f"{path[: path.rindex('/')]}/{quote(own_id, safe='')}{'?' if query else ''}{query}"
            response = await self._answer_of(site, request, target)
            if response.status != 200:
                return response
            alert = orjson.loads(response.body)
            return Response(200, encode_json(alert_at(site, alert)))

        return handle

    async def _ask_without_name(self, site: str, asked: ForwardedRequest) -> ForwardedAnswer:
        """Asks the hub of a site, which does not know the parameter that names it."""
        path, _, query = asked.target.partition("?")
        kept = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] != SITE)
        return await self._ask(site, msgspec.structs.replace(asked, target=f"{path}?{kept}" if kept else path))

    async def _answer_of(self, site: str, request: Request, target: str) -> Response:
        answer = await self._ask(site, msgspec.structs.replace(forwarded(request), target=target))
        return Response(answer.status, answer.body, answer.content_type, answer.headers)

    def _site_of(self, request: Request) -> str | None:
        named = [value for name, value in request.query_parameters() if name == SITE]
        if not named:
            return None
        if len(named) > 1 or named[0] not in self._sites:
            raise Unprocessable([{"parameter": SITE, "error": f"got {named[-1][:32]!r}, expected {self._expected}"}])
        return named[0]

    @property
    def _expected(self) -> str:
        return f"one of {', '.join(self._sites)}"


async def _refuse(request: Request, **_: str) -> Answer:
    raise NotFound("an aggregator takes no events; send them to a hub, or to an edge, of the site that they belong to")
