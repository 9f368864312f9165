"""The reference against the servers that it describes: what they answer and send has exactly the fields that
/openapi.json and /asyncapi.json describe, and each of their examples is what it stands for."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection

import busy_session
from hosts import answer_to, post
from schema_checker import Checker
from server_process import TIMEOUT_SECONDS, Server, running
from ws_client import connect

Document = dict[str, Any]
# Operations that answer with a description, which is checked as what it is.
DESCRIPTIONS = {"openapi", "asyncapi"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A demo with a store, in which a busy session has been played too."""
    with running("--demo", "--data-dir", str(tmp_path_factory.mktemp("data")), DEFAULT_CURRENCY="USD") as found:
        busy_session.play(found)
        found.next_snapshot()
        yield found


@pytest.fixture(scope="module")
def api(server: Server) -> Document:
    document: Document = server.get("/openapi.json")
    return document


@pytest.fixture(scope="module")
def streams(server: Server) -> Document:
    document: Document = server.get("/asyncapi.json")
    return document


def operations(api: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def schema_of(operation: Document) -> Document | None:
    responses = operation["responses"]
    content = responses.get("200", responses.get("201"))["content"]
    found: Document | None = content.get("application/json", {}).get("schema")
    return found


def test_every_operation_that_answers_with_json_has_a_schema(api: Document) -> None:
    lacking = []
    for _, _, operation in operations(api):
        for status in {"200", "201"} & operation["responses"].keys():
            content = operation["responses"][status]["content"]
            if "application/json" in content and "schema" not in content["application/json"]:
                lacking.append(operation["operationId"])
    assert lacking == []


def paths_of(server: Server) -> dict[str, list[str]]:
    """Returns the paths of the operations with parameters, by their patterns."""
    now, recorded = server.next_snapshot()["timestamp"], server.get("/api/recordings")
    past = f"start_time={recorded['start_time']}&end_time={now}"
    order = server.get("/api/orders?limit=1")["orders"][0]["order_id"]
    trade = server.get("/api/trades?limit=1")["trades"][0]["trade_id"]
    return {
        "/api/orders/{order_id}": [f"/api/orders/{ident}" for ident in (order, "o0", "o3", "o5", "r1", "r2")],
        "/api/trades/{trade_id}": [f"/api/trades/{ident}" for ident in (trade, "h2", "t4")],
        "/api/trades": ["/api/trades?limit=1000", "/api/trades?symbol=HEDGED"],
        "/api/orders": ["/api/orders?limit=1000", "/api/orders?status=rejected"],
        "/api/bookings": ["/api/bookings?limit=1000"],
        "/api/metrics/at": [f"/api/metrics/at?time={now}"],
        "/api/recordings/marks": [f"/api/recordings/marks?{past}", f"/api/recordings/marks?{past}&points=1"],
        "/api/recordings/around": [f"/api/recordings/around?time={now}&seconds=60"],
    }


def faulty_documents(server: Server, api: Document, further: dict[str, list[str]]) -> dict[str, list[str]]:
    """Returns the documents that are not as described; `further` are paths to ask for a pattern."""
    checker, checked, faulty = Checker(api), 0, {}
    for path, method, operation in operations(api):
        schema = schema_of(operation)
        if method != "get" or schema is None or operation["operationId"] in DESCRIPTIONS:
            continue
        needs = [each for each in operation["parameters"] if each["required"]]
        for asked in further.get(path, [] if needs else [path]):
            checked += 1
            faults = checker.faults(schema, server.get(asked))
            if faults:
                faulty[asked] = faults[:5]
    assert checked >= 25
    return faulty


def test_every_document_has_exactly_the_described_fields(server: Server, api: Document) -> None:
    assert faulty_documents(server, api, paths_of(server)) == {}


def test_the_session_of_this_file_has_something_in_every_list(server: Server) -> None:
    breaks = server.get("/api/strategy/breaks")
    assert [name for name in ("breaks", "fills", "bookings") if not breaks[name]] == []
    assert server.get("/api/bookings")["total"] > 10
    assert server.get("/api/trades/execution/quality")["reject_reasons"]
    assert {order["status"] for order in server.get("/api/orders?limit=1000")["orders"]} >= {
        "filled", "rejected", "canceled", "partially_filled", "replaced",
    }  # fmt: skip
    assert server.get("/api/system/logs/recent")["logs"]


@pytest.mark.parametrize(
    "asked",
    [
        {"time_range": "1h", "interval": "1s"},
        {"time_range": "1h", "interval": "1s", "format": "columns", "metric_types": ["strategy", "strategies"]},
        {"time_range": "1h", "interval": "1s", "aggregates": ["mean", "count"]},
        {"time_range": "1h", "interval": "1s", "aggregates": ["max"], "format": "columns"},
    ],
    ids=["rows", "columns", "aggregates", "columns of aggregates"],
)
def test_history_in_every_form_is_as_described(server: Server, api: Document, asked: Document) -> None:
    schema = schema_of(api["paths"]["/api/metrics/history"]["post"])
    assert schema is not None
    answer = post(server, "/api/metrics/history", asked)
    assert answer["data"]
    assert Checker(api).faults(schema, answer) == []


def test_what_changes_something_answers_as_described(server: Server, api: Document) -> None:
    checker = Checker(api)

    def check(method: str, path: str, pattern: str, body: Document | None) -> Any:
        request = urllib.request.Request(
            server.url(path),
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            answer = json.load(response)
        schema = schema_of(api["paths"][pattern][method.lower()])
        assert schema is not None
        assert checker.faults(schema, answer) == [], path
        return answer

    (alert,) = [each for each in server.get("/api/system/alerts")["alerts"] if each["key"] == "risk"]
    pattern = "/api/system/alerts/acknowledge/{alert_id}"
    check("POST", f"/api/system/alerts/acknowledge/{alert['alert_id']}?author=ana", pattern, {})
    silence = check("POST", "/api/system/silences", "/api/system/silences", {"duration": "1h", "author": "ana"})
    check("DELETE", f"/api/system/silences/{silence['silence_id']}", "/api/system/silences/{silence_id}", None)
    signal = {"type": "signal", "strategy": "s", "symbol": "X", "action": "buy", "x": 1}
    check("POST", "/api/ingest", "/api/ingest", signal)


@pytest.mark.parametrize(
    "path", ["/api/nothing", "/api/orders?symbl=A", "/api/trades?limit=0", "/api/orders/nothing", "/api/orders/same"]
)
def test_every_refusal_is_a_described_problem(server: Server, api: Document, path: str) -> None:
    same = {"type": "order", "order_id": "same", "side": "buy", "quantity": "1", "status": "new"}
    post(server, "/api/ingest", [{**same, "symbol": "A"}, {**same, "symbol": "B"}])
    with pytest.raises(urllib.error.HTTPError) as refused:
        server.get(path)
    with refused.value as answer:
        problem = json.load(answer)
    assert Checker(api).faults({"$ref": "#/components/schemas/Problem"}, problem) == []
    assert problem["status"] == refused.value.code


def test_every_field_has_a_meaning_and_every_number_a_unit(api: Document, streams: Document) -> None:
    lacking: list[str] = []

    def look(where: str, schema: Any) -> None:
        if isinstance(schema, list):
            for each in schema:
                look(where, each)
        elif isinstance(schema, dict):
            for name, field in schema.get("properties", {}).items():
                if not field.get("description") and "$ref" not in field and "anyOf" not in field:
                    lacking.append(f"{where}.{name} has no meaning")
                if field.get("type") in ("number", ["number", "null"]) and not field.get("x-unit"):
                    lacking.append(f"{where}.{name} has no unit")
                look(f"{where}.{name}", field)
            for name, each in schema.items():
                if name != "properties":
                    look(where, each)

    # Their fields are described in words of their own, and an Alertmanager's by itself.
    requests = {"HistoryRequest", "SilenceRequest", "AlertmanagerMessage", "AlertmanagerAlert"}
    for document in (api, streams):
        for name, schema in document["components"]["schemas"].items():
            if name not in requests:
                look(name, schema)
    assert lacking == []


def test_every_example_is_allowed_by_its_schema(api: Document, streams: Document) -> None:
    checker = Checker(api)
    for path, _, operation in operations(api):
        for response in operation["responses"].values():
            content = response.get("content", {}).get("application/json", {})
            if "example" in content:
                assert checker.faults(content["schema"], content["example"]) == [], path
    checker = Checker(streams)
    for name, message in streams["components"]["messages"].items():
        if not name.endswith("Event"):
            assert checker.faults(message["payload"], message["examples"][0]["payload"]) == [], name


def event_examples(streams: Document) -> list[Document]:
    messages = streams["components"]["messages"]
    return [each["examples"][0]["payload"] for name, each in messages.items() if name.endswith("Event")]


def test_every_example_of_an_event_is_taken_as_it_is(server: Server, streams: Document) -> None:
    examples = event_examples(streams)
    assert len(examples) == 20
    # A correction of a fill that the example of a bust has cancelled is taken as well.
    answer = answer_to(server, "/api/ingest", examples)
    assert (answer["rejected"], answer["warnings"]) == ([], [])
    assert answer["accepted"] + answer["duplicates"] == len(examples)


# -- the streams


def receive_until(client: ClientConnection, wanted: set[str], limit: int = 3000) -> dict[str, list[Document]]:
    """Returns the messages by type, up to the one with which there is one of each wanted type."""
    found: dict[str, list[Document]] = {}
    for _ in range(limit):
        message = json.loads(client.recv(TIMEOUT_SECONDS))
        found.setdefault(message["type"], []).append(message)
        if wanted <= found.keys():
            return found
    raise AssertionError(f"no {wanted - found.keys()} within {limit} messages")


def assert_described(streams: Document, names: dict[str, str], found: dict[str, list[Document]]) -> None:
    checker = Checker(streams)
    for kind, messages in found.items():
        schema = streams["components"]["messages"][names[kind]]["payload"]
        for message in messages:
            faults = checker.faults(schema, message)
            assert faults == [], f"{kind} has {faults[:5]}"


STREAM = {
    "connected": "Connected", "metrics_update": "MetricsUpdate", "metrics_delta": "MetricsDelta",
    "trade": "TradeMessage", "alert": "AlertMessage", "booking": "BookingMessage", "order": "OrderMessage",
    "subscribed": "Subscribed", "unsubscribed": "Unsubscribed", "pong": "Pong", "error": "StreamError",
    "past": "Past", "painted": "Painted", "lag": "Lag",
}  # fmt: skip


def test_every_message_of_the_stream_has_exactly_the_described_fields(server: Server, streams: Document) -> None:
    with connect(server.websocket_url, max_size=None) as client:
        client.send(json.dumps({"type": "ping", "id": 1}))
        lanes = ["trades", "alerts", "bookings", "orders"]
        since = dict.fromkeys(lanes, 0)
        client.send(json.dumps({"type": "subscribe", "channels": ["metrics", *lanes], "lane_since": since}))
        client.send(json.dumps({"type": "nonsense"}))
        found = receive_until(client, {"trade", "alert", "booking", "order", "error", "pong", "metrics_update"})
        client.send(json.dumps({"type": "unsubscribe", "channels": lanes}))
        client.send(json.dumps({"type": "subscribe", "mode": "delta", "symbols": ["AAPL"]}))
        found |= receive_until(client, {"unsubscribed", "metrics_delta"})
    assert_described(streams, STREAM, found)
    assert STREAM.keys() - found.keys() <= {"connected", "past", "painted", "lag"}


def test_the_messages_of_the_past_have_exactly_the_described_fields(server: Server, streams: Document) -> None:
    at = server.next_snapshot()["timestamp"]
    with connect(f"{server.websocket_url}?at={at}&speed=0", max_size=None) as client:
        client.send(json.dumps({"type": "step", "count": -1, "id": 1}))
        found = receive_until(client, {"connected", "past", "metrics_update"})
    assert_described(streams, STREAM, found)
    assert "past" in found["connected"][0]


def test_the_answer_to_a_report_of_a_painted_frame_is_as_described(server: Server, streams: Document) -> None:
    with connect(server.websocket_url, max_size=None) as client:
        (update,) = receive_until(client, {"metrics_update"})["metrics_update"]
        report = {"type": "painted", "epoch": update["epoch"], "seq": update["seq"], "paint_ms": 0, "rtt_ms": 1}
        client.send(json.dumps(report))
        found = receive_until(client, {"painted"})
    assert_described(streams, STREAM, found)


def test_every_message_to_a_sender_has_exactly_the_described_fields(server: Server, streams: Document) -> None:
    names = {"connected": "SenderConnected", "ack": "Ack", "error": "SenderError"}
    signal = {"type": "signal", "strategy": "s", "symbol": "X", "action": "buy"}
    with connect(server.url("/ws/ingest").replace("http", "ws")) as client:
        client.send(json.dumps([signal, {"type": "quote"}, {**signal, "confidenc": 1}]))
        client.send(json.dumps({"events": [signal], "key": "k", "seq": 7}))
        client.send("{")
        found = receive_until(client, {"connected", "ack", "error"})
        # Only now, as the key of a batch that is being taken is refused.
        client.send(json.dumps({"events": [signal], "key": "k", "seq": 8}))
        found["ack"] += receive_until(client, {"ack"})["ack"]
    assert_described(streams, names, found)
    assert any(ack.get("replayed") for ack in found["ack"])


def test_every_message_of_the_event_stream_is_among_those_described(server: Server, streams: Document) -> None:
    checker = Checker(streams)
    names = {name: each["name"] for name, each in streams["components"]["messages"].items()}
    described = {names[name] for name in streams["channels"]["events"]["messages"]}
    url = server.url("/stream?channels=metrics,trades,orders&lane_since=0")
    kinds = set()
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        for line in response:
            if line.startswith(b"data: "):
                message = json.loads(line[6:])
                kinds.add(message["type"])
                schema = streams["components"]["messages"][STREAM[message["type"]]]["payload"]
                assert checker.faults(schema, message) == []
            if {"connected", "metrics_update", "trade", "order"} <= kinds:
                break
    assert kinds <= described


def test_workers_without_and_with_events_answer_with_the_described_fields(tmp_path: Path) -> None:
    with running("--workers", "2", "--data-dir", str(tmp_path)) as server:
        api = server.get("/openapi.json")
        assert faulty_documents(server, api, {}) == {}
        busy_session.play(server)
        assert faulty_documents(server, api, {}) == {}
