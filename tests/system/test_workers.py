"""Several workers beside one hub: each of them serves everything that one process serves.

That they send the same bytes is tested in `test_worker_identity.py`.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from hosts import WORKERS, Peer, exposed, fill, peers_on_every_worker, post, process_of, processes, wait_until
from server_process import Server
from ws_client import connect, receive, receive_deltas

StartServer = Callable[..., Server]


@pytest.fixture(scope="module")
def host() -> Iterator[Server]:
    """One host with two workers, shared by the tests that kill no process."""
    server = Server("--demo", "--workers", str(WORKERS))
    yield server
    server.stop()


def newest_seq(peer: Peer) -> int:
    """Returns the number of the newest snapshot that the worker of a connection has."""
    seq: int = json.loads(peer.get("/api/metrics/current")[1])["seq"]
    return seq


def test_each_process_has_its_own_name_in_ps(host: Server) -> None:
    for name, process in processes(host).items():
        proc = Path(f"/proc/{process['pid']}")
        assert (proc / "cmdline").read_bytes().rstrip(b"\0") == f"observability: {name}".encode()
        assert (proc / "comm").read_text() == f"obs-{name}\n"
    assert Path(f"/proc/{host.process.pid}/comm").read_text() == "obs-supervisor\n"


def test_components_show_cpu_and_memory_of_each_process(host: Server) -> None:
    wait_until(lambda: all(process["cpu_percent"] is not None for process in processes(host).values()))
    shown = processes(host)
    assert set(shown) == {"hub", "worker-1", "worker-2"}
    for process in shown.values():
        assert process["status"] == "ok"
        assert process["rss_bytes"] > 1_000_000


def test_every_worker_answers_about_trades_that_only_the_hub_has(host: Server) -> None:
    wait_until(lambda: host.get("/api/trades?limit=1")["total"] > 0)
    with peers_on_every_worker(host) as peers:
        ids = {json.loads(peer.get("/api/trades?limit=1&offset=0&symbol=NONE")[1])["total"] for peer in peers}
        assert ids == {0}
        trade = host.get("/api/trades?limit=1")["trades"][0]
        for peer in peers:
            assert json.loads(peer.get(f"/api/trades/stats/summary?symbol={trade['symbol']}")[1])["count"] > 0
            assert json.loads(peer.get(f"/api/trades/{trade['trade_id']}")[1]) == trade
            assert peer.get("/api/trades/unknown")[0] == 404
            assert peer.get("/api/trades?limit=0")[0] == 422


@pytest.mark.broadcast
def test_a_worker_cuts_a_view_out_of_the_snapshot(host: Server) -> None:
    symbol = next(iter(host.next_snapshot()["market_data"]))
    with connect(f"{host.websocket_url}?channels=market_data&symbols={symbol}&mode=delta") as client:
        full = receive(client, "metrics_update")
        assert list(full["market_data"]) == [symbol]
        assert len(list(receive_deltas(client, 3, full["seq"]))) == 3


def test_every_worker_exposes_the_sums_of_the_host(host: Server) -> None:
    with connect(host.websocket_url), connect(host.websocket_url), connect(host.websocket_url):
        wait_until(lambda: host.get("/health/live")["websocket_connections"] == 3)
        with peers_on_every_worker(host) as peers:
            for peer in peers:
                assert b"\nwebsocket_connections_active 3.0\n" in peer.get("/metrics")[1]
                assert json.loads(peer.get("/health/live")[1])["websocket_connections"] == 3
    names = " ".join(exposed(host))
    for slot, role in ((0, "hub"), (1, "worker"), (2, "worker")):
        assert f'process_resident_memory_bytes{{role="{role}",slot="{slot}"}}' in names


def test_the_limit_on_clients_holds_for_all_workers_together(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS), WS_MAX_CONNECTIONS="3")
    refused: list[int] = []
    with ExitStack() as stack:
        for _ in range(12):
            try:
                stack.enter_context(connect(server.websocket_url))
            except InvalidStatus as error:
                refused.append(error.response.status_code)
    assert refused == [503] * 9


def test_any_worker_takes_events_and_the_hub_acknowledges_them(host: Server) -> None:
    with peers_on_every_worker(host):
        for number in range(100, 104):
            answer = post(host, "/api/ingest", fill(number, "buy", "10"))
            assert (answer["accepted"], answer["duplicates"]) == (1, 0)
    with connect(f"ws://127.0.0.1:{host.port}/ws/ingest") as sender:
        assert receive(sender)["type"] == "connected"
        sender.send(json.dumps({"seq": 7, "events": [fill(100, "buy", "10"), fill(104, "sell", "10")]}))
        ack = receive(sender)
    assert (ack["type"], ack["seq"], ack["accepted"], ack["duplicates"]) == ("ack", 7, 1, 1)


def test_an_alert_is_acknowledged_through_any_worker(host: Server) -> None:
    post(host, "/api/ingest", {"type": "alert", "severity": "info", "title": "t", "key": "k"})
    host.next_snapshot()
    (alert,) = [alert for alert in host.get("/api/system/alerts")["alerts"] if alert["key"] == "k"]
    for _ in range(4):
        assert post(host, f"/api/system/alerts/acknowledge/{alert['alert_id']}", {})["status"] == "acknowledged"


@pytest.mark.broadcast
def test_snapshots_go_out_whatever_the_documents_weigh(start_server: StartServer) -> None:
    server = start_server("--workers", str(WORKERS))
    alerts = [
        {"type": "alert", "severity": "info", "title": "t" * 50, "key": f"k{number}", "detail": "d" * 4096}
        for number in range(900)
    ]
    for start in range(0, len(alerts), 300):
        post(server, "/api/ingest", alerts[start : start + 300])
    server.wait_for_log("document system_alerts of .* bytes does not fit")
    before = server.next_snapshot()["seq"]
    with peers_on_every_worker(server) as peers:
        for peer in peers:
            assert peer.get("/health/ready")[0] == 200
            status, body = peer.get("/api/system/alerts")
            assert status == 200, body
            assert {alert["key"] for alert in json.loads(body)["alerts"]} >= {alert["key"] for alert in alerts}
            assert json.loads(peer.get("/api/system/alerts?limit=1")[1])["count"] == 1
    assert server.next_snapshot()["seq"] > before
    assert exposed(server)["documents_too_large_total"] > 0
    assert exposed(server)["frames_too_large_total"] == 0


@pytest.mark.broadcast
def test_a_client_is_told_of_the_snapshots_that_its_worker_was_too_late_to_send(host: Server) -> None:
    with (
        peers_on_every_worker(host) as peers,
        connect(f"{host.websocket_url}?channels=metrics", compression=None) as client,
    ):
        worker = process_of(host, client.socket.getsockname()[1])
        (other,) = (peer for peer in peers if process_of(host, peer.local_port) != worker)
        seq = receive(client, "metrics_update")["seq"]
        os.kill(worker, signal.SIGSTOP)
        try:
            stopped = newest_seq(other)
            wait_until(lambda: newest_seq(other) >= stopped + 5)
        finally:
            os.kill(worker, signal.SIGCONT)
        skipped = 0
        # Before the lag come the snapshots that were sent while the client did not read.
        while seq < stopped + 5:
            message = receive(client)
            if message["type"] == "lag":
                skipped += message["skipped"]
                seq += message["skipped"]
            elif message["type"] == "metrics_update":
                assert message["seq"] == seq + 1
                seq += 1
    assert skipped >= 2


def test_every_worker_shows_the_log_lines_of_all_processes_and_the_engine(host: Server) -> None:
    post(host, "/api/ingest", {"type": "log", "level": "warning", "message": "no route", "logger": "engine"})
    with peers_on_every_worker(host) as peers:
        for peer in peers:
            assert peer.get("/api/trades?limit=0")[0] == 422
        # A line may come between two answers.
        (body,) = wait_until(lambda: bodies if len(bodies := logs_of(peers)) == 1 else None)
    lines = json.loads(body)["logs"]
    assert [line["timestamp"] for line in lines] == sorted((line["timestamp"] for line in lines), reverse=True)
    refused = {line["process"] for line in lines if line["message"].startswith("refused") and "422" in line["message"]}
    assert refused == {"worker-1", "worker-2"}
    (engine_line,) = [line for line in lines if line["source"] == "engine"]
    assert (engine_line["level"], engine_line["message"]) == ("WARNING", "no route")


def logs_of(peers: list[Peer]) -> set[bytes]:
    return {peer.get("/api/system/logs/recent?limit=1000")[1] for peer in peers}


@pytest.mark.broadcast
def test_a_worker_replays_a_lane_from_the_store(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--workers", str(WORKERS), "--data-dir", str(tmp_path))
    post(server, "/api/ingest", [fill(number, "buy", "10") for number in range(1, 6)])
    with connect(f"{server.websocket_url}?channels=trades&lane_since=0") as client:
        ids = [receive(client, "trade")["trade_id"] for _ in range(5)]
    assert ids == ["1", "2", "3", "4", "5"]


def test_a_file_that_is_no_recording_stops_the_host_with_a_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing to replay\n")
    with pytest.raises(AssertionError, match=r"notes\.txt") as failed:
        Server("--workers", str(WORKERS), "--replay", str(path))
    assert "Traceback" not in str(failed.value)
