"""The past over real servers: any recorded tick as the same bytes, over REST and as a stream."""

from __future__ import annotations

import json
import os
import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from hosts import exposed, post, wait_until
from observability.clocks.timestamps import MAX_NS, NS_PER_S
from observability.past.playback import GAP_NS
from server_process import NO_RULES, TIMEOUT_SECONDS, Server
from ws_client import ask, connect, receive, receive_text

pytestmark = pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, scope="module")

FRAMES = 30
FILL = {"symbol": "AAPL", "side": "buy", "quantity": "1", "price": "1"}
VIEWS = ["", "?mode=delta", "?channels=market_data,execution&mode=delta", "?symbols=ALFA.SIM"]


@pytest.fixture(scope="module")
def recorded(worker_arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that records, shared by the tests."""
    server = Server("--demo", *worker_arguments, DATA_DIR=str(tmp_path_factory.mktemp("data")))
    yield server
    server.stop()


@contextmanager
def client(server: Server, query: str) -> Iterator[ClientConnection]:
    with connect(f"{server.websocket_url}{query}") as connection:
        yield connection


def snapshots(connection: ClientConnection, count: int) -> dict[int, str]:
    """Returns so many snapshots and deltas, by their numbers, as they were sent."""
    found: dict[int, str] = {}
    while len(found) < count:
        text = receive_text(connection, "metrics_update", "metrics_delta")
        found[json.loads(text)["seq"]] = text
    return found


def time_of(text: str) -> str:
    timestamp: str = json.loads(text)["timestamp"]
    return timestamp


def at(server: Server, moment: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(server.url(f"/api/metrics/at?time={moment}"))
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            return response.status, dict(response.headers), response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def wait_for_the_recording(server: Server, moment: str) -> None:
    wait_until(lambda: (server.get("/api/recordings")["end_time"] or "") >= moment)


def ago(server: Server, ticks: int) -> str:
    """Waits until so many ticks are recorded; returns the time of the first of them."""
    with client(server, "") as connection:
        seen = [*snapshots(connection, ticks).values()]
    wait_for_the_recording(server, time_of(seen[-1]))
    return time_of(seen[0])


def now(server: Server) -> str:
    """Returns the time of a tick that begins after the call, and is recorded."""
    timestamp: str = server.next_snapshot()["timestamp"]
    wait_for_the_recording(server, timestamp)
    return timestamp


# -- the same bytes


def test_any_recorded_tick_is_returned_as_the_bytes_that_a_client_got(recorded: Server) -> None:
    count = int(os.environ.get("RANDOM_TICKS", FRAMES))
    with client(recorded, "") as connection:
        live = snapshots(connection, min(count, 600))
    wait_for_the_recording(recorded, time_of(live[max(live)]))
    chosen = random.Random(5).choices([*live.items()], k=count)
    for seq, text in chosen:
        status, headers, body = at(recorded, time_of(text))
        assert (status, body.decode()) == (200, text)
        assert headers["ETag"] == f'"{json.loads(text)["epoch"]}-{seq}"'


def test_documents_and_lines_of_every_log_are_recorded_and_have_a_time(recorded: Server) -> None:
    before = now(recorded)
    post(recorded, "/api/ingest", {"type": "log", "level": "error", "logger": "oms", "message": "a line of the engine"})

    def messages(time: str | int) -> list[str]:
        lines = recorded.get(f"/api/recordings/logs?time={time}&level=error&limit=1000")["logs"]
        return [line["message"] for line in lines]

    wait_until(lambda: "a line of the engine" in messages(MAX_NS))
    assert "a line of the engine" not in messages(before)
    found = wait_until(lambda: recorded.get(f"/api/recordings/documents/system_components?time={MAX_NS}")["document"])
    assert "market_data" in found["components"]
    assert recorded.get("/api/recordings/documents/system_components?time=0")["document"] is None


@pytest.mark.parametrize("query", VIEWS)
def test_the_past_is_streamed_in_the_bytes_of_the_live_view(recorded: Server, query: str) -> None:
    with client(recorded, query) as connection:
        live = snapshots(connection, FRAMES)
    start = time_of(live[min(live)])
    wait_for_the_recording(recorded, time_of(live[max(live)]))
    with client(recorded, f"{query or '?'}{'&' if query else ''}at={start}") as connection:
        greeting = receive(connection, "connected")
        past = snapshots(connection, FRAMES)
    assert greeting["past"]["state"] == "playing"
    assert min(past) == min(live)
    # Either side may be late at times, and then gets a whole snapshot in place of a delta.
    same = [seq for seq, text in live.items() if seq in past and past[seq][:24] == text[:24]]
    assert len(same) > 5
    assert [past[seq] for seq in same] == [live[seq] for seq in same]


def test_frames_say_nothing_of_the_past_and_messages_around_them_do(recorded: Server) -> None:
    start = ago(recorded, 5)
    with client(recorded, f"?at={start}&speed=0") as connection:
        assert receive(connection, "connected")["past"]["state"] == "paused"
        assert "past" not in receive(connection, "metrics_update")
        ask(connection, type="subscribe", id=1, channels=["execution"])
        assert receive(connection, "subscribed")["past"]["time"] == start
    with client(recorded, "?mode=full") as connection:
        assert "past" not in receive(connection, "connected")


# -- pause, seek, step


def test_a_viewer_pauses_steps_seeks_and_plays(recorded: Server) -> None:
    start = ago(recorded, 12)
    with client(recorded, f"?at={start}&speed=0") as connection:
        first = receive(connection, "metrics_update")["seq"]
        ask(connection, type="step", id=1, count=3)
        answer = receive(connection, "past")
        assert (answer["id"], answer["past"]["state"]) == (1, "paused")
        assert receive(connection, "metrics_update")["seq"] == first + 3
        ask(connection, type="step", id=2, count=-2)
        assert receive(connection, "past")["id"] == 2
        assert receive(connection, "metrics_update")["seq"] == first + 1
        ask(connection, type="seek", id="back", time=start)
        assert receive(connection, "past")["past"]["time"] == start
        assert receive(connection, "metrics_update")["seq"] == first
        ask(connection, type="play", id=4, speed=2)
        assert receive(connection, "past")["past"] | {"end_time": ""} == {
            "time": start, "state": "playing", "speed": 2.0, "end_time": "",
            "start_time": recorded.get("/api/recordings")["start_time"],
        }  # fmt: skip
        assert receive(connection, "metrics_update")["seq"] > first
        ask(connection, type="pause", id=5)
        assert receive(connection, "past")["past"]["state"] == "paused"


def test_a_snapshot_after_a_seek_is_whole_with_deltas_too(recorded: Server) -> None:
    start = ago(recorded, 8)
    with client(recorded, f"?at={start}&speed=0&mode=delta") as connection:
        first = receive(connection, "metrics_update")["seq"]
        ask(connection, type="step", count=1)
        assert receive(connection, "metrics_update", "metrics_delta")["seq"] == first + 1
        # So slow that no frame is left out, however late the server is.
        ask(connection, type="play", speed=0.2)
        delta = receive(connection, "metrics_update", "metrics_delta")
        assert (delta["type"], delta["prev_seq"]) == ("metrics_delta", first + 1)


def test_a_viewer_that_reaches_the_end_is_told_and_follows_it(recorded: Server) -> None:
    with client(recorded, f"?at={ago(recorded, 5)}&speed=3600") as connection:
        while (message := receive(connection, "past"))["past"]["state"] != "end":
            pass
        seqs = [receive(connection, "metrics_update")["seq"] for _ in range(3)]
        assert seqs == sorted(seqs)
        ask(connection, type="seek", id=1, time=message["past"]["start_time"])
        assert receive(connection, "past")["past"]["state"] == "playing"


def test_a_time_before_the_recording_shows_its_first_frame(recorded: Server) -> None:
    ago(recorded, 2)
    with client(recorded, "?at=2020-01-01T00:00:00Z&speed=0") as connection:
        assert receive(connection, "metrics_update")["timestamp"] == recorded.get("/api/recordings")["start_time"]


# -- what there is


def test_a_time_before_the_recording_is_not_found_and_the_answer_says_what_there_is(recorded: Server) -> None:
    ago(recorded, 2)
    status, _, body = at(recorded, "2020-01-01T00:00:00Z")
    problem = json.loads(body)
    assert status == 404
    assert problem["start_time"] == recorded.get("/api/recordings")["start_time"]
    assert problem["end_time"] > problem["start_time"]


def test_the_list_of_recordings_can_be_narrowed(recorded: Server) -> None:
    ago(recorded, 2)
    found = recorded.get("/api/recordings")
    assert found["recording"] is True
    assert [stretch["frames"] for stretch in found["stretches"]] == [found["frames"]]
    assert recorded.get("/api/recordings?end_time=2020-01-01T00:00:00Z")["stretches"] == []


@pytest.mark.parametrize(
    "query", ["at=yesterday", "speed=1", "at=0&speed=-1", "at=0&speed=4000", "at=0&since=a:1", "at=0&lane_since=1"]
)
def test_a_faulty_query_is_refused_with_422(recorded: Server, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused, client(recorded, f"?{query}"):
        pass
    assert refused.value.response.status_code == 422


def test_events_of_the_past_are_refused(recorded: Server) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        recorded.get_bytes("/stream?at=0")
    with refused.value:
        assert refused.value.code == 422


@pytest.mark.parametrize(
    "message", [{"type": "seek"}, {"type": "seek", "time": "noon"}, {"type": "step", "count": 5000}, {"type": "rewind"}]
)
def test_a_faulty_message_is_answered_with_an_error(recorded: Server, message: dict[str, Any]) -> None:
    with client(recorded, f"?at={ago(recorded, 2)}&speed=0") as connection:
        receive(connection, "metrics_update")
        ask(connection, **message)
        with pytest.raises(AssertionError, match=r"bad_message|unknown_type"):
            receive(connection, "past")


# -- lanes


def test_lanes_bring_the_trades_of_the_past_in_order(start_server: Any, tmp_path: Path) -> None:
    server = start_server(DATA_DIR=str(tmp_path))
    begin = ago(server, 2)
    for number in range(6):
        post(server, "/api/ingest", {"type": "fill", "trade_id": f"t{number}", "order_id": "o", **FILL, "symbol": (
            "AAPL" if number % 2 else "AMZN"
        )})  # fmt: skip
        now(server)
    with client(server, f"?at={begin}&speed=10&channels=trades&symbols=AAPL") as connection:
        seen = [receive(connection, "trade") for _ in range(3)]
        assert [trade["trade_id"] for trade in seen] == ["t1", "t3", "t5"]
        assert [trade["prev"] for trade in seen] == [0, seen[0]["seq"], seen[1]["seq"]]


def test_a_paused_viewer_gets_the_trades_that_clients_had_by_then_and_no_later_ones(
    start_server: Any, tmp_path: Path
) -> None:
    server = start_server(DATA_DIR=str(tmp_path))
    for number in range(4):
        post(server, "/api/ingest", {"type": "fill", "trade_id": f"t{number}", "order_id": "o", **FILL})
        if number == 1:
            middle = now(server)
    now(server)
    with client(server, f"?at={middle}&speed=0&channels=execution") as connection:
        receive(connection, "metrics_update")
        ask(connection, type="subscribe", channels=["trades"], lane_since={"trades": 0})
        assert [receive(connection, "trade")["trade_id"] for _ in range(2)] == ["t0", "t1"]
        ask(connection, type="ping", id=1)
        # Nothing comes in between.
        assert receive(connection, "trade", "pong")["type"] == "pong"
        ask(connection, type="play", speed=10)
        assert receive(connection, "trade")["trade_id"] == "t2"


# -- marks, and what changed


def test_an_alert_is_a_mark_at_the_time_at_which_it_was_raised(start_server: Any, tmp_path: Path) -> None:
    server = start_server(DATA_DIR=str(tmp_path), **NO_RULES)
    begin = now(server)
    for severity in ("warning", "critical"):
        alert = {"type": "alert", "key": severity, "severity": severity, "title": "Halt"}
        post(server, "/api/ingest", alert)
    end = now(server)
    (mark,) = server.get(f"/api/recordings/marks?start_time={begin}&end_time={end}&points=1")["marks"]
    assert begin <= mark["time"] <= end
    kinds = ("kind", "count", "state", "severity", "title")
    assert [mark[name] for name in kinds] == ["alert", 2, "raised", None, "Halt"]


def test_fills_of_one_interval_are_one_mark(start_server: Any, tmp_path: Path) -> None:
    server = start_server(DATA_DIR=str(tmp_path))
    start_ns = 1_700_000_000_000_000_000
    for number, (symbol, second) in enumerate((("AAPL", 1), ("AAPL", 2), ("AMZN", 3), ("AMZN", 65))):
        fill = {"type": "fill", "trade_id": f"t{number}", "order_id": "o", **FILL, "symbol": symbol}
        post(server, "/api/ingest", {**fill, "ts": start_ns + second * 1_000_000_000})
    end_ns = start_ns + 119_999_999_999
    found = server.get(f"/api/recordings/marks?start_time={start_ns}&end_time={end_ns}&points=2")
    assert found["interval_ms"] == 60_000
    shown = [(mark["kind"], mark["count"], mark.get("symbol"), mark.get("title")) for mark in found["marks"]]
    assert shown == [("fill", 3, None, None), ("fill", 1, "AMZN", None)]
    every = server.get(f"/api/recordings/marks?start_time={start_ns}&end_time={end_ns}&points=5000")["marks"]
    assert [mark["count"] for mark in every] == [1] * 4
    assert server.get(f"/api/recordings/marks?start_time={start_ns}&end_time={start_ns}")["marks"] == []


def test_what_changed_around_a_time_is_told(start_server: Any, tmp_path: Path) -> None:
    server = start_server(DATA_DIR=str(tmp_path))
    before = now(server)
    post(server, "/api/ingest", {"type": "fill", "trade_id": "t", "order_id": "o", **FILL})
    post(server, "/api/ingest", {"type": "quote", "symbol": "AAPL", "bid": 1, "ask": 2})
    now(server)
    found = server.get(f"/api/recordings/around?time={before}&seconds=60")
    assert {"path": ["execution", "fills_today"], "before": 0, "after": 1} in found["changes"]
    assert found["symbols"]["added"] == [{"symbol": "AAPL"}]
    assert [each["symbol"] for each in found["positions"]["added"]] == ["AAPL"]
    assert [each["trade_id"] for each in found["fills"]] == ["t"]
    assert found["truncated"] is False
    assert found["from"]["seq"] < found["to"]["seq"]


# -- restarts


def test_the_past_of_a_killed_server_is_whole_and_its_end_is_a_gap(start_server: Any, tmp_path: Path) -> None:
    server = start_server("--demo", DATA_DIR=str(tmp_path))
    with client(server, "") as connection:
        live = snapshots(connection, 15)
    wait_for_the_recording(server, time_of(live[max(live)]))
    server.stop(signal.SIGKILL)
    # Playing waits over a shorter time without frames, and says nothing of it.
    time.sleep(GAP_NS / NS_PER_S)
    server = start_server("--demo", DATA_DIR=str(tmp_path))
    ago(server, 3)
    for text in live.values():
        assert at(server, time_of(text))[2].decode() == text
    (gap,) = server.get("/api/recordings")["gaps"]
    assert gap["reason"] == "stopped"
    # A viewer crosses the time without frames at once.
    with client(server, f"?at={time_of(live[max(live)])}") as connection:
        receive(connection, "connected")
        before = time.monotonic()
        message = receive(connection, "past")
        while "skipped" not in message:
            message = receive(connection, "past")
        assert message["skipped"]["end_time"] == gap["end_time"]
        assert time.monotonic() - before < TIMEOUT_SECONDS


def test_a_server_without_a_data_directory_has_no_past(start_server: Any) -> None:
    server = start_server("--demo")
    assert server.get("/api/recordings") == {
        "recording": False, "live": True, "playback": False, "start_time": None, "end_time": None, "frames": 0,
        "size_bytes": 0, "stretches": [], "gaps": [],
    }  # fmt: skip
    assert at(server, "0")[0] == 404
    with pytest.raises(InvalidStatus) as refused, client(server, "?at=0"):
        pass
    assert refused.value.response.status_code == 404


def test_a_server_that_may_not_record_records_nothing(start_server: Any, tmp_path: Path) -> None:
    server = start_server("--demo", DATA_DIR=str(tmp_path), RECORD="off")
    server.next_snapshot()
    assert server.get("/api/recordings")["recording"] is False
    assert not (tmp_path / "recording").exists()
    with client(server, "?at=0") as connection:
        assert json.loads(connection.recv(TIMEOUT_SECONDS))["code"] == "no_recording"
        with pytest.raises(ConnectionClosed):
            connection.recv(TIMEOUT_SECONDS)


def test_a_server_that_cannot_record_says_so_and_goes_on(start_server: Any, tmp_path: Path) -> None:
    (tmp_path / "recording").write_text("in the way")
    server = start_server("--demo", DATA_DIR=str(tmp_path))
    server.wait_for_log("the recorder is off")
    reasons = wait_until(
        lambda: [each for each in server.get("/api/system/health")["reasons"] if "record" in str(each)]
    )
    assert "nothing is recorded" in str(reasons)
    assert exposed(server)["recorder_frames_total"] == 0
    server.next_snapshot()
