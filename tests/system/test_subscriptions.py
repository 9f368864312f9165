"""Subscriptions over a real server: views, deltas, resuming, lanes."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from hosts import exposed, post, wait_until
from observability.events import MAX_SYMBOL_LENGTH
from recordings import record
from server_process import NO_RULES, TIMEOUT_SECONDS, Server
from ws_client import TEXT, RawClient, ask, connect, frame, read_to_close, receive, receive_deltas, receive_snapshots

StartServer = Callable[..., Server]

pytestmark = [
    pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, scope="module"),
    pytest.mark.broadcast,
]

SECTIONS = ["market_data", "strategy", "execution", "system"]
START_NS = 1_700_000_000_000_000_000


@contextmanager
def client(server: Server, query: str = "") -> Iterator[ClientConnection]:
    with connect(f"{server.websocket_url}{query}") as connection:
        yield connection


def test_a_client_that_asks_for_nothing_gets_every_section_and_no_lane(demo_server: Server) -> None:
    with client(demo_server) as connection:
        greeting = receive(connection, "connected")
        snapshot = receive(connection, "metrics_update")
    assert greeting["channels"] == SECTIONS
    assert snapshot.keys() >= set(SECTIONS)
    assert "recovered" not in greeting


def test_channels_in_the_url_are_the_whole_list(demo_server: Server) -> None:
    with client(demo_server, "?channels=execution,system") as connection:
        assert receive(connection, "connected")["channels"] == ["execution", "system"]
        for _ in range(2):
            snapshot = receive(connection, "metrics_update")
            assert not snapshot.keys() & {"market_data", "strategy"}
            assert snapshot.keys() >= {"execution", "system"}


def test_symbols_filter_the_market_data(demo_server: Server) -> None:
    symbol = next(iter(demo_server.next_snapshot()["market_data"]))
    with client(demo_server, f"?symbols={symbol}") as connection:
        assert receive(connection, "metrics_update")["market_data"].keys() == {symbol}


def test_each_change_of_a_subscription_is_answered_with_the_result(demo_server: Server) -> None:
    with client(demo_server) as connection:
        ask(connection, type="subscribe", id=1, channels=["execution"], mode="full")
        answer = receive(connection, "subscribed")
        assert (answer["id"], answer["channels"], answer["mode"]) == (1, ["execution"], "full")
        assert "market_data" not in receive(connection, "metrics_update")
        ask(connection, type="subscribe", id="b", channels=["market_data"])
        assert receive(connection, "subscribed")["channels"] == ["market_data", "execution"]
        ask(connection, type="unsubscribe", id=3, channels=["execution"])
        answer = receive(connection, "unsubscribed")
        assert (answer["id"], answer["channels"]) == (3, ["market_data"])
        ask(connection, type="subscribe", channels=["metrics"])
        assert receive(connection, "subscribed")["channels"] == SECTIONS


def test_the_text_form_of_the_first_api_subscribes(demo_server: Server) -> None:
    with client(demo_server) as connection:
        connection.send("subscribe:market_data")
        assert receive(connection, "subscribed")["channels"] == ["market_data"]


def test_an_unsubscribed_client_gets_no_snapshots(demo_server: Server) -> None:
    with client(demo_server) as connection:
        ask(connection, type="unsubscribe")
        assert receive(connection, "unsubscribed")["channels"] == []
        connection.send("ping")
        assert connection.recv(TIMEOUT_SECONDS) == "pong"


def test_deltas_follow_a_full_snapshot_without_a_gap(demo_server: Server) -> None:
    with client(demo_server, "?mode=delta") as connection:
        assert len(list(receive_deltas(connection, 5))) == 5


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "subscribe", "channels": ["weather"]}, "unknown_channel"),
        ({"type": "subscribe", "channels": "market_data"}, "bad_message"),
        ({"type": "subscribe", "symbols": ["x" * (MAX_SYMBOL_LENGTH + 1)]}, "bad_message"),
        ({"type": "subscribe", "symbols": ["x"] * 257}, "bad_message"),
        ({"type": "subscribe", "mode": "half"}, "bad_message"),
        ({"type": "subscribe", "mode": "x" * 50_000}, "bad_message"),
        ({"type": "unsubscribe", "channels": ["weather"]}, "unknown_channel"),
    ],
)
def test_an_impossible_subscription_is_answered_with_an_error(
    demo_server: Server, message: dict[str, Any], code: str
) -> None:
    with client(demo_server) as connection:
        ask(connection, **message)
        error = receive(connection, "error")
        assert error["code"] == code
        assert len(error["message"]) < 400
        assert receive(connection, "metrics_update").keys() >= set(SECTIONS)


@pytest.mark.parametrize(
    "query",
    ["?channels=weather", "?mode=half", "?since=x", "?symbols=" + "x" * (MAX_SYMBOL_LENGTH + 1), "?lane_since=-1"],
)
def test_a_bad_url_is_refused_before_the_upgrade(demo_server: Server, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{demo_server.websocket_url}{query}")
    assert refused.value.response.status_code == 422


def test_a_client_that_exceeds_the_rate_is_refused_and_then_closed(start_server: StartServer) -> None:
    server = start_server("--demo", WS_RATE_LIMIT="5")
    with RawClient(server.port) as raw:
        began = time.monotonic()
        raw.send(frame(TEXT, b"ping") * 100)
        answers = [payload for _, payload in iter(raw.next_frame, None)]
        seconds = time.monotonic() - began
    # A burst may hold two seconds' worth, and refusals are counted by the second.
    assert 10 <= answers.count(b"pong") <= 10 + 5 * seconds
    assert 10 <= sum(b'"rate_limited"' in answer for answer in answers) <= 10 + seconds
    assert int.from_bytes(answers[-1][:2], "big") == 1008


def test_positions_with_slashes_in_their_names_stay_apart_in_deltas(start_server: StartServer) -> None:
    server = start_server()
    names = [("mm", "BTC/USDT"), ("mm/BTC", "USDT"), ("mm%2FBTC", "USDT"), ("mm/BTC/USDT", "/")]

    def trade(number: int, side: str) -> None:
        strategy, symbol = names[number]
        fill = {"type": "fill", "trade_id": f"{number}{side}", "order_id": side, "symbol": symbol, "side": side,
                "quantity": str(number + 1), "price": "1", "strategy": strategy}  # fmt: skip
        post(server, "/api/ingest", fill)

    with client(server, "?mode=delta&channels=strategy") as connection:
        snapshot = receive(connection, "metrics_update")
        shown = {position["key"]: position for position in snapshot["strategy"]["positions"]}

        def follow(wanted: dict[tuple[str, str], float]) -> None:
            """Applies deltas, and the snapshots of a server that was late, until the positions are those wanted."""
            for _ in range(100):
                message = receive(connection, "metrics_delta", "metrics_update")
                if message["type"] == "metrics_update":
                    shown.clear()
                for path in message.get("removed", []):
                    if path[:2] == ["strategy", "positions"]:
                        del shown[path[2]]
                changed = message.get("strategy", {}).get("positions", [])
                shown.update({position["key"]: position for position in changed})
                if {(each["strategy"], each["symbol"]): each["quantity"] for each in shown.values()} == wanted:
                    break
            else:
                raise AssertionError(shown)
            current = server.get("/api/metrics/current")["strategy"]
            assert {position["key"]: position for position in current["positions"]} == shown
            assert current["open_positions"] == len(wanted)

        for number in range(len(names)):
            trade(number, "buy")
        follow({name: number + 1.0 for number, name in enumerate(names)})
        assert "mm/BTC/USDT" in shown
        trade(1, "sell")
        follow({name: number + 1.0 for number, name in enumerate(names) if number != 1})


def test_a_client_that_reconnects_gets_the_frames_it_missed(demo_server: Server) -> None:
    with client(demo_server) as connection:
        last = receive(connection, "metrics_update")
    while demo_server.get("/api/metrics/current")["seq"] < last["seq"] + 4:
        pass
    with client(demo_server, f"?channels=metrics&since={last['epoch']}:{last['seq']}") as connection:
        assert receive(connection, "connected")["recovered"] is True
        seqs = [snapshot["seq"] for snapshot in receive_snapshots(connection, 8)]
    assert seqs[:4] == list(range(last["seq"] + 1, last["seq"] + 5))


@pytest.mark.parametrize("since", ["abc:1", "{epoch}:0", "{epoch}:999999999"])
def test_a_client_that_cannot_resume_gets_one_full_snapshot(start_server: StartServer, since: str) -> None:
    server = start_server("--demo", METRIC_COLLECTION_INTERVAL="0.01")
    while (current := server.get("/api/metrics/current"))["seq"] < 60:
        pass
    with client(server, "?since=" + since.format(epoch=current["epoch"])) as connection:
        greeting = receive(connection, "connected")
        assert greeting["recovered"] is False
        assert receive(connection, "metrics_update")["seq"] >= greeting["seq"]


# -- lanes


def recording(path: Path, fills: int, *, gap_ms: int = 0) -> str:
    """Writes fills of two symbols in turn, `gap_ms` apart."""
    lines = []
    for n in range(1, fills + 1):
        event = {
            "type": "fill", "trade_id": str(n), "order_id": str(n), "symbol": ("AAPL", "AMZN")[n % 2], "side": "buy",
            "quantity": "1", "price": "10", "ts": START_NS + n * gap_ms * 1_000_000,
        }  # fmt: skip
        lines.append(json.dumps(event))
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_every_trade_is_sent_once_in_order_and_with_all_its_fields(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--replay", recording(tmp_path / "fills.jsonl", 40, gap_ms=50))
    with client(server, "?channels=trades&lane_since=0") as connection:
        assert receive(connection, "connected")["channels"] == ["trades"]
        trades = [receive(connection, "trade") for _ in range(40)]
    assert [trade["trade_id"] for trade in trades] == [str(n) for n in range(1, 41)]
    assert [(trade["prev"], trade["seq"]) for trade in trades] == [(n - 1, n) for n in range(1, 41)]
    assert trades[0].keys() >= {"symbol", "side", "quantity", "price", "timestamp", "strategy", "commission", "pnl"}


def test_a_lane_is_replayed_from_the_entry_that_the_client_names(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--replay", recording(tmp_path / "fills.jsonl", 20), "--speed", "max")
    server.wait_for_log("source replay has ended")
    server.next_snapshot()
    with client(server) as connection:
        ask(connection, type="subscribe", channels=["trades"], symbols=["AAPL"], lane_since={"trades": 10})
        answer = receive(connection, "subscribed")
        assert answer["channels"] == [*SECTIONS, "trades"]
        assert answer["lanes"] == {"trades": {"seq": 20, "oldest_seq": 1, "stored": False}}
        trades = [receive(connection, "trade") for _ in range(5)]
    assert [(trade["prev"], trade["seq"]) for trade in trades] == [(10, 12), (12, 14), (14, 16), (16, 18), (18, 20)]
    assert {trade["symbol"] for trade in trades} == {"AAPL"}


def test_a_reader_too_slow_for_a_lane_is_closed_with_1013(start_server: StartServer, tmp_path: Path) -> None:
    path = recording(tmp_path / "fills.jsonl", 3000, gap_ms=1)
    server = start_server("--replay", path, WS_MESSAGE_QUEUE_SIZE="5", METRIC_COLLECTION_INTERVAL="0.05")
    # Each tick publishes about fifty trades, and five may wait for a client whose buffer is full.
    with connect(f"{server.websocket_url}?channels=trades,metrics", max_queue=1, ping_interval=None) as connection:
        server.wait_for_log("behind in lane trade, closing")
        # One that has not come to the Close within two seconds is cut off.
        assert read_to_close(connection)[1] in (1013, None)
    wait_until(lambda: exposed(server).get('websocket_disconnects_total{by="server",code="1013"}') == 1)


def test_an_alert_is_sent_when_it_is_raised_and_when_acknowledged(start_server: StartServer, tmp_path: Path) -> None:
    alert = {"type": "alert", "severity": "critical", "title": "Feed lost", "key": "feed", "ts": START_NS}
    server = start_server("--replay", record(tmp_path / "alerts.jsonl", alert), "--speed", "max", **NO_RULES)
    server.wait_for_log("source replay has ended")
    with client(server, "?channels=alerts&lane_since=0") as connection:
        raised = receive(connection, "alert")
        assert (raised["action"], raised["title"], raised["seq"]) == ("raised", "Feed lost", 1)
        request = urllib.request.Request(
            server.url(f"/api/system/alerts/acknowledge/{raised['alert_id']}"), b"", method="POST"
        )
        for _ in range(2):  # a second time is no error, and no message either
            with urllib.request.urlopen(request) as response:
                assert response.status == 200
        acknowledged = receive(connection, "alert")
        assert (acknowledged["action"], acknowledged["prev"], acknowledged["seq"]) == ("acknowledged", 1, 2)
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.5)
