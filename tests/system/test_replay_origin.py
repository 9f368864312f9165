"""One data directory holds live events or one replay: what would mix them, or count a replay twice, does not start."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import post
from server_process import TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]


def record(path: Path, prints: int = 3, spacing_ns: int = 10**9) -> str:
    path.write_text(
        "".join(
            json.dumps({"type": "print", "symbol": "X", "price": 2, "size": 5, "ts": 1_700_006_400 * 10**9 + at_ns})
            + "\n"
            for at_ns in range(0, prints * spacing_ns, spacing_ns)
        )
    )
    return str(path)


def refused(*arguments: str) -> str:
    """Returns what the processes of a server that must not start say."""
    ended = run_command("serve", "--port", "0", *arguments)
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


@pytest.fixture
def replayed(start_server: StartServer, tmp_path: Path) -> tuple[str, str]:
    """A recording that has been replayed, and the data directory that holds it."""
    path, directory = record(tmp_path / "day.jsonl"), str(tmp_path / "data")
    server = start_server("--replay", path, "--speed", "max", "--data-dir", directory)
    server.wait_for_log("replay has ended")
    assert server.next_snapshot()["market_data"]["X"]["volume"] == 15
    server.stop()
    return path, directory


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_replay_into_a_data_directory_is_refused(replayed: tuple[str, str], workers: str) -> None:
    path, directory = replayed
    said = refused("--replay", path, "--speed", "max", "--data-dir", directory, "--workers", workers)
    assert f"{directory!r} holds the replay of day.jsonl, begun 20" in said
    assert "a second replay would count into the same figures" in said
    assert "give each replay a data directory of its own" in said


@pytest.mark.parametrize("arguments", [(), ("--demo",)])
def test_live_events_after_a_replay_are_refused(replayed: tuple[str, str], arguments: tuple[str, ...]) -> None:
    said = refused("--data-dir", replayed[1], *arguments)
    assert "holds the replay of day.jsonl" in said and "live events would mix" in said


def test_a_replay_after_live_events_is_refused(start_server: StartServer, tmp_path: Path) -> None:
    directory = str(tmp_path / "data")
    start_server("--data-dir", directory).stop()
    said = refused("--replay", record(tmp_path / "day.jsonl"), "--data-dir", directory)
    assert "holds live events, begun 20" in said and "a replay would mix" in said


def test_live_events_follow_live_events(start_server: StartServer, tmp_path: Path) -> None:
    for volume in (5, 10):
        server = start_server("--data-dir", str(tmp_path))
        post(server, "/api/ingest", {"type": "print", "symbol": "X", "price": 2, "size": 5})
        assert server.next_snapshot()["market_data"]["X"]["volume"] == volume
        server.stop()


def test_a_replay_that_was_killed_is_not_begun_again(start_server: StartServer, tmp_path: Path) -> None:
    path, directory = record(tmp_path / "day.jsonl", prints=100), str(tmp_path / "data")
    server = start_server("--replay", path, "--data-dir", directory)
    server.next_snapshot()
    server.stop(signal.SIGKILL)
    assert "holds the replay of day.jsonl" in refused("--replay", path, "--data-dir", directory)


def test_a_start_that_fails_leaves_the_directory_free(start_server: StartServer, tmp_path: Path) -> None:
    path, directory = record(tmp_path / "day.jsonl"), str(tmp_path / "data")
    (tmp_path / "notes").write_text("no recording\n")
    assert "not a recording" in refused("--replay", str(tmp_path / "notes"), "--data-dir", directory)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_command("serve", "--port", str(taken.getsockname()[1]), "--replay", path, "--data-dir", directory)
        assert ended.returncode == 1
    server = start_server("--replay", path, "--speed", "max", "--data-dir", directory)
    server.wait_for_log("replay has ended")


def hub_of(server: Server) -> int:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    (pid,) = [int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "obs-hub\n"]
    return pid


def wait_for(server: Server, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        snapshot: dict[str, Any] = server.get("/api/metrics/current")
        if condition(snapshot):
            return snapshot
        time.sleep(0.1)
    raise AssertionError(f"never so: {snapshot['system']}")


@pytest.mark.parametrize(("prints", "state", "arguments"), [(3, "ended", ("--demo",)), (300, "interrupted", ())])
def test_a_hub_that_dies_in_a_replay_does_not_count_it_twice(
    start_server: StartServer, tmp_path: Path, prints: int, state: str, arguments: tuple[str, ...]
) -> None:
    path = record(tmp_path / "day.jsonl", prints=prints, spacing_ns=10**8)
    server = start_server("--replay", path, "--data-dir", str(tmp_path / "data"), "--workers", "2", *arguments)
    before = wait_for(
        server,
        lambda now: (
            now["system"]["replay"]["state"] == "ended"
            if state == "ended"
            else now["market_data"].get("X", {}).get("volume", 0) > 25
        ),
    )
    post(server, "/api/ingest", {"type": "alert", "severity": "info", "title": "all before it is on disk"})
    os.kill(hub_of(server), signal.SIGKILL)
    after = wait_for(server, lambda now: now["epoch"] != before["epoch"])
    assert after["system"]["replay"]["state"] == state
    assert after["timestamp"] >= before["timestamp"]
    assert after["timestamp"] < "2023-11-15T01"
    later = wait_for(server, lambda now: now["seq"] > after["seq"] + 10)
    assert later["market_data"].get("X", {}).get("volume") == after["market_data"].get("X", {}).get("volume")
    assert "simulator" not in server.get("/api/system/stats")["events"]
    assert (state == "interrupted") == any("interrupted" in why for why in server.get("/api/system/health")["reasons"])


def test_a_replay_without_a_data_directory_can_be_repeated(start_server: StartServer, tmp_path: Path) -> None:
    path = record(tmp_path / "day.jsonl")
    for _ in range(2):
        server = start_server("--replay", path, "--speed", "max")
        server.wait_for_log("replay has ended")
        assert server.next_snapshot()["market_data"]["X"]["volume"] == 15
        server.stop()
