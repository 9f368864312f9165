"""Quotes and prints as real feeds send them: late, repeated, dated ahead, without a side, tiny and too large."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import answer_to
from recordings import record
from server_process import Server, long_session
from ws_client import connect, receive

StartServer = Callable[..., Server]

S = 1_000_000_000
MINUTE = 60 * S


def quote(symbol: str, bid: float | None, ask: float | None, **fields: Any) -> dict[str, Any]:
    return {"type": "quote", "symbol": symbol, "bid": bid, "ask": ask, **fields}


def trade(symbol: str, price: float, size: float = 1.0, **fields: Any) -> dict[str, Any]:
    return {"type": "print", "symbol": symbol, "price": price, "size": size, **fields}


def fill(symbol: str, price: str, **fields: Any) -> dict[str, Any]:
    ids = {"trade_id": f"t-{symbol}", "order_id": f"o-{symbol}"}
    return {"type": "fill", **ids, "symbol": symbol, "side": "buy", "quantity": "10", "price": price, **fields}


def post(server: Server, *events: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = answer_to(server, "/api/ingest", events)
    return answer


def symbols(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.next_snapshot()["market_data"]
    return found


def positions(server: Server) -> dict[str, dict[str, Any]]:
    return {position["symbol"]: position for position in server.next_snapshot()["strategy"]["positions"]}


def bars(server: Server, symbol: str) -> list[tuple[float, float]]:
    """Returns close and volume of the finished bars of the last hour."""
    question = {"time_range": "1h", "interval": "1m", "metric_types": ["bars"], "symbols": [symbol]}
    data = answer_to(server, "/api/metrics/history", question)["data"]
    return [(bar["close"], bar["volume"]) for bar in data]


def replay(start_server: StartServer, directory: Path, events: list[dict[str, Any]]) -> Server:
    """Returns a server that has replayed the events."""
    server = start_server("--replay", record(directory / "recording.jsonl", *events), "--speed", "max")
    server.wait_for_log("replay has ended")
    server.next_snapshot()
    return server


def test_prints_do_not_keep_a_dead_quote_alive(start_server: StartServer) -> None:
    server = start_server(STALE_AFTER="1")
    post(server, quote("X", 100.0, 100.02), fill("X", "100.01"))
    assert positions(server)["X"]["mark"] == 100.01
    shown: dict[str, Any] = {"quote_stale": False}
    # A print that has to wait for its snapshot may have turned stale, too.
    while (shown["quote_stale"], shown.get("print_stale")) != (True, False):
        post(server, trade("X", 90.0))
        snapshot = server.next_snapshot()
        shown = snapshot["market_data"]["X"]
    (position,) = snapshot["strategy"]["positions"]
    assert shown["stale"]
    assert (shown["bid"], shown["spread_bps"], shown["last_price"]) == (100.0, None, 90.0)
    assert (position["mark"], position["mark_source"], position["unrealized_pnl"]) == (90.0, "last", -100.1)


def test_the_newest_by_time_stands_whatever_comes_late(start_server: StartServer) -> None:
    server = start_server(**long_session())
    now = time.time_ns()
    post(server, fill("X", "109.4"), trade("X", 109.4, ts=now), quote("Y", 100.0, 101.0, ts=now))
    post(server, trade("X", 114.62, 125_984, ts=now - 3 * MINUTE), quote("Y", 90.0, 91.0, ts=now - 4 * S))
    found = symbols(server)
    assert (found["X"]["last_price"], found["X"]["volume"], found["X"]["late"]) == (109.4, 125_985.0, 1)
    assert (found["Y"]["bid"], found["Y"]["late"]) == (100.0, 1)
    assert positions(server)["X"]["unrealized_pnl"] == 0.0


def test_one_event_dated_ahead_costs_itself_and_not_the_next_hour(start_server: StartServer) -> None:
    server = start_server()
    now = time.time_ns()
    minute = now - now % MINUTE
    post(server, trade("X", 100.0, ts=now + 60 * MINUTE - S), quote("X", 99.0, 101.0, ts=now + 60 * MINUTE))
    post(server, *(trade("X", 90.0 + k, 2.0, ts=minute - k * MINUTE + S) for k in (4, 3, 2)))
    post(server, quote("X", 91.0, 93.0, ts=now))
    shown = symbols(server)["X"]
    assert (shown["last_price"], shown["bid"], shown["ahead"], shown["clock_offset_ms"]) == (92.0, 91.0, 2, None)
    assert bars(server, "X")[:3] == [(94.0, 2.0), (93.0, 2.0), (92.0, 2.0)]
    assert server.get("/api/system/stats")["late_prints"] == 0
    assert sum("cannot be right" in line for line in server.stop()) == 2


ORDER = {"type": "order", "order_id": "o", "symbol": "X", "side": "buy", "quantity": "1", "status": "new"}


@pytest.mark.parametrize("event", [quote("X", 1.0, 2.0), trade("X", 1.0), ORDER, fill("X", "1")])
def test_one_event_dated_ahead_raises_an_alert(start_server: StartServer, event: dict[str, Any]) -> None:
    server = start_server()
    with connect(f"{server.websocket_url}?channels=alerts&lane_since=0") as lane:
        post(server, {**event, "ts": time.time_ns() + 6 * S})
        while receive(lane, "alert")["title"] != "Events are dated ahead of their arrival":
            pass
    assert sum("cannot be right" in line for line in server.stop()) == 1


def test_a_print_sent_again_counts_once_and_is_told_as_a_duplicate(start_server: StartServer) -> None:
    server = start_server()
    one = trade("X", 281.1, 2.0, trade_id="T-52983", venue="XADF", ts=time.time_ns())
    assert post(server, one, one)["duplicates"] == 1
    assert post(server, one)["duplicates"] == 1
    with connect(f"ws://127.0.0.1:{server.port}/ws/ingest") as sender:
        sender.recv()
        sender.send(json.dumps([one, trade("X", 281.1, 2.0, trade_id="T-52984", venue="XADF")]))
        answer = json.loads(sender.recv())
    assert (answer["accepted"], answer["duplicates"]) == (1, 1)
    shown = symbols(server)["X"]
    assert (shown["trades"], shown["volume"]) == (2, 4.0)
    assert server.get("/api/system/stats")["repeated_prints"] == 3


def test_a_side_that_is_not_there_marks_nothing(start_server: StartServer) -> None:
    server = start_server()
    empty = {
        "A": {"bid": 100.0, "ask": 0.0, "bid_size": 100.0, "ask_size": 0.0},
        "B": {"bid": 0.0, "ask": 0.0, "bid_size": 0.0, "ask_size": 0.0},
        "C": {"bid": -1.0, "ask": -1.0, "bid_size": 0.0, "ask_size": 0.0},
        "D": {"bid": 100.0, "ask": None},
    }
    for symbol, sides in empty.items():
        post(server, fill(symbol, "100"), trade(symbol, 100.0), quote(symbol, **sides))
    assert {symbol: (held["mark"], held["mark_source"]) for symbol, held in positions(server).items()} == dict.fromkeys(
        empty, (100.0, "last")
    )
    strategy = server.next_snapshot()["strategy"]
    assert (strategy["unrealized_pnl"], strategy["max_drawdown"]) == (0.0, 0.0)
    assert [symbols(server)[symbol]["ask"] for symbol in empty] == [None] * 4


def test_prices_of_any_scale_are_exact_and_those_beyond_are_refused(start_server: StartServer) -> None:
    server = start_server()
    for number, price in enumerate((1.2345e-8, 1.2345e-12, 4e-13, 1e17)):
        post(server, trade(f"S{number}", price, 1e9))
        assert symbols(server)[f"S{number}"]["vwap"] == price
    post(server, trade("S", 100.0, 1.5e-13))
    assert (symbols(server)["S"]["volume"], symbols(server)["S"]["vwap"]) == (1.5e-13, 100.0)
    answer = post(server, trade("S", 1e308))
    assert answer["rejected"] == [{"index": 0, "error": "Expected `float` < 1e+18 - at `$[0].price`"}]


def test_a_decision_between_two_quotes_has_the_mid_that_stood_then(start_server: StartServer, tmp_path: Path) -> None:
    base = 1_700_000_000 * S
    order = {"type": "order", "symbol": "X", "side": "buy", "quantity": "1"}
    events = [
        quote("X", 99.0, 101.0, ts=base - 2 * S),
        order | {"order_id": "first", "status": "new", "ts": base - S},
        quote("X", 99.0, 101.0, ts=base),
        quote("X", 100.0, 102.0, ts=base + 5_000_000),
        quote("X", 101.0, 103.0, ts=base + 8_000_000),
        order | {"order_id": "o-X", "status": "new", "decision_ts": base + 6_000_000, "ts": base + 9_000_000},
        fill("X", "102", quantity="1", ts=base + 9_000_000),
        order | {"order_id": "o-X", "status": "filled", "ts": base + 9_000_000},
    ]
    server = replay(start_server, tmp_path, events)
    shortfall = server.get("/api/trades/execution/quality")["implementation_shortfall"]
    assert (shortfall["delay"], shortfall["total"]) == (1.0, 1.0)


def test_a_recording_shows_the_newest_by_time_in_any_order_of_lines(start_server: StartServer, tmp_path: Path) -> None:
    base = 1_700_006_400 * S
    moments = [20, 0, 3600, 5, 21, 24, 1, 22]
    events = [
        event
        for second in moments
        for event in (
            trade("X", 100.0 + second, ts=base + second * S),
            quote("X", 99.0, 101.0 + second, ts=base + second * S),
        )
    ]
    server = replay(start_server, tmp_path, events)
    snapshot = server.next_snapshot()
    shown = snapshot["market_data"]["X"]
    assert (shown["last_price"], shown["ask"], shown["ahead"]) == (124.0, 125.0, 2)
    assert (shown["trades"], snapshot["timestamp"] < "2023-11-15T00:10") == (8, True)
    assert server.get("/api/system/stats")["late_prints"] == 0


def test_several_venues_make_one_best_over_a_restart(start_server: StartServer, tmp_path: Path) -> None:
    server = start_server("--data-dir", str(tmp_path), STALE_AFTER="1000")
    post(server, quote("X", 101, 102, venue="A"), quote("X", 99, 100, venue="B"), trade("X", 100, 3, venue="A"))
    symbol = symbols(server)["X"]
    assert (symbol["bid"], symbol["ask"], symbol["crossed"], symbol["volume"]) == (101.0, 100.0, 1, 3.0)
    server.stop()
    server = start_server("--data-dir", str(tmp_path), STALE_AFTER="1000")
    assert post(server, quote("X", 98, 99, venue="B"))["accepted"] == 1
    symbol = symbols(server)["X"]
    assert (symbol["bid"], symbol["ask"], symbol["crossed"], symbol["volume"]) == (101.0, 99.0, 2, 3.0)
    assert [(name, one["bid"], one["volume"]) for name, one in symbol["venues"].items()] == [
        ("A", 101.0, 3.0), ("B", 98.0, 0.0),
    ]  # fmt: skip


def test_busted_and_corrected_prints_count_right_over_a_restart(start_server: StartServer, tmp_path: Path) -> None:
    session = long_session()
    server = start_server("--data-dir", str(tmp_path), **session)
    minute = time.time_ns() // MINUTE * MINUTE - 2 * MINUTE
    prints = [(1, 100.0, 2.0), (2, 999.0, 5.0), (3, 10.0, 1.0), (4, 102.0, 1.0)]
    post(server, *(trade("X", price, size, trade_id=number, ts=minute + number) for number, price, size in prints))
    bust = {"type": "bust", "symbol": "X", "trade_id": "2"}
    correct = {"type": "correct", "symbol": "X", "trade_id": "3", "price": "101", "quantity": "3"}
    assert post(server, bust, correct, bust)["duplicates"] == 1

    def is_right(shown: dict[str, Any]) -> bool:
        return [shown[name] for name in ("volume", "trades", "high", "low", "last_price")] == [
            6.0, 3, 102.0, 100.0, 102.0,
        ]  # fmt: skip

    assert is_right(symbols(server)["X"])
    effects = [booking["effect"]["status"] for booking in server.get("/api/bookings")["bookings"]]
    assert effects == ["applied", "applied"]
    assert bars(server, "X") == [(102.0, 6.0)]
    server.stop()
    server = start_server("--data-dir", str(tmp_path), **session)
    assert is_right(symbols(server)["X"])
    assert bars(server, "X") == [(102.0, 6.0)]
    assert post(server, trade("X", 999.0, 5.0, trade_id=2, ts=minute + 2))["duplicates"] == 1


def test_the_bust_of_a_print_that_has_not_come_waits_in_sight(start_server: StartServer) -> None:
    server = start_server()
    post(server, {"type": "bust", "symbol": "X", "trade_id": "2"}, trade("X", 100.0, trade_id=1))
    assert server.get("/api/bookings?status=pending")["total"] == 1
    post(server, trade("X", 999.0, trade_id=2))
    assert symbols(server)["X"]["trades"] == 1
    (booking,) = server.get("/api/bookings?symbol=X")["bookings"]
    assert (booking["effect"]["status"], booking["effect"]["before"]) == ("applied", {"price": 999.0, "size": 1.0})
