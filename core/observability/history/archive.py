"""The history's minutes in the store: each finished minute is stored, and a restart refills the 1 min ring from them.

    hub          Archive         writes minutes, and loads the last day of them at a start
    any process  StoredMinutes   reads the minutes from before the rings

Fields are stored by name, so that one added later has no values in older rows.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from observability.clocks.timestamps import MAX_NS
from observability.errors import StoreError
from observability.history import layout
from observability.history.aggregates import Block, Column, resample
from observability.history.history import History
from observability.history.open_interval import align_fields
from observability.history.series import Series
from observability.history.series_writer import SeriesWriter
from observability.store.reader import StoreReader
from observability.store.schema import UPSERT_MINUTE
from observability.store.store import Store

_NEWEST: Final = "SELECT max(ts_ns) FROM minutes WHERE section = ? AND key = ?"
_BOUNDS: Final = "SELECT min(ts_ns), max(ts_ns) FROM minutes WHERE section = ? AND key = ? AND ts_ns >= ? AND ts_ns < ?"
_MINUTES: Final = (
    "SELECT ts_ns, fields, aggregates FROM minutes WHERE section = ? AND key = ? AND ts_ns >= ? AND ts_ns < ?"
    " ORDER BY ts_ns"
)

MINUTES: Final = layout.TIERS[-1]

T = TypeVar("T")

# Rows of one read. A longer one would delay the WAL checkpoint and, by holding the interpreter's lock, the tick.
ROWS_PER_READ: Final = 1440


class Archive:
    """Stores the finished minutes of every series."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def attach(self, history: History) -> None:
        """Loads every series that is opened from now on, and stores its finished minutes."""
        history.archive = self

    def record(self, series: SeriesWriter, start_ns: int, aggregates: array[float]) -> None:
        """Queues one minute; a later record of the same minute replaces it."""
        self._store.put(
            UPSERT_MINUTE, (series.section, series.key, start_ns, ",".join(series.fields), aggregates.tobytes())
        )

    def record_open(self, history: History) -> None:
        """Queues the minutes that are still open, at a clean stop."""
        for series in history.series():
            for start_ns, aggregates in series.open_minutes():
                self.record(series, start_ns, aggregates)

    def catch_up(self, series: SeriesWriter) -> None:
        """Queues the minutes that an earlier hub had finished but that were not on disk when it died."""
        newest_ns = self._read(_newest, series, None)
        # The newest stored minute is included: it may have been stored while it was open.
        for row in series.rings[-1].copy_rows(newest_ns or 0, MAX_NS):
            self.record(series, row.ts_ns, row.payload)

    def load(self, series: SeriesWriter) -> list[tuple[int, array[float]]]:
        """Returns the 24 hours up to the newest stored minute, oldest first. Takes a few milliseconds at most."""
        return self._read(_load, series, [])

    def _read(self, query: Callable[[sqlite3.Connection, Series], T], series: Series, unknown: T) -> T:
        """Returns the answer of the store; `unknown` if it cannot be read, because the event that opens the series
        must not be lost over its past. Raises StoreError before the store is started."""
        try:
            return self._store.reader.run_now(query, series)
        except StoreError:
            if not self._store.is_started:
                raise
            return unknown


class StoredMinutes:
    """The stored minutes, as any process that can open the file reads them."""

    def __init__(self, reader: StoreReader) -> None:
        self._reader = reader

    async def read(
        self, series: Series, columns: Sequence[Column], start_ns: int, end_ns: int, spacing_ns: int
    ) -> Block:
        """Returns the points of the minutes with start_ns <= ts_ns < end_ns, in short reads, so that other
        reads can run in between."""
        found = Block.empty(len(columns))
        step_ns = ROWS_PER_READ * MINUTES.interval_ns
        # An empty stretch, of years perhaps, costs one query and not one per step.
        bounds = await self._reader.run(_bounds, series, start_ns, end_ns)
        if bounds is None:
            return found
        first_ns, last_ns = bounds
        while first_ns <= last_ns:
            stop_ns = min(first_ns + step_ns, last_ns + 1)
            found.extend(await self._reader.run(_read, series, columns, first_ns, stop_ns, spacing_ns))
            first_ns = stop_ns
        return found


def _newest(connection: sqlite3.Connection, series: Series) -> int | None:
    newest_ns: int | None = connection.execute(_NEWEST, (series.section, series.key)).fetchone()[0]
    return newest_ns


def _load(connection: sqlite3.Connection, series: Series) -> list[tuple[int, array[float]]]:
    newest_ns = _newest(connection, series)
    if newest_ns is None:
        return []
    first_ns = newest_ns - (MINUTES.rows - 1) * MINUTES.interval_ns
    rows = connection.execute(_MINUTES, (series.section, series.key, first_ns, newest_ns + 1)).fetchall()
    return [(ts_ns, _row(fields, aggregates, series.fields)) for ts_ns, fields, aggregates in rows]


def _bounds(connection: sqlite3.Connection, series: Series, start_ns: int, end_ns: int) -> tuple[int, int] | None:
    first_ns, last_ns = connection.execute(_BOUNDS, (series.section, series.key, start_ns, end_ns)).fetchone()
    return None if first_ns is None else (first_ns, last_ns)


def _read(
    connection: sqlite3.Connection,
    series: Series,
    columns: Sequence[Column],
    start_ns: int,
    end_ns: int,
    spacing_ns: int,
) -> Block:
    rows = connection.execute(_MINUTES, (series.section, series.key, start_ns, end_ns)).fetchall()
    numbers = array("d")
    for _, stored, aggregates in rows:
        numbers.extend(_row(stored, aggregates, series.fields))
    width = len(series.fields) * layout.AGGREGATE_WORDS
    block = Block(array("q", [row[0] for row in rows]), [numbers[column.offset :: width] for column in columns])
    # A point that two reads share is merged by the caller, which resamples the whole.
    return resample(block, columns, spacing_ns)


def _row(stored: str, aggregates: bytes, fields: Sequence[str]) -> array[float]:
    row = array("d")
    try:
        row.frombytes(aggregates)
        return align_fields(stored.split(","), fields, row)
    except (ValueError, IndexError) as error:
        raise StoreError(f"a row of minutes is damaged: {error}") from None
