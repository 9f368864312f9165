"""The write-ahead log: one that is damaged, or belongs to another file, is refused before SQLite drops rows over it."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from observability.errors import StoreError
from observability.store import schema
from observability.store.file import DATABASE_NAME, connect, open_database, read_seal, set_up_writer
from stored import fill_row, select

HEADER_BYTES, FRAME_BYTES = 32, 24 + 4096
ENDINGS = ("", "-wal", "-shm")


def copy_of(path: Path, name: str) -> Path:
    """Returns a copy of a database as a kill would leave it."""
    to = path.parent / name / path.name
    to.parent.mkdir()
    for ending in ENDINGS:
        shutil.copy(f"{path}{ending}", f"{to}{ending}")
    return to


def killed(directory: Path, commits: int = 5) -> Path:
    """Returns a database that was killed after some commits, each of them in the log."""
    directory.mkdir(exist_ok=True)
    path = directory / DATABASE_NAME
    with closing(open_database(path)) as connection:
        seal = read_seal(connection)
        for seq in range(1, commits + 1):
            seal = seal.next()
            connection.execute("BEGIN")
            connection.execute(schema.UPDATE_SEAL, (str(seal),))
            connection.execute(schema.INSERT_FILL, fill_row(seq))
            connection.execute("COMMIT")
        return copy_of(path, "killed")


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), data, at)


def refusal(path: Path) -> str:
    before = [path.read_bytes(), log_of(path).read_bytes()]
    with pytest.raises(StoreError) as raised:
        open_database(path)
    assert [path.read_bytes(), log_of(path).read_bytes()] == before
    return str(raised.value)


def fills_in(path: Path) -> int:
    open_database(path).close()
    (count,) = select(path, "SELECT count(*) FROM fills")
    return int(count)


def test_a_killed_file_has_all_its_rows(tmp_path: Path) -> None:
    assert fills_in(killed(tmp_path)) == 5


def cut_the_header(log: Path) -> None:
    os.truncate(log, HEADER_BYTES - 1)


def damage_the_header(log: Path) -> None:
    write(log, 17, b"?")


def write_over_all(log: Path) -> None:
    log.write_bytes(os.urandom(50_000))


def zero_all(log: Path) -> None:
    log.write_bytes(bytes(50_000))


def damage_the_first_frame(log: Path) -> None:
    write(log, HEADER_BYTES + 30, os.urandom(100))


def damage_a_frame_in_the_middle(log: Path) -> None:
    frames = (log.stat().st_size - HEADER_BYTES) // FRAME_BYTES
    write(log, HEADER_BYTES + frames // 2 * FRAME_BYTES + 2000, b"?" * 8)


def write_over_the_second_half(log: Path) -> None:
    size = log.stat().st_size
    write(log, size // 2, os.urandom(size - size // 2))


@pytest.mark.parametrize("has_index", [True, False], ids=["with index", "without index"])
@pytest.mark.parametrize(
    "damage",
    [
        cut_the_header,
        damage_the_header,
        write_over_all,
        zero_all,
        damage_the_first_frame,
        damage_a_frame_in_the_middle,
        write_over_the_second_half,
    ],
)
def test_a_damaged_log_is_refused_and_kept(tmp_path: Path, damage: Callable[[Path], None], has_index: bool) -> None:
    path = killed(tmp_path)
    if not has_index:
        path.with_name(f"{path.name}-shm").unlink()
    damage(log_of(path))
    assert refusal(path).startswith(f"{log_of(path)}: damaged")


def test_a_commit_torn_by_a_power_cut_is_left_out_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = killed(tmp_path)
    # The last page of the last commit, whose frame ends it.
    write(log_of(path), log_of(path).stat().st_size - 100, b"?" * 100)
    with caplog.at_level(logging.WARNING):
        assert fills_in(path) == 4
    assert "the last commit was not completed, and is left out" in caplog.text


def test_a_tail_of_zeros_is_what_a_power_cut_leaves(tmp_path: Path) -> None:
    path = tmp_path / DATABASE_NAME
    open_database(path).close()
    # A log that SQLite creates anew has a random number, as those of earlier versions have.
    with closing(connect(path, "rw")) as connection:
        set_up_writer(connection)
        connection.execute(schema.INSERT_FILL, fill_row(1))
        path = copy_of(path, "killed")
    os.truncate(log_of(path), log_of(path).stat().st_size + 3 * FRAME_BYTES)
    assert fills_in(path) == 1


@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_log_without_its_file_is_refused(tmp_path: Path, state: str) -> None:
    path = killed(tmp_path)
    path.unlink()
    if state == "empty":
        path.touch()
    with pytest.raises(StoreError, match=f"{DATABASE_NAME}: {state}, but {DATABASE_NAME}-wal beside it holds"):
        open_database(path)
    assert log_of(path).stat().st_size > FRAME_BYTES
    assert path.exists() == (state == "empty")


def test_an_empty_file_where_a_store_has_been_is_refused(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n")
    (tmp_path / DATABASE_NAME).touch()
    with pytest.raises(StoreError, match="empty, and it was not when this directory was in use"):
        open_database(tmp_path / DATABASE_NAME)


def test_the_log_of_another_store_is_refused(tmp_path: Path) -> None:
    one, two = killed(tmp_path / "one"), killed(tmp_path / "two")
    shutil.copy(log_of(one), log_of(two))
    assert "the log of another database" in refusal(two)


def test_an_older_copy_of_the_file_is_refused_beside_a_newer_log(tmp_path: Path) -> None:
    old = killed(tmp_path)
    open_database(old).close()
    newer = copy_and_continue(old, tmp_path / "newer")
    shutil.copy(log_of(newer), log_of(old))
    assert "not the file that its log belongs to" in refusal(old)


def test_an_older_log_is_refused_beside_a_newer_file(tmp_path: Path) -> None:
    old = killed(tmp_path)
    newer = copy_of(old, "newer")
    for _ in range(2):
        open_database(newer).close()
    shutil.copy(log_of(old), log_of(newer))
    assert "not the file that its log belongs to" in refusal(newer)


def copy_and_continue(path: Path, directory: Path) -> Path:
    """Returns a copy of a closed database that was killed after it had been opened twice."""
    directory.mkdir()
    shutil.copy(path, directory)
    copy = directory / path.name
    open_database(copy).close()
    with closing(open_database(copy)) as connection:
        connection.execute(schema.UPDATE_SEAL, (str(read_seal(connection).next()),))
        return copy_of(copy, "killed")
