"""An aggregator over the hubs of two desks: one snapshot of both, and what it says of a site that is away."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

from browser import Page
from desk_page import browser, choose, open_row, open_view, resize, table, wait_for_text
from documents import document
from hosts import fill, post, post_until_taken, send_alert, wait_until
from nats_server import NatsServer
from schema_checker import Checker
from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect, receive

__all__ = ["browser"]

SITES = ("london", "tokyo")
SUMS = ("total_pnl", "realized_pnl", "fees", "gross_exposure", "net_exposure")


class Fleet:
    """A NATS server, a hub of each site, and the aggregator."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        """What it starts ends with `opened`."""
        self._folder = folder
        self._opened = opened
        broker = NatsServer(folder)
        opened.callback(broker.kill)
        self._engine = f"nats://{broker.address}"
        with ThreadPoolExecutor() as threads:
            aggregator = threads.submit(self._start, "--role", "aggregator", "--sites", ",".join(SITES))
            self.hubs = dict(zip(SITES, threads.map(self.start_hub, SITES), strict=True))
            self.aggregator = aggregator.result()
        for number, hub in enumerate(self.hubs.values(), 1):
            post_until_taken(hub, [fill(1, "buy", f"{100 + number}.1"), fill(2, "sell", f"{101 + number}.3")])
            post_until_taken(hub, [fill(3, "buy", f"{100 + number}.7")])

    def start_hub(self, name: str) -> Server:
        # With the lease of 5 s: a hub of a busy machine would lose a short one, and end.
        return self._start("--desk", name, "--data-dir", str(self._folder / name))

    def _start(self, *arguments: str) -> Server:
        server = Server("--engine", self._engine, *arguments)
        self._opened.callback(server.stop)
        return server


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with ExitStack() as opened:
        made = Fleet(tmp_path_factory.mktemp("fleet"), opened)
        wait_until(lambda: made.aggregator.get("/api/metrics/current")["strategy"]["fills"] == 6)
        yield made


def active_alerts(aggregator: Server) -> list[tuple[str, str | None]]:
    """Returns key and site of each."""
    alerts = aggregator.get("/api/system/alerts?state=active")["alerts"]
    return [(alert["key"], alert["site"]) for alert in alerts]


def client(server: Server, query: str = "") -> ClientConnection:
    return connect(f"{server.websocket_url}{query}")


def snapshot_in_which(connection: ClientConnection, sites: dict[str, str], fills: int | None = None) -> dict[str, Any]:
    """Returns the first snapshot from now on in which the sites have these states, and there are so many fills."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        snapshot = receive(connection, "metrics_update")
        states = {name: site["status"] for name, site in snapshot["sites"].items()}
        if states == sites and fills in (None, snapshot["strategy"]["fills"]):
            return snapshot
    raise AssertionError(f"the sites are {states}, with {snapshot['strategy']['fills']} fills")


def refusal(server: Server, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(server.url(path), body, {"Content-Type": "application/json"}, method=method)
    with pytest.raises(urllib.error.HTTPError) as raised:
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    with raised.value as answer:
        return answer.code, json.load(answer)


def test_a_client_sees_both_sites_and_their_exact_totals(fleet: Fleet) -> None:
    with client(fleet.aggregator) as connection:
        assert "sites" in receive(connection, "connected")["channels"]
        snapshot = snapshot_in_which(connection, dict.fromkeys(SITES, "live"))
    parts = {name: hub.get("/api/metrics/current")["strategy"] for name, hub in fleet.hubs.items()}
    strategy = snapshot["strategy"]
    for name in SUMS:
        assert strategy[name] == float(sum(Decimal(repr(part[name])) for part in parts.values())), name
    assert strategy["missing_sites"] == []
    assert (strategy["sharpe"], strategy["undefined_reason"]) == (
        None, "not defined over several sites; `sites` has that of each"
    )  # fmt: skip
    keys = [position["key"] for position in strategy["positions"]]
    assert keys == [f"{name}/{part['positions'][0]['key']}" for name, part in parts.items()]
    assert strategy["sites"]["tokyo"]["max_drawdown"] == parts["tokyo"]["max_drawdown"]


def test_a_client_that_wants_changes_and_one_symbol_of_one_site_gets_these(fleet: Fleet) -> None:
    (symbol,) = (fleet.hubs["london"].get("/api/positions")["positions"][0]["symbol"],)
    with client(fleet.aggregator, f"?mode=delta&channels=sites,strategy&symbols=london/{symbol}") as connection:
        first = receive(connection, "metrics_update")
        assert [each["symbol"] for each in first["strategy"]["positions"]] == [f"london/{symbol}"]
        changes = [receive(connection, "metrics_delta") for _ in range(20)]
    # Ages change with each tick; what has not changed is not sent.
    assert all(set(change["sites"]) == set(SITES) for change in changes)
    assert any(not change.get("strategy", {}).get("positions") for change in changes)


def test_the_snapshot_and_the_documents_are_as_the_reference_describes_them(fleet: Fleet) -> None:
    api = fleet.aggregator.get("/openapi.json")
    checker = Checker(api)
    for path in (
        "/api/metrics/current", "/api/metrics/symbols", "/api/metrics/summary", "/api/positions", "/api/system/alerts",
        "/api/system/health", "/api/system/performance", "/api/system/components", "/api/system/stats",
    ):  # fmt: skip
        schema = api["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        assert checker.faults(schema, fleet.aggregator.get(path)) == [], path


def test_the_table_of_figures_has_every_figure_of_a_site(fleet: Fleet) -> None:
    lines = fleet.aggregator.get_bytes("/metrics").decode().splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE cluster_")}
    documented = [row[0] for row in document("docs/several-machines.md").table("site-metrics")]
    assert {name.strip("`") for row in documented for name in row.split(", ")} == names
    assert any(line.startswith('cluster_site_live{site="tokyo"}') for line in lines)


def test_what_a_hub_keeps_is_asked_for_by_the_name_of_its_site(fleet: Fleet) -> None:
    aggregator = fleet.aggregator
    for name, hub in fleet.hubs.items():
        for path in ("/api/trades?limit=2", "/api/positions", "/api/strategy/performance", "/api/orders"):
            separator = "&" if "?" in path else "?"
            found = aggregator.get(f"{path}{separator}site={name}")
            own = hub.get(path)
            assert {k: v for k, v in found.items() if k not in ("timestamp", "seq")} == {
                k: v for k, v in own.items() if k not in ("timestamp", "seq")
            }, (name, path)
    status, problem = refusal(aggregator, "/api/trades")
    assert (status, problem["errors"]) == (422, [{"parameter": "site", "error": "expected one of london, tokyo"}])
    assert refusal(aggregator, "/api/trades?site=paris")[0] == 422


def test_positions_of_all_sites_have_their_exact_figures(fleet: Fleet) -> None:
    found = fleet.aggregator.get("/api/positions")
    own = {name: hub.get("/api/positions")["positions"][0] for name, hub in fleet.hubs.items()}
    assert found["missing_sites"] == []
    assert [(each["key"], each["exact"]) for each in found["positions"]] == [
        (f"{name}/{each['key']}", each["exact"]) for name, each in own.items()
    ]
    filtered = fleet.aggregator.get(f"/api/positions?symbol=tokyo/{own['tokyo']['symbol']}")
    assert [each["key"] for each in filtered["positions"]] == [f"tokyo/{own['tokyo']['key']}"]


def test_an_alert_is_shown_under_its_site_and_acknowledged_there(fleet: Fleet) -> None:
    send_alert(fleet.hubs["tokyo"], "disk")

    def shown() -> dict[str, Any] | None:
        alerts = fleet.aggregator.get("/api/system/alerts?state=active")["alerts"]
        return next((alert for alert in alerts if alert["key"] == "disk"), None)

    alert = wait_until(shown)
    assert (alert["site"], alert["alert_id"].partition(":")[0]) == ("tokyo", "tokyo")
    answer = post(fleet.aggregator, f"/api/system/alerts/acknowledge/{alert['alert_id']}?author=ana", {})
    assert (answer["state"], answer["alert_id"]) == ("acknowledged", alert["alert_id"])
    (own,) = wait_until(lambda: fleet.hubs["tokyo"].get("/api/system/alerts?state=acknowledged")["alerts"])
    assert own["acknowledged_by"] == "ana"
    assert refusal(fleet.aggregator, "/api/system/alerts/acknowledge/paris:1", "POST")[0] == 404


def test_lanes_bring_each_entry_of_every_site_once(fleet: Fleet) -> None:
    with client(fleet.aggregator, "?channels=trades,alerts") as connection:
        receive(connection, "connected")
        post_until_taken(fleet.hubs["london"], [fill(11, "buy", "100"), fill(12, "sell", "101")])
        post_until_taken(fleet.hubs["tokyo"], [fill(11, "buy", "102"), fill(12, "sell", "103")])
        send_alert(fleet.hubs["tokyo"], "lane")
        entries: list[dict[str, Any]] = []
        while len(entries) < 5:
            # Other alerts may come, too: on a busy machine a site is late at times.
            entry = receive(connection, "trade", "alert")
            if entry.get("key", "lane") == "lane":
                entries.append(entry)
    trades = [each for each in entries if each["type"] == "trade"]
    for site in SITES:
        own = [each for each in trades if each["site"] == site]
        assert [each["trade_id"] for each in own] == ["11", "12"]
        assert {each["symbol"].partition("/")[0] for each in own} == {site}
    (alert,) = (each for each in entries if each["type"] == "alert")
    assert (alert["key"], alert["alert_id"].partition(":")[0]) == ("lane", "tokyo")
    numbers = [each["seq"] for each in trades]
    assert numbers == sorted(set(numbers))
    send_alert(fleet.hubs["tokyo"], "lane", "resolved")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_shows_orders_and_costs_of_the_site_that_is_chosen(fleet: Fleet, browser: Page) -> None:
    open_view(browser, fleet.aggregator, "#/orders?tab=trades")
    wait_for_text(browser, "[aria-label=Trades] .row", "101.7")
    choose(browser, "site", "tokyo")
    wait_for_text(browser, "[aria-label=Trades] .row", "102.7")
    post_until_taken(fleet.hubs["london"], [fill(20, "buy", "104.5")])
    post_until_taken(fleet.hubs["tokyo"], [fill(20, "buy", "105.5"), fill(21, "buy", "106.5")])
    wait_for_text(browser, "[aria-label=Trades] .row", "106.5")
    rows = table(browser, "Trades")
    totals = {name: hub.get("/api/trades?limit=1")["total"] for name, hub in fleet.hubs.items()}
    assert ({row[1] for row in rows}, len(rows)) == ({"X"}, totals["tokyo"])
    assert not any("104.5" in row for row in rows)
    browser.evaluate("location.hash = '#/execution?site=tokyo'")
    fills = "[...document.querySelectorAll('dt')].find(each => each.textContent === 'Fills')?.nextElementSibling"
    browser.wait_for(f"{fills}?.textContent === '{totals['tokyo']}'")
    choose(browser, "site", "london")
    browser.wait_for(f"{fills}?.textContent === '{totals['london']}'")
    assert totals["london"] != totals["tokyo"]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_addresses_and_links_of_the_page_lead_to_the_order_of_their_site(fleet: Fleet, browser: Page) -> None:
    for number, (name, hub) in enumerate(fleet.hubs.items(), 1):
        order = {"type": "order", "order_id": "same", "symbol": "X", "side": "buy", "quantity": number, "price": 1}
        post_until_taken(hub, [{**order, "status": "rejected", "reason": f"no margin in {name}"}])
    resize(browser, 1400, 900)
    open_view(browser, fleet.aggregator, "#/orders/same?of=X&site=tokyo")
    wait_for_text(browser, ".life-title", "BUY 2 X")
    browser.evaluate("location.hash = '#/orders/same?of=X&site=london'")
    wait_for_text(browser, ".life-title", "BUY 1 X")
    browser.evaluate("location.hash = '#/execution?site=tokyo'")
    wait_for_text(browser, "[aria-label=Rejects] .row", "no margin in tokyo")
    open_row(browser, "Rejects", "no margin in tokyo")
    wait_for_text(browser, "[aria-label=Orders] .row", "no margin in tokyo")


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_asks_an_aggregator_for_nothing_that_it_refuses(fleet: Fleet, browser: Page) -> None:
    browser.open("about:blank")
    browser.errors.clear()
    for view in ("overview", "market", "strategies", "system"):
        open_view(browser, fleet.aggregator, f"#/{view}")
    assert browser.errors == []


def test_an_aggregator_takes_no_events(fleet: Fleet) -> None:
    status, problem = refusal(fleet.aggregator, "/api/ingest", "POST", json.dumps(fill(9, "buy", "1")).encode())
    assert status == 404
    assert "an aggregator takes no events" in problem["detail"]


def test_a_site_whose_hub_is_killed_is_stale_until_it_is_back(fleet: Fleet) -> None:
    aggregator = fleet.aggregator
    fills = sum(hub.get("/api/trades?limit=1")["total"] for hub in fleet.hubs.values())
    with client(aggregator) as connection:
        before = snapshot_in_which(connection, {"london": "live", "tokyo": "live"}, fills)
        fleet.hubs["tokyo"].process.kill()
        snapshot = snapshot_in_which(connection, {"london": "live", "tokyo": "stale"})
        site, strategy = snapshot["sites"]["tokyo"], snapshot["strategy"]
        assert site["age_ms"] > 2000
        assert site["reason"] == "its hub publishes no frames"
        assert [snapshot[name]["missing_sites"] for name in ("strategy", "execution", "system")] == [["tokyo"]] * 3
        assert strategy["total_pnl"] == strategy["sites"]["london"]["total_pnl"]
        assert strategy["fills"] < fills
        assert [each["stale"] for each in strategy["positions"]][1]
        assert any("tokyo is stale" in reason for reason in snapshot["system"]["health_reasons"])
        assert ("site_missing/tokyo", None) in active_alerts(aggregator)
        assert "tokyo" in aggregator.get("/api/metrics/summary")["missing_sites"]
        found = aggregator.get("/api/positions")
        assert ([each["key"] for each in found["positions"]], found["missing_sites"]) == (
            ["london/default/X"],
            ["tokyo"],
        )
        assert refusal(aggregator, "/api/trades?site=tokyo")[0] == 503
        fleet.hubs["tokyo"] = fleet.start_hub("tokyo")
        after = snapshot_in_which(connection, {"london": "live", "tokyo": "live"}, fills)
    assert after["strategy"]["missing_sites"] == []
    assert after["sites"]["tokyo"]["epoch"] != before["sites"]["tokyo"]["epoch"]
    wait_until(lambda: ("site_missing/tokyo", None) not in active_alerts(aggregator))
