"""A hub that does not lead: it follows the log of its desk into its own store until the lease is free, and takes it.

What follows is the ordinary start of a hub from a store that is there, with the same positions, orders and lanes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from typing import Any, Final

import uvloop

from observability.clocks.clock import HostClock
from observability.cluster.desk import Desk
from observability.cluster.failover.lease import Lease, holder_of
from observability.cluster.failover.presence import Backlog, HostStatus, Presence, status_of
from observability.cluster.failover.records import CURSOR, RecordFollower, StoreState
from observability.cluster.link import Link
from observability.cluster.server_check import check_hub_access
from observability.config.config import Config
from observability.errors import SourceError, StoreError
from observability.memory.counters import Counters
from observability.processes.service_manager import ServiceManager
from observability.store import schema
from observability.store.limits import StoreLimits
from observability.store.store import Store

logger = logging.getLogger(__name__)

STATUS: Final = "standing by"
# Shares of the lease's time, and bounds in seconds, after which a hub that stands by looks at it again.
LOOK_SHARE: Final = 0.1
MAX_LOOK_SECONDS: Final = 0.5
DURABLE_SECONDS: Final = 10.0
CATCH_UP_SECONDS: Final = 0.01


def stand_by(config: Config, desk: Desk, service_manager: ServiceManager) -> bool:
    """Returns True once this hub has the lease and all rows of the log, False after a signal to stop. Raises
    StoreError, SourceError, OSError."""
    return uvloop.run(_Standby(config, desk, service_manager).run())


def state_of(store: Store) -> StoreState:
    """Returns what a store has of the log. Raises StoreError."""
    with store.reading() as connection:
        cursors = dict(connection.execute(schema.SELECT_SOURCE_CURSORS).fetchall())
        (newest,) = connection.execute(schema.SELECT_NEWEST_SEQ).fetchone()
        checkpoint = connection.execute(schema.SELECT_CHECKPOINT, (schema.CHECKPOINT_KEY,)).fetchone()
    return StoreState(cursors.get(CURSOR), is_empty=newest is None and checkpoint is None)


class _Standby:
    def __init__(self, config: Config, desk: Desk, service_manager: ServiceManager) -> None:
        self._config = config
        self._service_manager = service_manager
        self._stopping = asyncio.Event()
        self._store: Store | None = None
        self._follower: RecordFollower | None = None
        clock = HostClock()
        self._link = Link(desk, clock)
        self._link.add_opener(lambda connection: check_hub_access(connection, desk))
        self._backlog = Backlog(clock)
        self._presence = Presence(self._link, clock, self._status)
        self._is_said = False

    async def run(self) -> bool:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        directory = self._config.data_dir
        if directory is not None:
            limits = StoreLimits(
                max_age_days=self._config.store_max_age,
                max_bytes=self._config.store_max_bytes,
                keeps_upgrade_copy=self._config.store_upgrade_copy,
            )
            self._store = Store.open(directory, limits, Counters())
            self._follower = RecordFollower(self._link, state_of(self._store), self._write)
            self._store.start(loop)
        lease = Lease(self._link, self._config.cluster_lease, holder_of(directory))
        try:
            await self._link.open()
            self._link.start()
            self._presence.start()
            has_lease = await self._wait_for_lease(lease) and await self._catch_up(lease)
        finally:
            await self._presence.stop()
            await self._link.close()
            if self._store is not None:
                await self._store.stop()
        return has_lease

    def _status(self, leader: HostStatus | None) -> HostStatus:
        if self._follower is None:
            return status_of("hub")
        newest = 0 if leader is None else leader.log_seq or 0
        self._backlog.update(self._follower.seq, newest)
        return status_of(
            "hub", log_seq=self._follower.seq, behind=self._backlog.entries, behind_ns=self._backlog.behind_ns
        )

    async def _wait_for_lease(self, lease: Lease) -> bool:
        pause = min(LOOK_SHARE * self._config.cluster_lease, MAX_LOOK_SECONDS)
        while not self._stopping.is_set():
            self._raise_fault()
            self._service_manager.feed()
            if await self._takes(lease):
                return True
            if not self._is_said and lease.leader is not None:
                self._is_said = True
                self._service_manager.say_ready(STATUS)
                logger.info(
                    "standing by: the hub on %s (process %d) leads desk %s",
                    lease.leader.host, lease.leader.pid, self._link.desk.name,
                )  # fmt: skip
            try:
                async with asyncio.timeout(pause):
                    await self._stopping.wait()
            except TimeoutError:
                continue
        return False

    async def _catch_up(self, lease: Lease) -> bool:
        """Returns True once this store has all of the log, and no other hub can write to it any more."""
        follower, store = self._follower, self._store
        if follower is None or store is None:
            return True
        closed: int | None = None
        renew_at = time.monotonic() + lease.renew_seconds
        while not self._stopping.is_set():
            self._raise_fault()
            if time.monotonic() >= renew_at:
                renew_at = time.monotonic() + lease.renew_seconds
                if not await self._takes(lease) and not lease.is_held:
                    raise SourceError("the lease was lost before this hub had followed the log to its end")
            if closed is None:
                closed = await self._close_log(follower)
            elif follower.seq >= closed:
                if await store.durable(store.position, DURABLE_SECONDS):
                    logger.info("leading desk %s, with the log up to message %d", self._link.desk.name, follower.seq)
                    return True
                raise StoreError(f"the rows of the log cannot be stored: {store.trouble or 'the disk is late'}")
            await asyncio.sleep(CATCH_UP_SECONDS)
        return False

    async def _close_log(self, follower: RecordFollower) -> int | None:
        connection = self._link.connection
        if connection is None:
            return None
        try:
            return await follower.close_log(connection)
        except (EOFError, SourceError) as error:
            logger.debug("the log cannot be closed to other hubs yet: %s", error)
            return None

    async def _takes(self, lease: Lease) -> bool:
        connection = self._link.connection
        if connection is None:
            return False
        try:
            return await lease.take(connection)
        except (EOFError, SourceError) as error:
            logger.debug("the lease cannot be asked for: %s", error)
            return False

    def _write(self, rows: list[tuple[str, tuple[Any, ...]]]) -> None:
        store, follower = self._store, self._follower
        assert store is not None and follower is not None
        with store.unit():
            for statement, parameters in rows:
                store.put(statement, parameters)
        if store.lost:
            follower.fault = StoreError("the store has dropped rows of the log, which come again after a restart")
        if not store.has_room and self._link.connection is not None:
            # What has not come yet comes over the next connection, when there is room.
            self._link.connection.end(EOFError("the store is behind the log"))

    def _raise_fault(self) -> None:
        if self._follower is not None and self._follower.fault is not None:
            raise self._follower.fault
