"""Reads of the store: outside the event loop by one thread, or at once where an event waits for the answer.

A caller passes a function that queries the connection, and keeps it short: while a statement runs, SQLite cannot fold
the newer part of the write-ahead log into the file, and other callers wait. A long read is done in pieces.

    read fails --> StoreError to its caller, `fault` is told, once
               --> the same read again every second --> succeeds: the fault is over

The read that has failed is the test, because a file with one damaged page answers most questions.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store.file import open_reader
from observability.store.limits import STOP_SECONDS

logger = logging.getLogger(__name__)

# Each is a request that waits for its answer; further ones are refused.
MAX_WAITING_READS: Final = 1_000
REPEAT_SECONDS: Final = 1.0

UNREADABLE: Final = "store_unreadable"
"""The gauge that is 1 in each process that cannot read the store."""

P = ParamSpec("P")
T = TypeVar("T")

_Query = Callable[[sqlite3.Connection], Any]
_Task = tuple["asyncio.Future[Any]", _Query]

# Errors of a statement or its parameters; all others have outside causes.
_OF_A_STATEMENT: Final = frozenset(
    {
        sqlite3.SQLITE_TOOBIG,
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_MISUSE,
        sqlite3.SQLITE_RANGE,
    }
)


class StoreReader:
    """Reads the store in any process that can open the file; used from one event loop."""

    def __init__(self, path: Path, counters: Counters) -> None:
        self.fault: str | None = None
        """Why the store cannot be read; None if it can."""
        self._path = path
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._own_connection: sqlite3.Connection | None = None
        self._is_stopped = False
        self._failed: _Query | None = None
        self._repeat_timer: asyncio.TimerHandle | None = None
        self._errors = counters.counter("store_read_errors_total", "Reads of the store that failed")
        self._unreadable = counters.gauge(UNREADABLE, "1 while the store cannot be read")

    def start(self) -> None:
        """Starts the thread and opens the file, so that neither has to be done once threads or descriptors are
        short."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store-reader", daemon=True)
            self._thread.start()
            self._put(_touch).add_done_callback(lambda answer: answer.exception())

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Calls `function(connection, ...)` in the reader's thread and returns its result.

        Raises what `function` raises, and StoreError if the store cannot be read, if too many calls wait, and after
        `stop`.
        """
        if self._is_stopped:
            raise StoreError(f"{self._path}: closed")
        if self._tasks.qsize() >= MAX_WAITING_READS:
            raise StoreError(f"{self._path}: {MAX_WAITING_READS} reads are waiting already")
        self.start()
        result: T = await self._put(lambda connection: function(connection, *args, **kwargs))
        return result

    def run_now(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Does the same on the thread of the event loop, which waits: for single rows."""
        try:
            if self._own_connection is None:
                self._own_connection = open_reader(self._path)
            return function(self._own_connection, *args, **kwargs)
        except (sqlite3.Error, MemoryError, StoreError) as error:
            if self.fault is None:
                self._close_own()
            failure = self._failure(error)
            self._note_failure(lambda connection: function(connection, *args, **kwargs), failure)
            raise failure from None

    async def stop(self) -> None:
        """Finishes the waiting reads and ends the thread; abandons the thread if the disk does not answer."""
        self._is_stopped = True
        if self._repeat_timer is not None:
            self._repeat_timer.cancel()
        self._close_own()
        if self._thread is not None:
            self._tasks.put(None)
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)
            self._thread = None

    # -- the loop's thread

    def _put(self, query: _Query) -> asyncio.Future[Any]:
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._tasks.put((answer, query))
        return answer

    def _settle(self, answer: asyncio.Future[Any], query: _Query, result: Any, failure: BaseException | None) -> None:
        if isinstance(failure, StoreError):
            self._note_failure(query, failure)
        if answer.done():
            return
        if failure is None:
            answer.set_result(result)
        else:
            answer.set_exception(failure)

    def _note_failure(self, query: _Query, failure: StoreError) -> None:
        """Counts a failed read; the first one of a fault is told, and repeated until it succeeds."""
        if isinstance(failure, _StatementError):
            return
        self._errors.add()
        if self._failed is not None or self._is_stopped:
            return
        self._failed = query
        self.fault = str(failure)
        self._unreadable.set(1)
        logger.error("the store cannot be read, requests that need it are answered with 503: %s", failure)
        self._repeat_later()

    def _repeat_later(self) -> None:
        self._repeat_timer = asyncio.get_running_loop().call_later(REPEAT_SECONDS, self._repeat)

    def _repeat(self) -> None:
        assert self._failed is not None
        self.start()
        self._put(self._failed).add_done_callback(self._on_repeated)

    def _on_repeated(self, answer: asyncio.Future[Any]) -> None:
        has_failed = not answer.cancelled() and answer.exception() is not None
        if self._is_stopped:
            return
        if has_failed:
            self._repeat_later()
            return
        logger.warning("the store can be read again; it could not because of: %s", self.fault)
        self._failed = self.fault = None
        self._unreadable.set(0)
        self._close_own()

    def _close_own(self) -> None:
        if self._own_connection is not None:
            _close(self._own_connection)
            self._own_connection = None

    # -- the reader's thread

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            answer, query = task
            result: Any = None
            failure: BaseException | None = None
            try:
                if answer.cancelled():
                    continue
                result = query(self._connected())
            except (sqlite3.Error, MemoryError, StoreError) as error:
                self._disconnect()
                failure = self._failure(error)
            except BaseException as error:
                failure = error
            # The loop may have been closed while the read was waiting.
            with suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(self._settle, answer, query, result, failure)
        self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_reader(self._path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            _close(self._connection)
            self._connection = None

    # -- any thread

    def _failure(self, error: Exception) -> StoreError:
        if isinstance(error, StoreError):
            return error
        # An error without a code is that of Python's module: text that is not UTF-8 is damage, too.
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOMEM) & 0xFF
        kind = _StatementError if isinstance(error, sqlite3.ProgrammingError) or code in _OF_A_STATEMENT else StoreError
        return kind(f"{self._path}: cannot be read: {str(error) or type(error).__name__}")


class _StatementError(StoreError):
    """The statement or its parameters are at fault, not the store."""


def _touch(connection: sqlite3.Connection) -> None:
    """Reads the file, so that SQLite opens all that it needs."""
    connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone()


def _close(connection: sqlite3.Connection) -> None:
    with suppress(sqlite3.Error):
        connection.close()
