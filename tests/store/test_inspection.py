"""The inspection of a store: what is sound, what is missing, and that nothing is written."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from observability.errors import StoreError
from observability.store.checkpoint import UNWRITTEN_NUMBERS
from observability.store.file import DATABASE_NAME, open_database
from observability.store.inspection import TableFacts, inspect, to_json
from observability.store.lock import DirectoryLock, is_locked
from observability.store.schema import INSERT_BOOKING, INSERT_CONFLICT, INSERT_FILL, MIGRATIONS
from stored import NOON_NS, fill_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with the fills 1, 2, 5 and 6, and then those after a kill."""
    path = tmp_path / DATABASE_NAME
    with closing(open_database(path)) as connection:
        for seq in (1, 2, 5, 6, 7 + UNWRITTEN_NUMBERS):
            connection.execute(INSERT_FILL, fill_row(seq))
    return path


def test_missing_numbers_are_told_from_those_that_a_kill_has_skipped(path: Path) -> None:
    sequence = inspect(path.parent).sequence
    assert sequence is not None
    assert (sequence.first, sequence.last) == (1, 7 + UNWRITTEN_NUMBERS)
    assert (sequence.missing, sequence.ranges) == (2, [(3, 4)])
    assert (sequence.skipped, sequence.doubled) == (UNWRITTEN_NUMBERS, 0)


@pytest.mark.parametrize(("fills", "first", "missing"), [((1_000, 1_002), 1_000, 1), ((2, 3, 5), 1, 1)])
def test_what_was_pruned_after_the_only_row_of_a_table_is_not_missing(
    fills: tuple[int, ...], first: int, missing: int, tmp_path: Path
) -> None:
    deposit = (1, NOON_NS, NOON_NS, "cash", "d1", "", "", "{}", "{}", 0)
    with closing(open_database(tmp_path / DATABASE_NAME)) as connection:
        connection.execute(INSERT_BOOKING, deposit)
        connection.executemany(INSERT_FILL, [fill_row(seq) for seq in fills])
    sequence = inspect(tmp_path).sequence
    assert sequence is not None
    assert (sequence.first, sequence.missing) == (first, missing)


def test_rows_are_counted_by_table_with_the_lane_that_they_are_sent_over(path: Path) -> None:
    found = inspect(path.parent)
    last = 7 + UNWRITTEN_NUMBERS
    assert found.tables["fills"] == TableFacts(5, 1, last, "trades", NOON_NS + last)
    assert found.tables["bars"] == TableFacts(0, None, None, None, None)
    assert (found.version, found.newest_version, found.faults) == (len(MIGRATIONS), len(MIGRATIONS), [])


def test_a_number_that_two_records_have_is_a_fault(path: Path) -> None:
    with closing(open_database(path)) as connection:
        connection.execute(INSERT_CONFLICT, fill_row(5))
    assert inspect(path.parent).faults == ["1 numbers of the sequence are those of two records"]


def test_an_index_that_lacks_a_row_is_a_fault_unless_the_check_is_quick(path: Path) -> None:
    with closing(open_database(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'fills_by_time'").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        # The index of times becomes one of sides, which its pages are not.
        connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX fills_by_time ON fills (side)' WHERE rootpage = ?", (page,)
        )
    assert "fills_by_time" in inspect(path.parent).faults[0]
    assert inspect(path.parent, is_quick=True).faults == []


def test_a_page_that_is_no_page_is_a_fault(path: Path) -> None:
    with closing(open_database(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'fills_by_time'").fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StoreError, match="damaged"):
        inspect(path.parent)


def test_an_inspection_leaves_the_directory_as_it_is(path: Path) -> None:
    before = [(file.name, file.read_bytes()) for file in sorted(path.parent.iterdir())]
    found = inspect(path.parent)
    assert [(file.name, file.read_bytes()) for file in sorted(path.parent.iterdir())] == before
    assert not found.is_in_use


def test_a_store_in_use_is_inspected_all_the_same(path: Path) -> None:
    lock = DirectoryLock(path.parent)
    try:
        with closing(open_database(path)) as connection:
            connection.execute(INSERT_FILL, fill_row(4))
            found = inspect(path.parent)
        assert (found.is_in_use, found.tables["fills"].rows) == (True, 6)
    finally:
        lock.release()


def test_a_directory_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such store"):
        inspect(tmp_path)


def test_an_inspection_becomes_a_document(path: Path) -> None:
    document = to_json(inspect(path.parent))
    assert document["sound"] is True
    assert document["sequence"]["ranges"] == [(3, 4)]
    assert document["tables"]["fills"]["rows"] == 5


def test_no_server_starts_while_a_store_without_one_is_inspected(path: Path) -> None:
    with is_locked(path.parent) as is_in_use:
        assert not is_in_use
        with pytest.raises(StoreError, match="in use"):
            DirectoryLock(path.parent)
    DirectoryLock(path.parent).release()
