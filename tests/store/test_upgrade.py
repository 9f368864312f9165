"""The copy of a store from before a migration: made, bounded, removed, and the way back."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from observability.clocks.timestamps import NS_PER_DAY
from observability.errors import StoreError
from observability.memory.counters import Counters
from observability.store import schema
from observability.store.backup import check_backup, restore
from observability.store.file import DATABASE_NAME, connect, open_database, set_up_writer
from observability.store.limits import StoreLimits
from observability.store.pruning import Pruning
from observability.store.upgrade import KEPT_DAYS, copies_of

NEWEST = len(schema.MIGRATIONS)
# The first version with the seal of the last commit.
OLD = 6


class Usage(NamedTuple):
    free: int


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store of an earlier version with one source's position, part of which is still in its log."""
    path = tmp_path / DATABASE_NAME
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        set_up_writer(connection)
        schema.migrate(connection, schema.MIGRATIONS[:OLD])
        connection.execute("INSERT INTO equity_reports VALUES (1, 2, 3, '100', '')")
    return path


def version_of(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return schema.read_version(connection)


def test_a_store_is_copied_before_its_tables_are_changed(path: Path) -> None:
    open_database(path).close()
    (copy,) = copies_of(path)
    assert copy.name == f"{DATABASE_NAME}-version-{OLD}"
    assert (version_of(copy), version_of(path)) == (OLD, NEWEST)
    assert copy.stat().st_mode & 0o777 == 0o600
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT value FROM equity_reports").fetchall() == [("100",)]


def test_a_store_of_this_version_is_not_copied(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    for _ in range(2):
        open_database(path).close()
    assert not list(copies_of(path))


def test_the_copy_is_a_backup_that_can_be_restored(path: Path, tmp_path: Path) -> None:
    open_database(path).close()
    (copy,) = copies_of(path)
    check_backup(copy)
    restore(copy, path.parent, lambda _: None, may_replace=True)
    assert version_of(path) == OLD


def test_a_later_version_is_refused_with_the_name_of_the_copy(path: Path) -> None:
    open_database(path).close()
    (copy,) = copies_of(path)
    copy.rename(path.with_name(f"{DATABASE_NAME}-version-{NEWEST}"))
    with closing(connect(path, "rw")) as connection:
        connection.execute(f"PRAGMA user_version = {NEWEST + 1}")
    with pytest.raises(
        StoreError, match=f"restore the store from before its upgrade .{DATABASE_NAME}-version-{NEWEST}"
    ):
        open_database(path)


def test_a_disk_without_room_refuses_the_upgrade_and_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = path.stat().st_size
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2 * size - 1))
    with pytest.raises(StoreError, match=f"an upgrade from version {OLD} to {NEWEST} needs"):
        open_database(path)
    assert (version_of(path), list(copies_of(path))) == (OLD, [])
    open_database(path, keeps_copy=False).close()
    assert (version_of(path), list(copies_of(path))) == (NEWEST, [])


def test_what_a_killed_copy_has_left_takes_no_room_from_the_next(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = path.with_name(f"{DATABASE_NAME}-version-{OLD}.part")
    part.write_bytes(bytes(path.stat().st_size))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0 if part.exists() else 1 << 30))
    open_database(path).close()
    assert (version_of(path), len(list(copies_of(path)))) == (NEWEST, 1)


def test_a_copy_that_fails_leaves_nothing_behind(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match="Input/output error"):
        open_database(path)
    monkeypatch.undo()
    assert version_of(path) == OLD
    assert [file.name for file in path.parent.iterdir() if "version" in file.name] == []


def test_only_the_copy_of_the_newest_upgrade_is_kept(path: Path) -> None:
    earlier = path.with_name(f"{DATABASE_NAME}-version-{OLD - 1}")
    earlier.write_bytes(b"of an earlier upgrade")
    open_database(path).close()
    assert [copy.name for copy in copies_of(path)] == [f"{DATABASE_NAME}-version-{OLD}"]


@pytest.mark.parametrize(("days", "is_kept"), [(KEPT_DAYS - 1, True), (KEPT_DAYS + 1, False)])
def test_a_running_server_removes_the_copy_after_a_week(path: Path, clock: Any, days: int, is_kept: bool) -> None:
    with closing(open_database(path)) as connection:
        (copy,) = copies_of(path)
        then = clock.time_ns() - days * NS_PER_DAY
        os.utime(copy, ns=(then, then))
        Pruning(path, StoreLimits(), clock, Counters()).step(connection)
    assert copy.exists() == is_kept
