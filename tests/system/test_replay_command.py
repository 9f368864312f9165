"""`observability replay`: a recording to a running server, its times, its losses and its end."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from observability.clocks.timestamps import NS_PER_S, parse_iso_ns
from server_process import ROOT, TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]

YEARS_AGO_NS = 1_340_280_000 * NS_PER_S


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.stop()


def record(path: Path, symbol: str, count: int, *, every_ns: int = NS_PER_S // 1000) -> Path:
    """Writes a recording of fills, of 1 at 100 each."""
    fill = (
        '{"type":"fill","trade_id":"%s-%d","order_id":"o","symbol":"%s","side":"buy","quantity":"1","price":"100",'
        '"ts":%d}\n'
    )
    path.write_text("".join(fill % (symbol, n, symbol, YEARS_AGO_NS + n * every_ns) for n in range(count)))
    return path


def begin(*arguments: str, **streams: int) -> subprocess.Popen[str]:
    path = os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "observability", "replay", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        text=True,
        **({"stderr": subprocess.PIPE} | streams),
    )


def quantity(server: Server, symbol: str) -> float:
    positions = server.next_snapshot()["strategy"]["positions"]
    return sum(one["quantity"] for one in positions if one["symbol"] == symbol)


def test_a_replay_is_dated_now_and_keeps_the_distances_between_events(server: Server, tmp_path: Path) -> None:
    path = record(tmp_path / "now.jsonl", "NOW", 5, every_ns=NS_PER_S // 5)
    began_ns = time.time_ns()
    sent = run_command("replay", str(path), "--to", server.url(""))
    assert (sent.returncode, sent.stdout) == (0, "")
    assert sent.stderr.splitlines()[-1] == "5 accepted, 0 duplicates, 0 refused"
    times = sorted(parse_iso_ns(one["timestamp"]) for one in server.get("/api/trades?symbol=NOW")["trades"])
    assert began_ns // NS_PER_S * NS_PER_S < times[0] < times[-1] < time.time_ns()
    # The four gaps last 0.8 s of the recording's time.
    assert times[-1] - times[0] > 0.7 * NS_PER_S


def test_a_replay_as_recorded_keeps_its_times(server: Server, tmp_path: Path) -> None:
    path = record(tmp_path / "then.jsonl", "THEN", 3)
    assert run_command("replay", str(path), "--to", server.url(""), "--speed", "max", "--as-recorded").returncode == 0
    times = {one["timestamp"] for one in server.get("/api/trades?symbol=THEN")["trades"]}
    assert {value[:19] for value in times} == {"2012-06-21T12:00:00"}


def test_a_second_replay_of_the_same_fills_counts_nothing_twice(server: Server, tmp_path: Path) -> None:
    path = record(tmp_path / "twice.jsonl", "TWICE", 50)
    for said in ("50 accepted, 0 duplicates", "0 accepted, 50 duplicates"):
        sent = run_command("replay", str(path), "--to", server.url(""), "--speed", "max")
        assert (sent.returncode, said in sent.stderr) == (0, True)
    assert quantity(server, "TWICE") == 50


def test_refused_events_are_printed_with_their_reason(server: Server, tmp_path: Path) -> None:
    path = record(tmp_path / "conflict.jsonl", "CONFLICT", 1)
    path.write_text(path.read_text() + path.read_text().replace('"100"', '"101"') + "not JSON\n")
    sent = run_command("replay", str(path), "--to", server.url(""), "--speed", "max")
    assert sent.returncode == 1
    assert "refused: conflict" in sent.stderr
    assert "2 events replayed" in sent.stderr
    assert "1 unreadable lines" in sent.stderr
    assert sent.stderr.splitlines()[-1] == "1 accepted, 0 duplicates, 1 refused"


def test_nothing_is_lost_over_cut_connections_and_a_killed_server(start_server: StartServer, tmp_path: Path) -> None:
    count = 3000
    path = record(tmp_path / "storm.jsonl", "STORM", count)
    data = str(tmp_path / "data")

    async def replay_in_a_storm() -> Server:
        server = start_server(DATA_DIR=data)
        async with CuttingProxy(server.port).running() as proxy:
            process = begin(str(path), "--to", proxy.url, "--speed", "2")
            try:
                await proxy.disturb(3, 5)
                server.stop(signal.SIGKILL)
                server = await asyncio.to_thread(start_server, DATA_DIR=data)
                proxy.target = server.port
                await proxy.disturb(4, 5)
                _, said = await asyncio.to_thread(process.communicate, timeout=TIMEOUT_SECONDS)
            finally:
                process.kill()
                process.wait()
            assert process.returncode == 0, said
        return server

    server = asyncio.run(replay_in_a_storm())
    assert quantity(server, "STORM") == count
    assert server.get("/api/trades?limit=1")["total"] == count


def test_ctrl_c_ends_a_replay_with_a_summary(server: Server, tmp_path: Path) -> None:
    path = record(tmp_path / "long.jsonl", "LONG", 100_000)
    process = begin(str(path), "--to", server.url(""))
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not quantity(server, "LONG"):
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    replayed, answered, end = said.splitlines()
    count = int(replayed.split()[0].replace(",", ""))
    assert 0 < count < 100_000
    # What was sent was answered for before the end.
    assert answered == f"{count} accepted, 0 duplicates, 0 refused"
    assert end == "interrupted"
    assert quantity(server, "LONG") == count


@pytest.mark.parametrize("command", ["replay", "send"])
def test_a_wrong_token_ends_the_command_at_once(start_server: StartServer, tmp_path: Path, command: str) -> None:
    server = start_server(API_TOKENS="write:" + "w" * 16)
    path = record(tmp_path / "refused.jsonl", "X", 2)
    files, url, lines = ([str(path)], "--to", "") if command == "replay" else ([], "--url", path.read_text())
    sent = run_command(command, *files, url, server.url(""), given=lines, OBSERVABILITY_TOKEN="x" * 16)
    assert sent.returncode == 1
    assert sent.stderr.splitlines()[-1].startswith("the server takes nothing: HTTP 401: ")


def test_what_is_no_recording_or_no_address_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no recording\n")
    for arguments, said in (
        ([str(tmp_path / "notes.txt")], "not a recording of a known kind"),
        ([str(tmp_path / "absent")], "No such file"),
        ([str(tmp_path / "notes.txt"), "--to", "ftp://x"], "--to: 'ftp://x'"),
        ([str(tmp_path / "notes.txt"), "--speed", "0"], "expected a number above 0"),
    ):
        sent = run_command("replay", *arguments)
        assert (sent.returncode, said in sent.stderr) == (2, True), sent.stderr


def test_a_terminal_shows_the_share_the_rate_and_the_time_left(server: Server, tmp_path: Path) -> None:
    path = record(tmp_path / "shown.jsonl", "SHOWN", 3000)
    ours, its = pty.openpty()
    shown = bytearray()

    def read() -> None:
        # The terminal ends, with an error on Linux, when its last user has closed it.
        try:
            while data := os.read(ours, 4096):
                shown.extend(data)
        except OSError:
            pass

    process = begin(str(path), "--to", server.url(""), stderr=its)
    os.close(its)
    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert process.wait(TIMEOUT_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
        reader.join()
        os.close(ours)
    lines = shown.decode().split("\r\x1b[K")
    assert any("%" in line and "/s  ETA " in line for line in lines)
    assert "3000 accepted, 0 duplicates, 0 refused" in lines[-1]


def test_every_time_of_an_order_is_moved_alike(server: Server, tmp_path: Path) -> None:
    order = {"type": "order", "order_id": "m1", "symbol": "MOVED", "side": "buy", "quantity": "1"}
    events = [
        {**order, "status": "pending_new", "decision_ts": YEARS_AGO_NS - NS_PER_S, "ts": YEARS_AGO_NS},
        {**order, "status": "new", "ts": YEARS_AGO_NS + NS_PER_S // 10},
    ]
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join(map(json.dumps, events)))
    assert run_command("replay", str(path), "--to", server.url("")).returncode == 0
    latency = server.get("/api/trades/execution/quality")["latency"]
    assert latency["decision_to_send"]["max_ms"] == pytest.approx(1000)
