"""Backups of a store: what is in them, what they refuse, and what an interruption leaves."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from observability.errors import StoreError
from observability.store import backup
from observability.store.backup import back_up, restore
from observability.store.file import DATABASE_NAME, connect, open_database, set_up_writer
from observability.store.lock import DirectoryLock
from observability.store.schema import INSERT_FILL, MIGRATIONS
from observability.store.write_ahead_log import index_of, log_of
from stored import fill_row, select

SEQS = "SELECT seq FROM fills ORDER BY seq"


def ignore(share: float) -> None:
    pass


def make_store(directory: Path, *seqs: int) -> Path:
    """Writes a store, and returns its file."""
    directory.mkdir()
    path = directory / DATABASE_NAME
    with closing(open_database(path)) as connection:
        for seq in seqs:
            connection.execute(INSERT_FILL, fill_row(seq))
    return path


def killed_store(directory: Path, *seqs: int) -> Path:
    """Writes a store as a killed server leaves it: its rows are in the log only."""
    with closing(open_database(make_store(directory.with_name("alive")))) as connection:
        for seq in seqs:
            connection.execute(INSERT_FILL, fill_row(seq))
        shutil.copytree(directory.with_name("alive"), directory)
    return directory / DATABASE_NAME


def test_a_backup_has_the_rows_that_are_in_the_log_only(tmp_path: Path) -> None:
    path = killed_store(tmp_path / "data", 1, 2, 3)
    assert log_of(path).stat().st_size > 0
    facts = back_up(tmp_path / "data", tmp_path / "copy.db", ignore)
    assert (facts.fills, facts.newest_ns) == (3, fill_row(3)[2])
    assert select(tmp_path / "copy.db", SEQS) == [1, 2, 3]


def test_a_backup_is_for_its_owner_and_complete_in_one_file(tmp_path: Path) -> None:
    make_store(tmp_path / "data", 1)
    (tmp_path / "copies").mkdir()
    back_up(tmp_path / "data", tmp_path / "copies" / "copy.db", ignore)
    (made,) = (tmp_path / "copies").iterdir()
    assert made.stat().st_mode & 0o777 == 0o600
    assert select(made, "PRAGMA journal_mode") == ["delete"]


def test_a_backup_is_of_one_moment_while_the_server_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup, "STEP_PAGES", 1)
    path = make_store(tmp_path / "data", *range(1, 101))
    shares: list[float] = []
    with closing(connect(path, "rw")) as writer:
        set_up_writer(writer)

        def write(share: float) -> None:
            # A copy that a commit makes begin anew would not end.
            assert not shares or share > shares[-1]
            shares.append(share)
            writer.execute(INSERT_FILL, fill_row(100 + len(shares)))

        facts = back_up(tmp_path / "data", tmp_path / "copy.db", write)
    assert len(shares) > 10
    assert facts.fills == 100
    assert select(tmp_path / "copy.db", SEQS) == list(range(1, 101))
    assert len(select(path, SEQS)) == 100 + len(shares)


def test_a_backup_overwrites_nothing(tmp_path: Path) -> None:
    make_store(tmp_path / "data")
    (tmp_path / "copy.db").write_text("precious")
    with pytest.raises(StoreError, match="exists already"):
        back_up(tmp_path / "data", tmp_path / "copy.db", ignore)
    assert (tmp_path / "copy.db").read_text() == "precious"


def test_an_interrupted_backup_leaves_nothing_behind(tmp_path: Path) -> None:
    make_store(tmp_path / "data")

    def interrupt(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(tmp_path / "data", tmp_path / "copy.db", interrupt)
    assert os.listdir(tmp_path) == ["data"]


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda path: path.unlink(), "there is no such store"),
        (lambda path: path.write_bytes(b"no database" * 1000), "not a database"),
        (lambda path: log_of(path).write_bytes(b"no log" * 1000), "no write-ahead log"),
    ],
)
def test_a_store_that_would_not_start_is_not_backed_up(
    tmp_path: Path, break_it: Callable[[Path], None], said: str
) -> None:
    break_it(killed_store(tmp_path / "data", 1))
    with pytest.raises(StoreError, match=said):
        back_up(tmp_path / "data", tmp_path / "copy.db", ignore)
    assert not list(tmp_path.glob("*copy*"))


def make_backup(tmp_path: Path, *seqs: int) -> Path:
    make_store(tmp_path / "source", *seqs)
    back_up(tmp_path / "source", tmp_path / "copy.db", ignore)
    return tmp_path / "copy.db"


def test_a_restored_store_has_the_rows_of_the_backup_and_can_be_written(tmp_path: Path) -> None:
    restore(make_backup(tmp_path, 1, 2), tmp_path / "new", ignore, may_replace=False)
    path = tmp_path / "new" / DATABASE_NAME
    with closing(open_database(path)) as connection:
        connection.execute(INSERT_FILL, fill_row(3))
    assert select(path, SEQS) == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_directory_with_something_in_it_is_not_restored_to_without_force(tmp_path: Path) -> None:
    copy = make_backup(tmp_path, 1)
    path = killed_store(tmp_path / "data", 5, 6)
    with pytest.raises(StoreError, match="not empty"):
        restore(copy, tmp_path / "data", ignore, may_replace=False)
    (tmp_path / "data" / "notes.txt").write_text("mine")
    restore(copy, tmp_path / "data", ignore, may_replace=True)
    open_database(path).close()
    assert select(path, SEQS) == [1]
    assert sorted(os.listdir(tmp_path / "data")) == ["lock", "notes.txt", DATABASE_NAME]


def test_a_directory_in_use_is_not_restored_to(tmp_path: Path) -> None:
    copy = make_backup(tmp_path, 1)
    path = make_store(tmp_path / "data", 5)
    lock = DirectoryLock(tmp_path / "data")
    try:
        with pytest.raises(StoreError, match="in use by process"):
            restore(copy, tmp_path / "data", ignore, may_replace=True)
    finally:
        lock.release()
    assert select(path, SEQS) == [5]


def _damage(copy: Path) -> None:
    """Writes over a page in the middle."""
    with copy.open("r+b") as file:
        file.seek(10 * 4096)
        file.write(b"\xff" * 4096)


def _run(statement: str) -> Callable[[Path], None]:
    def run(copy: Path) -> None:
        with closing(sqlite3.connect(copy)) as connection:
            connection.execute(statement)
            connection.commit()

    return run


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (lambda copy: copy.unlink(), "no such file"),
        (lambda copy: copy.write_bytes(b""), "no backup"),
        (lambda copy: copy.write_bytes(copy.read_bytes()[:40_000]), "damaged"),
        (_damage, "damaged"),
        (_run("PRAGMA application_id = 7"), "no backup of a store"),
        (_run(f"PRAGMA user_version = {len(MIGRATIONS) + 1}"), "later version"),
        (_run("DELETE FROM seal"), "the seal of the last commit is missing"),
        (lambda copy: log_of(copy).write_bytes(b"frames"), "a copy of a store in use"),
    ],
)
def test_what_is_no_whole_backup_is_refused_before_anything_is_touched(
    tmp_path: Path, break_it: Callable[[Path], None], said: str
) -> None:
    copy = make_backup(tmp_path, *range(200))
    path = make_store(tmp_path / "data", 5)
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    break_it(copy)
    with pytest.raises(StoreError, match=said):
        restore(copy, tmp_path / "data", ignore, may_replace=True)
    assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before


class Killed(BaseException):
    """The process has ended here; nothing after it runs."""


@pytest.mark.parametrize("old", [None, "closed", "killed"])
def test_an_interrupted_restore_never_becomes_an_empty_or_a_mixed_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str | None
) -> None:
    copy = make_backup(tmp_path, 1, 2)
    outcomes = []
    for last in range(100):
        directory = tmp_path / f"data{last}"
        if old == "killed":
            killed_store(directory, 7, 8, 9)
            shutil.rmtree(directory.with_name("alive"))
        elif old == "closed":
            make_store(directory, 7, 8, 9)
        calls = 0

        def killing(real: Callable[..., object], last: int = last) -> Callable[..., object]:
            def call(*arguments: object, **keywords: object) -> object:
                nonlocal calls
                calls += 1
                if calls > last:
                    raise Killed
                return real(*arguments, **keywords)

            return call

        with monkeypatch.context() as patched:
            for name in ("rename", "unlink"):
                patched.setattr(Path, name, killing(getattr(Path, name)))
            patched.setattr(backup, "sync_directory", killing(backup.sync_directory))
            try:
                restore(copy, directory, ignore, may_replace=True)
            except Killed:
                patched.undo()
                outcomes.append(_outcome(directory))
                # The same command mends it.
                restore(copy, directory, ignore, may_replace=True)
                assert _outcome(directory) == [1, 2]
                continue
        assert _outcome(directory) == [1, 2]
        break
    before = [] if old is None else [7, 8, 9]
    assert len(outcomes) > 4
    assert all(outcome in ("refused", [1, 2], before) for outcome in outcomes)
    # A store that was there is never replaced by an empty one.
    assert old is None or [] not in outcomes


def _outcome(directory: Path) -> object:
    """Returns the rows that the next start of a server finds; "refused" if it does not start."""
    path = directory / DATABASE_NAME
    try:
        open_database(path).close()
    except StoreError:
        return "refused"
    assert not index_of(path).exists()
    return select(path, SEQS)
