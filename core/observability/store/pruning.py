"""Pruning: removes the rows that arrived first, once they are too old or the file is too large.

The writer calls for a small step between two commits.

The age of a row is the time that it has been in the store by the host's clock, not the event's own time: a replay of
2012 stays as long as any other data, and an event dated 2262 affects no other row. Rows do not carry their time of
arrival, but their numbers rise in order of arrival. So a mark, written hourly and whenever the file has grown by a 64th
of its limit, records the number that each table had reached.

    marks      09:00 fills 120 bars 7    10:00 fills 300 bars 9   ...
    pruning    the rows up to the oldest mark, a few at a time, then the mark itself; then the next mark

Two kinds of rows are kept at any age: those after the checkpoint, which a restart replays, and the newest row of each
table, so that no number is used twice. Pruning a fill removes its key: if the same fill is delivered again, it counts
as a new one.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_HOUR, format_iso_ms
from observability.memory.counters import Counters
from observability.store.limits import StoreLimits
from observability.store.schema import NUMBERED, SEQUENCED
from observability.store.upgrade import remove_old_copies

logger = logging.getLogger(__name__)

MARK_NS: Final = NS_PER_HOUR
MARKS_PER_FILE: Final = 64
# About two milliseconds of work; a commit waits for one step at most.
PRUNED_ROWS_PER_STEP: Final = 200
FREED_PAGES_PER_STEP: Final = 64
# New rows reuse free pages; returning pages to the file system and growing the file again costs writes.
FREE_SHARE: Final = 8

_KEYS: Final = {**dict.fromkeys(SEQUENCED, "seq"), **dict.fromkeys(NUMBERED, "id")}


class Pruning:
    """Keeps the file within its limits. Used on the writer's thread."""

    def __init__(self, path: Path, limits: StoreLimits, host_clock: Clock, counters: Counters) -> None:
        self._path = path
        self._limits = limits
        self._clock = host_clock
        self._marked_ns: int | None = None
        self._marked_bytes = 0
        self._looked_ns = 0
        self._bytes = counters.gauge("store_bytes", "Size of the database and its write-ahead log")
        self._pruned = counters.counter("store_rows_pruned_total", "Rows removed because of their age or the size")

    def step(self, connection: sqlite3.Connection) -> bool:
        """Does a small part of what is due; returns whether more is due. Raises sqlite3.Error."""
        page_bytes, pages, free_pages = (
            _number(connection, f"PRAGMA {name}") for name in ("page_size", "page_count", "freelist_count")
        )
        used_bytes = (pages - free_pages) * page_bytes
        self._bytes.set(self._size())
        self._mark(connection, used_bytes)
        self._remove_copies()
        mark_ns = self._due(connection, used_bytes)
        if mark_ns is not None and self._prune(connection, mark_ns):
            return True
        if free_pages and (pages * page_bytes > self._limits.max_bytes or free_pages > pages // FREE_SHARE):
            connection.execute(f"PRAGMA incremental_vacuum({FREED_PAGES_PER_STEP})").fetchall()
            return free_pages > FREED_PAGES_PER_STEP
        return False

    def _remove_copies(self) -> None:
        now_ns = self._clock.time_ns()
        if now_ns - self._looked_ns >= MARK_NS:
            self._looked_ns = now_ns
            remove_old_copies(self._path, now_ns)

    def _size(self) -> int:
        size = 0
        for suffix in ("", "-wal"):
            with suppress(OSError):
                size += os.stat(f"{self._path}{suffix}").st_size
        return size

    def _mark(self, connection: sqlite3.Connection, used_bytes: int) -> None:
        """Writes a mark of the numbers that the tables have reached, if one is due."""
        now_ns = self._clock.time_ns()
        if self._marked_ns is None:
            self._marked_ns = _number(connection, "SELECT coalesce(max(ts_ns), 0) FROM marks")
            self._marked_bytes = used_bytes
        has_grown = used_bytes - self._marked_bytes >= self._limits.max_bytes // MARKS_PER_FILE
        # After the clock was set back, no mark is written until it is past the last one.
        if now_ns <= self._marked_ns or not (has_grown or now_ns - self._marked_ns >= MARK_NS):
            return
        self._marked_ns, self._marked_bytes = now_ns, used_bytes
        newest = {
            table: connection.execute(f"SELECT max({key}) FROM {table}").fetchone()[0] for table, key in _KEYS.items()
        }
        rows = [(table, now_ns, number) for table, number in newest.items() if number is not None]
        if rows:
            with _transaction(connection):
                connection.executemany("INSERT INTO marks (section, ts_ns, newest) VALUES (?, ?, ?)", rows)

    def _due(self, connection: sqlite3.Connection, used_bytes: int) -> int | None:
        """Returns the oldest mark if the rows before it are to be removed."""
        mark_ns: int | None = connection.execute("SELECT min(ts_ns) FROM marks").fetchone()[0]
        if mark_ns is None:
            return None
        is_old = mark_ns < self._clock.time_ns() - self._limits.max_age_ns
        return mark_ns if is_old or used_bytes > self._limits.max_bytes else None

    def _prune(self, connection: sqlite3.Connection, mark_ns: int) -> bool:
        """Removes the first few rows before a mark, or the mark itself if none are left. Returns False if a restart
        still needs the remaining ones."""
        checkpoint = _number(connection, "SELECT coalesce(min(seq), 0) FROM checkpoints")
        marked = connection.execute("SELECT section, newest FROM marks WHERE ts_ns = ?", (mark_ns,)).fetchall()
        is_held = False
        for table, newest in marked:
            key = _KEYS[table]
            last = newest
            if table in SEQUENCED and last > checkpoint:
                last, is_held = checkpoint, True
            with _transaction(connection):
                removed = connection.execute(
                    f"DELETE FROM {table} WHERE {key} IN (SELECT {key} FROM {table} WHERE {key} <= ? "
                    f"AND {key} < (SELECT max({key}) FROM {table}) ORDER BY {key} LIMIT ?)",
                    (last, PRUNED_ROWS_PER_STEP),
                ).rowcount
            if removed:
                self._pruned.add(removed)
                return True
        if is_held:
            return False
        with _transaction(connection):
            connection.execute("DELETE FROM marks WHERE ts_ns = ?", (mark_ns,))
        logger.info("pruned all rows that arrived before %s", format_iso_ms(mark_ns))
        return True


def _number(connection: sqlite3.Connection, question: str) -> int:
    number: int = connection.execute(question).fetchone()[0]
    return number


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
