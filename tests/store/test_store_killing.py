"""`kill -9` at any moment: rows reported durable are there, in order, and the file is intact."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from observability.store.file import DATABASE_NAME
from storms.store_killing import check, kill_often, kill_once

KILLS = 10


def test_no_durable_row_is_lost_when_the_writer_is_killed(tmp_path: Path) -> None:
    assert kill_often(tmp_path, KILLS) >= KILLS


def test_a_loss_would_be_noticed(tmp_path: Path) -> None:
    durable = kill_once(tmp_path, 1)
    newest = check(tmp_path, durable)
    with pytest.raises(AssertionError, match="was reported durable"):
        check(tmp_path, newest + 1)
    with closing(sqlite3.connect(tmp_path / DATABASE_NAME)) as connection, connection:
        connection.execute("DELETE FROM fills WHERE seq = 1")
    with pytest.raises(AssertionError, match="a row is missing"):
        check(tmp_path, durable)
