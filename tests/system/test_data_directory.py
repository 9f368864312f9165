"""The data directory of real servers: who gets in, what is refused and not written over, and who may look."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hosts import wait_until
from observability.store import schema
from server_process import ROOT, TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]
DATABASE, LOG, INDEX = "observability.db", "observability.db-wal", "observability.db-shm"
HEADER_BYTES, FRAME_BYTES = 32, 24 + 4096


def send_fills(server: Server, numbers: range) -> None:
    for number in numbers:
        event = {
            "type": "fill", "trade_id": f"t{number}", "order_id": "o", "symbol": "AAPL", "side": "buy",
            "quantity": "1", "price": "1",
        }  # fmt: skip
        request = urllib.request.Request(
            server.url("/api/ingest"), json.dumps(event).encode(), {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()


def trades(server: Server) -> int:
    total: int = server.get("/api/trades")["total"]
    return total


def refusal(directory: Path, *, leaves_all: bool = True) -> str:
    """Returns what a server says that does not start; nothing in the directory has changed."""
    before = contents(directory)
    ended = subprocess.run(
        [sys.executable, "-m", "observability", "serve", "--port", "0", "--data-dir", str(directory)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    if leaves_all:
        assert contents(directory) == before
    return ended.stderr


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name in (DATABASE, LOG)}


# -- the lock


def test_no_second_server_gets_in_whatever_becomes_of_the_lock_file(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path))
    lock = tmp_path / "lock"
    for meddle in (lambda: lock.write_text(""), lock.unlink, lambda: lock.write_text("1\n")):
        meddle()
        assert "is in use by process" in refusal(tmp_path, leaves_all=False)
    send_fills(server, range(1))
    assert trades(server) == 1
    # Only the directory is left to tell.
    for path in tuple(tmp_path.iterdir()):
        if path.is_file():
            path.unlink()
    assert "is in use by process" in refusal(tmp_path, leaves_all=False)
    assert not (tmp_path / DATABASE).exists()


def test_no_second_server_gets_in_by_another_name_of_the_directory_or_file(
    start_server: StartServer, tmp_path: Path
) -> None:
    own, other, link = tmp_path / "own", tmp_path / "other", tmp_path / "link"
    server = start_server("--data-dir", str(own))
    send_fills(server, range(1))
    link.symlink_to(own)
    other.mkdir()
    (other / DATABASE).hardlink_to(own / DATABASE)
    for directory in (link, other):
        assert "is in use by process" in refusal(directory, leaves_all=False)
    assert trades(server) == 1


# -- damage


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The directories of two servers that were killed with rows in their logs."""
    directories = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    for directory in directories:
        server = Server("--data-dir", str(directory))
        send_fills(server, range(20))
        server.stop(signal.SIGKILL)
    return directories


@pytest.fixture
def directory(killed: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of the first one."""
    shutil.copytree(killed[0], tmp_path / "copy")
    return tmp_path / "copy"


def test_a_copy_of_the_files_of_a_killed_server_is_complete(start_server: StartServer, directory: Path) -> None:
    assert (directory / LOG).stat().st_size > HEADER_BYTES
    assert trades(start_server("--data-dir", str(directory))) == 20


def empty(directory: Path) -> None:
    os.truncate(directory / DATABASE, 0)


def lose(directory: Path) -> None:
    (directory / DATABASE).unlink()


def damage_a_frame(directory: Path) -> None:
    with (directory / LOG).open("r+b") as log:
        log.seek(HEADER_BYTES + 2 * FRAME_BYTES + 1000)
        log.write(os.urandom(100))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (empty, "observability.db: empty, but observability.db-wal beside it holds"),
        (lose, "observability.db: missing, but observability.db-wal beside it holds"),
        (damage_a_frame, "observability.db-wal: damaged"),
    ],
)
def test_a_damaged_store_is_refused_and_left_as_it_is(
    directory: Path, damage: Callable[[Path], None], said: str
) -> None:
    damage(directory)
    message = refusal(directory)
    assert said in message
    assert "move it away" in message
    assert "restore it from a backup" in message


def test_the_log_of_another_server_is_refused(directory: Path, killed: tuple[Path, Path]) -> None:
    for name in (LOG, INDEX):
        shutil.copy(killed[1] / name, directory)
    assert "the log of another database than observability.db" in refusal(directory)


# -- who may look


def test_what_is_in_the_directory_is_for_the_user_of_the_server_alone(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = tmp_path / "new" / "data"
    mask = os.umask(0)
    try:
        server = start_server("--data-dir", str(data))
    finally:
        os.umask(mask)
    send_fills(server, range(1))
    recorded = [f"00000001.{kind}" for kind in ("documents", "frames", "index")]
    wait_until(lambda: all((data / "recording" / name).exists() for name in recorded))
    assert modes(data) == {DATABASE: 0o600, LOG: 0o600, INDEX: 0o600, "lock": 0o600, "recording": 0o700}
    assert modes(data / "recording") == dict.fromkeys(recorded, 0o600)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert not any("open to other users" in line for line in server.stop(signal.SIGKILL))
    # As an earlier version has left them.
    for name in (DATABASE, LOG, INDEX, "lock"):
        (data / name).chmod(0o644)
    server = start_server("--data-dir", str(data))
    send_fills(server, range(1))
    assert modes(data) == {DATABASE: 0o600, LOG: 0o600, INDEX: 0o600, "lock": 0o600, "recording": 0o700}
    server.wait_for_log("observability.db was open to other users")


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}


# -- an earlier version


def test_a_store_of_an_earlier_version_is_copied_and_the_log_says_where(
    start_server: StartServer, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / DATABASE, isolation_level=None)) as connection:
        schema.migrate(connection, schema.MIGRATIONS[:-1])
    server = start_server(DATA_DIR=str(tmp_path))
    copy = tmp_path / f"{DATABASE}-version-{len(schema.MIGRATIONS) - 1}"
    server.wait_for_log(f"is kept in {copy} for 7 days")
    send_fills(server, range(1))
    server.stop()
    assert trades(start_server("--data-dir", str(tmp_path))) == 1
    restored = run_command("restore", str(copy), "--data-dir", str(tmp_path / "earlier"))
    assert restored.returncode == 0, restored.stderr
