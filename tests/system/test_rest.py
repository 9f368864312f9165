"""The REST API over a real server: documents have the documented fields, and errors are problem details."""

from __future__ import annotations

import gzip
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from hosts import wait_until
from server_process import NO_RULES, ROOT, TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]

JSON_PATHS = [
    "/api/metrics/current", "/api/metrics/symbols", "/api/metrics/summary", "/api/trades", "/api/trades/stats/summary",
    "/api/trades/execution/quality", "/api/system/health", "/api/system/performance", "/api/system/components",
    "/api/system/logs/recent", "/api/system/alerts", "/api/system/stats", "/health", "/health/ready", "/health/live",
    "/openapi.json", "/",
]  # fmt: skip


def ask(
    server: Server, path: str, *, method: str = "GET", body: bytes | None = None, **fields: str
) -> tuple[int, dict[str, str], bytes]:
    """Returns status, header fields (names in lower case) and body, whatever the status."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    request = urllib.request.Request(server.url(path), body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status, {k.lower(): v for k, v in response.headers.items()}, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def problem(answer: tuple[int, dict[str, str], bytes]) -> dict[str, Any]:
    status, fields, body = answer
    assert fields["content-type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(body)
    assert document["status"] == status
    assert document.keys() >= {"type", "title", "detail"}
    return document


@pytest.mark.parametrize("path", JSON_PATHS)
def test_every_get_answers_with_json(demo_server: Server, path: str) -> None:
    status, fields, body = ask(demo_server, path)
    assert status == 200
    assert fields["content-type"] == "application/json"
    assert json.loads(body)


@pytest.mark.parametrize("path", JSON_PATHS)
def test_head_answers_like_get_without_the_body(demo_server: Server, path: str) -> None:
    status, fields, body = ask(demo_server, path, method="HEAD")
    assert (status, body) == (200, b"")
    assert int(fields["content-length"]) > 0


def test_the_snapshot_has_the_fields_of_the_first_api(demo_server: Server) -> None:
    snapshot = demo_server.next_snapshot()
    for symbol in snapshot["market_data"].values():
        assert symbol.keys() >= {
            "last_price",
            "bid",
            "ask",
            "volume",
            "trades",
            "vwap",
            "high",
            "low",
            "spread_bps",
            "updated",
            "stale",
        }
    assert snapshot["strategy"].keys() >= {
        "total_pnl", "daily_pnl", "realized_pnl", "unrealized_pnl", "open_positions", "gross_exposure", "net_exposure",
        "drawdown", "max_drawdown", "strategies", "positions",
    }  # fmt: skip
    assert snapshot["execution"].keys() >= {
        "orders_today", "fills_today", "open_orders", "cancelled", "rejected", "fill_rate", "reject_rate",
        "avg_latency_ms", "latency_p50_ms", "latency_p95_ms", "latency_p99_ms", "avg_slippage_bps",
    }  # fmt: skip
    assert snapshot["system"].keys() >= {
        "cpu_percent", "memory_percent", "disk_percent", "process_rss_bytes", "event_loop_lag_ms", "uptime_seconds",
        "health", "active_alerts",
    }  # fmt: skip
    assert snapshot["age_ms"].keys() == {"market_data", "strategy", "execution", "system"}


def test_the_summary_has_the_fields_of_the_first_api(demo_server: Server) -> None:
    summary = demo_server.get("/api/metrics/summary")
    assert summary["market"].keys() == {"symbols_tracked", "total_trades", "total_volume"}
    assert summary["strategy"].keys() == {"active_strategies", "total_pnl", "daily_pnl", "open_positions"}
    assert summary["execution"].keys() == {"orders_today", "fills_today", "fill_rate", "avg_latency_ms"}
    system = summary["system"]
    assert system.keys() >= {"cpu_usage", "memory_usage", "uptime_seconds", "health_status"}


PAIRS = [
    ("/api/metrics/summary", "system", "cpu_usage", "cpu_percent"),
    ("/api/metrics/summary", "system", "memory_usage", "memory_percent"),
    ("/api/metrics/summary", "system", "health_status", "health"),
    ("/api/metrics/current", "execution", "cancelled", "canceled"),
    ("/api/metrics/current", "execution", "unacknowledged_cancels", "cancels_unacknowledged"),
    ("/api/system/performance", None, "cpu_usage", "process_cpu_percent"),
    ("/api/system/performance", None, "memory_usage", "process_rss_bytes"),
    ("/api/system/performance", None, "latency_p50", "latency_p50_ms"),
    ("/api/system/performance", None, "latency_p95", "latency_p95_ms"),
    ("/api/system/performance", None, "latency_p99", "latency_p99_ms"),
    ("/api/system/performance", None, "latency_max", "latency_max_ms"),
]


@pytest.mark.parametrize(("path", "member", "first", "clear"), PAIRS)
def test_a_name_of_the_first_api_stands_beside_one_that_says_its_unit(
    demo_server: Server, path: str, member: str | None, first: str, clear: str
) -> None:
    document = demo_server.get(path)
    found = document if member is None else document[member]
    assert found[first] == found[clear]
    assert f"| `{first}` | `{clear}` |" in (ROOT / "docs" / "migrating.md").read_text()


def test_the_lag_of_the_event_loop_is_measured(demo_server: Server) -> None:
    wait_until(lambda: demo_server.next_snapshot()["system"]["event_loop_lag_ms"] is not None)
    assert demo_server.get("/api/system/performance")["event_loop_lag_ms"] >= 0


def test_the_list_of_symbols_is_that_of_the_snapshot(demo_server: Server) -> None:
    snapshot = demo_server.next_snapshot()
    symbols = demo_server.get("/api/metrics/symbols")
    assert (symbols["symbols"], symbols["count"]) == (list(snapshot["market_data"]), len(snapshot["market_data"]))


def test_a_snapshot_that_the_client_has_is_answered_with_304(start_server: StartServer) -> None:
    server = start_server(METRIC_COLLECTION_INTERVAL="60")
    _, fields, body = ask(server, "/api/metrics/current")
    snapshot = json.loads(body)
    assert fields["etag"] == f'"{snapshot["epoch"]}-{snapshot["seq"]}"'
    status, fields, body = ask(server, "/api/metrics/current", If_None_Match=fields["etag"])
    assert (status, body) == (304, b"")


def test_a_client_that_accepts_gzip_gets_gzip(demo_server: Server) -> None:
    _, fields, body = ask(demo_server, "/api/metrics/current", Accept_Encoding="gzip")
    assert fields["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(body))["type"] == "metrics_update"


def test_a_browser_gets_the_live_page_and_a_program_the_service(demo_server: Server) -> None:
    _, fields, body = ask(demo_server, "/", Accept="text/html,application/xhtml+xml")
    assert fields["content-type"].startswith("text/html")
    assert b"<title>observability" in body
    service = demo_server.get("/")
    assert service.keys() == {"service", "version", "docs", "websocket", "endpoints"}


def test_an_unknown_path_is_a_problem_with_404(demo_server: Server) -> None:
    assert problem(ask(demo_server, "/api/metrics/nothing"))["status"] == 404


def test_a_wrong_method_is_405_with_the_allowed_ones(demo_server: Server) -> None:
    answer = ask(demo_server, "/api/metrics/current", method="POST", body=b"{}")
    assert problem(answer)["status"] == 405
    assert answer[1]["allow"] == "GET, HEAD, OPTIONS"


def test_every_bad_parameter_is_named(demo_server: Server) -> None:
    document = problem(ask(demo_server, "/api/trades?limit=0&offset=x&side=long&start_time=yesterday&min_quantity=few"))
    assert document["status"] == 422
    assert {error["parameter"] for error in document["errors"]} == {
        "limit",
        "offset",
        "side",
        "start_time",
        "min_quantity",
    }
    assert all(error["error"] for error in document["errors"])


def test_a_parameter_given_twice_is_an_error(demo_server: Server) -> None:
    assert problem(ask(demo_server, "/api/trades?limit=1&limit=2"))["errors"][0]["parameter"] == "limit"


def test_a_trade_that_does_not_exist_is_404(demo_server: Server) -> None:
    assert problem(ask(demo_server, "/api/trades/none"))["status"] == 404


def post_history(server: Server, body: Any) -> tuple[int, dict[str, str], bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ask(server, "/api/metrics/history", method="POST", body=data, Content_Type="application/json")


def test_history_has_one_row_per_tick_and_series(demo_server: Server) -> None:
    demo_server.next_snapshot()
    status, _, body = post_history(
        demo_server, {"interval": "100ms", "metric_types": ["market_data"], "metrics": ["last"]}
    )
    history = json.loads(body)
    assert status == 200
    assert history["count"] == len(history["data"]) > 0
    assert all(row.keys() == {"timestamp", "type", "symbol", "last"} for row in history["data"])
    assert [row["timestamp"] for row in history["data"]] == sorted(row["timestamp"] for row in history["data"])


def test_history_in_columns_has_arrays_of_equal_length(demo_server: Server) -> None:
    question = {"interval": "1s", "metric_types": ["system"], "metrics": ["cpu_percent"]}
    _, _, body = post_history(demo_server, {**question, "format": "columns"})
    (columns,) = json.loads(body)["data"]
    assert columns["type"] == "system"
    assert len(columns["timestamp"]) == len(columns["cpu_percent"]) > 0


@pytest.mark.parametrize("interval", ["200ms", "1500ms", "3s", "90s", "7m", "36h", "2d", "999999d"])
def test_history_is_available_at_any_multiple_of_a_tier(demo_server: Server, interval: str) -> None:
    demo_server.next_snapshot()
    status, _, body = post_history(demo_server, {"interval": interval, "metric_types": ["system"]})
    history = json.loads(body)
    assert (status, history["interval"]) == (200, interval)
    assert history["count"] > 0


def test_history_has_each_requested_aggregate_per_interval(demo_server: Server) -> None:
    demo_server.next_snapshot()
    names = ["first", "min", "max", "last", "mean", "count"]
    question = {"interval": "1d", "metric_types": ["market_data"], "metrics": ["mid"], "aggregates": names}
    _, _, body = post_history(demo_server, question)
    for row in json.loads(body)["data"]:
        mid = row["mid"]
        assert list(mid) == names
        assert mid["min"] <= min(mid["first"], mid["last"], mid["mean"])
        assert mid["max"] >= max(mid["first"], mid["last"], mid["mean"])
        assert isinstance(mid["count"], int)


def test_history_is_marked_as_truncated_if_older_points_are_omitted(demo_server: Server) -> None:
    demo_server.next_snapshot()
    demo_server.next_snapshot()
    question = {"interval": "100ms", "metric_types": ["system"], "limit": 1}
    _, _, body = post_history(demo_server, question)
    short = json.loads(body)
    assert (short["count"], short["truncated"]) == (1, True)
    _, _, body = post_history(demo_server, {**question, "limit": 10_000})
    assert json.loads(body)["truncated"] is False


def test_history_gives_the_spacing_of_its_points(demo_server: Server) -> None:
    demo_server.next_snapshot()
    _, _, body = post_history(demo_server, {"interval": "200ms"})
    history = json.loads(body)
    assert history["tiers"] == [{"start": history["start_time"], "end": history["end_time"], "interval": "200ms"}]


@pytest.mark.parametrize(
    ("body", "status", "parameter"),
    [
        (b"{", 400, None),
        (b"\xff", 400, None),
        (b"[" * 100_000, 400, None),
        ([], 422, "body"),
        ({"time_range": "2h"}, 422, "time_range"),
        ({"interval": "150ms"}, 422, "interval"),
        ({"interval": "0s"}, 422, "interval"),
        ({"interval": "1.5s"}, 422, "interval"),
        ({"interval": "1w"}, 422, "interval"),
        ({"interval": "90s", "metric_types": ["bars"]}, 422, "interval"),
        ({"aggregates": []}, 422, "aggregates"),
        ({"aggregates": ["median"]}, 422, "aggregates"),
        ({"limit": 0}, 422, "limit"),
        ({"limit": True}, 422, "limit"),
        ({"start_time": "2020-01-01T00:00:00Z", "time_range": "1h"}, 422, "time_range"),
        ({"start_time": "2020-01-02T00:00:00Z", "end_time": "2020-01-01T00:00:00Z"}, 422, "start_time"),
        ({"symbols": "AAPL"}, 422, "symbols"),
    ],
)
def test_a_bad_request_for_history_is_refused(
    demo_server: Server, body: Any, status: int, parameter: str | None
) -> None:
    document = problem(post_history(demo_server, body))
    assert document["status"] == status
    if parameter is not None:
        assert parameter in {error["parameter"] for error in document["errors"]}


def test_another_media_type_is_415(demo_server: Server) -> None:
    answer = ask(demo_server, "/api/metrics/history", method="POST", body=b"{}", Content_Type="text/plain")
    assert problem(answer)["status"] == 415


def test_an_unknown_alert_cannot_be_acknowledged(demo_server: Server) -> None:
    answer = ask(demo_server, "/api/system/alerts/acknowledge/none", method="POST", body=b"")
    assert problem(answer)["status"] == 404


@pytest.mark.parametrize(
    "fields", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"X_Forwarded_For": "10.0.0.1"}]
)
def test_a_write_from_elsewhere_is_refused(demo_server: Server, fields: dict[str, str]) -> None:
    answer = ask(demo_server, "/api/system/alerts/acknowledge/none", method="POST", body=b"", **fields)
    assert problem(answer)["status"] == 403


def test_a_page_of_an_allowed_origin_may_read(demo_server: Server) -> None:
    _, fields, _ = ask(demo_server, "/health", Origin="http://localhost:3000")
    assert fields["access-control-allow-origin"] == "http://localhost:3000"
    _, fields, _ = ask(demo_server, "/health", Origin="http://evil.example")
    assert "access-control-allow-origin" not in fields


def test_recent_logs_are_newest_first_and_limited(start_server: StartServer) -> None:
    server = start_server(API_TOKENS="write:short", **NO_RULES)  # logs a warning
    document = server.get("/api/system/logs/recent?level=warning&limit=1")
    assert document["count"] == 1
    assert document["logs"][0]["level"] == "WARNING"
    assert "API_TOKENS" in document["logs"][0]["message"]


FIRST_API_NAMES = {
    "http_requests", "http_request_duration_seconds", "websocket_connections_active", "websocket_messages_sent",
    "collector_metrics_collected",
}  # fmt: skip


@pytest.mark.parametrize(
    ("accept", "parse"),
    [("", parse_prometheus), ("application/openmetrics-text; version=1.0.0", parse_openmetrics)],
)
def test_the_parser_of_prometheus_reads_the_metrics(
    demo_server: Server, accept: str, parse: Callable[[str], Any]
) -> None:
    demo_server.get("/health")
    _, _, body = ask(demo_server, "/metrics", Accept=accept)
    families = {family.name: family for family in parse(body.decode())}
    assert families.keys() >= FIRST_API_NAMES | {
        "websocket_frames_skipped", "websocket_send_duration_seconds", "tick_duration_seconds", "tick_missed",
        "snapshot_bytes", "ingest_events", "event_age_seconds",
    }  # fmt: skip
    requests = {
        sample.labels["route"]: sample.value
        for sample in families["http_requests"].samples
        if sample.labels.get("status") == "200"
    }
    assert requests["/health"] >= 1
    for sample in families["http_request_duration_seconds"].samples:
        assert sample.value >= 0


def test_requests_are_counted_by_route_and_status(start_server: StartServer) -> None:
    server = start_server()
    for _ in range(3):
        server.get("/health")
    ask(server, "/no/such/path/123")
    samples = [
        sample
        for family in parse_prometheus(server.get_bytes("/metrics").decode())
        for sample in family.samples
        if sample.name == "http_requests_total"
    ]
    counted = {(sample.labels["route"], sample.labels["status"]): sample.value for sample in samples}
    assert counted["/health", "200"] == 3
    assert counted["unmatched", "404"] == 1


def test_the_description_names_every_route(demo_server: Server) -> None:
    description = demo_server.get("/openapi.json")
    assert description["openapi"].startswith("3.")
    described = set(description["paths"])
    assert described >= {path for path in JSON_PATHS if path != "/"} | {"/api/metrics/history", "/metrics"}
    for operations in description["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["responses"]
