"""Events sent to a real server: what it makes of them, who may send them, and what goes on meanwhile."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection
from websockets.typing import Origin

from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect, read_to_close, receive, receive_pong

StartServer = Callable[..., Server]

SECRET = "hunter2-hunter2-hunter2"
WRITE = f"Bearer {SECRET}"
LINES = "application/x-ndjson"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.stop()


def post(
    server: Server, body: Any, path: str = "/api/ingest", **fields: str
) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Sends `body`, as JSON unless it is bytes; returns status, fields and the document answered."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in fields.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_SECONDS)) as connection:
        connection.request("POST", path, data, headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), json.loads(response.read())


def sender(server: Server, **options: Any) -> ClientConnection:
    return connect(f"ws://127.0.0.1:{server.port}/ws/ingest", **options)


def fill(trade_id: str, **fields: object) -> dict[str, object]:
    usual = {"order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": "10", "price": "100"}
    return {"type": "fill", "trade_id": trade_id, **usual, **fields}


def heartbeats(count: int) -> list[dict[str, object]]:
    return [{"type": "heartbeat", "component": f"engine{number % 7}"} for number in range(count)]


# -- what becomes of events


def test_what_is_sent_shows_in_the_snapshot_and_among_the_trades(start_server: StartServer) -> None:
    server = start_server()
    events = [
        {"type": "quote", "symbol": "AAPL", "bid": 101.0, "ask": 103.0},
        fill("a", strategy="alpha"),
        {"type": "order", "order_id": "o", "symbol": "AAPL", "side": "buy", "quantity": "10", "status": "filled"},
    ]
    assert post(server, events)[2]["accepted"] == 3
    snapshot = server.next_snapshot()
    assert snapshot["market_data"]["AAPL"]["bid"] == 101.0
    assert snapshot["strategy"]["unrealized_pnl"] == 20.0
    assert snapshot["execution"]["fills_today"] == 1
    (trade,) = server.get("/api/trades")["trades"]
    assert (trade["trade_id"], trade["strategy"]) == ("a", "alpha")


def test_duplicates_and_conflicts_are_told_and_count_nothing_twice(start_server: StartServer) -> None:
    server = start_server()
    status, _, answer = post(server, [fill("a"), fill("a"), fill("a", price="101"), fill("a", symbol="MSFT")])
    assert (status, answer["accepted"], answer["duplicates"], answer["rejected_count"]) == (200, 2, 1, 1)
    assert [fault["index"] for fault in answer["rejected"]] == [2]
    assert server.get("/api/trades")["total"] == 2


def test_faults_name_the_place_in_the_batch(server: Server) -> None:
    status, _, answer = post(server, [*heartbeats(3), {"type": "print", "symbol": "A", "price": "x", "size": 1}])
    assert (status, answer["accepted"]) == (200, 3)
    assert answer["rejected"] == [{"index": 3, "error": "Expected a number, got 'x' - at `$[3].price`"}]


def test_lines_are_taken_one_by_one(server: Server) -> None:
    lines = b"\r\n".join([*(json.dumps(event).encode() for event in heartbeats(2)), b"", b"{", b""])
    status, _, answer = post(server, lines, Content_Type=LINES)
    assert (status, answer["accepted"], answer["rejected_count"]) == (200, 2, 1)


@pytest.mark.parametrize(
    ("body", "media_type", "status"),
    [
        (b"", "application/json", 400),
        (b"[1,", "application/json", 400),
        (b"a=1", "application/x-www-form-urlencoded", 415),
        (b"{}", "application/json", 422),
        (b'[{"type":"nothing"}]', "application/json", 422),
        (b"[" + b"1," * 10_000 + b"1]", "application/json", 413),
    ],
)
def test_a_refusal_is_a_problem_document(server: Server, body: bytes, media_type: str, status: int) -> None:
    answered, fields, document = post(server, body, Content_Type=media_type)
    assert (answered, document["status"], fields["Content-Type"]) == (status, status, "application/problem+json")


def test_a_request_may_be_sent_again_with_its_key(server: Server) -> None:
    key = {"Idempotency_Key": '"e7f2"'}
    first = post(server, [fill("k1"), {"type": "fill"}], **key)
    again = post(server, [fill("k1"), {"type": "fill"}], **key)
    assert "Idempotent-Replayed" not in first[1]
    assert (again[0], again[1]["Idempotent-Replayed"], again[2]) == (first[0], "true", first[2])
    status, _, problem = post(server, [fill("k2")], **key)
    assert status == 422
    assert "other content" in problem["detail"]


def test_a_stream_acknowledges_each_form_of_message(server: Server) -> None:
    with sender(server) as connection:
        greeting = receive(connection)
        assert greeting["type"] == "connected"
        assert greeting["max_events"] == 10_000
        event = json.dumps(heartbeats(1)[0])
        for message, seq, accepted in (
            (event, 1, 1),
            (f"[{event},{event}]", 2, 2),
            (f"{event}\n{event}\n{event}", 3, 3),
            (f'{{"seq":99,"events":[{event}]}}', 99, 1),
            (f'{{"events":{event},"key":"ws"}}', 5, 1),
        ):
            connection.send(message)
            ack = receive(connection)
            assert (ack["type"], ack["seq"], ack["accepted"]) == ("ack", seq, accepted)
            assert ack["timestamp"].endswith("Z")
        connection.send(f'{{"events":{event},"key":"ws"}}')
        assert receive(connection)["replayed"] is True
        connection.send("ping")
        receive_pong(connection)


def test_a_stream_goes_on_after_what_is_no_message(server: Server) -> None:
    with sender(server) as connection:
        receive(connection)
        connection.send("{")
        error = receive(connection)
        assert (error["type"], error["seq"], error["code"]) == ("error", 1, "bad_message")
        connection.send(json.dumps([*heartbeats(1), {"type": "x"}]))
        ack = receive(connection)
        assert (ack["accepted"], ack["rejected_count"]) == (1, 1)


@pytest.mark.parametrize(
    ("members", "fault"),
    [('"seq":"x"', "seq"), ('"seq":-1', "seq"), ('"seq":true', "seq"), ('"seq":1.5', "seq"), ('"key":7', "key"),
     ('"key":""', "key")],
)  # fmt: skip
def test_a_number_or_a_key_that_is_none_is_an_error_and_nothing_is_taken(
    server: Server, members: str, fault: str
) -> None:
    with sender(server) as connection:
        receive(connection)
        connection.send(f'{{"events":[],{members}}}')
        error = receive(connection)
    assert (error["type"], error["seq"], error["code"]) == ("error", 1, "bad_message")
    assert error["message"].startswith(fault)


def test_an_event_with_a_field_called_events_is_an_event(server: Server) -> None:
    with sender(server) as connection:
        receive(connection)
        connection.send('{"type":"heartbeat","component":"c","events":[1],"seq":"x"}')
        assert receive(connection)["accepted"] == 1


def test_fills_sent_one_after_the_other_are_acknowledged_in_order_and_counted_once(start_server: StartServer) -> None:
    server = start_server()
    count = 2_000
    with sender(server) as connection:
        receive(connection)
        for number in range(count):
            connection.send(json.dumps(fill(f"t{number}")))
            if number % 3 == 0:
                connection.send(json.dumps(fill(f"t{number}")))
        messages = count + -(-count // 3)
        acks = [receive(connection) for _ in range(messages)]
    assert [ack["seq"] for ack in acks] == list(range(1, messages + 1))
    assert sum(ack["accepted"] for ack in acks) == count
    assert server.next_snapshot()["execution"]["fills_today"] == count


def test_snapshots_go_out_while_a_large_batch_comes_in(start_server: StartServer) -> None:
    server = start_server(METRIC_COLLECTION_INTERVAL="0.01")
    with connect(f"{server.websocket_url}?channels=execution") as client, ThreadPoolExecutor(1) as thread:
        batch = [fill(str(n), symbol=f"S{n % 50}") for n in range(10_000)]
        posted = thread.submit(post, server, batch)
        shown = {0}
        while max(shown) < len(batch):
            shown.add(receive(client, "metrics_update")["execution"]["fills_today"])
        assert posted.result()[2]["accepted"] == len(batch)
    # Taken in one piece, the batch would not be seen until its end.
    assert len(shown) > 5


def test_what_came_in_is_told_to_prometheus(start_server: StartServer) -> None:
    server = start_server()
    post(server, [fill("m"), fill("m"), {"type": "x"}])
    text = server.get_bytes("/metrics").decode()
    for line in (
        'ingest_batches_total{door="http",outcome="partial"} 1.0',
        'ingest_events_total{source="ingest",type="fill"} 2.0',
        'ingest_rejected_total{reason="undecodable"} 1.0',
        "ingest_duplicates_total 1.0",
    ):
        assert line in text


# -- who may send


def refused_status(server: Server, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as raised, sender(server, **options):
        pass
    return int(raised.value.response.status_code)


def test_without_tokens_only_programs_of_this_host_may_send(server: Server) -> None:
    assert post(server, heartbeats(1))[0] == 200
    for fields in ({"Origin": "http://evil.example"}, {"X-Forwarded-For": "1.2.3.4"}, {"Host": "evil.example"}):
        assert post(server, heartbeats(1), **fields)[0] == 403
    assert refused_status(server, origin=Origin("http://evil.example")) == 403
    assert refused_status(server, additional_headers={"X-Forwarded-For": "1.2.3.4"}) == 403


def test_with_tokens_it_takes_one_that_may_write(start_server: StartServer) -> None:
    server = start_server(API_TOKENS=f"write:{SECRET},read:{SECRET}-read")
    for token, status in ((None, 401), ("wrong", 401), (f"{SECRET}-read", 403)):
        fields = {} if token is None else {"Authorization": f"Bearer {token}"}
        assert post(server, heartbeats(1), **fields)[0] == status
        assert refused_status(server, additional_headers=fields) == status
    assert post(server, heartbeats(1), Authorization=WRITE)[0] == 200
    with sender(server, additional_headers={"Authorization": WRITE}) as connection:
        assert receive(connection)["type"] == "connected"


def test_a_token_does_not_help_a_page_of_another_origin(start_server: StartServer) -> None:
    server = start_server(API_TOKENS=f"write:{SECRET}")
    evil = "http://evil.example"
    assert post(server, heartbeats(1), Authorization=WRITE, Origin=evil)[0] == 403
    assert refused_status(server, additional_headers={"Authorization": WRITE}, origin=Origin(evil)) == 403


# -- the end


def test_on_shutdown_senders_are_told_that_the_server_goes_away(start_server: StartServer) -> None:
    server = start_server()
    with sender(server) as connection:
        receive(connection)
        server.process.send_signal(signal.SIGTERM)
        assert read_to_close(connection) == ([], 1001)
    assert server.process.wait(TIMEOUT_SECONDS) == 0
