"""The spool: events on disk that a server has not acknowledged yet, in order, up to a bound.

An event is in the file before the call that recorded it returns, so it survives the end of the program; as the file is
not synchronised on every event, the last ones may be lost when the power fails. Without a path the spool is in memory.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

SCHEMA: Final = "CREATE TABLE IF NOT EXISTS events (id INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB NOT NULL) STRICT"
MAX_EVENTS: Final = 1_000_000

Row = tuple[int, bytes]


class SpoolError(Exception):
    """The spool cannot be used: no such folder, no space, or another process has it."""


class Spool:
    """A queue of encoded events. Any thread may append; one thread reads and removes."""

    def __init__(self, path: str | Path | None = None, max_events: int = MAX_EVENTS) -> None:
        """Raises SpoolError."""
        self._lock = threading.Lock()
        self._max_events = max_events
        try:
            self._database = sqlite3.connect(
                ":memory:" if path is None else Path(path).expanduser(), check_same_thread=False, isolation_level=None
            )
            # Two processes would send each other's events; the lock tells the second one at once.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = OFF")
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute(SCHEMA)
            self._database.execute("COMMIT")
            self.waiting: int = self._database.execute("SELECT count(*) FROM events").fetchone()[0]
            """Events in the spool."""
        except sqlite3.Error as error:
            raise SpoolError(f"{path}: {error}; does another process use this spool?") from None

    def append(self, body: bytes) -> bool:
        """Appends an event; returns False if the spool is full. Raises SpoolError."""
        with self._lock:
            if self.waiting >= self._max_events:
                return False
            try:
                self._database.execute("INSERT INTO events (body) VALUES (?)", (body,))
            except sqlite3.Error as error:
                raise SpoolError(str(error)) from None
            self.waiting += 1
            return True

    def first(self, count: int) -> Sequence[Row]:
        """Returns the oldest `count` events with their numbers. Raises SpoolError."""
        with self._lock:
            try:
                return self._database.execute("SELECT id, body FROM events ORDER BY id LIMIT ?", (count,)).fetchall()
            except sqlite3.Error as error:
                raise SpoolError(str(error)) from None

    def remove_to(self, number: int) -> None:
        """Removes the events up to a number. Raises SpoolError."""
        with self._lock:
            try:
                self.waiting -= self._database.execute("DELETE FROM events WHERE id <= ?", (number,)).rowcount
            except sqlite3.Error as error:
                raise SpoolError(str(error)) from None

    def close(self) -> None:
        """Closes the file; what is in it is there for the next process."""
        with self._lock:
            self._database.close()
