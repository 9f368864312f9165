"""A running server whose host's clock is set back: what it shows goes on, and it says what has happened."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import post, wait_until
from server_process import Server

StartServer = Callable[..., Server]

# Imported by Python before anything else: the wall clock is off by the nanoseconds in a file.
SITE = """
import pathlib, time
_host_time_ns, _offset = time.time_ns, pathlib.Path({path!r})
time.time_ns = lambda: _host_time_ns() + int(_offset.read_text())
"""


def feed(server: Server, seconds: float) -> list[dict[str, Any]]:
    """Sends a quote and a print every 50 ms; returns the snapshots meanwhile."""
    snapshots = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        post(
            server,
            "/api/ingest",
            [
                {"type": "quote", "symbol": "A", "bid": 10, "ask": 11},
                {"type": "print", "symbol": "A", "price": 10.5, "size": 1},
            ],
        )
        snapshots.append(server.get("/api/metrics/current"))
        time.sleep(0.05)
    return snapshots


def host_clock(directory: Path) -> Path:
    """Returns the file that sets the clock of a server with this PYTHONPATH, in nanoseconds of offset."""
    offset = directory / "offset"
    offset.write_text("0")
    (directory / "sitecustomize.py").write_text(SITE.format(path=str(offset)))
    return offset


def told(server: Server) -> list[float]:
    """Returns by how many seconds the clock was set back, as the active alert says. A busy host has other alerts."""
    alerts = server.get("/api/system/alerts?state=active")["alerts"]
    return [float(alert["title"].split()[7]) for alert in alerts if alert["rule"] == "clock_set_back"]


def is_stale(server: Server) -> bool:
    stale: bool = server.next_snapshot()["market_data"]["A"]["stale"]
    return stale


@pytest.mark.parametrize(("workers", "step_seconds"), [("1", 3), ("2", 7200)])
def test_a_host_clock_set_back_stops_nothing(
    start_server: StartServer, tmp_path: Path, workers: str, step_seconds: int
) -> None:
    offset = host_clock(tmp_path)
    server = start_server("--workers", workers, STALE_AFTER="3", PYTHONPATH=str(tmp_path))
    snapshots = feed(server, 1.5)
    offset.write_text(str(-step_seconds * 10**9))
    after = feed(server, 3)
    fed = [snapshot["market_data"]["A"] for snapshot in after[len(after) // 2 :]]
    snapshots += after
    wait_until(lambda: is_stale(server))
    snapshots.append(server.next_snapshot())

    assert [snapshot["timestamp"] for snapshot in snapshots] == sorted(snapshot["timestamp"] for snapshot in snapshots)
    assert all(age is None or age >= 0 for snapshot in snapshots for age in snapshot["age_ms"].values())
    assert not all(shown["stale"] for shown in fed)
    assert max(shown["update_rate"] for shown in fed) > 0
    assert server.get("/api/system/stats")["late_prints"] == 0
    question = {"time_range": "1h", "interval": "1s", "metric_types": ["market_data"], "symbols": ["A"]}
    assert post(server, "/api/metrics/history", question)["count"] >= 5
    assert "clock_set_back_total 1.0" in server.get_bytes("/metrics").decode()
    assert sum("clock was set back" in line and "transition_log" not in line for line in server.log) == 1
    (seconds,) = told(server)
    # Less by the time since the clock was read before.
    assert max(0, step_seconds - 60) < seconds <= step_seconds


def test_a_host_clock_set_back_between_two_runs_is_told(start_server: StartServer, tmp_path: Path) -> None:
    offset = host_clock(tmp_path)
    start_server("--data-dir", str(tmp_path / "data"), PYTHONPATH=str(tmp_path)).stop()
    offset.write_text(str(-7200 * 10**9))
    server = start_server("--data-dir", str(tmp_path / "data"), PYTHONPATH=str(tmp_path))
    server.wait_for_log("clock was set back by 7")
    wait_until(lambda: bool(told(server)))
    assert 7100 < told(server)[0] <= 7200
    assert "clock_set_back_total 1.0" in server.get_bytes("/metrics").decode()
    offset.write_text("0")
    wait_until(lambda: not told(server))
