"""Several machines as processes of one: a NATS server, a hub, and edges that serve what it publishes."""

from __future__ import annotations

import asyncio
import gzip
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from socket import gethostname
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from accessibility import violations
from browser import browser_page
from documents import document
from hosts import exposed, fill, not_ready, post, post_until_taken, trade_ids, wait_until
from nats_server import NatsServer
from server_process import TIMEOUT_SECONDS, Server, run_command, running
from ws_client import connect, receive, receive_deltas, receive_snapshots, receive_text

StartServer = Callable[..., Server]


class SeveralMachines:
    """A desk of one hub and its edges."""

    def __init__(self, folder: Path, start: StartServer) -> None:
        self.folder = folder
        self._start = start
        self.broker = NatsServer(folder)
        self.engine = f"nats://{self.broker.address}"
        self.hub = self.start_hub()
        self.edges = [self.start_edge(), self.start_edge("--workers", "2")]

    def start_hub(self) -> Server:
        return self._start("--engine", self.engine, "--data-dir", str(self.folder / "data"))

    def start_edge(self, *arguments: str) -> Server:
        return self._start("--engine", self.engine, "--role", "edge", *arguments)

    def close(self) -> None:
        self.broker.kill()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeveralMachines]:
    """A desk whose hub and edges live as long as the tests of this module that disturb nothing."""
    with ExitStack() as opened:

        def start(*arguments: str) -> Server:
            return opened.enter_context(running(*arguments))

        machines = SeveralMachines(tmp_path_factory.mktemp("desk"), start)
        opened.callback(machines.close)
        yield machines


@pytest.fixture
def disturbed(tmp_path: Path, start_server: StartServer) -> Iterator[SeveralMachines]:
    """A desk for one test, which may disturb it."""
    machines = SeveralMachines(tmp_path, start_server)
    yield machines
    machines.close()


def client(server: Server, query: str = "", compression: str | None = "deflate") -> ClientConnection:
    return connect(f"{server.websocket_url}{query}", compression=compression)


def snapshots_of(connection: ClientConnection, count: int) -> dict[int, str]:
    """Returns so many snapshots as they were sent, by their number."""
    texts = [receive_text(connection, "metrics_update") for _ in range(count)]
    return {json.loads(text)["seq"]: text for text in texts}


def ended_second(desk: SeveralMachines) -> str | None:
    """Returns a time a second before the newest tick, once there is a tick of a later second than at the call."""
    stamp: str = desk.hub.get("/api/metrics/current")["timestamp"]
    return f"{stamp[:19]}Z" if int(stamp[20]) > 5 else None


def refusal(server: Server, path: str) -> tuple[int, str | None, dict[str, Any]]:
    with pytest.raises(urllib.error.HTTPError) as raised:
        server.get(path)
    with raised.value as answer:
        return answer.code, answer.headers["Retry-After"], json.load(answer)


# -- what edges serve


def test_every_edge_sends_the_bytes_of_the_hub(desk: SeveralMachines) -> None:
    servers = [desk.hub, *desk.edges]
    with ExitStack() as opened:
        clients = [opened.enter_context(client(server)) for server in servers]
        sent: list[dict[int, str]] = [{} for _ in clients]
        # The last of them may have come much later than the first.
        while not (common := set.intersection(*(set(each) for each in sent))):
            for each, seen in zip(clients, sent, strict=True):
                seen |= snapshots_of(each, 10)
    for seq in common:
        assert len({each[seq] for each in sent}) == 1


def test_an_edge_answers_with_a_document_of_the_hub_and_its_tag(desk: SeveralMachines) -> None:
    def tagged(server: Server) -> tuple[str, bytes]:
        with urllib.request.urlopen(server.url("/api/metrics/current"), timeout=TIMEOUT_SECONDS) as answer:
            return answer.headers["ETag"], answer.read()

    seen: list[dict[str, bytes]] = [{}, {}]

    def has_met() -> set[str]:
        for documents, server in zip(seen, (desk.hub, desk.edges[0]), strict=True):
            tag, body = tagged(server)
            documents[tag] = body
        return seen[0].keys() & seen[1].keys()

    (tag, *_) = wait_until(has_met)
    assert seen[0][tag] == seen[1][tag]
    assert desk.edges[0].get("/api/metrics/summary").keys() == desk.hub.get("/api/metrics/summary").keys()


def test_an_edge_sends_views_and_deltas(desk: SeveralMachines) -> None:
    with client(desk.edges[1], "?channels=system&mode=delta") as connection:
        first = receive(connection, "metrics_update")
        assert "strategy" not in first
        assert [set(delta) & {"strategy", "execution"} for delta in receive_deltas(connection, 3, first["seq"])]


def test_a_client_resumes_at_an_edge_that_has_just_started(desk: SeveralMachines, start_server: StartServer) -> None:
    # So slow that the frame is still kept when the edge has started, however busy the machine is.
    slow = {"METRIC_COLLECTION_INTERVAL": "1"}
    arguments = ("--engine", desk.engine, "--desk", "slow")
    hub = start_server(*arguments, **slow)
    with client(hub) as connection:
        epoch = receive(connection, "connected")["epoch"]
        seq = [each["seq"] for each in receive_snapshots(connection, 2)][-1]
    edge = start_server(*arguments, "--role", "edge", **slow)
    with client(edge, f"?since={epoch}:{seq - 1}") as connection:
        assert receive(connection, "connected")["recovered"] is True
        assert [each["seq"] for each in receive_snapshots(connection, 3)] == [seq, seq + 1, seq + 2]


def test_an_edge_takes_events_that_every_other_edge_shows(desk: SeveralMachines) -> None:
    first, second = desk.edges
    answer = post_until_taken(first, [fill(1, "buy", "10"), fill(2, "sell", "11")])
    # An answer that is lost on its way is asked for again.
    assert answer["accepted"] + answer["duplicates"] == 2
    assert post_until_taken(second, [fill(1, "buy", "10")])["duplicates"] == 1
    for server in (second, desk.hub):
        assert {"1", "2"} <= set(trade_ids(server))


def test_a_lane_brings_every_trade_once_at_every_edge(desk: SeveralMachines) -> None:
    first, second = desk.edges
    numbers = range(100, 130)
    with client(first, "?channels=trades") as live:
        receive(live, "subscribed", "connected")
        for number in numbers:
            post_until_taken(second, [fill(number, "buy", "10")])
        came = [receive(live, "trade") for _ in numbers]
    assert [trade["trade_id"] for trade in came] == [str(number) for number in numbers]
    assert all(after["prev"] == trade["seq"] for trade, after in pairwise(came))
    with client(second, f"?channels=trades&lane_since={came[4]['seq']}") as resumed:
        again = [receive(resumed, "trade") for _ in numbers[5:]]
    assert again == came[5:]


def test_an_edge_answers_with_the_history_and_the_orders_of_the_hub(desk: SeveralMachines) -> None:
    post_until_taken(desk.edges[0], [fill(50, "buy", "10")])
    wanted = {"time_range": "1h", "interval": "1s", "metric_types": ["strategy"], "format": "columns"}
    # Both ends of the time lie before the newest tick, so that nothing is added to it.
    wanted["end_time"] = wait_until(lambda: ended_second(desk))
    del wanted["time_range"]
    wanted["start_time"] = "2020-01-01T00:00:00Z"
    assert post(desk.edges[0], "/api/metrics/history", wanted) == post(desk.hub, "/api/metrics/history", wanted)
    assert desk.edges[1].get("/api/orders/50") == desk.hub.get("/api/orders/50")
    assert [order["order_id"] for order in desk.edges[1].get("/api/orders?limit=1")["orders"]]
    assert desk.edges[0].get("/api/system/alerts/history").keys() == desk.hub.get("/api/system/alerts/history").keys()
    assert refusal(desk.edges[0], "/api/orders/none")[0] == 404


# What stands for a path's parameters, and the queries and contents of requests that change nothing.
PATHS = {
    "{trade_id}": "50",
    "{order_id}": "50",
    "{alert_id}": "none",
    "{silence_id}": "none",
    "documents/{name}": "documents/system_stats",
    "{build}/{file}": "x/app.js",
    "{build}/{folder}/{file}": "x/js/dom.js",
}
QUERIES = {"/stream": "?channels=nothing-like-that"}


def answers(server: Server, at: str) -> dict[str, tuple[int, str]]:
    """Returns status and type of what a server answers to a request of each of its operations."""
    times = {"time": at, "start_time": "2020-01-01T00:00:00Z", "end_time": at}
    found = {}
    for pattern, operations in server.get("/openapi.json")["paths"].items():
        path = pattern
        for parameter, value in PATHS.items():
            path = path.replace(parameter, value)
        assert "{" not in path, f"{path}: give its parameter a value"
        for method, operation in operations.items():
            names = [each["name"] for each in operation.get("parameters", []) if each["required"]]
            query = "&".join(f"{name}={times[name]}" for name in names if name in times)
            url = server.url(path + (QUERIES.get(pattern) or (f"?{query}" if query else "")))
            body = None if method == "get" else b"{}"
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method.upper())
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
                    found[f"{method} {pattern}"] = answer.status, answer.headers["Content-Type"]
            except urllib.error.HTTPError as refused:
                with refused:
                    found[f"{method} {pattern}"] = refused.code, refused.headers["Content-Type"]
    return found


def test_an_edge_answers_every_operation_as_the_hub_does(desk: SeveralMachines) -> None:
    post_until_taken(desk.edges[0], [fill(50, "buy", "10")])
    at = desk.hub.next_snapshot()["timestamp"]
    wait_until(lambda: desk.hub.get("/api/recordings")["end_time"] > at)
    of_hub = answers(desk.hub, at)
    assert answers(desk.edges[0], at) == of_hub
    assert {status for operation, (status, _) in of_hub.items() if operation.startswith("get /api/")} == {200}


def test_an_edge_answers_with_past_snapshots_of_the_hub(desk: SeveralMachines) -> None:
    at = desk.hub.next_snapshot()["timestamp"]
    wait_until(lambda: desk.hub.get("/api/recordings")["end_time"] > at)

    def ask(server: Server, **fields: str) -> tuple[bytes, str]:
        request = urllib.request.Request(server.url(f"/api/metrics/at?time={at}"), headers=fields)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.read(), answer.headers["ETag"]

    body, tag = ask(desk.edges[0])
    assert (body, tag) == ask(desk.hub)
    assert json.loads(body)["timestamp"] == at
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        ask(desk.edges[0], **{"If-None-Match": tag})
    with unchanged.value as answer:
        assert answer.code == 304
    compressed, other_tag = ask(desk.edges[0], **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(compressed) == body and other_tag != tag
    assert refusal(desk.edges[0], "/api/metrics/at?time=2020-01-01T00:00:00Z") == refusal(
        desk.hub, "/api/metrics/at?time=2020-01-01T00:00:00Z"
    )


def test_an_edge_refuses_to_play_the_past_and_says_so(desk: SeveralMachines) -> None:
    assert desk.hub.get("/api/recordings")["playback"] is True
    told = desk.edges[0].get("/api/recordings")
    assert (told["playback"], told["recording"], told["start_time"] is None) == (False, True, False)
    with pytest.raises(InvalidStatus) as refused:
        client(desk.edges[0], f"?at={told['start_time']}")
    assert refused.value.response.status_code == 404
    assert b"it is an edge, and the hub plays the past" in refused.value.response.body


def test_an_engine_sends_batches_over_the_servers_of_the_desk(desk: SeveralMachines) -> None:
    batch = json.dumps([fill(70, "buy", "10"), fill(71, "buy", "10"), {"type": "fill"}]).encode()

    async def send() -> list[tuple[dict[str, str], dict[str, Any]]]:
        async with desk.broker.client() as engine:
            answers = []
            for ident, data in (("a", batch), ("a", batch), ("a", b"[]"), (None, batch), (None, b"{nonsense")):
                headers = None if ident is None else {"Nats-Msg-Id": ident}
                answer = await engine.request("obs.main.in.algo", data, timeout=TIMEOUT_SECONDS, headers=headers)
                answers.append((answer.headers["Obs-Status"], json.loads(answer.data)))
            return answers

    (status, first), repeated, (other, _), (_, same_ids), (nonsense, _) = asyncio.run(send())
    assert (status, first["accepted"], first["duplicates"], first["rejected_count"]) == ("200", 2, 0, 1)
    assert repeated == (status, first)
    assert (same_ids["accepted"], same_ids["duplicates"]) == (0, 2)
    assert (other, nonsense) == ("422", "400")
    assert {"70", "71"} <= set(trade_ids(desk.edges[0]))


def test_the_metrics_of_an_edge_tell_of_itself_and_of_its_lag(desk: SeveralMachines) -> None:
    def figures() -> dict[str, float]:
        found = exposed(desk.edges[0])
        return found if found["cluster_frame_lag_seconds_count"] > 3 else {}

    found = wait_until(figures)
    assert found["cluster_connected"] == 1
    assert found["cluster_frames_received_total"] > 3
    assert 0 <= found["cluster_lag_seconds"] < TIMEOUT_SECONDS
    assert any(name.startswith('process_cpu_seconds_total{role="edge"') for name in found)
    assert exposed(desk.hub)["cluster_frames_published_total"] > 3


def desk_of(server: Server) -> dict[str, Any]:
    """Returns the desk as a host sees it."""
    found: dict[str, Any] = server.get("/api/system/health")["desk"]
    return found


def test_every_host_shows_the_hosts_of_its_desk(desk: SeveralMachines) -> None:
    def see() -> list[dict[str, Any]]:
        found = [desk_of(server) for server in (desk.hub, *desk.edges)]
        # What a host says before its first frame is shown for a second.
        edges = [[edge for edge in each["edges"] if edge["epoch"]] for each in found]
        return found if all(each["leader"] for each in found) and all(len(each) == 2 for each in edges) else []

    seen = wait_until(see)
    assert [(each["role"], each["leads"], each["trouble"]) for each in seen] == [
        ("hub", True, None), ("edge", False, None), ("edge", False, None)
    ]  # fmt: skip
    epoch = desk.hub.get("/api/metrics/current")["epoch"]
    for each in seen:
        assert each["leader"]["pid"] == desk.hub.process.pid
        assert (each["leader"]["epoch"], each["edges"][0]["epoch"]) == (epoch, epoch)
        assert {edge["pid"] for edge in each["edges"]} == {seen[1]["pid"], seen[2]["pid"]}
        assert all(edge["lag_ms"] is not None for edge in each["edges"])
    for server in (desk.edges[0], desk.hub):
        wait_until(lambda: exposed(server)["cluster_edges"] == 2)  # noqa: B023 - called here


def test_an_edge_counts_its_clients_for_every_host(desk: SeveralMachines) -> None:
    second = desk_of(desk.edges[1])["pid"]
    with client(desk.edges[1]), client(desk.edges[1]):
        wait_until(lambda: any(e["pid"] == second and e["clients"] == 2 for e in desk_of(desk.edges[0])["edges"]))


def test_the_page_of_an_edge_shows_the_hosts_of_its_desk(desk: SeveralMachines) -> None:
    with browser_page() as page:
        page.open(desk.edges[0].url("/#/system"))
        page.wait_for("document.querySelectorAll('[aria-label=\"Hosts of the desk\"] .row').length === 3")
        texts = "[...document.querySelectorAll('[aria-label=\"Hosts of the desk\"] .row')].map(e => e.textContent)"
        hub, *edges = page.evaluate(texts)
        assert "leads" in hub and all("edge" in each for each in edges)
        assert sum("(this one)" in each for each in edges) == 1
        page.wait_for("app.scrubber.toggle.disabled && app.scrubber.toggle.textContent === 'Past: at the hub'")
        page.evaluate("app.scrubber.switch()")
        assert page.evaluate("app.feed.isPast") is False
        assert violations(page) == page.errors == []


def test_top_says_what_leads_the_desk_of_an_edge(desk: SeveralMachines) -> None:
    shown = run_command("top", "--once", "--url", desk.edges[0].url(""))
    assert f"desk main   this edge {gethostname()}   {gethostname()} leads since 20" in shown.stdout, shown.stderr
    assert "   0 standing by   2 edges, lag up to " in shown.stdout


def test_the_table_of_figures_has_every_figure_of_a_desk(desk: SeveralMachines) -> None:
    names = {
        line.split()[2]
        for server in (desk.hub, *desk.edges)
        for line in server.get_bytes("/metrics").decode().splitlines()
        if line.startswith("# TYPE cluster_")
    }
    documented = [row[0] for row in document("docs/several-machines.md").table("cluster-metrics")]
    assert {name.strip("`") for row in documented for name in row.split(", ")} == names


# -- what happens without one of them


def test_an_edge_without_a_hub_shows_the_last_state_and_says_so(disturbed: SeveralMachines) -> None:
    edge = disturbed.edges[0]
    post_until_taken(edge, [fill(1, "buy", "10")])
    with client(edge) as connection, ExitStack() as opened:
        before = receive(connection, "connected")["epoch"]
        disturbed.hub.process.send_signal(signal.SIGKILL)
        assert receive(connection, "stale")["reason"] == "the hub is late"
        wait_until(lambda: "desk: no hub leads desk main now" in edge.get("/api/system/health")["reasons"])
        assert edge.get("/api/system/health")["status"] == "degraded"
        assert not_ready(edge) == ["hub"]
        status, retry_after, problem = refusal(edge, "/api/trades")
        assert (status, retry_after) == (503, "1")
        assert problem["detail"] == "the hub does not answer: desk main has no hub now"
        last = edge.get("/api/metrics/current")["seq"]
        # The edge cannot know whether there are entries before those that it has.
        lane = opened.enter_context(client(edge, "?channels=trades&lane_since=0"))
        assert receive(lane, "connected")["epoch"] == before
        hub = disturbed.start_hub()
        assert receive(lane, "trade")["trade_id"] == "1"
        fresh = receive(connection, "metrics_update")
        while fresh["epoch"] == before:
            fresh = receive(connection, "metrics_update")
        # Numbers never go back, and one is left free: what the client had is not the frame before.
        assert fresh["seq"] > last + 1
        assert trade_ids(edge, 1) == trade_ids(hub, 1) == ["1"]
    with client(edge, "?channels=trades&lane_since=0") as connection:
        post_until_taken(edge, [fill(1, "buy", "10"), fill(2, "buy", "10")])
        assert [receive(connection, "trade")["trade_id"] for _ in range(2)] == ["1", "2"]


def test_desks_on_one_server_do_not_meet(desk: SeveralMachines, start_server: StartServer) -> None:
    other = start_server("--engine", desk.engine, "--desk", "other")
    edge = start_server("--engine", desk.engine, "--desk", "other", "--role", "edge")
    epochs = {server.get("/api/metrics/current")["epoch"] for server in (other, edge)}
    assert len(epochs) == 1
    assert desk.edges[0].get("/api/metrics/current")["epoch"] not in epochs


def test_a_frame_larger_than_the_servers_take_is_said_at_the_hub(tmp_path: Path, start_server: StartServer) -> None:
    broker = NatsServer(tmp_path, config="max_payload: 1500\n")
    try:
        hub = start_server("--demo", "--engine", f"nats://{broker.address}")
        assert "raise max_payload in the servers' configuration" in hub.wait_for_log("a frame of .* bytes is larger")
        wait_until(lambda: any("edges: a frame" in each for each in hub.get("/api/system/health")["reasons"]))
        assert exposed(hub)["cluster_frames_unpublished_total"] > 0
    finally:
        broker.kill()


def test_a_hub_whose_servers_cannot_be_reached_does_not_start() -> None:
    ended = run_command("serve", "--port", "0", "--engine", "nats://u:secret@127.0.0.1:1")
    assert ended.returncode == 1
    assert "observability: " in ended.stderr
    assert "secret" not in ended.stderr
