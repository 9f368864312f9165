"""A replay through a real server: no figure of it has the host's time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import post
from server_process import TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]

# Losing from the first fill on, so that the deepest fall begins at the peak of zero.
EVENTS: list[dict[str, Any]] = [
    {"type": "fill", "trade_id": "1", "order_id": "o", "symbol": "X", "side": "buy", "quantity": "9", "price": "10",
     "strategy": "s", "ts": "2012-06-21T12:00:00Z"},
    {"type": "quote", "symbol": "X", "bid": 8.0, "ask": 8.0, "ts": "2012-06-21T12:00:00.400Z"},
    {"type": "order", "order_id": "p", "symbol": "X", "side": "sell", "quantity": "9", "status": "new",
     "ts": "2012-06-21T12:00:00.800Z"},
]  # fmt: skip
SECTIONS = ("market_data", "strategy", "execution", "system")


def points(server: Server, section: str) -> list[dict[str, Any]]:
    wanted = {
        "start_time": "2012-06-21T00:00:00Z",
        "end_time": "2012-06-22T00:00:00Z",
        "interval": "100ms",
        "metric_types": [section],
    }
    found: list[dict[str, Any]] = post(server, "/api/metrics/history", wanted)["data"]
    return found


def ages_of(server: Server) -> list[float]:
    exposed = server.get_bytes("/metrics").decode()
    return [float(age) for age in re.findall(r"^event_age_seconds\{.*\} (.+)$", exposed, re.MULTILINE)]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ticks_before_a_replay_leave_no_trace_of_the_hosts_time(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
    server = start_server("--replay", str(path), "--speed", "1", "--workers", workers)
    server.wait_for_log("source .* has ended")
    snapshot = server.next_snapshot()
    account = snapshot["strategy"]
    assert account["max_drawdown"] == 18.0
    assert account["max_drawdown_peak_time"] == "2012-06-21T12:00:00.000Z"
    assert account["max_drawdown_trough_time"] == "2012-06-21T12:00:00.400Z"
    assert all(age_ms is not None and 0 <= age_ms < 10_000 for age_ms in snapshot["age_ms"].values())
    ages = ages_of(server)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(ages) < len(SECTIONS) and time.monotonic() < deadline:
        # The hub makes its figures for workers once a second.
        time.sleep(0.1)
        ages = ages_of(server)
    assert len(ages) == len(SECTIONS) and all(0 <= age < 10 for age in ages)
    for section in SECTIONS:
        times = [point["timestamp"] for point in points(server, section)]
        assert times and times[0] >= "2012-06-21T12:00:00.000Z", section
    # The first point already has the first event.
    first, *_, last = points(server, "strategy")
    assert (first["gross_exposure"], last["total_pnl"]) == (90.0, -18.0)
