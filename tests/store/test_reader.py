"""The reader of the store: a read that fails is told once, and repeated until it succeeds."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store import reader as reader_module
from observability.store.file import DATABASE_NAME, open_database
from observability.store.reader import UNREADABLE, StoreReader
from stored import count_of


def count_fills(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM fills").fetchone()
    return int(count)


def count_equity(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute("SELECT count(*) FROM equity").fetchone()
    return int(count)


async def wait_for_the_end(reader: StoreReader) -> None:
    async with asyncio.timeout(30):
        while reader.fault is not None:
            await reader.run(count_equity)


def run(
    directory: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[StoreReader, Counters], Awaitable[None]]
) -> None:
    monkeypatch.setattr(reader_module, "REPEAT_SECONDS", 0.01)
    path = directory / DATABASE_NAME
    open_database(path).close()

    async def main() -> None:
        counters = Counters()
        reader = StoreReader(path, counters)
        try:
            await use(reader, counters)
        finally:
            await reader.stop()

    asyncio.run(main())


def rename(directory: Path, name: str, to: str) -> None:
    with closing(sqlite3.connect(directory / DATABASE_NAME, isolation_level=None)) as connection:
        connection.execute(f"ALTER TABLE {name} RENAME TO {to}")


async def ask(reader: StoreReader, *, now: bool) -> int:
    return reader.run_now(count_fills) if now else await reader.run(count_fills)


@pytest.mark.parametrize("now", [False, True], ids=["in the thread", "at once"])
def test_a_fault_lasts_until_the_read_that_failed_succeeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, now: bool
) -> None:
    async def use(reader: StoreReader, counters: Counters) -> None:
        assert await ask(reader, now=now) == 0
        rename(tmp_path, "fills", "gone")
        for _ in range(5):
            with pytest.raises(StoreError, match=f"{DATABASE_NAME}: cannot be read: no such table: fills"):
                await ask(reader, now=now)
        assert reader.fault is not None
        assert count_of(counters, UNREADABLE) == 1
        assert count_of(counters, "store_read_errors_total") >= 5
        # Other reads succeed, which says nothing about that one.
        assert await reader.run(count_equity) == 0
        assert reader.fault is not None
        rename(tmp_path, "gone", "fills")
        await wait_for_the_end(reader)
        assert count_of(counters, UNREADABLE) == 0
        assert await ask(reader, now=now) == 0

    run(tmp_path, monkeypatch, use)
    assert caplog.text.count("the store cannot be read, requests that need it") == 1
    assert caplog.text.count("the store can be read again") == 1


def test_a_file_that_cannot_be_opened_is_a_fault_that_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(reader: StoreReader, counters: Counters) -> None:
        (tmp_path / DATABASE_NAME).rename(tmp_path / "away")
        with pytest.raises(StoreError, match="unable to open database file"):
            await reader.run(count_fills)
        (tmp_path / "away").rename(tmp_path / DATABASE_NAME)
        await wait_for_the_end(reader)
        assert await reader.run(count_fills) == 0

    run(tmp_path, monkeypatch, use)


def test_a_fault_of_the_caller_is_not_one_of_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def use(reader: StoreReader, counters: Counters) -> None:
        for parameters in ((), (1, 2), ("\ud800",), (2**70,)):
            with pytest.raises(Exception, match=r"."):
                await reader.run(lambda db, values: db.execute("SELECT ?", values).fetchone(), parameters)
        assert reader.fault is None
        assert count_of(counters, "store_read_errors_total") == 0

    run(tmp_path, monkeypatch, use)
