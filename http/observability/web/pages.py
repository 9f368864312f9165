"""The live page, the API reference and the descriptions that it is made from, and the metrics for Prometheus."""

from __future__ import annotations

import asyncio
import time
from importlib.resources import files
from typing import Any, Final

import orjson

from observability.clocks.slices import in_slices
from observability.encoding import encode_json
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import Unavailable
from observability.monitoring.exposition import Exposition, is_openmetrics
from observability.monitoring.trading_exposition import EXECUTION_FIGURES, TradingFigures, TradingLabels
from observability.rest.openapi import describe
from observability.rest.published import Published
from observability.routing.router import Parameter, RouteDescription, Router
from observability.stream.endpoint import StreamEndpoint
from observability.version import VERSION
from observability.web.assets import Assets
from observability.web.asyncapi import describe_streams

_REVALIDATED: Final = (b"Cache-Control", b"no-cache")

# Nothing is loaded from elsewhere, and no other page may frame these.
_PAGE_FIELDS: Final = (
    (
        b"Content-Security-Policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    _REVALIDATED,
)

_PARTS: Final = {"build": "the hash of all files", "folder": "a folder", "file": "a file"}


class PageRoutes:
    """The handlers."""

    def __init__(
        self,
        router: Router,
        exposition: Exposition,
        labels: TradingLabels,
        published: Published,
        slices: asyncio.Lock,
        start_time: str = "",
    ) -> None:
        """`labels` are those of the trading figures in `/metrics`. A server that has no present shows the past from
        `start_time` on."""
        self._router = router
        self._exposition = exposition
        self._labels = labels
        self._published = published
        self._slices = slices
        self._assets = Assets(files("observability.web").joinpath("static"))
        self._live_page = self._assets.page("index.html", _PAGE_FIELDS, start_time)
        self._docs_page = self._assets.page("docs.html", _PAGE_FIELDS)
        self._client = self._assets.file("client.js", (_REVALIDATED,))
        self._openapi = b""
        self._asyncapi = b""

    def add_to(self, router: Router) -> None:
        tags = ("pages",)
        router.add(
            "GET",
            "/",
            self.root,
            name="root",
            role="open",
            description=RouteDescription(
                "The live page for a browser, the service for others",
                tags=tags,
                media_types=("application/json", "text/html"),
            ),
        )
        router.add(
            "GET",
            "/docs",
            self.docs,
            name="docs",
            role="open",
            description=RouteDescription("This API, to read", tags=tags, media_types=("text/html",)),
        )
        router.add(
            "GET",
            "/openapi.json",
            self.openapi,
            name="openapi",
            role="open",
            description=RouteDescription("This API, for machines", tags=tags),
        )
        router.add(
            "GET",
            "/asyncapi.json",
            self.asyncapi,
            name="asyncapi",
            role="open",
            description=RouteDescription("The streams and their messages, for machines", tags=tags),
        )
        router.add(
            "GET",
            "/static/client.js",
            self.client,
            name="client",
            role="open",
            description=RouteDescription(
                "The stream's client for pages and node, an ES module", tags=tags, media_types=("text/javascript",)
            ),
        )
        for pattern, name in (("/static/{build}/{file}", "asset"), ("/static/{build}/{folder}/{file}", "folder_asset")):
            parts = [part[1:-1] for part in pattern.split("/") if part.startswith("{")]
            router.add(
                "GET",
                pattern,
                self.asset,
                name=name,
                role="open",
                description=RouteDescription(
                    "A file of the live page, under a path that names its content",
                    tags=tags,
                    parameters=tuple(Parameter(part, str, _PARTS[part], required=True, where="path") for part in parts),
                    statuses=(200, 400, 404),
                    media_types=("text/javascript", "text/css", "image/svg+xml", "text/plain"),
                ),
            )
        router.add(
            "GET",
            "/metrics",
            self.metrics,
            name="prometheus",
            description=RouteDescription(
                "Prometheus or OpenMetrics, by Accept",
                tags=tags,
                media_types=("text/plain", "application/openmetrics-text"),
            ),
        )

    def root(self, request: Request) -> Response:
        if b"text/html" in (request.header(b"accept") or b""):
            return self._live_page.answer(request)
        return json_response(
            {
                "service": "observability",
                "version": VERSION,
                "docs": "/docs",
                "websocket": StreamEndpoint.paths[0],
                "endpoints": sorted({route.pattern for route in self._router.routes}),
            }
        )

    def docs(self, request: Request) -> Response:
        return self._docs_page.answer(request)

    def client(self, request: Request) -> Response:
        return self._client.answer(request)

    def asset(self, request: Request, build: str, file: str, folder: str = "") -> Response:
        return self._assets.find(build, f"{folder}/{file}" if folder else file).answer(request)

    def openapi(self, request: Request) -> Response:
        if not self._openapi:
            self._openapi = encode_json(describe(self._router))
        return Response(body=self._openapi)

    def asyncapi(self, request: Request) -> Response:
        if not self._asyncapi:
            self._asyncapi = encode_json(describe_streams())
        return Response(body=self._asyncapi)

    async def metrics(self, request: Request) -> Response:
        accept = (request.header(b"accept") or b"").decode("latin-1")
        found = await self._trading_figures()
        trading = TradingFigures(*found, self._labels, has_exemplars=is_openmetrics(accept))
        body, content_type = await in_slices(self._exposition.rendering(accept, trading.families()), self._slices)
        return Response(body=body, content_type=content_type.encode("latin-1"))

    async def _trading_figures(self) -> tuple[Any, Any, int]:
        """Returns the newest snapshot, the hub's figures of execution, None if the hub does not answer, and the age of
        the snapshot in nanoseconds."""
        frame = self._published.frame()
        execution = None
        try:
            found = self._published.document(EXECUTION_FIGURES)
            document = found if isinstance(found, ReadyDocument) else await found
            execution = orjson.loads(document.body)
        except Unavailable:
            # What this process knows is shown all the same.
            pass
        return orjson.loads(frame.payload), execution, time.monotonic_ns() - frame.mono_ns
