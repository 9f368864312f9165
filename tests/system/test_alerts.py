"""Alerts through a real server: rules from a file, their life over REST and on the lane, and what Prometheus sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import ClientConnection

from hosts import post, send_alert, wait_until
from pages import read_pages
from recordings import record
from server_process import NO_RULES, ROOT, TIMEOUT_SECONDS, Server
from ws_client import connect, read_to_close, receive

StartServer = Callable[..., Server]

# A Thursday of 2012, as a recording would have it.
START_NS = 1_340_280_000_000_000_000
S = 1_000_000_000

RULES = """
[wide]
metric = "market_data.*.spread_bps"
above = 50
clear = 10
severity = "critical"
title = "{member}: {value:.0f} bps"

[queue]
metric = "metric.queue"
above = 100

[never]
metric = "server.ticks_missed"
increase_over = "1m"
above = 1000000
"""


def quote(symbol: str, ask: float) -> dict[str, Any]:
    return {"type": "quote", "symbol": symbol, "bid": 100.0, "ask": ask}


def rules_file(tmp_path: Path, text: str = RULES) -> str:
    path = tmp_path / "alerts.toml"
    path.write_text(text)
    return str(path)


def receive_alert(connection: ClientConnection, action: str) -> dict[str, Any]:
    """Returns the next message of the lane with this action."""
    while (message := receive(connection, "alert"))["action"] != action:
        pass
    return message


def samples(server: Server, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """Returns the values of one metric by its labels."""
    families = text_string_to_metric_families(server.get_bytes("/metrics").decode())
    return {
        tuple(sorted(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name == name
    }


def acknowledge(server: Server, alert_id: str) -> dict[str, Any]:
    request = urllib.request.Request(server.url(f"/api/system/alerts/acknowledge/{alert_id}"), b"", method="POST")
    with urllib.request.urlopen(request) as response:
        answer: dict[str, Any] = json.loads(response.read())
        return answer


def test_an_alert_of_a_rule_lives_on_the_lane_over_rest_and_in_the_metrics(
    start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("--alerts", rules_file(tmp_path), STALE_AFTER="3600")
    with connect(f"{server.websocket_url}?channels=alerts&lane_since=0") as lane:
        post(server, "/api/ingest", quote("AAPL", 102))
        raised = receive_alert(lane, "raised")
        assert (raised["rule"], raised["member"], raised["severity"]) == ("wide", "AAPL", "critical")
        assert (raised["title"], raised["state"], raised["seq"]) == ("AAPL: 198 bps", "active", 1)
        assert "a critical alert is active" in server.next_snapshot()["system"]["health_reasons"]
        assert [alert["alert_id"] for alert in server.get("/api/system/alerts?state=active")["alerts"]] == [
            raised["alert_id"]
        ]
        assert samples(server, "alerts_active")[(("severity", "critical"),)] == 1
        for _ in range(2):
            assert acknowledge(server, raised["alert_id"])["state"] == "acknowledged"
        assert receive_alert(lane, "acknowledged")["prev"] == 1
        post(server, "/api/ingest", quote("AAPL", 100.01))
        resolved = receive_alert(lane, "resolved")
    assert (resolved["alert_id"], resolved["prev"], resolved["seq"]) == (raised["alert_id"], 2, 3)
    assert resolved["acknowledged"] is not None
    server.next_snapshot()
    assert server.get("/api/system/alerts?state=active")["count"] == 0
    assert server.get("/api/system/alerts?state=resolved&severity=critical")["count"] == 1
    assert server.get("/api/system/alerts?severity=info")["count"] == 0
    counted = samples(server, "alert_transitions_total")
    assert {dict(labels)["action"]: value for labels, value in counted.items()} == {
        "raised": 1, "acknowledged": 1, "resolved": 1
    }  # fmt: skip


def test_rules_are_listed_with_what_they_see(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--alerts", rules_file(tmp_path))

    def listed() -> dict[str, dict[str, Any]]:
        return {rule["rule"]: rule for rule in server.get("/api/system/alerts/rules")["rules"]}

    # Rules are evaluated at their own pace.
    rules = wait_until(lambda: found if (found := listed())["never"]["value"] is not None else None)
    assert list(rules) == ["wide", "queue", "never"]
    # A server that is late has missed ticks.
    assert rules["never"]["state"] == "quiet"
    assert rules["never"]["value"] >= 0
    assert (rules["wide"]["above"], rules["wide"]["clear"], rules["wide"]["n_members"]) == (50, 10, 0)


def test_a_metric_event_is_in_the_snapshot_in_the_metrics_and_in_the_rules(
    start_server: StartServer, tmp_path: Path
) -> None:
    labels = {"venue": 'X"\n', "name": "y", "a-b": "1", "1st": "2"}
    path = record(
        tmp_path / "m.jsonl",
        {"type": "metric", "name": "queue", "value": 101.5, "labels": labels, "ts": START_NS},
        {"type": "metric", "name": "temperature", "value": 20, "ts": START_NS},
        {"type": "metric", "name": "same", "value": 1, "labels": {"a-b": "1"}, "ts": START_NS},
        {"type": "metric", "name": "same", "value": 2, "labels": {"a.b": "1"}, "ts": START_NS + S},
    )
    server = start_server("--replay", path, "--speed", "max", "--alerts", rules_file(tmp_path))
    with connect(f"{server.websocket_url}?channels=alerts&lane_since=0") as lane:
        assert receive_alert(lane, "raised")["member"] == r'1st="2",a-b="1",name="y",venue="X\"\n"'
    metrics = server.next_snapshot()["system"]["metrics"]
    assert metrics["temperature"]["value"] == 20.0
    assert len(metrics) == 4
    seen = samples(server, "user_metric")
    assert seen[(("name", "temperature"),)] == 20
    expected = {"name": "queue", "venue": 'X"\n', "label_name": "y", "a_b": "1", "label_1st": "2"}
    assert seen[tuple(sorted(expected.items()))] == 101.5
    assert seen[(("a_b", "1"), ("name", "same"))] == 2


def test_the_engine_ends_its_own_alert(start_server: StartServer, tmp_path: Path) -> None:
    alert = {"type": "alert", "severity": "warning", "title": "Feed lost", "key": "feed", "ts": START_NS}
    path = record(tmp_path / "a.jsonl", alert, {**alert, "ts": START_NS + S, "state": "resolved"})
    server = start_server("--replay", path, "--speed", "max", **NO_RULES)
    server.wait_for_log("source replay has ended")
    server.next_snapshot()
    (shown,) = server.get("/api/system/alerts")["alerts"]
    assert (shown["state"], shown["resolved"]) == ("resolved", "2012-06-21T12:00:01.000Z")


def test_every_fault_of_the_rules_is_told_at_once(tmp_path: Path) -> None:
    path = rules_file(tmp_path, '[a]\nmetric = "x"\n[b]\nmetric = "strategy.drawdown"\nabove = "5"\n')
    result = subprocess.run(
        [sys.executable, "-m", "observability", "serve", "--port", "0", "--alerts", path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "core"), str(ROOT / "http")))},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
    )
    assert result.returncode == 2
    assert [line.split(": ")[0] for line in result.stderr.splitlines()[1:]] == [
        f"  {path} [a] metric", f"  {path} [a]", f"  {path} [b] above"
    ]  # fmt: skip


def test_a_metric_that_a_rule_misspells_is_warned_of(start_server: StartServer, tmp_path: Path) -> None:
    rules = '[missed]\nmetric = "server.tick_missed"\nabove = 5\n'
    server = start_server("--alerts", rules_file(tmp_path, rules))
    assert "did you mean server.ticks_missed" in server.wait_for_log("there is no metric server.tick_missed")


def test_the_figures_of_the_default_rules_are_there(start_server: StartServer) -> None:
    server = start_server("--demo")
    server.next_snapshot()
    server.next_snapshot()
    assert [line for line in server.stop() if "there is no metric" in line] == []


@pytest.mark.parametrize("query", ["state=over", "severity=loud", "limit=0", "limit=1001"])
def test_a_bad_question_for_alerts_is_refused(demo_server: Server, query: str) -> None:
    with pytest.raises(HTTPError) as refused:
        demo_server.get(f"/api/system/alerts?{query}")
    with refused.value:
        assert refused.value.code == 422


def test_who_left_the_stream_is_counted_by_code_and_side(start_server: StartServer) -> None:
    server = start_server()
    with connect(server.websocket_url):
        pass
    with connect(server.websocket_url) as connection:
        connection.close(4321)
    with connect(server.websocket_url) as connection:
        connection.send(b"binary")
        read_to_close(connection)
    with connect(server.websocket_url) as connection:
        connection.socket.close()
    expected = {
        (("by", "client"), ("code", "1000")): 1,
        (("by", "client"), ("code", "4xxx")): 1,
        (("by", "server"), ("code", "1003")): 1,
        (("by", "client"), ("code", "1006")): 1,
    }
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (seen := samples(server, "websocket_disconnects_total")) != expected:
        assert time.monotonic() < deadline, seen


def test_the_own_path_and_the_queues_are_measured(start_server: StartServer) -> None:
    server = start_server("--demo")
    with connect(server.websocket_url) as connection:
        for _ in range(25):
            receive(connection)
        performance = server.get("/api/system/performance")
    path = performance["path"]
    # No page has reported what it has painted.
    assert (path.pop("tick_to_eye")["n"], path.pop("event_to_eye")["n"]) == (0, 0)
    assert path.keys() == {"tick", "late", "fanout", "age_at_send"}
    for stretch in path.values():
        assert stretch["n"] > 0
        assert 0 < stretch["p50_ms"] <= stretch["p95_ms"] <= stretch["p99_ms"] <= stretch["max_ms"]
    assert performance["queues"] == {"clients_behind": 0, "lane_backlog": 0}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_every_occurrence_is_listed_after_a_kill_with_what_became_of_it(
    workers: str, start_server: StartServer, tmp_path: Path
) -> None:
    arguments = ("--workers", workers, "--data-dir", str(tmp_path / "data"))
    server = start_server(*arguments, **NO_RULES)
    for n in range(3):
        for detail in (f"time {n}", f"time {n}, again"):
            send_alert(server, "gateway", severity="warning", detail=detail, labels={"n": str(n)})
        if n == 1:
            alert_id = server.get("/api/system/alerts/history?limit=1")["occurrences"][0]["alert_id"]
            post(server, f"/api/system/alerts/acknowledge/{alert_id}?author=ana&comment=on%20it", None)
            send_alert(server, "gateway", severity="warning", detail="worse")
        send_alert(server, "other")
        send_alert(server, "gateway", "resolved", severity="warning")
    server.stop(signal.SIGKILL)
    server = start_server(*arguments, **NO_RULES)
    found = server.get("/api/system/alerts/history")
    # The alert that was not resolved has one occurrence, however often it came.
    begun = [(each["key"], each["occurrence"], each["count"]) for each in found["occurrences"]]
    assert begun == [("gateway", 3, 2), ("gateway", 2, 3), ("other", 1, 3), ("gateway", 1, 2)]
    second = found["occurrences"][1]
    assert [(each["action"], each.get("acknowledged_by"), each.get("comment")) for each in second["transitions"]] == [
        ("raised", None, None), ("acknowledged", "ana", "on it"), ("raised", None, None), ("resolved", None, None)
    ]  # fmt: skip
    assert (second["detail"], second["state"]) == ("worse", "resolved")
    assert found["occurrences"][3]["labels"] == {"n": "0"}
    assert read_pages(server.get, "/api/system/alerts/history?limit=1", "occurrences") == found["occurrences"]
    critical = server.get("/api/system/alerts/history?severity=critical")["occurrences"]
    assert [each["key"] for each in critical] == ["other"]
    of_one = server.get(f"/api/system/alerts/history?alert_id={second['alert_id']}")["occurrences"]
    assert [each["occurrence"] for each in of_one] == [3, 2, 1]
    assert server.get("/api/system/alerts/history?end_time=2012-01-01T00:00:00Z")["count"] == 0


def test_without_a_store_the_newest_occurrences_are_listed(start_server: StartServer) -> None:
    server = start_server(**NO_RULES)
    for state in ("raised", "resolved", "raised"):
        send_alert(server, "gateway", state)
    server.next_snapshot()
    (listed,) = server.get("/api/system/alerts/history")["occurrences"]
    assert (listed["occurrence"], listed["seq"]) == (2, None)
    assert [each["action"] for each in listed["transitions"]] == ["raised"]
    assert server.get("/api/system/alerts/history?rule=none")["occurrences"] == []
