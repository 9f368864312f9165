"""Reads of the store outside the event loop: one thread with one read-only connection.

A caller passes a function that queries the connection, and keeps it short: while a statement runs, SQLite cannot fold
the newer part of the write-ahead log into the file, and other callers wait. A long read is done in pieces.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from observability.errors import StoreError
from observability.store.file import open_reader
from observability.store.limits import STOP_SECONDS

# Each is a request that waits for its answer; further ones are refused.
MAX_WAITING_READS: Final = 1_000

P = ParamSpec("P")
T = TypeVar("T")

_Task = tuple["asyncio.Future[Any]", Callable[[sqlite3.Connection], Any]]


class StoreReader:
    """Reads the store in any process that can open the file; used from one event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self._is_stopped = False

    async def run(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Calls `function(connection, ...)` in the reader's thread and returns its result.

        Raises what `function` raises, and StoreError for errors of the database, if too many calls wait, and after
        `stop`.
        """
        if self._is_stopped:
            raise StoreError(f"{self._path}: closed")
        if self._tasks.qsize() >= MAX_WAITING_READS:
            raise StoreError(f"{self._path}: {MAX_WAITING_READS} reads are waiting already")
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="store-reader", daemon=True)
            self._thread.start()
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._tasks.put((answer, lambda connection: function(connection, *args, **kwargs)))
        return await answer

    async def stop(self) -> None:
        """Finishes the waiting reads and ends the thread; abandons the thread if the disk does not answer."""
        self._is_stopped = True
        if self._thread is not None:
            self._tasks.put(None)
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)
            self._thread = None

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
            except sqlite3.Error as error:
                self._disconnect()
                failure = StoreError(f"{self._path}: cannot be read: {error}")
            except BaseException as error:
                failure = error
            # The loop may have been closed while the read was waiting.
            with suppress(RuntimeError):
                answer.get_loop().call_soon_threadsafe(_settle, answer, result, failure)
        self._disconnect()

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = open_reader(self._path)
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            with suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def _settle(answer: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if answer.done():
        return
    if failure is None:
        answer.set_result(result)
    else:
        answer.set_exception(failure)
