"""Sources of a running server, by the example of docs/sources.md: over kills, in health and metrics, and wrong ones."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import example_source
from example_source import EventFile, fill
from hosts import source_of, trade_ids, wait_until
from server_process import ROOT, Server, run_command

StartServer = Callable[..., Server]


def _has_more_than(server: Server, number: int) -> bool:
    return len(trade_ids(server)) > number


@pytest.fixture
def path(tmp_path: Path) -> str:
    return example_source.install(tmp_path / "package")


@pytest.fixture
def file(tmp_path: Path) -> EventFile:
    return EventFile(tmp_path)


def test_a_source_goes_on_after_a_kill_and_no_fill_is_lost_or_there_twice(
    start_server: StartServer, tmp_path: Path, path: str, file: EventFile
) -> None:
    data = str(tmp_path / "data")
    for life in range(4):
        server = start_server("--source", file.url, "--data-dir", data, PYTHONPATH=path)
        first = life * 50
        file.append(*(fill(number) for number in range(first, first + 50)))
        # Somewhere within the batch, or after it.
        wait_until(partial(_has_more_than, server, first))
        server.stop(signal.SIGKILL)
    server = start_server("--source", file.url, "--data-dir", data, PYTHONPATH=path)
    wait_until(lambda: len(trade_ids(server)) == 200)
    assert sorted(trade_ids(server)) == sorted(f"t{number}" for number in range(200))
    # The last lines were read again only if they were not on disk.
    assert source_of(server)["messages"] <= 50


def test_lines_before_the_cursor_are_not_read_again_after_an_orderly_stop(
    start_server: StartServer, tmp_path: Path, path: str, file: EventFile
) -> None:
    arguments = ("--source", file.url, "--data-dir", str(tmp_path / "data"))
    file.append({"type": "print", "symbol": "A", "price": 1, "size": 1}, fill(1))
    server = start_server(*arguments, PYTHONPATH=path)
    wait_until(lambda: trade_ids(server) == ["t1"])
    server.stop()
    server = start_server(*arguments, PYTHONPATH=path)
    file.append(fill(2))
    wait_until(lambda: trade_ids(server) == ["t2", "t1"])
    wait_until(lambda: source_of(server)["messages"] == 1)
    assert server.next_snapshot()["market_data"]["A"]["trades"] == 1


@pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True)
def test_a_source_is_in_snapshot_rest_and_metrics(start_server: StartServer, path: str, file: EventFile) -> None:
    file.append({"type": "quote", "symbol": "A", "bid": 1, "ask": 2})
    file.append_text("nonsense\n")
    server = start_server("--source", file.url, PYTHONPATH=path)
    wait_until(lambda: source_of(server)["messages"] == 2)
    shown = wait_until(lambda: _with_messages(server, 2))
    assert (shown["state"], shown["events"], shown["rejected"], shown["error"]) == ("connected", 1, 1, None)
    assert "nonsense" not in server.wait_for_log("1 message is rejected")
    lines = [
        f'source_connected{{source="{file.url}"}} 1.0',
        f'source_rejected_total{{source="{file.url}"}} 1.0',
        f'ingest_events_total{{source="{file.url}",type="quote"}} 1.0',
    ]
    wait_until(lambda: all(line in server.get_bytes("/metrics").decode() for line in lines))


def _with_messages(server: Server, messages: int) -> dict[str, Any] | None:
    (source,) = server.get("/api/metrics/current")["system"]["sources"].values()
    return source if source["messages"] == messages else None


def test_a_source_that_cannot_be_connected_to_degrades_the_health_and_raises_an_alert(
    start_server: StartServer, tmp_path: Path, path: str
) -> None:
    rules = tmp_path / "alerts.toml"
    rules.write_text(
        '[source_disconnected]\nmetric = "system.sources.*.state"\nequals = "failed"\ntitle = "{member} is away"\n'
    )
    file = tmp_path / "none.jsonl"
    server = start_server("--source", f"file:{file}", "--alerts", str(rules), PYTHONPATH=path)
    assert "No such file" in server.wait_for_log("cannot be connected to")
    wait_until(lambda: any("none.jsonl" in reason for reason in server.get("/api/system/health")["reasons"]))
    (alert,) = wait_until(lambda: server.get("/api/system/alerts")["alerts"])
    assert alert["title"] == f"file:{file} is away"
    file.touch()
    wait_until(
        lambda: server.get("/api/system/health")["status"] == "healthy" or source_of(server)["state"] == "connected"
    )
    wait_until(lambda: server.get("/api/system/alerts")["alerts"][0]["state"] == "resolved")


def test_check_reports_every_fault_of_every_source_at_once(path: str) -> None:
    sources = "file:relative zmk://host:1 other:x"
    checked = run_command("check", SOURCES=sources, PYTHONPATH=_with_ours(path))
    faults = [line for line in checked.stdout.splitlines() if line.startswith("sources:")]
    assert checked.returncode == 2
    assert len(faults) == 3
    assert "expected file:/path" in faults[0]
    assert "'zmk' is not a kind of source" in faults[1]
    assert "'other' is not a kind of source" in faults[2]


def test_a_wrong_url_ends_the_start_and_its_password_is_not_shown(path: str) -> None:
    ended = run_command("serve", "--port", "0", "--source", "none://user:secret@host/x", PYTHONPATH=_with_ours(path))
    assert ended.returncode == 2
    assert "none://user:***@host/x" in ended.stderr
    assert "secret" not in ended.stderr + ended.stdout
    shown = run_command("config", SOURCES="none://user:secret@host/x", PYTHONPATH=_with_ours(path))
    assert re.search(r"SOURCES +none://user:\*\*\*@host/x", shown.stdout)


@pytest.mark.parametrize("other", [("--demo",), ("--replay", __file__)])
def test_live_sources_are_kept_apart_from_other_events(other: tuple[str, ...]) -> None:
    ended = run_command("serve", "--port", "0", "--source", "zmq://host:1", *other)
    assert ended.returncode == 2
    assert f"--source: given with {other[0]}, expected one of them" in ended.stderr


def _with_ours(path: str) -> str:
    return os.pathsep.join((str(ROOT / "core"), str(ROOT / "http"), path))
