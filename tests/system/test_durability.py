"""What survives: a server that is stopped or killed comes back with its trades, positions, alerts and past; one whose
disk fails says so and goes on."""

from __future__ import annotations

import resource
import signal
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import post
from server_process import NO_RULES, TIMEOUT_SECONDS, Server
from ws_client import connect, receive

StartServer = Callable[..., Server]
NOON_NS = 1_767_268_800_000_000_000  # 2026-01-01T12:00:00Z
S = 1_000_000_000


def fill(number: int, **changes: Any) -> dict[str, Any]:
    event = {
        "type": "fill",
        "trade_id": f"t{number}",
        "order_id": f"o{number}",
        "symbol": "AAPL",
        "side": "buy",
        "quantity": "10",
        "price": f"{100 + number}.25",
        "commission": "0.1",
        "strategy": "mean",
        "ts": NOON_NS + number * S,
    }
    return event | changes


def send(server: Server, *events: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = post(server, "/api/ingest", events)
    return answer


def money(server: Server) -> dict[str, Any]:
    strategy: dict[str, Any] = server.next_snapshot()["strategy"]
    return {name: value for name, value in strategy.items() if name.endswith(("pnl", "fees", "fills", "equity"))}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_positions_and_trades_are_what_they_were(start_server: StartServer, tmp_path: Path, number: int) -> None:
    server = start_server("--data-dir", str(tmp_path))
    send(server, {"type": "equity", "value": "1000.5"}, fill(1), fill(2), fill(3, side="sell", quantity="15"))
    before, trades = money(server), server.get("/api/trades")["trades"]
    position = server.next_snapshot()["strategy"]["positions"]
    server.stop(number)
    server = start_server("--data-dir", str(tmp_path))
    assert money(server) == before
    assert server.get("/api/trades")["trades"] == trades
    after = server.next_snapshot()["strategy"]["positions"]
    assert [(p["quantity"], p["avg_price"], p["realized_pnl"]) for p in after] == [
        (p["quantity"], p["avg_price"], p["realized_pnl"]) for p in position
    ]
    assert send(server, fill(2))["duplicates"] == 1
    assert money(server)["fills"] == 3


def test_a_second_server_may_not_write_to_the_same_directory(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path))
    with pytest.raises(AssertionError, match=f"in use by process {server.process.pid}"):
        Server("--data-dir", str(tmp_path))


def test_a_trade_of_before_the_restart_is_replayed_on_the_lane(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path))
    send(server, fill(1), fill(2))
    server.stop(signal.SIGKILL)
    server = start_server("--data-dir", str(tmp_path))
    send(server, fill(3))
    with connect(server.websocket_url + "?channels=trades&lane_since=0") as connection:
        trades = [receive(connection, "trade") for _ in range(3)]
    assert [trade["trade_id"] for trade in trades] == ["t1", "t2", "t3"]
    assert [trade["prev"] for trade in trades] == [0, *(trade["seq"] for trade in trades[:-1])]


def test_an_alert_and_its_acknowledgement_survive(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path), **NO_RULES)
    send(server, {"type": "alert", "severity": "critical", "title": "kill switch"}, fill(1))
    send(server, {"type": "alert", "severity": "warning", "title": "slow feed"})
    server.next_snapshot()
    (slow,) = (alert for alert in server.get("/api/system/alerts")["alerts"] if alert["title"] == "slow feed")
    acknowledge = urllib.request.Request(
        server.url(f"/api/system/alerts/acknowledge/{slow['alert_id']}"), b"", method="POST"
    )
    urllib.request.urlopen(acknowledge, timeout=TIMEOUT_SECONDS).close()
    server.stop(signal.SIGKILL)
    server = start_server("--data-dir", str(tmp_path), **NO_RULES)
    stages = {alert["title"]: alert["state"] for alert in server.get("/api/system/alerts")["alerts"]}
    assert stages == {"kill switch": "active", "slow feed": "acknowledged"}


def test_a_full_disk_is_told_loudly_and_stops_nothing_and_is_made_up_for(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("--data-dir", str(tmp_path))
    send(server, fill(1))
    limit = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    with connect(server.websocket_url + "?channels=metrics,trades,alerts") as connection:

        def messages(wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
            while True:
                message: dict[str, Any] = receive(connection)
                if wanted(message):
                    return message

        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (4096, limit[1]))
        with pytest.raises(urllib.error.HTTPError) as refused:
            send(server, fill(2))
        assert refused.value.code == 503
        refused.value.close()
        server.wait_for_log("the store cannot write")
        # The stream goes on, shows what cannot be written, and says so.
        assert messages(lambda m: m["type"] == "trade" and m["trade_id"] == "t2")["durable"] is False
        assert messages(lambda m: m["type"] == "alert" and m["rule"] == "store_fault")["durable"] is False
        assert messages(lambda m: m["type"] == "metrics_update" and m["strategy"]["fills"] == 2)
        (fault,) = (alert for alert in server.get("/api/system/alerts")["alerts"] if alert["rule"] == "store_fault")
        acknowledge = f"/api/system/alerts/acknowledge/{fault['alert_id']}"
        with pytest.raises(urllib.error.HTTPError) as unwritten:
            urllib.request.urlopen(urllib.request.Request(server.url(acknowledge), b""), timeout=TIMEOUT_SECONDS)
        assert unwritten.value.code == 503
        unwritten.value.close()
        health = server.get("/api/system/health")
        assert health["status"] != "healthy"
        assert any("store" in reason for reason in health["reasons"])
        assert "\nstore_errors_total 0" not in server.get_bytes("/metrics").decode()
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, limit)
        server.wait_for_log("the store can write again")
    assert send(server, fill(2))["duplicates"] == 1
    server.stop(signal.SIGKILL)
    server = start_server("--data-dir", str(tmp_path))
    assert {trade["trade_id"] for trade in server.get("/api/trades")["trades"]} == {"t1", "t2"}
