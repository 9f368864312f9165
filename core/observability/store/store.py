"""The store: queues the rows that must survive, in order, and reports when they are on disk. Used from the event loop.

put --> queue, at most `queue_rows` --> writer --- commits --> commit listeners, `durable`
                                               --- fails   --> fault listeners; the rows wait, in order
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Final

from observability.clocks.clock import Clock, HostClock
from observability.listeners import Listeners
from observability.memory.counters import Counters
from observability.store.file import (
    DATABASE_NAME,
    connect,
    explained,
    open_database,
    open_reader,
    set_up_writer,
)
from observability.store.limits import STOP_SECONDS, StoreLimits
from observability.store.lock import DirectoryLock
from observability.store.pruning import Pruning
from observability.store.reader import StoreReader
from observability.store.writer import PendingRow, Ship, StoreWriter

logger = logging.getLogger(__name__)

# From this share of the queue on, sources that can wait have to; the rest is for those that cannot.
ROOM_SHARE: Final = 0.75
# Time for the writer beyond its own bound: one attempt at a disk that answers slowly.
STOP_MARGIN_SECONDS: Final = 2.0

CommitListener = Callable[[int], None]
FaultListener = Callable[[str | None], None]


class Store:
    """The store of one host, in a data directory of its own. Positions count the rows that this process has put in,
    from 1."""

    def __init__(
        self, directory: Path, limits: StoreLimits, counters: Counters, host_clock: Clock, lock: DirectoryLock
    ) -> None:
        self.path = directory / DATABASE_NAME
        self.position = 0
        """The position of the newest row that is queued or on disk."""
        self.durable_position = 0
        """All rows queued up to this position are on disk."""
        self.lost = 0
        """The number of rows dropped because too many were waiting."""
        self.fault: str | None = None
        """Why nothing can be written now; None if it can."""
        self.reader = StoreReader(self.path, counters)
        self._limits = limits
        self._lock = lock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Future[None] | None = None
        self._next_position = 1
        self._queued = 0
        self._room = int(limits.queue_rows * ROOM_SHARE)
        # Once a row is dropped, all are until there is room, so that one contiguous stretch is missing.
        self._is_dropping = False
        self._has_lost = False
        self._unit: list[PendingRow] | None = None
        self._waiting: dict[int, set[asyncio.Future[bool]]] = {}
        self._waiting_positions: list[int] = []
        self._commit_listeners: Listeners[int] = Listeners("a commit")
        self._fault_listeners: Listeners[str | None] = Listeners("a fault of the store")
        self._queue_rows = counters.gauge("store_queue_rows", "Rows that wait for the disk")
        self._lost_rows = counters.counter("store_rows_lost_total", "Rows dropped because too many were waiting")
        self._writer = StoreWriter(
            self.path,
            self._connect,
            limits.group_rows,
            Pruning(self.path, limits, host_clock, counters),
            counters,
            on_commit=lambda position, rows: self._tell(self._on_committed, position, rows),
            on_fault=lambda fault: self._tell(self._on_faulted, fault),
            on_end=lambda: self._tell(self._on_ended),
        )

    @classmethod
    def open(cls, directory: Path, limits: StoreLimits, counters: Counters, host_clock: Clock | None = None) -> Store:
        """Creates, locks and migrates the store as needed. Raises StoreError with the path and the reason."""
        path = directory / DATABASE_NAME
        lock = DirectoryLock(directory)
        try:
            is_held = lock.hold(path)
            # Checked here, so that the start fails; the writer opens its own connection, again after errors.
            open_database(path, keeps_copy=limits.keeps_upgrade_copy).close()
            if not is_held:
                lock.hold(path)
        except BaseException:
            lock.release()
            raise
        return cls(directory, limits, counters, host_clock or HostClock(), lock)

    def ship_by(self, ship: Ship) -> None:
        """Lets `ship` write the rows of each commit to the log of a desk before. Call it before `start`."""
        self._writer.ship = ship

    @property
    def is_shipped(self) -> bool:
        """Whether rows are those of a desk, which another hub has, too, once they are in its log."""
        return self._writer.ship is not None

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Starts the writer and the reader. Call it on the loop's thread."""
        self._loop = loop
        self._ended = loop.create_future()
        self._writer.start()
        self.reader.start()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Yields a read-only connection, for the start. Errors of the database become a StoreError that says what to
        do."""
        with closing(open_reader(self.path)) as connection, explained(self.path):
            yield connection

    @property
    def has_room(self) -> bool:
        """False while so many rows wait that sources which can wait should."""
        return self._queued < self._room and not self._is_dropping

    @property
    def queued(self) -> int:
        """The number of rows that wait for the disk."""
        return self._queued

    @property
    def is_started(self) -> bool:
        return self._loop is not None

    @property
    def trouble(self) -> str | None:
        """Why rows may not survive or be found: the store cannot write or be read, or has dropped rows; None if all is
        well."""
        if self.fault is not None:
            return f"the store cannot write: {self.fault}"
        if self.reader.fault is not None:
            return f"the store cannot be read: {self.reader.fault}"
        return f"the store has lost {self.lost} rows" if self._has_lost else None

    def put(self, statement: str, parameters: tuple[Any, ...]) -> int:
        """Queues one row in order and returns its position; drops and counts the row if the queue is full."""
        # hot: once per durable event (benchmarks/bench_store.py)
        position = self._next_position
        self._next_position = position + 1
        if self._is_dropping or self._queued >= self._limits.queue_rows:
            self._drop()
            return position
        self._queued += 1
        self.position = position
        row = (position, statement, parameters)
        if self._unit is None:
            self._queue_rows.set(self._queued)
            self._writer.put((row,))
        else:
            self._unit.append(row)
        return position

    @contextmanager
    def unit(self) -> Iterator[None]:
        """Commits the rows that are put in within together, and with those of a unit that has begun already."""
        if self._unit is not None:
            yield
            return
        self.begin_unit()
        try:
            yield
        finally:
            self.end_unit()

    def begin_unit(self) -> None:
        """Begins a unit: the rows put in until `end_unit` are committed together, or not at all."""
        assert self._unit is None, "one unit at a time"
        self._unit = []

    def end_unit(self) -> None:
        unit, self._unit = self._unit, None
        if unit:
            self._queue_rows.set(self._queued)
            self._writer.put(unit)

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        """Waits until all rows up to `position` are on disk, and returns True. Returns False after `timeout_seconds`,
        when the rows stay queued.

        Once rows have been dropped, the result is False until the queue has drained, because any row may be among them.
        """
        if self._has_lost:
            return False
        if position <= self.durable_position:
            return True
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        waiters = self._waiting.get(position)
        if waiters is None:
            waiters = self._waiting[position] = set()
            heappush(self._waiting_positions, position)
        waiters.add(waiter)
        # A tenth of the time of `asyncio.wait`.
        timer = loop.call_later(timeout_seconds, _end, waiter, False)
        try:
            return await waiter
        finally:
            timer.cancel()
            waiters.discard(waiter)

    def add_commit_listener(self, listener: CommitListener) -> None:
        """Calls `listener` with `durable_position` after each commit."""
        self._commit_listeners.add(listener)

    def add_fault_listener(self, listener: FaultListener) -> None:
        """Calls `listener` with the reason when writing begins to fail, and with None when it works again."""
        self._fault_listeners.add(listener)

    async def stop(self) -> None:
        """Writes the queued rows, in bounded time, and closes the file."""
        has_ended = True
        self.end_unit()
        # The writer's connection must be the last one to close: SQLite then folds the log into the file.
        await self.reader.stop()
        if self._ended is not None:
            self._writer.stop()
            done, _ = await asyncio.wait((self._ended,), timeout=STOP_SECONDS + STOP_MARGIN_SECONDS)
            has_ended = bool(done)
        if has_ended:
            self._lock.release()
        else:
            logger.error("the disk does not answer; the store closes without %d rows", self._queued)

    # -- the writer's thread

    def _connect(self) -> sqlite3.Connection:
        connection = connect(self.path, "rw")
        set_up_writer(connection)
        return connection

    def _tell(self, callback: Callable[..., None], *args: Any) -> None:
        assert self._loop is not None
        # The loop may have been closed without waiting for `stop`.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    # -- the loop's thread

    def _on_committed(self, position: int, rows: int) -> None:
        self.durable_position = position
        self._queued -= rows
        self._queue_rows.set(self._queued)
        if self._is_dropping and self._queued < self._room:
            self._is_dropping = False
            logger.warning("the store queues rows again; it has dropped %d rows in all", self.lost)
        if not self._queued:
            self._has_lost = False
        positions = self._waiting_positions
        while positions and positions[0] <= position:
            for waiter in self._waiting.pop(heappop(positions)):
                _end(waiter, True)
        self._commit_listeners.call(position)

    def _on_faulted(self, fault: str | None) -> None:
        self.fault = fault
        self._fault_listeners.call(fault)

    def _on_ended(self) -> None:
        assert self._ended is not None
        self._ended.set_result(None)

    def _drop(self) -> None:
        if not self._is_dropping:
            self._is_dropping = self._has_lost = True
            logger.error(
                "the queue of the store is full (%d rows wait for the disk); dropping further rows", self._queued
            )
        self.lost += 1
        self._lost_rows.add()


def _end(waiter: asyncio.Future[bool], is_durable: bool) -> None:
    if not waiter.done():
        waiter.set_result(is_durable)
