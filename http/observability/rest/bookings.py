"""`/api/bookings`: what has changed the book and is no fill, from the store or from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, Struct

from observability.clocks.slices import in_slices
from observability.events import Name
from observability.http11.messages import Request, Response, json_response
from observability.metrics.trades.booking import Booking, BookingFilter
from observability.metrics.trades.booking_queries import BookingSource
from observability.rest.paging import DEFAULT_LIMIT, Cursor, Limit, encoding, next_cursor, plain, store_errors
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import RouteDescription, Router
from observability.snapshot.frames import Stamp

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
    limit: Annotated[Limit | None, Meta(description="bookings per page, 100 if absent")] = None
    cursor: Annotated[Cursor | None, Meta(description="`next_cursor` of the page before")] = None


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
            plain(wanted.start_time),
            plain(wanted.end_time),
            wanted.status,
        )
        stored = self._stored()
        limit = wanted.limit or DEFAULT_LIMIT
        with store_errors():
            page, total = await self._bookings.bookings(matching, limit, plain(wanted.cursor))
        return json_response(
            stored.to_json()
            | {
                "bookings": await in_slices(encoding(page, Booking.to_json), self._slices),
                "total": total,
                "limit": limit,
                "next_cursor": next_cursor(page, limit),
            }
        )
