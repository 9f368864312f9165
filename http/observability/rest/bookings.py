"""`/api/bookings`: what has changed the book and is no fill, from the store or from memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from observability.clocks.slices import in_slices
from observability.clocks.timestamps import format_iso_ms
from observability.errors import StoreError
from observability.events import Name
from observability.http11.messages import Request, Response, json_response
from observability.http11.refusals import Unavailable
from observability.metrics.trades.booking import Booking, BookingFilter
from observability.metrics.trades.booking_queries import BookingSource
from observability.rest.paging import DEFAULT_LIMIT, Cursor, Limit, encoding, next_cursor, plain, store_errors
from observability.routing.parameters import TimeNs, parameters_of, parse_query
from observability.routing.router import RouteDescription, Router
from observability.snapshot.frames import Stamp

BookingKind = Literal[
    "instrument", "rate", "cash", "funding", "dividend", "split", "settlement", "bust", "correct", "adopt"
]  # fmt: skip

# In an answer about the past; their number is exact.
MAX_CORRECTIONS: Final = 100

CorrectionStatus = Literal["pending", "applied", "void", "given_up"]


class BookingsQuery(Struct, frozen=True):
    """The query of `GET /api/bookings`."""

    kind: Annotated[BookingKind | None, Meta(description="only this kind")] = None
    symbol: Annotated[Name | None, Meta(description="only this symbol")] = None
    strategy: Annotated[Name | None, Meta(description="only this strategy")] = None
    start_time: Annotated[TimeNs | None, Meta(description="first moment wanted")] = None
    end_time: Annotated[TimeNs | None, Meta(description="first moment no longer wanted")] = None
    status: Annotated[CorrectionStatus | None, Meta(description="only corrections of fills, of this status")] = None
    shown_time: Annotated[
        TimeNs | None, Meta(description="only corrections of fills that were shown with their fault at this time")
    ] = None
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
            None if wanted.shown_time is None else (int(wanted.shown_time), int(wanted.shown_time) + 1),
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


class LaterCorrections:
    """The corrections of faults that are in figures of the past. `total` is None if that cannot be known now."""

    def __init__(self, found: list[Booking], total: int | None) -> None:
        self._found = found
        self.total = total

    @classmethod
    async def find(cls, bookings: BookingSource, start_ns: int, end_ns: int) -> LaterCorrections:
        """Returns the corrections of what was shown from `start_ns` up to `end_ns`."""
        try:
            return cls(*await bookings.bookings(BookingFilter(shown=(start_ns, end_ns)), MAX_CORRECTIONS))
        except (StoreError, Unavailable):
            # What is asked for may be in memory, or in a recording.
            return cls([], None)

    @property
    def header(self) -> tuple[bytes, bytes]:
        """What says it beside bytes that must stay as they are."""
        return b"Corrected-Later", b"unknown" if self.total is None else b"%d" % self.total

    def to_json(self) -> dict[str, Any]:
        return {
            "corrections": None if self.total is None else [_correction(booking) for booking in self._found],
            "corrections_total": self.total,
        }


def _correction(booking: Booking) -> dict[str, Any]:
    effect = booking.effect
    leg = effect["legs"][0] if "legs" in effect else effect
    return {
        "seq": booking.seq,
        "kind": booking.kind,
        "trade_id": getattr(booking.event, "trade_id", ""),
        "trade": leg["trade"],
        "strategy": leg["strategy"],
        "symbol": booking.symbol,
        "timestamp": format_iso_ms(booking.ts_ns),
        "shown_since": effect["shown_since"],
        "shown_until": effect["shown_until"],
    }
