"""Queries over bookings: those in memory, and those in the store."""

from __future__ import annotations

import sqlite3
from typing import Any, Final, Protocol

from observability.metrics.trades.booking import Booking, BookingFilter, BookingKey, booking_of
from observability.metrics.trades.booking_log import BookingLog
from observability.store.reader import StoreReader
from observability.store.schema import BOOKING_COLUMNS, MAX_ROW_SEQ

_BY_KEY: Final = f"SELECT {BOOKING_COLUMNS} FROM bookings WHERE kind = ? AND key = ? AND conflict = 0"

BookingPage = tuple[list[Booking], int]


class BookingSource(Protocol):
    """Answers queries over bookings. Raises StoreError."""

    async def bookings(self, wanted: BookingFilter, limit: int = 100, before_seq: int | None = None) -> BookingPage:
        """Returns one page, newest first, and how many bookings match in all. `before_seq`, the `seq` of a page's last
        booking, asks for the next page."""


class RecentBookings:
    """The bookings in memory: all there are without a store."""

    def __init__(self, log: BookingLog) -> None:
        self._log = log

    async def bookings(self, wanted: BookingFilter, limit: int = 100, before_seq: int | None = None) -> BookingPage:
        return self._log.query(wanted, limit, before_seq)


class StoredBookings:
    """The bookings on disk, read through a StoreReader in any process."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def bookings(self, wanted: BookingFilter, limit: int = 100, before_seq: int | None = None) -> BookingPage:
        return await self._reader.run(_page, wanted, limit, before_seq)


def find_booking(connection: sqlite3.Connection, key: BookingKey) -> Booking | None:
    """Returns the booking of that key: the archive of a BookingLog."""
    row = connection.execute(_BY_KEY, key).fetchone()
    return None if row is None else booking_of(row)


def _page(connection: sqlite3.Connection, wanted: BookingFilter, limit: int, before_seq: int | None) -> BookingPage:
    tests, values = ["conflict = 0"], list[Any]()
    for name in ("kind", "symbol", "strategy"):
        value = getattr(wanted, name)
        if value is not None:
            tests.append(f"{name} = ?")
            values.append(value)
    # The unary plus keeps the index of the times from leading, so that the rows come newest first without sorting.
    for bound, comparison in ((wanted.start_ns, ">="), (wanted.end_ns, "<")):
        if bound is not None:
            tests.append(f"+ts_ns {comparison} ?")
            values.append(bound)
    if wanted.status is not None:
        tests.append("kind IN ('bust', 'correct') AND json_extract(effect, '$.status') = ?")
        values.append(wanted.status)
    if wanted.shown is not None:
        start, end = wanted.shown_texts
        tests.append("kind IN ('bust', 'correct') AND json_extract(effect, '$.shown_since') < ?")
        tests.append("json_extract(effect, '$.shown_until') > ?")
        values += (end, start)
    where = " AND ".join(tests)
    (total,) = connection.execute(f"SELECT count(*) FROM bookings WHERE {where}", values).fetchone()
    rows = connection.execute(
        f"SELECT {BOOKING_COLUMNS} FROM bookings WHERE {where} AND seq < ? ORDER BY seq DESC LIMIT ?",
        (*values, MAX_ROW_SEQ if before_seq is None else before_seq, limit),
    ).fetchall()
    return [booking_of(row) for row in rows], total
