"""What Prometheus sees of trading: its linter agrees, through one worker and through several, and it scrapes."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from documents import document
from hosts import children, exposed, fill, post, wait_until
from server_process import ROOT, Server, free_port

StartServer = Callable[..., Server]

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)"
)
PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))


def trade(server: Server) -> None:
    """Makes every section have something to show."""
    post(server, "/api/ingest", [
        {"type": "quote", "symbol": "X", "bid": 99, "ask": 101},
        {"type": "print", "symbol": "X", "price": 100, "size": 1},
        {"type": "order", "order_id": "1", "symbol": "X", "side": "buy", "quantity": "2", "status": "new",
         "strategy": "s"},
        {**fill(1, "buy", "100"), "strategy": "s", "commission": "1"},
    ])  # fmt: skip
    wait_until(lambda: server.get("/api/metrics/current")["strategy"]["strategies"])


@needs_prometheus
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_linter_of_prometheus_finds_nothing(workers: str, start_server: StartServer) -> None:
    server = start_server("--workers", workers)
    trade(server)
    text = wait_until(lambda: _scrape(server, b"execution_strategy_orders{"))
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    assert b'\ntrading_strategy_fees{strategy="s"} 1.0\n' in text
    assert b'\ntrading_position_quantity{strategy="s",symbol="X"} 2.0\n' in text


@needs_prometheus
def test_the_rules_are_valid_and_say_what_their_tests_expect() -> None:
    for arguments in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        done = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_every_expression_of_rules_and_dashboards_names_known_metrics(
    start_server: StartServer, tmp_path: Path
) -> None:
    routes = tmp_path / "alerts.toml"
    routes.write_text('[[route]]\nname = "desk"\nto = "http://127.0.0.1:1/"\n')
    server = start_server("--demo", "--data-dir", str(tmp_path / "data"), "--alerts", str(routes))
    with prometheus(server, tmp_path) as port:
        wait_until(lambda: _names(port))
        # Whether a metric has a sample now depends on the market.
        metrics = _families(server) | _families_of_desks() | {"up"}
        for where, expression in expressions():
            assert _query(port, expression) is not None, f"{where}: {expression}"
            unknown = names_in(expression) - metrics - RECORDED
            assert not unknown, f"{where}: no metric {unknown}"


@contextmanager
def prometheus(server: Server, directory: Path, *arguments: str) -> Iterator[int]:
    """Runs a Prometheus that scrapes a server every second; yields its port."""
    port = free_port()
    configuration = directory / "prometheus.yml"
    configuration.write_text(
        "global: {scrape_interval: 1s}\n"
        "scrape_configs:\n"
        f"  - {{job_name: observability, static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]}}\n"
    )
    process = subprocess.Popen(
        ["prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={directory / 'tsdb'}",
         f"--web.listen-address=127.0.0.1:{port}", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield port
    finally:
        process.terminate()
        process.wait()


@needs_prometheus
def test_prometheus_leads_from_a_latency_to_the_order(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server()
    now_ns = time.time_ns()
    order = {"type": "order", "order_id": "o-17", "symbol": "X", "side": "buy", "quantity": "2", "strategy": "s"}
    post(server, "/api/ingest", [
        {**order, "status": "pending_new", "ts": now_ns - 60_000_000},
        {**order, "status": "new", "ts": now_ns},
    ])  # fmt: skip
    with prometheus(server, tmp_path, "--enable-feature=exemplar-storage") as port:
        (found,) = wait_until(lambda: _exemplars(port, "execution_latency_seconds_bucket"))
    assert found["seriesLabels"]["leg"] == "send_to_ack"
    assert found["exemplars"][0]["labels"] == {"order_id": "o-17", "symbol": "X"}
    assert float(found["exemplars"][0]["value"]) == 0.06


def test_500_symbols_that_trade_make_no_more_than_two_megabytes(start_server: StartServer) -> None:
    server = start_server()
    fills = []
    for number in range(500):
        symbol = f"SYMBOL-{number}"
        fills += [
            {"type": "quote", "symbol": symbol, "bid": 99.25, "ask": 101.75},
            {"type": "print", "symbol": symbol, "price": 100.5, "size": 1},
            {**fill(number, "buy", "100.5"), "symbol": symbol, "strategy": f"strategy-{number % 20}", "venue": "V"},
        ]
    post(server, "/api/ingest", fills)
    text = wait_until(lambda: _scrape(server, b'trading_symbol_fees{symbol="SYMBOL-499"}'))
    assert text.count(b"\nmarket_bid_price{") == text.count(b"\ntrading_position_quantity{") == 500
    assert len(text) < 2_000_000


def test_no_counter_loses_what_a_replaced_worker_has_counted(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    before = children(server.process.pid)
    for number in range(20):
        if number == 10:
            server.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(children(server.process.pid) & before) == 1)
        post(server, "/api/ingest", fill(number, "buy", "100"))
    # Counters of the hub are shown as of its last tick.
    wait_until(lambda: _total(server, "ingest_events_total", 'type="fill"') == 20)
    assert _total(server, "http_requests_total", 'method="POST"') == 20


def _total(server: Server, name: str, label: str) -> float:
    return sum(n for each, n in exposed(server).items() if each.startswith(name) and label in each)


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_has_what_grafana_needs(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"observability-{path.stem}"
    assert dashboard["schemaVersion"] >= 39
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])


def expressions() -> list[tuple[str, str]]:
    """Returns the expressions of all rules and dashboards, with variables replaced by what matches everything."""
    found = []
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]:
        found += [(rule.get("alert") or rule["record"], rule["expr"]) for rule in group["rules"]]
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            # Panels of the history have requests in their place.
            expressions = [target["expr"] for target in panel["targets"] if "expr" in target]
            found += [(f"{path.stem}: {panel['title']}", expression) for expression in expressions]
    return [
        (where, text.replace("$__rate_interval", "1m").replace('~"$', '~".*').replace("$", "")) for where, text in found
    ]


def names_in(expression: str) -> set[str]:
    """Returns the metrics that an expression names."""
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", "", bare)
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", bare)
    words = re.findall(r"\b[a-z_:][a-z0-9_:]*\b(?!\s*\()", bare)
    return {word for word in words if word not in {"and", "or", "unless", "bool", "offset", "le", "by", "without"}}


RECORDED = {
    rule["record"]
    for group in yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    for rule in group["rules"]
    if "record" in rule
}


def _scrape(server: Server, wanted: bytes) -> bytes | None:
    text = server.get_bytes("/metrics")
    return text if wanted in text else None


def _families_of_desks() -> set[str]:
    """Returns the metrics of hosts of a desk: all those of the table, as another test holds."""
    rows = document("docs/several-machines.md").table("cluster-metrics")
    return {name.strip("`") for row in rows for name in row[0].split(", ")}


def _families(server: Server) -> set[str]:
    """Returns the names of samples that each family may have."""
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", server.get_bytes("/metrics").decode(), re.MULTILINE):
        names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return names


def _ask(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
        return json.load(answer)["data"]


def _names(port: int) -> list[str] | None:
    """Returns the names that Prometheus has scraped, once trading figures are among them."""
    try:
        names: list[str] = _ask(port, "/api/v1/label/__name__/values")
    except OSError:
        return None
    return names if "trading_strategy_pnl" in names and "market_last_price" in names else None


def _exemplars(port: int, metric: str) -> Any:
    try:
        return _ask(port, f"/api/v1/query_exemplars?query={metric}&start=0&end={time.time() + 60:.0f}")
    except OSError:
        return None


def _query(port: int, expression: str) -> Any:
    return _ask(port, f"/api/v1/query?query={quote(expression)}")
