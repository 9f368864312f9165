"""The writer while the disk fails: rows wait, in order, and the faults are reported."""

from __future__ import annotations

import logging
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store.file import DATABASE_NAME, connect, open_database, set_up_writer
from observability.store.schema import INSERT_CONFLICT, INSERT_FILL, SELECT_SOURCE_CURSORS
from observability.store.writer import PendingRow, Shipped, StoreWriter
from stored import count_of, fill_row, select

ROOT = Path(__file__).parents[2]
SOON = 30.0


class NoMaintenance:
    """Maintenance that does nothing."""

    def step(self, connection: sqlite3.Connection) -> bool:
        return False


class Disk:
    """A database whose new connections are broken by the statement `spoil`, with all that its writer has reported."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / DATABASE_NAME
        self.counters = Counters()
        self.durable = 0
        self.faults: list[str | None] = []
        self.connections = 0
        self.spoil: str | None = None
        self.ended = threading.Event()
        self.changed = threading.Condition()
        open_database(self.path).close()
        self.writer = StoreWriter(
            self.path,
            self._connect,
            1000,
            NoMaintenance(),
            self.counters,
            on_commit=self._on_commit,
            on_fault=self._on_fault,
            on_end=self.ended.set,
        )

    def put(self, *seqs: int) -> None:
        for seq in seqs:
            self.writer.put(((seq, INSERT_FILL, fill_row(seq)),))

    def wait_until(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, SOON)

    def stop(self) -> list[int]:
        """Stops the writer; returns the rows in the file."""
        self.writer.stop()
        assert self.ended.wait(SOON)
        return select(self.path, "SELECT seq FROM fills")

    def _connect(self) -> sqlite3.Connection:
        with self.changed:
            self.connections += 1
            self.changed.notify()
        connection = connect(self.path, "rw")
        set_up_writer(connection)
        if self.spoil is not None:
            connection.execute(self.spoil)
        return connection

    def _on_commit(self, position: int, rows: int) -> None:
        with self.changed:
            self.durable = position
            self.changed.notify()

    def _on_fault(self, fault: str | None) -> None:
        with self.changed:
            self.faults.append(fault)
            self.changed.notify()


READ_ONLY = "PRAGMA query_only = ON"


def fill_up(path: Path) -> str:
    """Puts rows into the file and returns the statement that prevents it from growing."""
    with closing(connect(path, "rw")) as connection:
        connection.execute("BEGIN")
        connection.executemany(INSERT_CONFLICT, (fill_row(seq) for seq in range(1, 6001)))
        connection.execute("COMMIT")
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    return f"PRAGMA max_page_count = {pages}"


def make_space(path: Path) -> None:
    with closing(connect(path, "rw")) as connection:
        connection.execute("DELETE FROM conflicts")


def test_rows_wait_in_order_while_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = Disk(tmp_path)
    disk.spoil = fill_up(disk.path)
    disk.put(*range(1, 1001))
    disk.writer.start()
    disk.wait_until(lambda: bool(disk.faults))
    assert disk.faults == ["disk full: database or disk is full"]
    assert disk.durable == 0
    disk.put(*range(1001, 2001))
    make_space(disk.path)
    disk.wait_until(lambda: disk.durable == 2000)
    assert disk.faults[-1] is None
    assert disk.stop() == list(range(1, 2001))
    assert count_of(disk.counters, "store_errors_total") >= 1
    assert caplog.text.count("the store cannot write, rows wait in memory") == 1
    assert "it could not because of: disk full" in caplog.text


def test_rows_wait_while_the_file_is_read_only(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.spoil = READ_ONLY
    disk.put(1, 2, 3)
    disk.writer.start()
    disk.wait_until(lambda: bool(disk.faults))
    assert disk.faults == ["read-only: attempt to write a readonly database"]
    disk.spoil = None
    disk.wait_until(lambda: disk.durable == 3)
    assert disk.stop() == [1, 2, 3]
    assert disk.faults[1:] == [None]


def test_a_missing_file_is_a_fault_and_not_created_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    elsewhere = disk.path.rename(tmp_path / "elsewhere")
    disk.put(1)
    disk.writer.start()
    disk.wait_until(lambda: bool(disk.faults))
    assert disk.faults == ["cannot be opened: unable to open database file"]
    assert not disk.path.exists()
    elsewhere.rename(disk.path)
    disk.wait_until(lambda: disk.durable == 1)
    assert disk.stop() == [1]


def test_rows_wait_while_the_open_file_is_moved_away(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.put(1)
    disk.writer.start()
    disk.wait_until(lambda: disk.durable == 1)
    elsewhere = disk.path.rename(tmp_path / "elsewhere")
    disk.put(2)
    disk.wait_until(lambda: bool(disk.faults))
    assert disk.faults[0] == f"{disk.path} has been removed or replaced"
    assert disk.durable == 1
    elsewhere.rename(disk.path)
    disk.wait_until(lambda: disk.durable == 2)
    assert disk.stop() == [1, 2]
    assert disk.faults[-1] is None


def test_what_was_acknowledged_is_in_the_file_if_its_log_is_removed(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.put(1)
    disk.writer.start()
    disk.wait_until(lambda: disk.durable == 1)
    (tmp_path / f"{DATABASE_NAME}-wal").unlink()
    disk.put(2)
    disk.wait_until(lambda: bool(disk.faults))
    assert disk.faults[0] == f"{disk.path}-wal has been removed or replaced; restart the server"
    assert disk.durable == 1
    # As a kill would leave it now.
    copy = tmp_path / "copy"
    shutil.copy(disk.path, copy)
    assert select(copy, "SELECT seq FROM fills") == [1]
    assert not (tmp_path / f"{DATABASE_NAME}-wal").exists()
    assert disk.stop() == [1]


@pytest.mark.parametrize("other", ["another store", "an older copy"])
def test_rows_wait_while_the_file_is_replaced_by_another(tmp_path: Path, other: str) -> None:
    disk = Disk(tmp_path)
    replacement = tmp_path / "other" / DATABASE_NAME
    replacement.parent.mkdir()
    if other == "an older copy":
        shutil.copy(disk.path, replacement)
    else:
        open_database(replacement).close()
    disk.put(1)
    disk.writer.start()
    disk.wait_until(lambda: disk.durable == 1)
    disk.put(2)
    disk.wait_until(lambda: disk.durable == 2)
    # As a restore does it: the file is replaced, and the log of the other one is gone.
    own = tmp_path / "own"
    own.mkdir()
    for name in (DATABASE_NAME, f"{DATABASE_NAME}-wal", f"{DATABASE_NAME}-shm"):
        (tmp_path / name).rename(own / name)
    replacement.rename(disk.path)
    disk.put(3)
    disk.wait_until(lambda: any("has been replaced by another store or an older copy" in str(f) for f in disk.faults))
    assert disk.durable == 2
    assert disk.stop() == []


def test_a_repeated_fault_is_reported_once(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    disk.spoil = READ_ONLY
    disk.put(1)
    disk.writer.start()
    disk.wait_until(lambda: disk.connections == 3)
    assert disk.stop() == []
    assert len(disk.faults) == 1
    assert count_of(disk.counters, "store_errors_total") >= 3


def test_a_stop_during_a_fault_tries_again_and_reports_lost_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(tmp_path)
    disk.spoil = READ_ONLY
    disk.put(1, 2)
    disk.writer.start()
    disk.wait_until(lambda: bool(disk.faults))
    disk.put(3)
    with caplog.at_level(logging.ERROR):
        assert disk.stop() == []
    assert "the store stopped without writing 3 rows" in caplog.text


# In a process of its own, which the limit applies to as a whole: beyond it the kernel refuses writes with EFBIG.
FILE_SIZE_LIMIT = """
import asyncio, resource, sys
from pathlib import Path
from observability.memory.counters import Counters
from observability.store.store import Store
from observability.store.limits import StoreLimits
from observability.store.schema import INSERT_EQUITY_REPORT

async def main() -> None:
    store = Store.open(Path(sys.argv[1]), StoreLimits(), Counters())
    store.start(asyncio.get_running_loop())
    faults = asyncio.Queue()
    store.add_fault_listener(faults.put_nowait)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    for seq in range(1, 20_001):
        store.put(INSERT_EQUITY_REPORT, (seq, seq, seq, "1000.25", "alpha"))
    fault = await asyncio.wait_for(faults.get(), 30)
    assert store.fault == fault
    assert not await store.durable(20_000, 0.01)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert await asyncio.wait_for(faults.get(), 30) is None
    assert await store.durable(20_000, 30)
    await store.stop()
    print(fault)

asyncio.run(main())
"""


def test_rows_wait_while_the_kernel_refuses_writes(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FILE_SIZE_LIMIT, tmp_path],
        env={"PYTHONPATH": str(ROOT / "core")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout) == (0, "input/output error: disk I/O error\n"), ran.stderr
    assert select(tmp_path / DATABASE_NAME, "SELECT seq FROM equity_reports") == list(range(1, 20_001))


class Log:
    """The log of a desk, which takes at most two rows at a time, and none while it is closed."""

    def __init__(self) -> None:
        self.seqs: list[int] = []
        self.is_open = False
        self.attempts = 0

    def ship(self, rows: Sequence[PendingRow]) -> Shipped:
        self.attempts += 1
        if not self.is_open:
            raise StoreError("the log takes nothing")
        self.seqs += [position for position, _, _ in rows[:2]]
        return Shipped(len(rows[:2]), ("log", 0, str(len(self.seqs))))


def test_rows_are_in_the_log_of_the_desk_before_they_are_committed(tmp_path: Path) -> None:
    disk, log = Disk(tmp_path), Log()
    disk.writer.ship = log.ship
    disk.put(1, 2, 3)
    disk.writer.start()
    disk.wait_until(lambda: disk.faults == ["the log takes nothing"])
    assert (disk.durable, select(disk.path, "SELECT seq FROM fills")) == (0, [])
    log.is_open = True
    disk.wait_until(lambda: disk.durable == 3)
    assert log.seqs == [1, 2, 3]
    # The place in the log is of the same commit.
    with closing(connect(disk.path, "ro")) as reading:
        assert reading.execute(SELECT_SOURCE_CURSORS).fetchall() == [("log", "3")]
    assert disk.stop() == [1, 2, 3]


def test_rows_that_cannot_be_committed_are_not_written_to_the_log_again(tmp_path: Path) -> None:
    disk, log = Disk(tmp_path), Log()
    log.is_open = True
    disk.writer.ship = log.ship
    disk.spoil = "PRAGMA query_only = ON"
    disk.put(1, 2, 3)
    disk.writer.start()
    disk.wait_until(lambda: bool(disk.faults) and disk.connections > 2)
    disk.put(4)
    disk.spoil = None
    disk.wait_until(lambda: disk.durable == 4)
    assert log.seqs == [1, 2, 3, 4]
    assert disk.stop() == [1, 2, 3, 4]
