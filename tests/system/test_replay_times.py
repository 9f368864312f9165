"""A replay through a real server: no figure of it has the host's time."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import post
from recordings import record
from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect

StartServer = Callable[..., Server]

# Losing from the first fill on, so that the deepest fall begins at the peak of zero.
EVENTS: list[dict[str, Any]] = [
    {"type": "fill", "trade_id": "1", "order_id": "o", "symbol": "X", "side": "buy", "quantity": "9", "price": "10",
     "strategy": "s", "ts": "2012-06-21T12:00:00Z"},
    {"type": "quote", "symbol": "X", "bid": 8.0, "ask": 8.0, "ts": "2012-06-21T12:00:00.400Z"},
    {"type": "order", "order_id": "p", "symbol": "X", "side": "sell", "quantity": "9", "status": "new",
     "ts": "2012-06-21T12:00:00.800Z"},
]  # fmt: skip
SECTIONS = ("market_data", "strategy", "execution", "system")


def points(server: Server, section: str) -> list[dict[str, Any]]:
    wanted = {
        "start_time": "2012-06-21T00:00:00Z",
        "end_time": "2012-06-22T00:00:00Z",
        "interval": "100ms",
        "metric_types": [section],
    }
    found: list[dict[str, Any]] = post(server, "/api/metrics/history", wanted)["data"]
    return found


def ages_of(server: Server) -> list[float]:
    exposed = server.get_bytes("/metrics").decode()
    return [float(age) for age in re.findall(r"^event_age_seconds\{.*\} (.+)$", exposed, re.MULTILINE)]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_ticks_before_a_replay_leave_no_trace_of_the_hosts_time(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    path = record(tmp_path / "events.jsonl", *EVENTS)
    server = start_server("--replay", path, "--speed", "1", "--workers", workers)
    server.wait_for_log("source .* has ended")
    snapshot = server.next_snapshot()
    account = snapshot["strategy"]
    assert account["max_drawdown"] == 18.0
    assert account["max_drawdown_peak_time"] == "2012-06-21T12:00:00.000Z"
    assert "2012-06-21T12:00:00.400Z" <= account["max_drawdown_trough_time"] < "2012-06-21T12:00:00.800Z"
    # Ages grow after the end, and are those of minutes, not of years.
    assert all(age_ms is not None and 0 <= age_ms < 3600_000 for age_ms in snapshot["age_ms"].values())
    ages = ages_of(server)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while len(ages) < len(SECTIONS) and time.monotonic() < deadline:
        # The hub makes its figures for workers once a second.
        time.sleep(0.1)
        ages = ages_of(server)
    assert len(ages) == len(SECTIONS) and all(0 <= age < 3600 for age in ages)
    for section in SECTIONS:
        times = [point["timestamp"] for point in points(server, section)]
        assert times and times[0] >= "2012-06-21T12:00:00.000Z", section
    # The first point already has the first event; a late one has the quote, too.
    first, *_, last = points(server, "strategy")
    assert first["gross_exposure"] in (90.0, 72.0)
    assert last["total_pnl"] == -18.0


def quote(seconds: float, symbol: str = "X") -> dict[str, Any]:
    return {"type": "quote", "symbol": symbol, "bid": 9, "ask": 11, "ts": REPLAY_NS + round(seconds * 10**9)}


REPLAY_NS = 1_700_006_400 * 10**9  # 2023-11-15T00:00:00Z


def snapshots(server: Server, until: Callable[[dict[str, Any]], object]) -> list[dict[str, Any]]:
    """Returns the snapshots of the last 30 ticks, and those that follow until one that `until` is true for, which is
    the last. A test may get its turn after a short replay has ended."""
    found = []
    now = server.get("/api/metrics/current")
    with connect(f"{server.websocket_url}?since={now['epoch']}:{max(1, now['seq'] - 30)}") as client:
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            message = json.loads(client.recv(timeout=TIMEOUT_SECONDS))
            if message["type"] == "metrics_update":
                found.append(message)
                if until(message):
                    return found
    raise AssertionError(f"not among {len(found)} snapshots, of which the last is {found[-1:]}")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("speed", ["1", "max"])
def test_symbols_turn_stale_after_the_end_of_a_replay(
    start_server: StartServer, tmp_path: Path, speed: str, workers: str
) -> None:
    path = record(tmp_path / "q.jsonl", quote(0), quote(0.2))
    server = start_server("--replay", path, "--speed", speed, "--workers", workers, STALE_AFTER="1")
    seen = snapshots(server, lambda message: message["market_data"].get("X", {}).get("stale"))
    last = seen[-1]
    # The event clock is past the last event by as much as makes a symbol stale, and by no more than this test took.
    # Timestamps are cut off to milliseconds.
    assert last["timestamp"] >= "2023-11-15T00:00:01.200Z"
    assert last["timestamp"] < "2023-11-15T00:05:00Z"
    assert last["system"]["replay"]["state"] == "ended"
    assert last["market_data"]["X"]["updated"] == "2023-11-15T00:00:00.200Z"


def test_the_event_clock_moves_through_a_gap_in_the_time_that_it_is_shortened_to(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = record(tmp_path / "q.jsonl", quote(0), quote(3600, "Y"), quote(3600.2, "Y"))
    server = start_server("--replay", path, "--speed", "2", METRIC_COLLECTION_INTERVAL="0.2")
    # An hour is shortened to 5 s, played at twice the pace; as it is, it would outlast the test.
    seen = snapshots(server, lambda message: "Y" in message["market_data"])
    times = [message["timestamp"] for message in seen]
    assert times == sorted(times)
    minutes = {moment[:16] for moment in times}
    assert len(minutes) >= 4, times
    # In the gap, not only at its end.
    assert any(message["market_data"]["X"]["stale"] for message in seen[:-1] if message["market_data"])
    assert seen[-1]["market_data"]["X"]["stale"] is True


def test_events_sent_after_the_end_of_a_replay_continue_its_time(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--replay", record(tmp_path / "q.jsonl", quote(0)), "--speed", "max")
    server.wait_for_log("replay has ended")
    post(server, "/api/ingest", {"type": "quote", "symbol": "X", "bid": 1, "ask": 2})
    updated = server.next_snapshot()["market_data"]["X"]["updated"]
    assert "2023-11-15T00:00:00" <= updated < "2023-11-15T00:01"


@pytest.mark.parametrize("speed", ["1", "max"])
def test_the_bar_of_the_last_minute_comes_with_the_end_and_is_amended(
    start_server: StartServer, tmp_path: Path, speed: str
) -> None:
    prints = [
        {"type": "print", "symbol": "X", "price": price, "size": 1, "ts": REPLAY_NS + at_ns}
        for price, at_ns in ((9, 57 * 10**9), (11, 58 * 10**9))
    ]
    server = start_server("--replay", record(tmp_path / "p.jsonl", *prints), "--speed", speed)
    server.wait_for_log("replay has ended")

    def bars() -> list[dict[str, Any]]:
        wanted = {
            "start_time": "2023-11-15T00:00:00Z", "end_time": "2023-11-15T00:05:00Z", "interval": "1m",
            "metric_types": ["bars"],
        }  # fmt: skip
        found: list[dict[str, Any]] = post(server, "/api/metrics/history", wanted)["data"]
        return found

    server.next_snapshot()
    (bar,) = bars()
    assert (bar["open"], bar["close"], bar["trades"]) == (9, 11, 2)
    post(server, "/api/ingest", {"type": "print", "symbol": "X", "price": 7, "size": 3, "ts": REPLAY_NS + 59 * 10**9})
    # The minute ends a second later, and the bar two seconds after that.
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (bar := bars()[0])["trades"] == 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (bar["close"], bar["low"], bar["volume"]) == (7, 7, 5)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_clients_see_a_replay_begin_run_and_end(start_server: StartServer, tmp_path: Path, workers: str) -> None:
    path = record(tmp_path / "q.jsonl", *(quote(number / 10) for number in range(21)))
    with open(path, "a") as file:
        file.write("this is not an event\n")
    server = start_server("--replay", path, "--speed", "1", "--workers", workers, METRIC_COLLECTION_INTERVAL="0.2")
    seen = snapshots(server, lambda message: message["system"]["replay"]["state"] == "ended")
    states = [message["system"]["replay"]["state"] for message in seen]
    assert states == sorted(states, key=["waiting", "running", "ended"].index)
    assert "running" in states
    assert seen[-1]["system"]["replay"] == {
        "state": "ended", "event_time": "2023-11-15T00:00:02.000Z", "progress": 1.0, "lap": 1, "events": 21,
        "skipped_lines": 0, "bad_lines": 1,
    }  # fmt: skip
    stats = server.get("/api/system/stats")["replay"]
    assert stats["files"] == [
        {"file": "q.jsonl", "kind": "events", "events": {"quote": 21}, "skipped_lines": {}, "bad_lines": 1,
         "error": None}
    ]  # fmt: skip
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while "replay_bad_lines_total 1.0" not in server.get_bytes("/metrics").decode():
        assert time.monotonic() < deadline
        time.sleep(0.1)  # workers have the hub's figures once a second
    assert any("lap 1" in line and "1 unreadable lines" in line for line in server.stop())


def test_a_server_without_a_replay_says_that_there_is_none(demo_server: Server) -> None:
    assert demo_server.next_snapshot()["system"]["replay"] is None
    assert demo_server.get("/api/system/stats")["replay"] is None


def test_two_replays_of_a_recording_agree_in_drawdown_whatever_their_speed(
    start_server: StartServer, tmp_path: Path
) -> None:
    def at(seconds: float, **event: Any) -> dict[str, Any]:
        return event | {"symbol": event.get("symbol", "X"), "ts": REPLAY_NS + round(seconds * 10**9)}

    def fill(seconds: float, side: str, price: str, **changes: Any) -> dict[str, Any]:
        fixed = {"type": "fill", "order_id": "o", "quantity": "1", "strategy": "s", "commission": "0.25"}
        return at(seconds, side=side, price=price, trade_id=f"t{seconds}", **fixed, **changes)

    def market_print(seconds: float, price: float, **changes: Any) -> dict[str, Any]:
        return at(seconds, type="print", price=price, size=1, **changes)

    path = record(
        tmp_path / "events.jsonl",
        at(0, type="equity", value="1000"), quote(0), fill(0.1, "buy", "10"), market_print(1, 4),
        quote(2, "Y"), fill(2.5, "sell", "10", symbol="Y"), market_print(3, 29, symbol="Y"),
        # X falls to 4 at 5 s, Y rises to 29 at 7 s, and both are quoted as before from 9 s on.
        quote(9), quote(9.5, "Y"), market_print(10, 2), market_print(10, 30, symbol="Y"),
        # At 14 s and at 14.5 s the same again, then nothing for an hour.
        quote(3600), quote(3600, "Y"), fill(3601, "sell", "12"), fill(3602, "buy", "8", symbol="Y"),
    )  # fmt: skip
    found = []
    for speed in ("max", "40"):
        server = start_server("--replay", path, "--speed", speed)
        server.wait_for_log("source .* has ended")
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (document := server.get("/api/strategy/performance"))["account"]["n_wins"] < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)  # the document is made once a second
        found.append((document["account"]["drawdown"], document["strategies"]["s"]["drawdown"]))
    assert found[0] == found[1]
    deepest = found[0][0]["maximum"]
    assert (deepest["value"], deepest["trough_time"]) == (28.5, "2023-11-15T00:00:14.500Z")
