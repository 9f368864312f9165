"""What the documents say of a running server holds: every field, route, role and metric is in their tables, and their
commands and examples run."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast
from urllib.parse import quote

import pytest
from prometheus_client.parser import text_string_to_metric_families

import example_source
import observability.server.worker  # noqa: F401  # knows every WebSocket endpoint
from document_session import Session
from documents import GUIDES, Document, document
from hosts import post
from observability.monitoring.server_figures import server_figures
from observability.websocket.endpoint import WebSocketEndpoint
from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect

# -- fields


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a store, the collector of the documents and a route of alerts, that has been sent something of
    everything."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "alerts.toml").write_text('[[route]]\nname = "desk"\nto = "http://127.0.0.1:1/"\n')
    (collector,) = [block for block in document("docs/collectors.md").blocks() if "# serve.py" in block.text]
    (folder / "sitecustomize.py").write_text(collector.text)
    server = Server(
        "--demo", "--data-dir", str(folder / "data"), "--alerts", str(folder / "alerts.toml"), PYTHONPATH=str(folder)
    )
    _send_something(server)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def sourced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the source of the documents, of which one message has come."""
    folder = tmp_path_factory.mktemp("sourced")
    file = example_source.EventFile(folder)
    file.append(example_source.fill(1))
    server = Server("--source", file.url, PYTHONPATH=example_source.install(folder / "package"))
    while not server.get("/api/trades")["total"]:
        pass
    yield server
    server.stop()


@pytest.fixture(scope="module")
def snapshot(demo: Server) -> dict[str, Any]:
    return demo.next_snapshot()


def _send_something(server: Server) -> None:
    order = {"order_id": "docs-1", "symbol": "DOCS", "side": "buy", "quantity": "2", "strategy": "docs"}
    fill = {"type": "fill", "trade_id": "docs-1", "price": "10", **order}
    events = [
        {"type": "quote", "symbol": "DOCS", "bid": 9, "ask": 11},
        # Its minute is over, so it makes a bar.
        {"type": "print", "symbol": "DOCS", "price": 10, "size": 1, "ts": time.time_ns() - 120 * 10**9},
        {"type": "order", "status": "new", **order},
        fill,
        {**fill, "quantity": "1"},
        {"type": "metric", "name": "docs", "value": 1},
        {"type": "alert", "severity": "info", "title": "docs"},
    ]
    assert post(server, "/api/ingest", events)["accepted"] == len(events) - 1
    with connect(server.websocket_url) as client:
        client.recv()


def _first(members: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(iter(members.values()))
    return found


FIELDS: Final[dict[tuple[str, str], Callable[[Server, dict[str, Any]], dict[str, Any]]]] = {
    ("docs/api.md", "snapshot"): lambda _, snapshot: {name: None for name in snapshot if name != "queue"},
    ("docs/symbols.md", "market_data"): lambda _, snapshot: _first(snapshot["market_data"]),
    ("docs/accounting.md", "strategy"): lambda _, snapshot: snapshot["strategy"],
    ("docs/accounting.md", "strategies"): lambda _, snapshot: _first(snapshot["strategy"]["strategies"]),
    ("docs/accounting.md", "positions"): lambda _, snapshot: snapshot["strategy"]["positions"][0],
    ("docs/accounting.md", "performance"): lambda server, _: server.get("/api/strategy/performance")["account"],
    ("docs/accounting.md", "trade-stats"): lambda server, _: server.get("/api/trades/stats/summary"),
    ("docs/execution-quality.md", "execution"): lambda _, snapshot: snapshot["execution"],
    ("docs/execution-quality.md", "quality"): lambda server, _: server.get("/api/trades/execution/quality"),
    ("docs/monitoring.md", "system"): lambda _, snapshot: snapshot["system"],
    ("docs/api.md", "trade"): lambda server, _: server.get("/api/trades?limit=1")["trades"][0],
    ("docs/api.md", "order"): lambda server, _: server.get("/api/orders?limit=1")["orders"][0],
    ("docs/api.md", "order-life"): lambda server, _: _further_fields(server),
    ("docs/monitoring.md", "performance"): lambda server, _: server.get("/api/system/performance"),
    ("docs/monitoring.md", "stats"): lambda server, _: server.get("/api/system/stats"),
    ("docs/api.md", "connected"): lambda server, _: _greeting(server),
    ("docs/alerts.md", "alert"): lambda server, _: server.get("/api/system/alerts")["alerts"][0],
}
"""By document and marker, the object whose fields the table names."""


def _further_fields(server: Server) -> dict[str, Any]:
    """Returns what the life of an order has beyond the list of orders."""
    order = server.get("/api/orders?limit=1")["orders"][0]
    life = server.get(f"/api/orders/{order['order_id']}?symbol={quote(order['symbol'])}")
    return {name: value for name, value in life.items() if name not in order}


def _greeting(server: Server) -> dict[str, Any]:
    with connect(f"{server.websocket_url}?since=0:0") as client:
        greeting: dict[str, Any] = json.loads(client.recv())
        return greeting


@pytest.mark.parametrize(("name", "marker"), FIELDS, ids=lambda word: word)
def test_a_table_names_every_field_and_no_other(demo: Server, snapshot: dict[str, Any], name: str, marker: str) -> None:
    assert sorted(document(name).names(marker)) == sorted(FIELDS[name, marker](demo, snapshot))


def test_the_table_of_sources_names_every_field_and_no_other(sourced: Server) -> None:
    assert sorted(document("docs/sources.md").names("sources")) == sorted(
        _first(sourced.get("/api/system/sources")["sources"])
    )


def test_the_collector_of_the_documents_is_in_the_snapshot(snapshot: dict[str, Any]) -> None:
    assert snapshot["queue"] == {"depth": 0}


def test_the_legs_and_parts_of_execution_quality_are_those_of_the_document(demo: Server) -> None:
    text = document("docs/execution-quality.md").text
    quality = demo.get("/api/trades/execution/quality")
    parts = [
        name for name in quality["implementation_shortfall"] if f"{name}_bps" in quality["implementation_shortfall"]
    ]
    for names in (quality["latency"], quality["missing_reports"], parts):
        assert [name for name in names if f"`{name}`" not in text] == []


def test_the_table_of_series_has_every_series_and_field(demo: Server) -> None:
    demo.next_snapshot()  # a tick has written a row of each
    sections = ["market_data", "strategy", "strategies", "execution", "system", "bars"]
    wanted = {"metric_types": sections, "interval": "1m", "format": "columns", "limit": 1}
    series = post(demo, "/api/metrics/history", wanted)["data"]
    fields = {one["type"]: sorted(one.keys() - {"type", "symbol", "strategy", "timestamp"}) for one in series}
    documented = document("docs/api.md").table("series")
    assert {row[0].split("`")[1]: sorted(re.findall(r"`(\w+)`", row[1])) for row in documented} == fields


def test_the_table_of_server_figures_has_every_figure(demo: Server) -> None:
    queues = dict.fromkeys(demo.get("/api/system/performance")["queues"], lambda: 0)
    unread = cast(Any, None)
    figures = server_figures(cast(Any, SimpleNamespace(bus=None)), unread, unread, queues, unread)
    documented = document("docs/alerts.md").names("server-figures")
    assert sorted(documented) == sorted(f"server.{name}" for name in figures)


def test_the_tables_of_parameters_have_every_parameter(demo: Server) -> None:
    description = demo.get("/openapi.json")
    api = document("docs/api.md")
    for path, marker in (("/api/trades", "trades"), ("/api/orders", "orders")):
        parameters = description["paths"][path]["get"]["parameters"]
        assert sorted(api.names(marker)) == sorted(parameter["name"] for parameter in parameters)
    body = description["paths"]["/api/metrics/history"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    history = description["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert sorted(api.names("history")) == sorted(history["properties"])


# -- routes and roles

READ_TOKEN: Final = "r" * 16


def test_the_table_of_routes_has_every_route(demo: Server) -> None:
    described = demo.get("/openapi.json")["paths"]
    expected = {(method.upper(), path) for path, operations in described.items() for method in operations}
    expected |= {("WebSocket", path) for kind in WebSocketEndpoint.__subclasses__() for path in kind.paths}
    documented = [(row[0], row[1].strip("`")) for row in document("docs/api.md").table("routes")]
    assert sorted(documented) == sorted(expected)


def test_each_route_has_the_role_that_the_table_says() -> None:
    server = Server(API_TOKENS=f"read:{READ_TOKEN},write:{'w' * 16}", OBSERVABILITY_ECHO="true")
    try:
        for method, code, role, _ in document("docs/api.md").table("routes"):
            path = re.sub(r"{\w+}", "1", code.strip("`"))
            without = _status(server, method, path, None)
            with_read_token = _status(server, method, path, READ_TOKEN)
            found = "open" if without != 401 else "write" if with_read_token == 403 else "read"
            assert found == role, f"{method} {path}: {without} without a token, {with_read_token} with one for reading"
    finally:
        server.stop()


def _status(server: Server, method: str, path: str, token: str | None) -> int:
    """Asks for a route and returns the status of the answer; an upgrade is asked for with a key that is none."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    if method == "WebSocket":
        method = "GET"
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)
    try:
        client.request(method, path, headers=headers)
        return client.getresponse().status
    finally:
        client.close()


# -- metrics


def test_the_table_of_metrics_has_every_metric_with_its_labels(demo: Server, sourced: Server) -> None:
    exposed = _metrics(demo)
    host = Server("--demo", "--workers", "2")
    try:
        _send_something(host)
        for server in (host, sourced):
            for name, labels in _metrics(server).items():
                exposed[name] = exposed.get(name, set()) | labels
    finally:
        host.stop()
    monitoring = document("docs/monitoring.md")
    documented = {
        name: set(re.findall(r"`(\w+)`", row[1]))
        for row in monitoring.table("metrics")
        for name in re.findall(r"`(\w+)`", row[0])
    }
    assert documented.keys() == exposed.keys()
    # What has no sample here has no labels, and some labels are there at times only.
    assert all(labels <= documented[name] for name, labels in exposed.items() if labels)


def _metrics(server: Server) -> dict[str, set[str]]:
    """The labels of each metric that a server exposes."""
    families = text_string_to_metric_families(server.get_bytes("/metrics").decode())
    return {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families
    }


# -- commands and examples

needs_programs = pytest.mark.skipif(
    any(shutil.which(program) is None for program in ("bash", "curl", "node", "openssl")),
    reason="bash, curl, node or openssl is not installed",
)

NOT_RUN: Final = {
    r"(uv )?pip install|python -m venv": "needs a package index; .ci/run runs the README's own commands",
    r"observability bench": "takes minutes; tests/system/test_bench.py runs it for seconds",
    r"python benchmarks/bench_capacity\.py": "takes five minutes",
    r"docker ": "needs a Docker daemon",
    r"python scripts/|uvicorn ": "starts the first version",
    r"pytest": "runs this suite, or a part of it",
    r"python tests/support/documents\.py$": "rewrites the documents; tests/test_docs.py compares what it would write",
    r"python tests/support/fuzz/": "runs for hours; tests/test_fuzz.py runs each target for a moment",
    r"observability notify ": "needs the services of its routes; tests/system/test_notifications.py has some",
    r"observability check .*--replay ": "needs a recording; tests/system/test_rule_backtest.py plays one",
    r"redis-cli ": "needs a Redis server; tests/system/test_redis_source.py starts one",
    r"from nautilus_trader": "needs NautilusTrader, which is no dependency",
}
"""The commands that are not run here, and why."""
_COMMAND = re.compile(r"(?:observability|python|curl|docker|docker compose|pip|uv|pytest|uvicorn|openssl)(?: .+)?")
# Names of Python packages and of this command, which stand in the text by themselves.
_WORDS: Final = frozenset({"observability", "curl", "openssl"})


@needs_programs
@pytest.mark.parametrize("found", [g for g in GUIDES if any(g.blocks())], ids=lambda found: found.name)
def test_every_block_of_a_document_runs(demo: Server, tmp_path: Path, found: Document) -> None:
    session = Session(tmp_path, demo.port)
    try:
        for block in found.blocks():
            assert block.language in ("sh", "python", "js", "json", "toml", "yaml", "text"), block
            if not _is_not_run(block.text):
                session.run(block)
    finally:
        session.stop()


@needs_programs
def test_every_command_in_the_text_runs(demo: Server, tmp_path: Path) -> None:
    commands = {code for found in GUIDES for code in found.codes() if _COMMAND.fullmatch(code)} - _WORDS
    session = Session(tmp_path, demo.port)
    try:
        session.run_together(sorted(command for command in commands if not _is_not_run(command)))
    finally:
        session.stop()


def test_every_exception_from_running_matches_a_command() -> None:
    texts = [block.text for found in GUIDES for block in found.blocks()]
    texts += [code for found in GUIDES for code in found.codes()]
    assert [pattern for pattern in NOT_RUN if not any(re.match(pattern, text) for text in texts)] == []


def _is_not_run(text: str) -> bool:
    return any(re.match(pattern, text) for pattern in NOT_RUN)
