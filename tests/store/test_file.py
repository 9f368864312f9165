"""The data directory and its database: opened, migrated, or refused."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from observability.errors import StoreError
from observability.store import file as file_module
from observability.store import schema
from observability.store.file import DATABASE_NAME, open_database, open_reader
from observability.store.origin import Origin, read_origin
from stored import NOON_NS, fill_row, select


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / DATABASE_NAME


def filled(path: Path, rows: int) -> None:
    with closing(open_database(path)) as connection:
        connection.execute("BEGIN")
        connection.executemany(schema.INSERT_FILL, [fill_row(seq) for seq in range(1, rows + 1)])
        connection.execute("COMMIT")


def refusal(path: Path) -> str:
    with pytest.raises(StoreError) as raised:
        open_database(path)
    return str(raised.value)


def test_a_new_file_has_every_table_and_our_application_id(path: Path) -> None:
    open_database(path).close()
    tables = select(path, "SELECT name FROM sqlite_schema WHERE type = 'table'")
    assert {*schema.SEQUENCED, *schema.NUMBERED, "checkpoints", "marks", "origin", "seal", "source_cursors"} == set(
        tables
    )
    assert select(path, "PRAGMA application_id") == [schema.APPLICATION_ID]
    assert select(path, "PRAGMA user_version") == [len(schema.MIGRATIONS)]


def test_commits_are_synced_and_free_pages_can_be_returned(path: Path) -> None:
    with closing(open_database(path)) as connection:
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "auto_vacuum")
        }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "auto_vacuum": 2}


def test_a_file_opened_again_has_its_rows(path: Path) -> None:
    filled(path, 3)
    open_database(path).close()
    assert select(path, "SELECT trade_id FROM fills") == ["t1", "t2", "t3"]


@pytest.mark.parametrize(
    ("statement", "row"),
    [
        (schema.INSERT_FILL, fill_row(1, pnl="1.5")),
        (schema.INSERT_CONFLICT, fill_row(1)),
        (
            schema.INSERT_ORDER_REPORT,
            (1, 2, 3, "o", "AAPL", "buy", "1", "new", None, "", "", "", "", "", None, None, "", 1),
        ),
        (schema.INSERT_EQUITY_REPORT, (1, 2, 3, "1000", "")),
        (schema.INSERT_POSITION_REPORT, (1, 2, 3, "AAPL", "-5", "585.25", "alpha", "long")),
        (schema.INSERT_ALERT_TRANSITION, (1, 2, "a1", "raised", "{}")),
        (schema.UPSERT_EQUITY, (1, "", "0.1", "0.1", None, None)),
        (schema.UPSERT_MINUTE, ("market_data", "AAPL", 1, "last,mid", b"\x00")),
        (schema.UPSERT_BAR, ("AAPL", 1, 1.0, 2.0, 0.5, 1.5, 10.0, 3, None)),
        (schema.UPSERT_IDEMPOTENCY, ("k", 1, b"f", 200, b"{}")),
        (schema.UPSERT_CHECKPOINT, ("all", 1, 2, b"state")),
    ],
)
def test_a_row_is_read_as_it_was_written(path: Path, statement: str, row: tuple[object, ...]) -> None:
    with closing(open_database(path)) as connection:
        connection.execute(statement, row)
        table = statement.split()[2]
        (kept,) = connection.execute(f"SELECT * FROM {table}")
    assert kept[: len(row)] == row


@pytest.mark.parametrize(
    ("statement", "first", "second"),
    [
        (schema.UPSERT_EQUITY, (1, "", "0.1", "0", "0", None), (1, "", "0.2", "0", "0", None)),
        (schema.UPSERT_MINUTE, ("s", "k", 1, "last", b"\x00"), ("s", "k", 1, "last", b"\x01")),
        (schema.UPSERT_IDEMPOTENCY, ("k", 1, b"f", 200, b"{}"), ("k", 2, b"g", 422, b"[]")),
        (schema.UPSERT_CHECKPOINT, ("all", 1, 2, b"old"), ("all", 5, 6, b"new")),
    ],
)
def test_a_row_with_the_same_key_is_overwritten(
    path: Path, statement: str, first: tuple[object, ...], second: tuple[object, ...]
) -> None:
    with closing(open_database(path)) as connection:
        connection.execute(statement, first)
        connection.execute(statement, second)
        (kept,) = connection.execute(f"SELECT * FROM {statement.split()[2]}")
    assert kept[: len(second)] == second


def test_slippage_can_be_added_to_a_fill(path: Path) -> None:
    filled(path, 2)
    with closing(open_database(path)) as connection:
        connection.execute(schema.UPDATE_FILL, (1.25, 2))
    assert select(path, "SELECT slippage_bps FROM fills ORDER BY seq") == [None, 1.25]


def test_a_reader_cannot_write(path: Path) -> None:
    filled(path, 1)
    with closing(open_reader(path)) as connection, pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM fills")


# -- migrations

VERSION = len(schema.MIGRATIONS)


def add_a_column(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE fills ADD COLUMN account TEXT NOT NULL DEFAULT ''")


def fail(connection: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("made up")


def test_an_older_file_is_migrated_and_keeps_its_rows(path: Path) -> None:
    filled(path, 2)
    with closing(open_database(path)) as connection:
        schema.migrate(connection, (*schema.MIGRATIONS, add_a_column))
        assert connection.execute("SELECT seq, account FROM fills").fetchall() == [(1, ""), (2, "")]
        assert schema.read_version(connection) == VERSION + 1


def old_row(seq: int, columns: str, **changes: Any) -> tuple[Any, ...]:
    """Returns the parameters of a fill of an earlier version, in the order of its columns."""
    values = dict(zip(schema.FILL_COLUMNS.split(", "), fill_row(seq, **changes), strict=True))
    return tuple(values[name] for name in columns.split(", "))


@pytest.mark.parametrize("version", range(1, VERSION))
def test_fills_of_every_earlier_version_are_kept_with_the_wider_key(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.migrate(connection, schema.MIGRATIONS[:version])
        columns = ", ".join(name for _, name, *_ in connection.execute("PRAGMA table_info(fills)").fetchall())
        places = ", ".join("?" * (columns.count(",") + 1))
        rows = [old_row(seq, columns) for seq in (3, 1, 2)]
        connection.executemany(f"INSERT INTO fills ({columns}) VALUES ({places})", rows)
        connection.execute(f"INSERT INTO conflicts ({columns}) VALUES ({places})", rows[0])
    with closing(open_database(path)) as connection:
        kept = connection.execute(f"SELECT {columns}, day, leg, is_flat FROM fills ORDER BY seq").fetchall()
        assert kept == [(*old_row(seq, columns), 0, 1, 0) for seq in (1, 2, 3)]
        assert connection.execute("SELECT seq, day, leg, is_flat FROM conflicts").fetchall() == [(3, 0, 1, 0)]
        for seq, changes in enumerate(({"side": "sell"}, {"order_id": "x"}, {"day": 5}, {"leg": 2}), 10):
            connection.execute(schema.INSERT_FILL, fill_row(seq, trade_id="t1", **({"order_id": "o1"} | changes)))
        with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
            connection.execute(schema.INSERT_FILL, fill_row(20, trade_id="t1", order_id="o1"))
        indexes = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'")}
        assert {f"fills_by_{name}" for name in ("symbol", "strategy", "side", "time")} <= indexes


@pytest.mark.parametrize("version", range(1, VERSION))
def test_what_an_earlier_version_has_stored_counts_as_live(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        schema.migrate(connection, schema.MIGRATIONS[:version])
        has_origin = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'origin'").fetchone()
        if has_origin:
            return
        connection.execute(schema.UPSERT_CHECKPOINT, (schema.CHECKPOINT_KEY, 1, 2, b""))
        connection.execute("INSERT INTO marks (section, ts_ns, newest) VALUES ('fills', 77, 1)")
    with closing(open_database(path)) as connection:
        assert read_origin(connection) == Origin("live", "", "", 77)


def test_an_empty_store_has_no_origin_yet(path: Path) -> None:
    with closing(open_database(path)) as connection:
        assert read_origin(connection) is None


def test_a_failed_migration_changes_nothing(path: Path) -> None:
    filled(path, 2)
    with closing(open_database(path)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="made up"):
            schema.migrate(connection, (*schema.MIGRATIONS, add_a_column, fail))
        assert schema.read_version(connection) == VERSION
        with pytest.raises(sqlite3.OperationalError, match="no such column"):
            connection.execute("SELECT account FROM fills")


def test_a_file_of_a_later_version_is_refused_unchanged(path: Path) -> None:
    filled(path, 2)
    with closing(open_database(path)) as connection:
        schema.migrate(connection, (*schema.MIGRATIONS, add_a_column))
    before = path.read_bytes()
    message = refusal(path)
    assert (
        f"{path}: written by a later version of this software (schema {VERSION + 1}, expected at most {VERSION})"
        in message
    )
    assert path.read_bytes() == before


# -- files that are refused


def test_a_file_that_is_not_a_database_is_refused_and_kept(path: Path) -> None:
    path.write_bytes(b"not a database at all " * 1000)
    message = refusal(path)
    assert message.startswith(f"{path}: not a database")
    assert "move it away" in message
    assert path.read_bytes().startswith(b"not a database at all")


def test_a_database_of_another_application_is_refused_unchanged(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    before = path.read_bytes()
    assert "another application" in refusal(path)
    assert path.read_bytes() == before


def damage_the_middle(path: Path, data: bytes) -> None:
    """Overwrites a leaf among many of the fills, which no look at the ends of the tables reads."""
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, path.stat().st_size // 4096 // 2 * 4096)


@pytest.mark.parametrize("data", [bytes(4096), b"\r" + b"?" * 4095], ids=["zeros", "nonsense"])
def test_a_damaged_page_in_the_middle_of_a_table_is_refused(path: Path, data: bytes) -> None:
    filled(path, 5_000)
    damage_the_middle(path, data)
    before = path.read_bytes()
    assert refusal(path).startswith(f"{path}: damaged")
    assert path.read_bytes() == before


def test_not_every_page_of_a_large_file_is_checked(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(path, 5_000)
    damage_the_middle(path, bytes(4096))
    monkeypatch.setattr(file_module, "CHECKED_BYTES", 8192)
    open_database(path).close()


@pytest.mark.parametrize("kept_share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_refused(path: Path, kept_share: float) -> None:
    filled(path, 5_000)
    os.truncate(path, int(path.stat().st_size * kept_share))
    message = refusal(path)
    assert message.startswith(f"{path}: damaged")
    assert "restore it from a backup" in message


def test_an_empty_file_becomes_a_new_database(path: Path) -> None:
    path.touch()
    open_database(path).close()
    assert select(path, "SELECT * FROM fills") == []


@pytest.mark.parametrize(
    ("left", "right", "order"),
    [("1", "1.0", 0), ("0.1", "0.2", -1), ("1.000000000000000001", "1", 1), ("-5", "3", -1)],
)
def test_decimals_are_compared_by_value_to_the_last_digit(path: Path, left: str, right: str, order: int) -> None:
    open_database(path).close()
    with closing(open_reader(path)) as connection:
        assert connection.execute("SELECT decimal_compare(?, ?)", (left, right)).fetchone() == (order,)


def test_a_row_with_a_time_long_past_is_accepted(path: Path) -> None:
    with closing(open_database(path)) as connection:
        connection.execute(schema.INSERT_FILL, fill_row(1, ts_ns=0))
        connection.execute(schema.INSERT_FILL, fill_row(2, ts_ns=NOON_NS))
    assert select(path, "SELECT ts_ns FROM fills") == [0, NOON_NS]
