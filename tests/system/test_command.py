"""The command `observability`: what it prints, how it stops, and what it says when it cannot start."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from server_process import ROOT, TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_server_with_exit_code_0(start_server: StartServer, number: int) -> None:
    server = start_server("--demo")
    log = server.stop(number)
    assert server.process.returncode == 0
    assert "stopped" in log[-1]


def test_a_second_signal_stops_the_server_at_once(start_server: StartServer) -> None:
    server = start_server("--demo")
    # A request whose head never ends keeps the drain waiting.
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n")
        server.get("/health")  # the server has read it
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("stopping")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(TIMEOUT_SECONDS) == 130


def test_the_start_line_says_where_everything_is(start_server: StartServer) -> None:
    server = start_server()
    for part in (f"http://127.0.0.1:{server.port}/", "ws://", "/ws/metrics", "/docs", "/metrics", "1000 symbols", "MB"):
        assert part in server.start_line


def test_all_faults_are_reported_at_once_by_name() -> None:
    result = run_command(
        "serve", "--port", "99999", WS_MAX_CONNECTIONS="many", CORS_ORIGINS="nowhere", LOG_LEVEL="LOUD"
    )
    assert result.returncode == 2
    for name in ("--port", "WS_MAX_CONNECTIONS", "CORS_ORIGINS", "LOG_LEVEL"):
        assert name in result.stderr
    assert "Traceback" not in result.stderr


def test_a_flag_beats_its_variable(start_server: StartServer) -> None:
    server = start_server("--log-level", "ERROR", LOG_LEVEL="DEBUG")
    assert server.stop() == []


def test_a_port_that_is_taken_is_a_clear_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run_command("serve", "--port", str(port))
        assert result.returncode == 1
        assert f"cannot listen on 127.0.0.1 port {port}: address already in use" in result.stderr
        assert "Errno" not in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_no_recording_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("nothing to replay\n")
    result = run_command("serve", "--port", "0", "--replay", str(path))
    assert result.returncode == 1
    assert "notes.txt" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help")])
def test_help_names_the_command_serve(arguments: tuple[str, ...]) -> None:
    result = run_command(*arguments)
    assert result.returncode == 0
    assert "serve" in result.stdout


def test_the_version_is_printed() -> None:
    assert run_command("--version").stdout.startswith("observability ")


def test_log_dir_makes_the_server_log_to_a_file_too(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--demo", LOG_DIR=str(tmp_path / "logs"))
    server.stop()
    assert "stopped" in (tmp_path / "logs" / "observability.log").read_text()


def test_lines_of_json_events_can_be_replayed(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text(
        '{"type":"quote","symbol":"X","bid":1.0,"ask":1.5,"ts":1700000000000000000}\n'
        '{"type":"fill","trade_id":"1","order_id":"1","symbol":"X","side":"buy","quantity":"2","price":"1.25",'
        '"ts":1700000000100000000}\n'
        "this is not JSON\n"
    )
    server = start_server("--replay", str(path), "--speed", "max")
    server.wait_for_log("source replay has ended")
    snapshot = server.next_snapshot()
    assert snapshot["market_data"]["X"]["bid"] == 1.0
    assert snapshot["strategy"]["positions"][0]["quantity"] == 2
    assert server.get("/api/trades/1")["price"] == 1.25
    assert any("events.jsonl" in line for line in server.log)


def test_a_directory_of_recordings_is_replayed_as_one(start_server: StartServer, tmp_path: Path) -> None:
    line = '{"type":"print","symbol":"%s","price":2,"size":3,"ts":%d}\n'
    first, second = (
        "".join(line % (symbol, (1_700_000_000 + number) * 10**9) for number in range(begin, 1000, 2))
        for begin, symbol in enumerate("XY")
    )
    (tmp_path / "first.jsonl.zst").write_bytes(zstandard.compress(first.encode()))
    (tmp_path / "second.jsonl.gz").write_bytes(gzip.compress(second.encode()))
    (tmp_path / "notes.txt").write_text("not a recording\n")
    server = start_server("--replay", str(tmp_path), "--speed", "max")
    assert "notes.txt" in server.wait_for_log("not replayed")
    server.wait_for_log("source replay has ended")
    market = server.next_snapshot()["market_data"]
    assert {symbol: each["volume"] for symbol, each in market.items()} == {"X": 1500, "Y": 1500}
    assert server.get("/api/system/stats")["late_prints"] == 0


def test_a_collector_of_an_installed_package_is_in_snapshot_and_metrics(
    start_server: StartServer, tmp_path: Path
) -> None:
    info = tmp_path / "queue_metrics-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: queue-metrics\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[observability.collectors]\nqueue = queue_metrics:QueueCollector\n")
    (tmp_path / "queue_metrics.py").write_text(
        "from observability.metrics.collectors import BaseCollector\n"
        "class QueueCollector(BaseCollector):\n"
        "    def __init__(self): super().__init__('queue')\n"
        "    async def _start_impl(self): pass\n"
        "    async def _stop_impl(self): pass\n"
        "    async def get_current_metrics(self): return {'depth': 3}\n"
    )
    server = start_server("--demo", PYTHONPATH=str(tmp_path))
    assert server.next_snapshot()["queue"] == {"depth": 3}
    assert server.get("/api/system/components")["components"]["queue"]["status"] == "ok"
    assert b'collector_metrics_collected_total{collector="queue"}' in server.get_bytes("/metrics")


@pytest.mark.parametrize(("workers", "said"), [("1", "listening"), ("2", "2 workers")])
def test_reload_restarts_the_server_when_a_source_file_changes(tmp_path: Path, workers: str, said: str) -> None:
    for root in ("core", "http"):
        subprocess.run(["cp", "-r", str(ROOT / root), str(tmp_path)], check=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path / "core"), str(tmp_path / "http")))}
    command = [sys.executable, "-m", "observability", "serve", "--port", "0", "--workers", workers, "--reload"]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert said in process.stdout.readline()
            changed = tmp_path / "core/observability/version.py"
            changed.write_text(changed.read_text().replace("0.", "9."))
            assert "observability 9." in process.stdout.readline()
            process.terminate()
            assert process.wait(TIMEOUT_SECONDS) == 0
        finally:
            # Its child ends with it.
            process.terminate()
