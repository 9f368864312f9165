"""The database of a data directory: created, checked, opened for writing or for reading.

    DATA_DIR/observability.db     everything committed, except
             observability.db-wal the commits since the last checkpoint of SQLite, and
             observability.db-shm the index by which readers find them

Every commit is fsynced (synchronous=FULL): an acknowledged row survives `kill -9`, and a power cut if the disk keeps
its promises. A commit that was not acknowledged may survive too.

Rows are worth more than a start, so a file is only opened if nothing speaks against it: `lock.py` admits one process,
`write_ahead_log.py` finds logs that are damaged or another file's, and a file never becomes a new store where there may
have been one.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from observability.errors import StoreError
from observability.store.lock import FILE_MODE, LOCK_NAME, narrow
from observability.store.schema import (
    APPLICATION_ID,
    MIGRATIONS,
    NUMBERED,
    SELECT_SEAL,
    SELECT_SEAL_PAGE,
    SEQUENCED,
    UPDATE_SEAL,
    migrate,
    read_version,
)
from observability.store.upgrade import copy_before_migration, copy_of
from observability.store.write_ahead_log import Seal, WriteAheadLog, advice, check_header, index_of, log_of, size_of

DATABASE_NAME: Final = "observability.db"

BUSY_TIMEOUT_SECONDS: Final = 5.0
# The log is folded into the file every 4 MiB, and truncated if a huge transaction has made it larger than its limit.
WAL_CHECKPOINT_PAGES: Final = 1_000
WAL_MAX_BYTES: Final = 64 << 20
READ_CACHE_BYTES: Final = 16 << 20
# Half a second of checking. SQLite cannot be stopped within a table, so that a bound on time would not hold.
CHECKED_BYTES: Final = 64 << 20


def open_database(path: Path, *, keeps_copy: bool = True) -> sqlite3.Connection:
    """Opens the database for its one writer, and creates or migrates it if necessary. With `keeps_copy` a store that is
    migrated is copied before (`upgrade.py`).

    Raises StoreError, with the file and what to do, if it is not a database, is damaged, or is not ours; the file and
    its log then stay unchanged.
    """
    connection: sqlite3.Connection | None = None
    try:
        if size_of(path):
            check_database(path)
        else:
            _check_absence(path)
            _create(path)
        narrow((path, log_of(path), index_of(path), path.with_name(LOCK_NAME)))
        connection = connect(path, "rw")
        set_up_writer(connection)
        if keeps_copy:
            copy_before_migration(path, connection)
        migrate(connection)
        _touch_tables(connection)
        _begin_log(connection)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise StoreError(_reason(path, error)) from None
    except OSError as error:
        raise StoreError(f"{path}: cannot be opened: {error.strerror}") from None
    return connection


def check_database(path: Path) -> None:
    """Checks a file and its log, which no process may have open, and changes neither. Raises StoreError, sqlite3.Error,
    OSError."""
    check_header(path)
    # Read-only: closing a connection that may write folds the write-ahead log of the last writer into the file.
    with closing(connect(path, "ro")) as connection:
        page, seal = check_schema(connection, path)
        _check_pages(connection, path)
    WriteAheadLog(path).check(page, seal)


def _begin_log(connection: sqlite3.Connection) -> None:
    """Folds the log into the file and begins a new one with a seal, so that no frame of an unfinished commit stays in
    it. A disk that is full is told once the writer meets it."""
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(UPDATE_SEAL, (str(read_seal(connection).next()),))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY):
            raise


def _check_absence(path: Path) -> None:
    """Raises StoreError if there has been a store where now there is no file, or an empty one."""
    if not path.exists() and restoring_of(path).exists():
        raise StoreError(
            f"{path}: missing, because a restore was interrupted; restore again with --force, or remove "
            f"{restoring_of(path).name} to start with an empty store"
        )
    log, state = log_of(path), "empty" if path.exists() else "missing"
    if size_of(log):
        raise StoreError(
            f"{path}: {state}, but {log.name} beside it holds {size_of(log)} bytes of its rows; {advice(path)}"
        )
    # A new file gets its name once it is complete.
    if path.exists() and size_of(path.with_name(LOCK_NAME)):
        raise StoreError(f"{path}: empty, and it was not when this directory was in use; {advice(path)}")


def _create(path: Path) -> None:
    """Creates a file with empty tables, whole or not at all."""
    new = path.with_name(f"{path.name}-new")
    for leftover in (new, log_of(new), index_of(new), index_of(path)):
        leftover.unlink(missing_ok=True)
    os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))
    # The mask of the process may have taken away what the owner needs.
    new.chmod(FILE_MODE)
    with closing(connect(new, "rw")) as connection:
        # Before the first table, because it determines the layout of the file.
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        set_up_writer(connection)
        migrate(connection)
    new.rename(path)
    sync_directory(path.parent)


def restoring_of(path: Path) -> Path:
    """Returns the path at which a backup is completed before it becomes the database."""
    return path.with_name(f"{path.name}-restoring")


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory survive a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def connect(path: Path, mode: Literal["ro", "rw"]) -> sqlite3.Connection:
    """Returns a connection without implicit transactions; the file must exist. Raises sqlite3.Error."""
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


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns the errors of reading a file into a StoreError that says what to do about it."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(_reason(path, error)) from None


def check_schema(connection: sqlite3.Connection, path: Path) -> tuple[int | None, Seal | None]:
    """Returns the page with the seal, and the seal; None if a migration has yet to add it. Raises StoreError for a
    database of another application, or of a later version."""
    application_id = connection.execute("PRAGMA application_id").fetchone()[0]
    version = read_version(connection)
    is_empty = connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is None
    if application_id != APPLICATION_ID and not (is_empty and application_id == 0):
        raise StoreError(f"{path}: a database of another application; {advice(path)}")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"{path}: written by a later version of this software (schema {version}, expected at most "
            f"{len(MIGRATIONS)}); start that version, {_way_back(path)}or use another data directory"
        )
    page = connection.execute(SELECT_SEAL_PAGE).fetchone()
    return (None, None) if page is None else (page[0], read_seal(connection))


def _way_back(path: Path) -> str:
    """Returns what to do with the copy of the tables of this version, if there is one."""
    copy = copy_of(path, len(MIGRATIONS))
    return f"restore the store from before its upgrade ({copy.name}), " if copy.exists() else ""


def read_seal(connection: sqlite3.Connection) -> Seal:
    """Returns the seal of the last commit. Raises sqlite3.Error."""
    found = connection.execute(SELECT_SEAL).fetchone()
    seal = None if found is None else Seal.parse(found[0].encode())
    if seal is None:
        raise sqlite3.DatabaseError("the seal of the last commit is missing")
    return seal


def _check_pages(connection: sqlite3.Connection, path: Path) -> None:
    """Checks every page of a file that is not too large for it. Raises StoreError."""
    if path.stat().st_size > CHECKED_BYTES:
        return
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise StoreError(f"{path}: damaged ({' '.join(found.split())}); {advice(path)}")


def _touch_tables(connection: sqlite3.Connection) -> None:
    """Reads both ends of every table, where a start will read."""
    for tables, key in ((SEQUENCED, "seq"), (NUMBERED, "id")):
        for table in tables:
            for order in ("ASC", "DESC"):
                connection.execute(f"SELECT * FROM {table} ORDER BY {key} {order} LIMIT 1").fetchone()
    connection.execute("SELECT * FROM checkpoints").fetchall()


def _reason(path: Path, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_NOTADB:
        return f"{path}: not a database ({error}); {advice(path)}"
    if code == sqlite3.SQLITE_CORRUPT:
        return f"{path}: damaged ({error}); {advice(path)}"
    return f"{path}: cannot be opened: {error}"


def _decimal_compare(left: str, right: str) -> int:
    """Returns -1, 0 or 1. Exact, since a comparison has no result that a context could round."""
    a, b = Decimal(left), Decimal(right)
    return (a > b) - (a < b)
