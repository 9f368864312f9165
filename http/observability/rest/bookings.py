"""`/api/bookings`: what has changed the book and is no fill, from the store or from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import orjson
from msgspec import Meta, Struct

from observability.clocks.slices import Steps, in_slices
from observability.encoding import encode_json
from observability.errors import StoreError
from observability.events import Name
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import Unavailable
from observability.metrics.trades.booking import Booking, BookingFilter
from observability.metrics.trades.booking_queries import BookingSource
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import RouteDescription, Router
from observability.snapshot.frames import Stamp

DEFAULT_LIMIT: Final = 100
# A quarter of a millisecond of encoding.
BOOKINGS_PER_STEP: Final = 20

BookingKind = Literal[
    "instrument", "rate", "cash", "funding", "dividend", "split", "settlement", "bust", "correct", "adopt"
]  # fmt: skip


CorrectionStatus = Literal["pending", "applied", "void", "given_up"]


class BookingsQuery(Struct, frozen=True):
    """The query of `GET /api/bookings`."""

    kind: Annotated[BookingKind | None, Meta(description="only this kind")] = None
    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted")] = None
    status: Annotated[CorrectionStatus | None, Meta(description="only corrections of fills, of this status")] = None
    limit: Annotated[
        Annotated[int, Meta(ge=1, le=1000)] | None, Meta(description="bookings per page, 100 if absent")
    ] = None
    cursor: Annotated[
        Annotated[str, Meta(pattern=r"\A[0-9]{1,18}\Z")] | None,
        Meta(description="`next_cursor` of the page before"),
    ] = None


class BookingsRoutes:
    """The handler."""

    def __init__(self, bookings: BookingSource, slices: asyncio.Lock, stored: Callable[[], Stamp]) -> None:
        """`stored` returns the newest tick of which `bookings` has everything."""
        self._bookings = bookings
        self._slices = slices
        self._stored = stored

    def add_to(self, router: Router) -> None:
        router.add(
            "GET",
            "/api/bookings",
            self.bookings,
            name="bookings",
            description=RouteDescription(
                "What has changed the book and is no fill, newest first",
                tags=("trades",),
                parameters=parameters_of(BookingsQuery),
                statuses=(200, 400, 422, 503),
            ),
        )

    async def bookings(self, request: Request) -> Response:
        wanted = parse_query(request, BookingsQuery)
        matching = BookingFilter(
            wanted.kind,
            wanted.symbol,
            wanted.strategy,
            # Plain numbers: the filter may go to the hub.
            None if wanted.start_time is None else int(wanted.start_time),
            None if wanted.end_time is None else int(wanted.end_time),
            wanted.status,
        )
        stored = self._stored()
        limit = wanted.limit or DEFAULT_LIMIT
        try:
            page, total = await self._bookings.bookings(
                matching, limit, None if wanted.cursor is None else int(wanted.cursor)
            )
        except StoreError:
            raise Unavailable("the store cannot be read now; GET /api/system/health says why") from None
        return json_response(
            stored.to_json()
            | {
                "bookings": await in_slices(_encoding(page), self._slices),
                "total": total,
                "limit": limit,
                "next_cursor": str(page[-1].seq) if len(page) == limit else None,
            }
        )


def _encoding(bookings: Sequence[Booking]) -> Steps[orjson.Fragment]:
    """Encodes a list of bookings in steps."""
    parts = []
    for at in range(0, len(bookings), BOOKINGS_PER_STEP):
        parts.append(encode_json([each.to_json() for each in bookings[at : at + BOOKINGS_PER_STEP]])[1:-1])
        yield
    return orjson.Fragment(b"[" + b",".join(parts) + b"]")
