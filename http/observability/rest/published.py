"""Published documents: the snapshot and other documents that the hub encodes on each tick, as answers to requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from observability.clocks.slices import in_slices
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request
from observability.http11.refusals import Unavailable
from observability.ingest.answers import BUSY_RETRY_SECONDS
from observability.metrics.arithmetic.rates import Rates
from observability.metrics.assembly import rates_of
from observability.routing.router import RouteDescription, Router
from observability.snapshot.frames import Documents, Frame, FrameSource, PublishedDocument

SNAPSHOT: Final = "current_metrics"
INSTRUMENTS: Final = "instruments"
# A hub that takes longer for a document of which there is an old copy is dead or stopped.
ANSWER_SECONDS: Final = 1.0

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
        "/api/instruments",
        INSTRUMENTS,
        "What each symbol stands for, described or assumed, and the rates between currencies",
    ),
    (
        "strategy",
        "/api/strategy/breaks",
        "strategy_breaks",
        "Positions that differ from the engine's view; fills and orders that were delivered with other content",
    ),
    ("system", "/api/system/health", "system_health", "Health, with its reasons"),
    ("system", "/api/system/performance", "system_performance", "Measured latencies and rates of this server"),
    ("system", "/api/system/components", "system_components", "Collectors, and components by their heartbeats"),
    (
        "system",
        "/api/system/sources",
        "system_sources",
        "Live sources: state, rate against its normal, gaps, reconnects",
    ),
    (
        "system",
        "/api/system/notifications",
        "system_notifications",
        "Routes of alerts: what they have delivered and what waits; the newest notices and their outcomes",
    ),
    ("system", "/api/system/silences", "system_silences", "Silences of alerts that have not ended, newest first"),
    ("system", "/api/system/stats", "system_stats", "Counts since the start"),
    ("system", "/api/system/alerts/rules", "alert_rules", "Alert rules, what they see and whether they are raised"),
)


RECORDED: Final = ("system_alerts", *(name for _, _, name, _ in _ROUTES if name not in (SNAPSHOT, "symbols")))
"""The documents of which a recording has what they were. The symbols of a moment are in its snapshot."""


class DocumentSource(Protocol):
    """Answers with a document that is too large for the shared memory: the hub, as a worker asks it."""

    async def document(self, name: str) -> PublishedDocument | None:
        """Returns the newest version; None if there is none of that name. Raises Unavailable."""


class Published:
    """The newest documents. Each is prepared on the first request for it and kept until the next frame."""

    def __init__(
        self, frames: FrameSource, hub: DocumentSource | None = None, slices: asyncio.Lock | None = None
    ) -> None:
        """`hub` is asked for the documents that `frames` does not have; without it `frames` has them all. `slices` is
        shared by everything that works in slices."""
        self._frames = frames
        self._hub = hub
        self._slices = asyncio.Lock() if slices is None else slices
        self._frame: Frame | None = None
        self._snapshot: ReadyDocument
        self._documents: Documents | None = None
        self._ready: dict[str, ReadyDocument] = {}
        self._asked: dict[str, asyncio.Task[ReadyDocument]] = {}
        self._compressions: dict[str, tuple[ReadyDocument, asyncio.Task[None]]] = {}

    def add_to(self, router: Router) -> None:
        """Adds a route for each document."""
        for tag, path, name, summary in _ROUTES:
            description = RouteDescription(summary, tags=(tag,), statuses=(200, 304))
            router.add("GET", path, self._handler(name), name=name, description=description)

    def frame(self) -> Frame:
        """Returns the newest frame."""
        frame = self._frames.latest()
        assert frame is not None, "the hub makes its first frame before the port opens"
        return frame

    def snapshot(self) -> ReadyDocument:
        """Returns the snapshot of the newest frame."""
        # hot: once per poll (observability bench --only rest)
        frame = self._frames.latest()
        if frame is not self._frame:
            assert frame is not None, "the hub makes its first frame before the port opens"
            self._frame = frame
            self._snapshot = ReadyDocument(frame.payload, _etag(frame.epoch, frame.seq))
        return self._snapshot

    async def rates(self) -> Rates:
        """Returns the hub's newest rates. Raises Unavailable if the hub does not answer."""
        found = self.document(INSTRUMENTS)
        document = found if isinstance(found, ReadyDocument) else await found
        return rates_of(document.body)

    def document(self, name: str) -> ReadyDocument | Awaitable[ReadyDocument]:
        """Returns one of the hub's documents; one that the shared memory has not got, or only an old copy of, has to be
        waited for."""
        # hot: once per poll (observability bench --only rest)
        documents = self._frames.documents
        if documents is not self._documents:
            self._documents = documents
            self._ready = {}
            self._asked = {}
        ready = self._ready.get(name)
        if ready is None:
            body = documents.by_name.get(name)
            if body is None or name in documents.old:
                return self._ask(name)
            ready = self._ready[name] = ReadyDocument(body, _etag(documents.epoch, documents.seq))
        return ready

    def _ask(self, name: str) -> Awaitable[ReadyDocument]:
        """Asks the hub once for all who want this document before the next frame."""
        asked = self._asked.get(name)
        if asked is None:
            asked = self._asked[name] = asyncio.get_running_loop().create_task(self._fetch(name))
        # A client that goes away ends its own request, not that of the others.
        return asyncio.shield(asked)

    async def _fetch(self, name: str) -> ReadyDocument:
        assert self._hub is not None, f"document {name} is neither here nor elsewhere"
        has_copy = self._frames.documents.by_name.get(name) is not None
        try:
            # A document without a copy is likely a large one, which takes its time.
            found = await asyncio.wait_for(self._hub.document(name), ANSWER_SECONDS if has_copy else None)
        except (Unavailable, TimeoutError):
            # While the hub is replaced, say, its last copy is better than none.
            documents = self._frames.documents
            body = documents.by_name.get(name)
            if body is None:
                raise Unavailable(f"the hub does not answer with its document {name}", BUSY_RETRY_SECONDS) from None
            return ReadyDocument(body, _etag(documents.epoch, documents.seq, "-old"))
        if found is None:
            raise Unavailable(f"the hub has no document {name} yet", BUSY_RETRY_SECONDS)
        return ReadyDocument(found.body, _etag(found.epoch, found.seq))

    def answer(self, request: Request, name: str) -> ReadyDocument | Awaitable[ReadyDocument]:
        """Returns a document as the answer to `request`; a large one is compressed in slices first."""
        # hot: once per poll (observability bench --only rest)
        document = self.snapshot() if name == SNAPSHOT else self.document(name)
        if isinstance(document, ReadyDocument) and not document.must_be_compressed(request):
            return document
        return self._prepare(request, name, document)

    async def _prepare(
        self, request: Request, name: str, awaited: ReadyDocument | Awaitable[ReadyDocument]
    ) -> ReadyDocument:
        document = awaited if isinstance(awaited, ReadyDocument) else await awaited
        if document.must_be_compressed(request):
            compressed, compression = self._compressions.get(name, (None, None))
            if compressed is not document or compression is None:
                # Once for all who want this version.
                compression = asyncio.ensure_future(in_slices(document.compressing(), self._slices))
                self._compressions[name] = document, compression
            # A client that goes away must not end what others wait for.
            await asyncio.shield(compression)
        return document

    def _handler(self, name: str) -> Callable[[Request], ReadyDocument | Awaitable[ReadyDocument]]:
        def answer(request: Request) -> ReadyDocument | Awaitable[ReadyDocument]:
            return self.answer(request, name)

        return answer


def _etag(epoch: str, seq: int, suffix: str = "") -> bytes:
    return f'"{epoch}-{seq}{suffix}"'.encode()
