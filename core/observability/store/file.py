"""The data directory and its database: created, locked, checked, opened for writing or for reading.

    DATA_DIR/lock                 held (flock) by the one process that writes, and contains its pid; the kernel releases
                                  it however the process ends
    DATA_DIR/observability.db     everything committed, except
             observability.db-wal the commits since the last checkpoint of SQLite, and
             observability.db-shm the index by which readers find them

Every commit is fsynced (synchronous=FULL): an acknowledged row survives `kill -9`, and a power cut if the disk keeps
its promises. A commit that was not acknowledged may survive too.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from observability.errors import StoreError
from observability.store.schema import APPLICATION_ID, MIGRATIONS, NUMBERED, SEQUENCED, migrate, read_version

DATABASE_NAME: Final = "observability.db"
LOCK_NAME: Final = "lock"

BUSY_TIMEOUT_SECONDS: Final = 5.0
# The log is folded into the file every 4 MiB, and truncated if a huge transaction has made it larger than its limit.
WAL_CHECKPOINT_PAGES: Final = 1_000
WAL_MAX_BYTES: Final = 64 << 20
READ_CACHE_BYTES: Final = 16 << 20

_ADVICE: Final = "move it away to start with an empty store, or restore it from a copy"


class DirectoryLock:
    """Admits one process at a time. A fork shares the lock, so only the process that writes may create one."""

    def __init__(self, directory: Path) -> None:
        """Creates the directory if it is missing, and takes the lock. Raises StoreError."""
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise StoreError(f"data directory {str(directory)!r} cannot be written: {error.strerror}") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 20, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise StoreError(
                f"data directory {str(directory)!r} is in use by process {holder or 'unknown'}; expected one at a time"
            ) from None
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"data directory {str(directory)!r} cannot be written: {error.strerror}") from None

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_database(path: Path) -> sqlite3.Connection:
    """Opens the database for its one writer, and creates or migrates it if necessary.

    Raises StoreError, with the file and what to do, if it is not a database, is damaged, or is not ours; the file then
    stays unchanged.
    """
    connection: sqlite3.Connection | None = None
    try:
        if path.exists() and path.stat().st_size:
            # Read-only: closing a connection that may write folds the write-ahead log of the last writer into the file.
            with closing(connect(path, "ro")) as connection_to_check:
                _check(connection_to_check, path)
        connection = connect(path, "rwc")
        # Before the first table, because it determines the layout of the file.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        set_up_writer(connection)
        migrate(connection)
        _touch_tables(connection)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise StoreError(_reason(path, error)) from None
    return connection


def connect(path: Path, mode: Literal["ro", "rw", "rwc"]) -> sqlite3.Connection:
    """Returns a connection without implicit transactions; only `rwc` creates a file. Raises sqlite3.Error."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,
        check_same_thread=False,
    )


def set_up_writer(connection: sqlite3.Connection) -> None:
    """Sets how a connection writes; needed on every connection that does."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_CHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_MAX_BYTES}")


def open_reader(path: Path) -> sqlite3.Connection:
    """Returns a read-only connection, whose SQL has the function `decimal_compare`. Raises StoreError."""
    try:
        connection = connect(path, "ro")
        connection.execute("PRAGMA query_only = ON")
        connection.execute(f"PRAGMA cache_size = -{READ_CACHE_BYTES >> 10}")
        connection.create_function("decimal_compare", 2, _decimal_compare, deterministic=True)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read: {error}") from None
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreError for a database of another application, or of a later version."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = read_version(connection)
    is_empty = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
    if application_id != APPLICATION_ID and not (is_empty and application_id == 0):
        raise StoreError(f"{path}: a database of another application; {_ADVICE}")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a later version of this software (schema {version}, expected at most "
            f"{len(MIGRATIONS)}); start that version, or use another data directory"
        )


def _touch_tables(connection: sqlite3.Connection) -> None:
    """Reads both ends of every table, to find damage. A check of every page would take seconds per gigabyte."""
    for tables, key in ((SEQUENCED, "seq"), (NUMBERED, "id")):
        for table in tables:
            for order in ("ASC", "DESC"):
                connection.execute(f"SELECT * FROM {table} ORDER BY {key} {order} LIMIT 1").fetchone()
    connection.execute("SELECT * FROM checkpoints").fetchall()


def _reason(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return f"{path}: not a database ({error}); {_ADVICE}"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{path}: damaged ({error}); {_ADVICE}"
    return f"{path}: cannot be opened: {error}"


def _decimal_compare(left: str, right: str) -> int:
    """Returns -1, 0 or 1. Exact, since a comparison has no result that a context could round."""
    a, b = Decimal(left), Decimal(right)
    return (a > b) - (a < b)
