"""Busts and corrections of fills through a server: everything is as if the fault had never been, over kills too."""

from __future__ import annotations

import json
import signal
import urllib.request
from pathlib import Path
from typing import Any

from hosts import post, wait_until
from server_process import TIMEOUT_SECONDS, Server, long_session, running
from ws_client import connect


def send(server: Server, *events: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = post(server, "/api/ingest", events)
    return answer


def fill(number: int, side: str, quantity: str, price: str, **changes: Any) -> dict[str, Any]:
    return {
        "type": "fill", "trade_id": f"t{number}", "order_id": f"o{number}", "symbol": "X", "side": side,
        "quantity": quantity, "price": price, "strategy": "s", "commission": "1", **changes,
    }  # fmt: skip


def key(number: int, side: str) -> dict[str, Any]:
    return {"trade_id": f"t{number}", "order_id": f"o{number}", "symbol": "X", "side": side}


RIGHT = [fill(1, "buy", "10", "101"), fill(3, "sell", "4", "110")]
WRONG = [fill(1, "buy", "10", "100"), fill(2, "buy", "5", "7"), fill(3, "sell", "4", "110")]
CORRECT = {"type": "correct", **key(1, "buy"), "price": "101"}
BUST = {"type": "bust", **key(2, "buy")}


def figures(server: Server) -> dict[str, Any]:
    section = server.next_snapshot()["strategy"]
    (position,) = section["positions"]
    quality = server.get("/api/trades/execution/quality")
    stats = server.get("/api/trades/stats/summary")
    return {
        **{name: section[name] for name in ("fills", "fees", "total_pnl", "realized_pnl", "win_rate", "n_closing")},
        **{name: position[name] for name in ("quantity", "avg_price", "realized_pnl", "unrealized_pnl")},
        "strategy": {name: section["strategies"]["s"][name] for name in ("fills", "n_wins", "realized_gross_pnl")},
        "symbol": section["symbols"]["X"],
        "quality": {name: quality[name] for name in ("fills", "orders", "fill_rate", "by_strategy", "by_symbol")},
        "stats": {name: value for name, value in stats.items() if name not in ("timestamp", "seq")},
    }


def test_a_kill_at_any_step_leaves_the_figures_of_a_run_without_the_fault(tmp_path: Path) -> None:
    # The quality is that of the session, which must not end meanwhile.
    session = long_session()
    with running(**session) as server:
        send(server, *RIGHT)
        right = figures(server)
    # The bust comes before its fill, which it waits for.
    steps = [WRONG[0], BUST, WRONG[2], WRONG[1], CORRECT]
    for number in range(1, len(steps) + 1):
        directory = tmp_path / str(number)
        with running("--data-dir", str(directory), **session) as server:
            send(server, *steps[:number])
            server.stop(signal.SIGKILL)
        with running("--data-dir", str(directory), **session) as server:
            # Whatever was sent is known, so that all may be sent again.
            answer = send(server, *steps)
            assert (answer["accepted"], answer["duplicates"]) == (len(steps) - number, number)
            shown = figures(server)
            # Fills are in the order in which they came.
            assert shown["fills"] == 2
            for name in ("quantity", "avg_price", "realized_pnl", "fees", "symbol", "stats", "quality"):
                assert shown[name] == right[name], name
            section = server.next_snapshot()["strategy"]
            assert (section["corrections"], section["pending_corrections"]) == (2, 0)
            assert section["path_reason"] is None


def test_a_corrected_trade_stays_in_sight_with_its_correction(tmp_path: Path) -> None:
    with running("--data-dir", str(tmp_path)) as server:
        send(server, *WRONG, BUST)
        replacement = fill(9, "buy", "10", "101", order_id="o1", corrects="t1")
        assert send(server, replacement)["accepted"] == 1
        # A drop copy knows only what came out of it.
        assert send(server, {name: replacement[name] for name in replacement if name != "corrects"})["duplicates"] == 1
        assert send(server, WRONG[0], CORRECT | {"price": None}, BUST)["rejected_count"] == 0
        trades = {trade["trade_id"]: trade for trade in server.get("/api/trades")["trades"]}
        assert {name: trade["status"] for name, trade in trades.items()} == {
            "t9": "corrected", "t2": "busted", "t3": None,
        }  # fmt: skip
        assert (trades["t9"]["price"], trades["t9"]["original"]["price"]) == (101.0, 100.0)
        found = server.get("/api/bookings?kind=bust")["bookings"][0]
        assert trades["t2"]["corrected_by"] is not None
        assert (found["effect"]["status"], found["effect"]["after"]) == ("applied", None)
        assert found["effect"]["before"] == {"quantity": 5.0, "price": 7.0, "commission": 1.0}
        assert server.get("/api/trades/t1")["trade_id"] == server.get("/api/trades/t9")["trade_id"] == "t9"
        with connect(f"{server.websocket_url}?channels=bookings&lane_since=0") as client:
            messages = (message for message in map(json.loads, client) if message["type"] == "booking")
            kinds = [next(messages)["kind"] for _ in range(2)]
        assert kinds == ["bust", "correct"]


def test_a_correction_without_its_fill_waits_in_sight() -> None:
    with running() as server:
        assert send(server, BUST, BUST)["duplicates"] == 1
        assert server.next_snapshot()["strategy"]["pending_corrections"] == 1
        (found,) = server.get("/api/bookings?status=pending")["bookings"]
        assert (found["trade_id"], found["effect"]["reason"][:7]) == ("t2", "no fill")
        send(server, *WRONG)
        section = server.next_snapshot()["strategy"]
        assert (section["pending_corrections"], section["corrections"], section["fills"]) == (0, 1, 2)
        assert server.get("/api/bookings?status=pending")["total"] == 0


def marks(server: Server, start: str, end: str, section: str = "strategy") -> list[dict[str, Any]]:
    """Returns the corrections that the history of a time is marked with."""
    question = {"start_time": start, "end_time": end, "interval": "1s", "metric_types": [section]}
    answer = post(server, "/api/metrics/history", question)
    assert answer["corrections_total"] == len(answer["corrections"])
    found: list[dict[str, Any]] = answer["corrections"]
    return found


def marked(server: Server, moment: str) -> tuple[str | None, dict[str, Any]]:
    """Returns the number of later corrections that a past snapshot has, and the snapshot."""
    with urllib.request.urlopen(server.url(f"/api/metrics/at?time={moment}"), timeout=TIMEOUT_SECONDS) as answer:
        return answer.headers["Corrected-Later"], json.loads(answer.read())


def test_the_past_is_marked_with_the_corrections_that_came_later(tmp_path: Path) -> None:
    with running("--data-dir", str(tmp_path), "--workers", "2") as server:
        before = server.next_snapshot()["timestamp"]
        send(server, WRONG[0])
        wrong = server.next_snapshot()
        send(server, CORRECT)
        right = server.next_snapshot()["timestamp"]
        wait_until(lambda: server.get("/api/bookings?status=applied")["total"] == 1)
        wait_until(lambda: (server.get("/api/recordings")["end_time"] or "") >= right)
        (found,) = marks(server, before, wrong["timestamp"])
        assert {name: found[name] for name in ("kind", "trade_id", "strategy", "symbol")} == {
            "kind": "correct", "trade_id": "t1", "strategy": "s", "symbol": "X",
        }  # fmt: skip
        assert before < found["shown_since"] < wrong["timestamp"] < found["shown_until"] < right
        assert marks(server, wrong["timestamp"], right, "execution") == [found]
        assert marks(server, wrong["timestamp"], right, "system") == []
        assert marks(server, "2020-01-01T00:00:00Z", before) == []
        shown = {moment: marked(server, moment) for moment in (before, wrong["timestamp"], right)}
        assert [count for count, _ in shown.values()] == ["0", "1", "0"]
        assert shown[wrong["timestamp"]][1]["strategy"] == wrong["strategy"]
        assert [server.get(f"/api/bookings?shown_time={moment}")["total"] for moment in shown] == [0, 1, 0]
        server.stop(signal.SIGKILL)
    with running("--data-dir", str(tmp_path)) as server:
        # A restart that applies a correction again does not make the time longer in which its fault was shown.
        assert [each["seq"] for each in marks(server, before, right)] == [found["seq"]]
        assert marks(server, right, "2100-01-01T00:00:00Z") == []


def test_the_past_is_marked_by_a_server_without_a_store() -> None:
    with running() as server:
        before = server.next_snapshot()["timestamp"]
        send(server, *WRONG)
        wrong = server.next_snapshot()["timestamp"]
        send(server, BUST, CORRECT)
        right = server.next_snapshot()["timestamp"]
        assert [each["kind"] for each in marks(server, wrong, right)] == ["correct", "bust"]
        assert marks(server, "2020-01-01T00:00:00Z", before) == marks(server, right, "2100-01-01T00:00:00Z") == []
