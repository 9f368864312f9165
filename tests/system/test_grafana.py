"""The dashboards: valid for Grafana's schema, and those of the history with the requests that their panels make."""

from __future__ import annotations

import json
import re
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from hosts import fill, post, wait_until
from server_process import ROOT, TIMEOUT_SECONDS, Server, running

GRAFANA = ROOT / "deploy" / "grafana"
DASHBOARDS = sorted((GRAFANA / "dashboards").glob("*.json"))
HISTORY: dict[str, Any] = json.loads((GRAFANA / "dashboards" / "history.json").read_text())
INFINITY = "yesoreyeram-infinity-datasource"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_grafana_knows_every_field_of_a_dashboard(path: Path) -> None:
    register_default_plugins()
    dashboard = json.loads(path.read_text())
    # A field that the schema does not have is dropped, and a value of another type fails or is changed.
    known = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(dashboard)))
    assert list(_dropped(dashboard, known)) == []


def _dropped(ours: Any, theirs: Any, at: str = "") -> list[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return [fault for key in ours for fault in _dropped(ours[key], theirs.get(key), f"{at}.{key}")]
    if isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        return [
            fault for n, pair in enumerate(zip(ours, theirs, strict=True)) for fault in _dropped(*pair, f"{at}[{n}]")
        ]
    return [] if ours == theirs else [f"{at}: {ours!r} is {theirs!r}"]


@pytest.fixture(scope="module")
def traded() -> Any:
    """A server that has traded X, with a price in two minutes."""
    with running(STARTING_CAPITAL="100000") as server:
        now_ns = int(datetime.now(UTC).timestamp()) * 10**9
        order = {"type": "order", "order_id": "o1", "symbol": "X", "side": "buy", "quantity": "2", "strategy": "s"}
        post(server, "/api/ingest", [
            {"type": "quote", "symbol": "X", "bid": 99, "ask": 101},
            {"type": "print", "symbol": "X", "price": 100, "size": 1, "ts": now_ns - 120 * 10**9},
            {"type": "print", "symbol": "X", "price": 102, "size": 1, "ts": now_ns},
            {**order, "status": "pending_new", "ts": now_ns - 5_000_000},
            {**order, "status": "new", "ts": now_ns},
            {**fill(1, "buy", "100"), "symbol": "X", "strategy": "s", "order_id": "o1"},
        ])  # fmt: skip
        wait_until(lambda: server.get("/api/metrics/current")["strategy"]["strategies"])
        yield server


def frame(server: Server, query: dict[str, Any], variables: dict[str, str]) -> dict[str, list[Any]]:
    """Makes the request of a query as Infinity does, and returns its columns by their titles."""
    now = datetime.now(UTC)
    ends = {"from": now - timedelta(hours=1), "to": now + timedelta(seconds=1)}
    texts = {f"__{name}:date:iso": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z" for name, at in ends.items()}
    texts |= variables
    options = query["url_options"]
    assert options["body_type"] == "raw"
    body = re.sub(r"\$\{([\w:]+)\}", lambda match: texts[match[1]], options["data"])
    # The width of a panel decides; none of ours is below a second.
    body = body.replace("$__interval", variables["__interval"])
    request = urllib.request.Request(
        server.url(query["url"]), body.encode(), {"Content-Type": options["body_content_type"]},
        method=options["method"],
    )  # fmt: skip
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
        rows = json.load(answer)[query["root_selector"]]
    columns = {}
    for column in query["columns"]:
        kind, values = column["type"], [row[column["selector"]] for row in rows]
        if kind == "timestamp":
            assert all(datetime.fromisoformat(value) for value in values)
        else:
            assert all(isinstance(value, str if kind == "string" else (int, float, type(None))) for value in values)
        columns[column["text"]] = values
    return columns


@pytest.mark.parametrize("panel", HISTORY["panels"], ids=lambda panel: panel["title"])
def test_a_panel_of_the_history_gets_columns_that_have_values(traded: Server, panel: dict[str, Any]) -> None:
    for query in panel["targets"]:
        assert (query["datasource"]["type"], query["type"], query["source"]) == (INFINITY, "json", "url")
        variables = {"symbol": "X", "strategy": "s", "__interval": panel["interval"]}
        columns = wait_until(lambda query=query, given=variables: _if_known(frame(traded, query, given)))
        assert columns["time"] == sorted(columns["time"])


def _if_known(columns: dict[str, list[Any]]) -> dict[str, list[Any]] | None:
    """Returns columns once each has a value."""
    return columns if all(any(value is not None for value in values) for values in columns.values()) else None


def test_the_variables_of_the_history_are_what_was_traded(traded: Server) -> None:
    variables = {each["name"]: each for each in HISTORY["templating"]["list"]}
    for name, expected in (("symbol", "X"), ("strategy", "s")):
        query = variables[name]["query"]["infinityQuery"]
        found = wait_until(lambda query=query, name=name: frame(traded, query, {"__interval": "1h"})[name])
        assert set(found) == {expected}


def test_the_data_source_of_the_history_is_provisioned() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning" / "datasources" / "history.yml").read_text())["datasources"]
    assert (source["type"], source["url"]) == (INFINITY, "http://localhost:8000")
    assert HISTORY["templating"]["list"][0]["query"] == INFINITY
