"""The store's writer: one thread that commits the queued rows, a group at a time.

    queue   r1 | r2 r3 (r4 r5) | r6 ...      while the fsync of one group runs, the next group gathers;
    commit  [1]  [ 2 3  4 5  ]  [ 6 ...      the writer never waits for a larger group, and never splits a unit ()

A group that cannot be written stays first in the queue and is tried again after growing pauses. Only a row that can
never be written, which is a defect of ours, is left out: it is counted, and logged once per statement.

After a failed fsync the kernel takes the pages for written, although they are in memory only. SQLite may then find the
commit that failed, complete, in the log, and later fsyncs succeed without it: a power cut would end the log before all
that followed. So after an input/output error nothing is committed before the log has been folded into the file, which
writes its pages again, and has begun anew. Whether the commit that failed was among them, its seal says.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, Protocol

from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store.file import read_seal
from observability.store.limits import STOP_SECONDS
from observability.store.schema import UPDATE_SEAL, UPSERT_SOURCE_CURSOR
from observability.store.write_ahead_log import Seal, log_of

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS: Final = 0.1
LAST_RETRY_SECONDS: Final = 5.0
IDLE_SECONDS: Final = 1.0

PendingRow = tuple[int, str, tuple[Any, ...]]
"""A queued row: its position, the statement that writes it, and the statement's parameters."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """Rows that are in the log of a desk, and may be committed."""

    rows: int
    cursor: tuple[str, int, str]
    """The place of the log behind them, as the parameters of UPSERT_SOURCE_CURSOR."""


Ship = Callable[[Sequence[PendingRow]], Shipped]
"""Writes the first rows of a group to the log of the desk, at least one. Raises StoreError."""

# Errors of the row itself, which would fail again.
_ROW_ERRORS: Final = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    OverflowError,
    ValueError,
    TypeError,
)

_FAULTS: Final = {
    sqlite3.SQLITE_FULL: "disk full",
    sqlite3.SQLITE_READONLY: "read-only",
    sqlite3.SQLITE_IOERR: "input/output error",
    sqlite3.SQLITE_BUSY: "locked by another process",
    sqlite3.SQLITE_CORRUPT: "damaged",
    sqlite3.SQLITE_NOTADB: "damaged",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened",
}
# Conditions of the disk, which pass; after other errors the connection itself may be broken.
_PASSING: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM})


class Maintenance(Protocol):
    """Work for the writer between commits."""

    def step(self, connection: sqlite3.Connection) -> bool:
        """Does a small part of what is due; returns whether more is due. Raises sqlite3.Error."""


class StoreWriter:
    """The thread and its queue. The callbacks are called on the writer's thread."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        group_rows: int,
        maintenance: Maintenance,
        counters: Counters,
        *,
        on_commit: Callable[[int, int], None],
        on_fault: Callable[[str | None], None],
        on_end: Callable[[], None],
    ) -> None:
        """`connect` returns a connection to the file at `path`, set up for writing. `on_commit` receives the position
        of the last row and the number of rows."""
        self.ship: Ship | None = None
        """Called before rows are committed, on the writer's thread; None if this host is alone. Set before `start`."""
        self._path = path
        self._connect = connect
        self._group_rows = group_rows
        self._maintenance = maintenance
        self._on_commit = on_commit
        self._on_fault = on_fault
        self._on_end = on_end
        self._units: SimpleQueue[Sequence[PendingRow] | None] = SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._log = log_of(path)
        self._identity: tuple[int, int] | None = None
        self._log_identity: tuple[int, int] | None = None
        self._seal: Seal | None = None
        self._is_log_doubtful = False
        # Of the rows at the head of the group: how many the last attempt has tried, and how many are in the file.
        self._tried = self._survived = 0
        # Of the rows at the head of the group: how many are in the log, and the place in it behind them.
        self._shipped = 0
        self._cursor: tuple[str, int, str] | None = None
        self._fault: str | None = None
        self._pruning_fault = ""
        self._refused_statements: set[str] = set()
        self._stopping = threading.Event()
        self._stop_at = float("inf")
        self._maintain_at = 0.0
        # A daemon, so that a disk that hangs does not keep the process alive.
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._commits = counters.counter("store_commits_total", "Groups of rows committed to disk")
        self._committed_rows = counters.counter("store_rows_total", "Rows committed to disk")
        self._refused_rows = counters.counter(
            "store_rows_refused_total", "Rows that the database can never take: defects of this software"
        )
        self._errors = counters.counter("store_errors_total", "Attempts to write that failed")
        self._duration = counters.histogram("store_commit_duration_seconds", "From the first row to the end of fsync")

    def put(self, unit: Sequence[PendingRow]) -> None:
        """Queues rows that are committed together."""
        self._units.put(unit)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Tells the thread to write the queued rows and to end, after at most STOP_SECONDS and one attempt."""
        self._stop_at = time.monotonic() + STOP_SECONDS
        self._stopping.set()
        self._units.put(None)

    # -- the writer's thread

    def _run(self) -> None:
        group: list[PendingRow] = []
        retry_seconds = FIRST_RETRY_SECONDS
        # The first step opens the file, while there are descriptors.
        has_more = True
        while True:
            self._gather(group, wait_seconds=0 if has_more else IDLE_SECONDS)
            if not group:
                if self._stopping.is_set():
                    break
                has_more = self._maintain()
            elif self._write(group):
                group.clear()
                retry_seconds = FIRST_RETRY_SECONDS
                if has_more or time.monotonic() >= self._maintain_at:
                    has_more = self._maintain()
            elif self._stopping.is_set():
                break
            else:
                self._stopping.wait(retry_seconds)
                retry_seconds = min(2 * retry_seconds, LAST_RETRY_SECONDS)
            if time.monotonic() >= self._stop_at:
                break
        # The queue also holds the request to stop, which is None.
        left = len(group) + sum(len(self._units.get_nowait() or ()) for _ in range(self._units.qsize()))
        if left:
            logger.error("the store stopped without writing %d rows", left)
        self._disconnect()
        self._on_end()

    def _gather(self, group: list[PendingRow], wait_seconds: float) -> None:
        """Fills the group with the queued rows; waits for the first one."""
        units = self._units
        if not group and not self._stopping.is_set():
            try:
                group += (units.get(timeout=wait_seconds) if wait_seconds else units.get_nowait()) or ()
            except Empty:
                return
        # Only this thread removes units, so at least as many are there.
        for _ in range(units.qsize()):
            if len(group) >= self._group_rows:
                break
            group += units.get_nowait() or ()

    def _write(self, group: list[PendingRow]) -> bool:
        """Commits the group and reports it; returns False if that failed, in which case it has to be tried again."""
        begin_ns = time.monotonic_ns()
        try:
            if self.ship is not None:
                while self._shipped < len(group):
                    shipped = self.ship(group[self._shipped :])
                    self._shipped, self._cursor = self._shipped + shipped.rows, shipped.cursor
            refused = self._commit(group)
        except Exception as error:
            self._fail(error)
            return False
        self._tried = self._survived = self._shipped = 0
        self._duration.record(time.monotonic_ns() - begin_ns)
        self._commits.add()
        self._committed_rows.add(len(group) - refused)
        if self._fault is not None:
            logger.warning("the store can write again; it could not because of: %s", self._fault)
            self._fault = None
            self._on_fault(None)
        self._on_commit(group[-1][0], len(group))
        return True

    def _commit(self, group: list[PendingRow]) -> int:
        """Returns the number of rows left out."""
        # hot: once per row (benchmarks/bench_store.py)
        connection = self._ready()
        assert self._seal is not None, "read with the connection"
        self._tried = len(group)
        rows_left = group[self._survived :] if self._survived else group
        if not rows_left:
            return 0
        seal = self._seal.next()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(UPDATE_SEAL, (str(seal),))
            if self._cursor is not None:
                connection.execute(UPSERT_SOURCE_CURSOR, self._cursor)
            for statement, rows in _by_statement(rows_left):
                connection.executemany(statement, rows)
            connection.execute("COMMIT")
        except Exception as error:
            _roll_back(connection)
            if not _is_of_a_row(error):
                raise
        else:
            self._seal = seal
            return 0
        return self._commit_singly(connection, rows_left)

    def _ready(self) -> sqlite3.Connection:
        """Returns a connection whose commits will be found again. Raises sqlite3.Error and StoreError."""
        connection = self._connected()
        self._check_files(connection)
        if self._is_log_doubtful:
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if is_busy:
                raise StoreError(f"{self._log} may have lost a part, and a reader keeps it from beginning anew")
            self._is_log_doubtful = False
        return connection

    def _check_files(self, connection: sqlite3.Connection) -> None:
        """Raises StoreError if SQLite would continue to write to a file that no process can open again."""
        if _identity(self._path) != self._identity:
            raise StoreError(f"{self._path} has been removed or replaced")
        if _identity(self._log) != self._log_identity:
            # Its commits are still there for the connections that have it open, and now get into the file.
            connection.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
            raise _LogLost(f"{self._log} has been removed or replaced; restart the server")

    def _commit_singly(self, connection: sqlite3.Connection, group: list[PendingRow]) -> int:
        """Commits every row that can be written; a failed statement undoes only itself."""
        refused = 0
        assert self._seal is not None, "read with the connection"
        seal = self._seal.next()
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.execute(UPDATE_SEAL, (str(seal),))
            if self._cursor is not None:
                connection.execute(UPSERT_SOURCE_CURSOR, self._cursor)
            for _, statement, parameters in group:
                try:
                    connection.execute(statement, parameters)
                except Exception as error:
                    if not _is_of_a_row(error):
                        raise
                    refused += 1
                    if statement not in self._refused_statements:
                        self._refused_statements.add(statement)
                        logger.exception(
                            "the store cannot take a row; further ones of the same statement are only counted: %s",
                            statement,
                        )
            connection.execute("COMMIT")
        except Exception:
            _roll_back(connection)
            raise
        self._seal = seal
        self._refused_rows.add(refused)
        return refused

    def _maintain(self) -> bool:
        """Does a step of the maintenance; returns whether more is due."""
        self._maintain_at = time.monotonic() + IDLE_SECONDS
        try:
            has_more = self._maintenance.step(self._ready())
            self._pruning_fault = ""
            return has_more
        except (sqlite3.Error, StoreError) as error:
            # The next row will show whether writing itself fails.
            self._errors.add()
            self._doubt_log(error)
            if str(error) != self._pruning_fault:
                self._pruning_fault = str(error)
                logger.error("pruning the store failed and will be tried again: %s", error)
            if self._connection is not None:
                _roll_back(self._connection)
            return False

    def _fail(self, error: Exception) -> None:
        code = _code(error)
        self._errors.add()
        self._doubt_log(error)
        # A new connection would begin another log, while readers have the old one.
        if code not in _PASSING and not isinstance(error, _LogLost):
            self._disconnect()
        kind = _FAULTS.get(code)
        fault = f"{kind}: {error}" if kind is not None else str(error) or repr(error)
        if fault != self._fault:
            logger.error("the store cannot write, rows wait in memory: %s", fault)
            self._fault = fault
            self._on_fault(fault)

    def _doubt_log(self, error: Exception) -> None:
        if _code(error) == sqlite3.SQLITE_IOERR:
            self._is_log_doubtful = True

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            connection = self._connect()
            try:
                seal = self._read_seal(connection)
            except BaseException:
                connection.close()
                raise
            if self._seal not in (None, seal):
                self._survived = self._tried
            self._seal = seal
            self._connection = connection
            self._identity, self._log_identity = _identity(self._path), _identity(self._log)
        return self._connection

    def _read_seal(self, connection: sqlite3.Connection) -> Seal:
        """Returns the seal of the last commit. Raises StoreError if the file is not the one that was open before."""
        last, found = self._seal, read_seal(connection)
        # A commit that failed may be in the file.
        if last is not None and found not in (last, last.next()):
            raise StoreError(
                f"{self._path} has been replaced by another store or an older copy: its last commit is {found}, "
                f"expected {last}"
            )
        return found

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _by_statement(group: Sequence[PendingRow]) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Returns the statements of a group, each with its rows in their order. Rows of different statements do not depend
    on each other, except that an UPDATE changes what an INSERT has written."""
    rows: dict[str, list[tuple[Any, ...]]] = {}
    for _, statement, parameters in group:
        if statement in rows:
            rows[statement].append(parameters)
        else:
            rows[statement] = [parameters]
    return sorted(rows.items(), key=lambda item: item[0].startswith("UPDATE"))


class _LogLost(StoreError):
    """The log that the connections have open is not the one beside the file."""


def _identity(path: Path) -> tuple[int, int] | None:
    """Returns what identifies the file at a path; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _code(error: Exception) -> int:
    """Returns the primary error code of SQLite; that of an error without one is SQLITE_ERROR."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF


def _is_of_a_row(error: Exception) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        # SQL that does not fit the tables; all other operational errors have outside causes.
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR
    return isinstance(error, _ROW_ERRORS)


def _roll_back(connection: sqlite3.Connection) -> None:
    """Ends the transaction, unless the error did. If that fails, the next statement fails too and the connection is
    replaced."""
    with suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
