"""`LOG_FORMAT=json`: everything that a server prints is lines of JSON, with the ids of what they are about."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from hosts import fill, post
from server_process import TIMEOUT_SECONDS, Server, run_command

StartServer = Callable[..., Server]


def lines_with(lines: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    return [line for line in lines if text in line["message"]]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_line_parses_and_has_the_ids_of_its_subject(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    rules = tmp_path / "alerts.toml"
    rules.write_text(
        '[many_fills]\nmetric = "strategy.fills"\nabove = 0\nseverity = "critical"\ntitle = "Many fills"\n'
    )
    server = start_server(
        "--workers", workers, "--alerts", str(rules),
        LOG_FORMAT="json", LOG_DIR=str(tmp_path / "logs"), API_PROT="1", DATA_DIR=str(tmp_path / "data"),
    )  # fmt: skip
    assert json.loads(server.start_line)["logger"] == "cli.serve"
    sent = {**fill(1, "buy", "100"), "strategy": "s"}
    post(server, "/api/ingest", [sent])
    with suppress(urllib.error.HTTPError):
        post(server, "/api/ingest", [{**sent, "quantity": "7"}])
    request = urllib.request.Request(server.url("/unknown"), headers={"X-Request-ID": "of-a-proxy"})
    with suppress(urllib.error.HTTPError):
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    server.wait_for_log("many_fills")
    lines = [json.loads(line) for line in server.stop()]

    times = {"timestamp", "level", "pid", "logger", "message"}
    assert all(times <= line.keys() for line in lines)
    assert lines_with(lines, "'API_PROT' is not a setting")
    (refused,) = lines_with(lines, "no such path")
    assert (refused["request"], refused["peer"]) == ("of-a-proxy", "127.0.0.1")
    (conflict,) = lines_with(lines, "delivered again")
    assert (conflict["trade_id"], conflict["order_id"], conflict["strategy"]) == (
        sent["trade_id"], sent["order_id"], "s",
    )  # fmt: skip
    raised = lines_with(lines, "raised: Many fills")[0]
    assert raised["rule"] == "many_fills" and raised["alert_id"]
    assert {line.get("process") for line in lines} >= ({"hub", "worker-1", "worker-2"} if workers == "2" else {None})
    for file in (tmp_path / "logs").iterdir():
        assert all(json.loads(line) for line in file.read_text().splitlines())


def test_a_start_that_fails_says_so_in_json(tmp_path: Path) -> None:
    (tmp_path / "observability.db").write_bytes(b"no database" * 1000)
    ended = run_command("serve", "--port", "0", "--log-format", "json", "--data-dir", str(tmp_path))
    assert ended.returncode == 1
    assert [json.loads(line)["level"] for line in ended.stderr.splitlines()][-1] == "CRITICAL"
