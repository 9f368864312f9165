"""The history of a host with several workers: every worker reads it, and it survives the death of a hub."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from hosts import WORKERS, exposed, is_ready, peers_on_every_worker, post, processes, stopped_hub, wait_until
from server_process import Server
from ws_client import connect, receive

StartServer = Callable[..., Server]

Rows = list[dict[str, Any]]


def ask(server: Server, **question: Any) -> Rows:
    rows: Rows = post(server, "/api/metrics/history", question)["data"]
    return rows


def tenth(timestamp: str) -> str:
    """Returns a timestamp cut to tenths of a second."""
    return timestamp[: len("2025-10-21T22:00:00.1")]


def kill_the_hub(server: Server) -> None:
    """Kills the hub, and returns once the next one has published a snapshot."""
    epoch = server.next_snapshot()["epoch"]
    os.kill(processes(server)["hub"]["pid"], signal.SIGKILL)
    wait_until(lambda: is_ready(server) and server.get("/api/metrics/current")["epoch"] != epoch)


def test_the_history_of_every_worker_agrees_with_the_snapshots(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    wait_until(lambda: server.next_snapshot()["market_data"])
    with connect(server.websocket_url) as client:
        snapshots = [receive(client, "metrics_update") for _ in range(12)]
    symbol = next(iter(snapshots[0]["market_data"]))
    # Two ticks may fall into one tenth of a second: the later one counts.
    volumes = {tenth(each["timestamp"]): each["market_data"][symbol]["volume"] for each in snapshots}
    question = {
        "start_time": snapshots[0]["timestamp"], "end_time": snapshots[-1]["timestamp"], "interval": "100ms",
        "metric_types": ["market_data"], "symbols": [symbol], "metrics": ["volume"],
    }  # fmt: skip
    body = json.dumps(question).encode()
    with peers_on_every_worker(server) as peers:
        answers = [peer.post("/api/metrics/history", body) for peer in peers]
    assert len(set(answers)) == 1
    status, answer = answers[0]
    assert status == 200
    found = {tenth(row["timestamp"]): row["volume"] for row in json.loads(answer)["data"]}
    for moment in list(volumes)[1:-1]:
        assert found[moment] == volumes[moment]


def test_the_history_can_be_read_while_the_hub_does_not_answer(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--demo", "--workers", str(WORKERS), "--data-dir", str(tmp_path))
    server.next_snapshot()
    with stopped_hub(server):
        assert len(ask(server, metric_types=["system"], interval="100ms")) > 1
        assert ask(server, time_range="7d", metric_types=["system"], interval="1m")


def test_the_history_keeps_the_ticks_of_hubs_that_have_died(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    server.next_snapshot()
    question = {"metric_types": ["system"], "metrics": ["cpu_percent"], "interval": "100ms"}
    before = ask(server, **question)
    for _ in range(2):
        kill_the_hub(server)
    after = ask(server, **question)
    assert after[: len(before) - 1] == before[:-1]
    assert len(after) > len(before)
    moments = [datetime.fromisoformat(row["timestamp"]) for row in after]
    assert all(earlier < later for earlier, later in pairwise(moments))
    assert exposed(server)["history_rows_lost_total"] == 0


def test_bars_outlive_a_hub_without_a_store(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS))
    minute = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(minutes=2)
    prints = [
        {"type": "print", "symbol": "X", "price": price, "size": 2, "ts": (minute + timedelta(seconds=n)).isoformat()}
        for n, price in enumerate((10.0, 12.0, 9.0, 11.0))
    ]
    assert post(server, "/api/ingest", prints)["accepted"] == 4
    question = {"metric_types": ["bars"], "symbols": ["X"]}
    wait_until(lambda: ask(server, **question) != [])
    (bar,) = before = ask(server, **question)
    assert (bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"], bar["trades"]) == (10, 12, 9, 11, 8, 4)
    kill_the_hub(server)
    assert ask(server, **question) == before
