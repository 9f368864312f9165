"""Everything that survives the process, put together: the store, the journal and the archive of the history."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Concatenate, Final, ParamSpec, TypeVar

import orjson

from observability.bus import Bus
from observability.clocks.clock import Clock
from observability.config.config import Config
from observability.errors import StoreError
from observability.history.archive import Archive
from observability.history.history import History
from observability.ingest.gate import SOURCE as INGEST
from observability.memory.counters import Counters
from observability.memory.layout import ALERTS_LANE, BOOKINGS_LANE, ORDERS_LANE, TRADES_LANE
from observability.metrics.assembly import Collectors
from observability.metrics.durability.journal import Announcement, Journal
from observability.metrics.durability.recovery import find_known_order, find_strategy, recover
from observability.metrics.trades.booking_queries import find_booking
from observability.metrics.trades.queries import find_key
from observability.metrics.trades.trade_log import MAX_KEYS
from observability.store import schema
from observability.store.checkpoint import EventSequence
from observability.store.limits import StoreLimits
from observability.store.origin import Origin, check_origin, read_origin
from observability.store.store import Store

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# How many transitions of alerts are announced again after a restart.
MAX_RECENT_ALERTS: Final = 1_000
# No more fills wait in the store's queue than the trade log has keys for, so a look-up in the store misses none.
MAX_QUEUED_ROWS: Final = MAX_KEYS


class Persistence:
    """What one hub keeps on disk. Without a data directory nothing survives the process; everything else is the same.

    Create it before a series of the history is opened. Then call `attach` with the collectors, `recover` once they have
    subscribed, and `start`. Raises StoreError if the directory cannot be used.
    """

    def __init__(
        self, config: Config, bus: Bus, history: History, counters: Counters, host_clock: Clock, event_clock: Clock
    ) -> None:
        limits = StoreLimits(
            max_age_days=config.store_max_age,
            max_bytes=config.store_max_bytes,
            queue_rows=MAX_QUEUED_ROWS,
            keeps_upgrade_copy=config.store_upgrade_copy,
        )
        directory = config.data_dir
        self.store = None if directory is None else Store.open(directory, limits, counters, host_clock)
        self.archive = None if self.store is None else Archive(self.store)
        self.sequence = EventSequence()
        self.journal: Journal
        self._bus = bus
        self._history = history
        self._host_clock = host_clock
        self._event_clock = event_clock
        self._collectors: Collectors
        self._recent_alerts: list[Announcement] = []
        self._repeating = {INGEST}
        if self.archive is not None:
            self.archive.attach(history)

    def check_origin(self, wanted: Origin) -> Origin | None:
        """Returns the origin of what the store holds already, if it is this run's; None otherwise. Raises StoreError if
        events of the origin `wanted` must not be added to it."""
        if self.store is None:
            return None
        with self.store.reading() as connection:
            found = read_origin(connection)
        check_origin(found, wanted, self.store.path.parent)
        return found if found is not None and found.run_id == wanted.run_id else None

    def source_cursors(self) -> dict[str, str]:
        """Returns where to go on reading each source that has positions, by its name. Raises StoreError."""
        if self.store is None:
            return {}
        with self.store.reading() as connection:
            return dict(connection.execute(schema.SELECT_SOURCE_CURSORS).fetchall())

    def expect_repeats_of(self, source: str) -> None:
        """Lets events of a source be refused while the store cannot tell whether it knows them: they come again."""
        self._repeating.add(source)

    def claim(self, origin: Origin) -> None:
        """Records where the events are from. Call it before the first of them."""
        if self.store is not None:
            self.store.put(schema.INSERT_ORIGIN, replace(origin, ts_ns=self._host_clock.time_ns()).row())

    def end_replay(self, origin: Origin) -> None:
        """Records that the replay has been played to its end. Call it after the last of its events."""
        if self.store is not None:
            self.store.put(schema.UPDATE_ORIGIN_ENDED, (origin.run_id,))

    def attach(self, collectors: Collectors) -> Journal:
        """Returns the journal that writes the events and checkpoints of the collectors."""
        self._collectors = collectors
        self.journal = Journal(
            self._bus,
            collectors,
            self.sequence,
            (*collectors.sections, self._history),
            self.store,
            self._host_clock,
            self._event_clock,
        )
        return self.journal

    def recover(self) -> int:
        """Restores the state that the previous process had when it ended; returns the host's time of its checkpoint, 0
        without one. Raises CheckpointError, and StoreError if the store is damaged."""
        if self.store is None:
            return 0
        collectors = self._collectors
        trades = collectors.execution.trades
        with self.store.reading() as connection:
            recovered = recover(
                connection,
                self._bus,
                self.journal.stateful,
                collectors.execution,
                collectors.bookings,
                self.journal.corrector,
                collectors.system.alert_book.replay,
                self.sequence,
            )
            newest = connection.execute(
                schema.SELECT_NEWEST_ALERT_TRANSITIONS, (recovered.seq, MAX_RECENT_ALERTS)
            ).fetchall()
            (saved_ns,) = connection.execute(schema.SELECT_CHECKPOINT_TIME).fetchone()
        self._recent_alerts = [(ALERTS_LANE, seq, None, orjson.loads(document)) for seq, document in reversed(newest)]
        trades.archive = lambda key: self._look_up([], find_key, key)
        collectors.bookings.archive = lambda key: self._look_up(None, find_booking, key)
        collectors.execution.remember_reports(lambda event: self._look_up(None, find_known_order, event))
        collectors.execution.remember_strategies(
            lambda symbol, order_id: self._look_up(None, find_strategy, symbol, order_id)
        )
        if recovered.seq:
            logger.info(
                "the state as of record %d is restored: loaded the checkpoint and replayed %d later records in %.2f s",
                recovered.seq, recovered.replayed, recovered.seconds,
            )  # fmt: skip
        return saved_ns or 0

    def _look_up(
        self, unknown: T, ask: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Returns the store's answer about the event that is being published.

        Raises StoreError if the store cannot be read and the event is a sender's: it might count twice, and its sender
        sends it again. A replay and a simulator do not, and their ids are new: they get `unknown`.
        """
        assert self.store is not None
        try:
            return self.store.reader.run_now(ask, *args, **kwargs)
        except StoreError:
            if self._bus.source in self._repeating:
                raise
            return unknown

    def recent_announcements(self) -> Iterator[Announcement]:
        """Yields the newest announcements of earlier processes, per lane oldest first."""
        for trade in self._collectors.execution.trades.newer_than(0):
            yield TRADES_LANE, trade.seq, trade.symbol, trade.to_json()
        for booking in self._collectors.bookings.newer_than(0):
            yield BOOKINGS_LANE, booking.seq, booking.symbol or None, booking.to_json()
        for report in self._collectors.execution.reports.newer_than(0):
            yield ORDERS_LANE, report.seq, report.event.symbol, report.to_json
        yield from self._recent_alerts

    def start(self, loop: asyncio.AbstractEventLoop, slices: asyncio.Lock | None = None) -> None:
        """Starts the store's writer and the journal. `slices` is shared by everything that works in slices."""
        if self.store is not None:
            self.store.start(loop)
        self.journal.start()
        self.journal.corrector.start(slices)

    async def stop(self) -> None:
        """Writes everything that is still to be written, and closes the store."""
        await self.journal.corrector.stop()
        if self.store is not None:
            assert self.archive is not None
            self.archive.record_open(self._history)
            self.journal.stop()
            await self.store.stop()
