"""A disk with input/output errors: told, answered with 503, and nothing that is acknowledged is lost with the power."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from failing_disk import FailingDisk
from server_process import TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]


def send(server: Server, number: int) -> dict[str, Any]:
    fill = {
        "type": "fill", "trade_id": f"t{number}", "order_id": f"o{number}", "symbol": "AAPL", "side": "buy",
        "quantity": "10", "price": "100.25",
    }  # fmt: skip
    request = urllib.request.Request(
        server.url("/api/ingest"), json.dumps([fill]).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return {"status": 200} | json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            answer: dict[str, Any] = json.loads(error.read())
            return answer


def trades(server: Server) -> list[str]:
    return sorted(trade["trade_id"] for trade in server.get("/api/trades")["trades"])


def test_a_disk_that_fails_is_told_and_what_is_acknowledged_survives_a_power_cut(
    start_server: StartServer, tmp_path: Path
) -> None:
    disk = FailingDisk(tmp_path)
    server = start_server("--data-dir", str(tmp_path / "data"), **disk.environment)
    assert send(server, 1)["accepted"] == 1
    with disk.failing("read", "sync"):
        refused = send(server, 2)
        assert refused["status"] == 503
        assert "taken, but not on disk" in refused["detail"]
        health = server.get("/api/system/health")
        assert health["status"] == "degraded"
        assert any("input/output error" in reason for reason in health["reasons"])
        # What needs no disk goes on.
        assert server.next_snapshot()["strategy"]["fills"] == 2
        assert server.get("/health/ready") == {"status": "ready"}
        (fault,) = (alert for alert in server.get("/api/system/alerts")["alerts"] if alert["rule"] == "store_fault")
        assert fault["state"] == "active"
    server.wait_for_log("the store can write again")
    assert send(server, 2)["duplicates"] == 1
    assert send(server, 3)["accepted"] == 1
    assert trades(server) == ["t1", "t2", "t3"]
    server.stop(signal.SIGKILL)
    # Nothing but what was on the disk.
    assert trades(start_server("--data-dir", str(disk.left))) == ["t1", "t2", "t3"]
