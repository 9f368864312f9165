"""What happens when a process of a host dies or gets a signal: it is replaced, or every process ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from hosts import (
    WORKERS,
    children,
    exposed,
    fill,
    fresh_processes,
    is_alive,
    is_ready,
    not_ready,
    peers_on_every_worker,
    post,
    process_of,
    processes,
    stopped_hub,
    wait_until,
)
from server_process import TIMEOUT_SECONDS, Server, free_port
from ws_client import connect, read_to_close, receive, receive_snapshots

StartServer = Callable[..., Server]


def test_clients_of_a_dead_worker_resume_without_a_gap_at_another(start_server: StartServer) -> None:
    # The connection may have to wait for the next worker, and what it has missed must still be in the ring.
    server = start_server("--demo", "--workers", str(WORKERS), METRIC_COLLECTION_INTERVAL="0.3")
    with connect(server.websocket_url) as client:
        worker = process_of(server, client.local_address[1])
        first = receive(client, "metrics_update")
        os.kill(worker, signal.SIGKILL)
        # What the client has not read when the connection is reset is lost.
        last = [first, *read_to_close(client)[0]][-1]["seq"]
    with connect(f"{server.websocket_url}?since={first['epoch']}:{last}") as client:
        greeting = receive(client)
        assert greeting["recovered"] is True
        snapshots = receive_snapshots(client, 5)
        # A client that has missed nothing gets the newest snapshot once more.
        assert next(snapshots)["seq"] in (last, last + 1)
        assert len(list(snapshots)) == 4
    wait_until(lambda: is_ready(server))
    assert worker not in {process["pid"] for process in processes(server).values()}


def test_counters_do_not_go_back_when_a_process_dies(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    for _ in range(20):
        server.get("/health")
    wait_until(lambda: exposed(server).get('ingest_events_total{source="simulator",type="quote"}', 0) > 0)
    before = exposed(server)
    for process in list(processes(server).values()):
        os.kill(process["pid"], signal.SIGKILL)
    wait_until(lambda: is_ready(server))
    server.next_snapshot()
    after = exposed(server)
    counters = {name for name in before if re.match(r"\w+_(total|count|bucket|sum)\b", name)}
    assert len(counters) > 50
    assert {name for name in counters if after.get(name, 0.0) < before[name]} == set()


def test_clients_stay_when_the_hub_dies_and_learn_that_data_is_stale(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    with connect(f"{server.websocket_url}?channels=metrics") as client:
        epoch = receive(client)["epoch"]
        os.kill(processes(server)["hub"]["pid"], signal.SIGKILL)
        kinds = []
        while True:
            message = receive(client)
            kinds.append(message["type"])
            if message["type"] == "metrics_update" and message["epoch"] != epoch:
                break
        assert "stale" in kinds
        assert len(list(receive_snapshots(client, 3))) == 3
        assert client.ping().wait(TIMEOUT_SECONDS)


def test_the_next_hub_restores_positions_and_pnl(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--workers", str(WORKERS), "--data-dir", str(tmp_path))
    fills = [fill(1, "buy", "10"), fill(2, "buy", "11.5"), fill(3, "sell", "12.25")]
    assert post(server, "/api/ingest", fills)["accepted"] == 3
    before = server.next_snapshot()
    os.kill(processes(server)["hub"]["pid"], signal.SIGKILL)
    wait_until(lambda: server.get("/api/metrics/current")["epoch"] != before["epoch"] and is_ready(server))
    after = server.next_snapshot()
    assert after["strategy"]["positions"][0]["quantity"] == 2
    for name in ("total_pnl", "realized_pnl", "positions", "strategies"):
        assert after["strategy"][name] == before["strategy"][name]
    assert post(server, "/api/ingest", fills)["duplicates"] == 3
    assert server.get("/api/trades")["total"] == 3


def test_trades_can_be_read_while_the_hub_does_not_answer(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--workers", str(WORKERS), "--data-dir", str(tmp_path))
    assert post(server, "/api/ingest", [fill(1, "buy", "10"), fill(2, "buy", "11.5")])["accepted"] == 2
    with stopped_hub(server):
        assert server.get("/api/trades")["total"] == 2
        assert server.get("/api/trades/1")["trade_id"] == "1"
        with connect(f"{server.websocket_url}?channels=trades&lane_since=0") as client:
            assert [receive(client, "trade")["trade_id"] for _ in range(2)] == ["1", "2"]


def test_every_worker_shows_the_log_while_the_hub_does_not_answer(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS))
    post(server, "/api/ingest", {"type": "log", "level": "warning", "message": "no route"})
    with stopped_hub(server), peers_on_every_worker(server) as peers:
        for peer in peers:
            status, body = peer.get("/api/system/logs/recent")
            assert status == 200
            lines = json.loads(body)["logs"]
            assert "no route" in {line["message"] for line in lines if line["source"] == "engine"}
            assert "hub" in {line.get("process") for line in lines}


def test_every_worker_selects_alerts_while_the_hub_does_not_answer(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS))
    severities = ("critical", "info", "critical")
    post(server, "/api/ingest", [{"type": "alert", "severity": s, "title": f"{i}"} for i, s in enumerate(severities)])
    server.next_snapshot()
    with stopped_hub(server), peers_on_every_worker(server) as peers:
        everything = {peer.get("/api/system/alerts")[1] for peer in peers}
        selected = {peer.get("/api/system/alerts?state=active&severity=critical&limit=5")[1] for peer in peers}
        refused = {peer.get("/api/system/alerts?state=none")[0] for peer in peers}
    (document,), (selection,) = map(json.loads, everything), map(json.loads, selected)
    critical = [alert for alert in document["alerts"] if alert["severity"] == "critical"]
    assert [alert["title"] for alert in critical] == ["2", "0"]
    stamp = {name: document[name] for name in ("timestamp", "seq")}
    assert selection == {**stamp, "alerts": critical, "count": 2}
    assert refused == {422}


def test_the_log_keeps_the_lines_of_dead_processes(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS))
    post(server, "/api/ingest", {"type": "log", "level": "warning", "message": "no route"})
    with peers_on_every_worker(server) as peers:
        for peer in peers:
            assert peer.get("/api/trades?limit=0")[0] == 422
    before = server.get("/api/system/logs/recent?limit=1000")["logs"]
    dead = {name: process["pid"] for name, process in processes(server).items()}
    for pid in dead.values():
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: is_ready(server))
    lines = server.get("/api/system/logs/recent?limit=1000")["logs"]
    assert {line.get("process") for line in before} == {"hub", "worker-1", "worker-2", None}
    assert all(line in lines for line in before)
    messages = [line["message"] for line in lines if line.get("process") == "supervisor"]
    assert set(messages) >= {
        f"{name} (process {pid}) was ended by SIGKILL and is started again" for name, pid in dead.items()
    }


def test_the_log_says_why_no_other_hub_can_start(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "day.jsonl"
    path.write_text(json.dumps({"type": "quote", "symbol": "X", "bid": 1.0, "ask": 2.0, "ts": 10**18}) + "\n")
    server = start_server("--workers", str(WORKERS), "--replay", str(path))
    path.unlink()
    os.kill(processes(server)["hub"]["pid"], signal.SIGKILL)

    def reasons() -> list[str]:
        lines = server.get("/api/system/logs/recent?level=critical")["logs"]
        return [line["message"] for line in lines if line["process"] == "hub"]

    wait_until(lambda: bool(reasons()))
    assert str(path) in reasons()[0]


def test_a_delta_client_gets_a_whole_snapshot_from_the_next_hub(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    with connect(f"{server.websocket_url}?mode=delta") as client:
        epoch = receive(client)["epoch"]
        os.kill(processes(server)["hub"]["pid"], signal.SIGKILL)
        while True:
            message = receive(client)
            if message.get("epoch", epoch) != epoch:
                break
        assert message["type"] == "metrics_update"


def test_the_host_is_not_ready_while_the_hub_does_not_answer(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    wait_until(lambda: is_ready(server))
    with stopped_hub(server):
        wait_until(lambda: "hub" in not_ready(server))
        assert server.get("/api/metrics/current")["seq"] > 0
    wait_until(lambda: is_ready(server))


def test_no_process_survives_the_supervisor_and_the_port_is_free(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS), "--port", str(free_port()))
    left = children(server.process.pid)
    assert len(left) == 1 + WORKERS
    server.process.kill()
    server.process.wait(TIMEOUT_SECONDS)
    wait_until(lambda: not any(is_alive(pid) for pid in left))
    again = start_server("--demo", "--workers", str(WORKERS), "--port", str(server.port))
    wait_until(lambda: is_ready(again))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_every_process_and_exits_with_0(start_server: StartServer, number: int) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    left = children(server.process.pid)
    with connect(server.websocket_url) as client:
        receive(client)
        server.process.send_signal(number)
        _, code = read_to_close(client)
    assert code == 1001
    assert server.process.wait(TIMEOUT_SECONDS) == 0
    log = server.stop()
    assert "hub server.hub_process: stopped" in log[-1]
    assert not any(is_alive(pid) for pid in left)


def test_ctrl_c_reaches_every_process_and_the_hub_still_stops_last(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS), SHUTDOWN_GRACE="0.5")
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        # A request whose head never ends keeps its worker draining.
        sock.sendall(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: sum(process["http_connections"] for process in fresh_processes(server).values()) > 1)
        for pid in (server.process.pid, *children(server.process.pid)):
            os.kill(pid, signal.SIGINT)
        assert server.process.wait(TIMEOUT_SECONDS) == 0
    log = server.stop()
    assert any("did not end within" in line for line in log[:-1])
    assert "hub server.hub_process: stopped" in log[-1]


def test_a_second_signal_ends_every_process_at_once(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS))
    left = children(server.process.pid)
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        # A request whose head never ends keeps the drain waiting.
        sock.sendall(b"GET / HTTP/1.1\r\n")
        wait_until(lambda: sum(process["http_connections"] for process in fresh_processes(server).values()) > 1)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("supervisor: stopping")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT_SECONDS) == 130
    assert not any(is_alive(pid) for pid in left)


def test_sighup_replaces_workers_one_by_one_without_refusing_connections(start_server: StartServer) -> None:
    server = start_server("--demo", "--workers", str(WORKERS))
    before = {process["pid"] for process in processes(server).values()}
    server.process.send_signal(signal.SIGHUP)
    pids = before
    while len(pids & before) > 1:
        assert server.get("/health")["status"] == "healthy"
        pids = {process["pid"] for process in processes(server).values()}
    assert pids & before == {processes(server)["hub"]["pid"]}
    wait_until(lambda: len(children(server.process.pid)) == 1 + WORKERS)
    wait_until(lambda: is_ready(server))
