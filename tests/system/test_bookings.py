"""Bookings through a server: counted once, found again, on their lane, and on disk before the answer."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from hosts import answer_to, post
from observability.clients import Rest
from server_process import Server, running
from ws_client import connect

FILL = {
    "type": "fill", "trade_id": "1", "order_id": "o1", "symbol": "X", "side": "buy", "quantity": "1", "price": "100",
    "strategy": "s",
}  # fmt: skip
FUNDING = {"type": "funding", "funding_id": "f1", "symbol": "X", "amount": "-5", "strategy": "s"}


def send(server: Server, *events: dict[str, Any]) -> dict[str, Any]:
    answer: dict[str, Any] = answer_to(server, "/api/ingest", events)
    return answer


def test_a_payment_that_comes_twice_counts_once(tmp_path: Path) -> None:
    with running("--data-dir", str(tmp_path), STARTING_CAPITAL="1000") as server:
        answer = send(server, FILL, FUNDING, FUNDING, {**FUNDING, "amount": "-6"})
        assert (answer["accepted"], answer["duplicates"], answer["rejected_count"]) == (2, 1, 1)
        assert "conflict" in answer["rejected"][0]["error"]
        section = server.next_snapshot()["strategy"]
        assert (section["total_pnl"], section["equity"], section["income"]) == (-5.0, 995.0, -5.0)
        assert (section["bookings"], section["duplicate_bookings"], section["conflicting_bookings"]) == (1, 1, 1)
        (found,) = server.get("/api/strategy/breaks")["bookings"]
        assert (found["counted"]["amount"], found["delivered"]["amount"]) == (-5.0, -6.0)


def test_what_was_acknowledged_before_a_kill_is_there_once_afterwards(tmp_path: Path) -> None:
    payments = [{**FUNDING, "funding_id": f"f{number}", "amount": str(number)} for number in range(10)]
    with running("--data-dir", str(tmp_path), STARTING_CAPITAL="1000") as server:
        send(server, FILL)
        for payment in payments:
            assert send(server, payment)["accepted"] == 1
        server.stop(signal.SIGKILL)
    with running("--data-dir", str(tmp_path), STARTING_CAPITAL="1000") as server:
        answer = send(server, *payments, {**payments[3], "amount": "9"})
        assert (answer["accepted"], answer["duplicates"], answer["rejected_count"]) == (0, 10, 1)
        assert server.next_snapshot()["strategy"]["income"] == 45.0
        assert sum(each["amount"] for each in Rest(server.url("")).bookings(kind="funding", limit=3)) == 45.0
        first = server.get("/api/bookings?kind=funding&symbol=X&strategy=s&limit=7")
        second = server.get(f"/api/bookings?limit=7&cursor={first['next_cursor']}")
        found = first["bookings"] + second["bookings"]
        assert [each["funding_id"] for each in found] == [payment["funding_id"] for payment in reversed(payments)]
        assert (first["total"], second["next_cursor"], found[0]["effect"]["amount"]) == (10, None, 9.0)


@pytest.mark.parametrize("is_stored", [False, True])
def test_several_workers_answer_alike_and_have_the_lane(tmp_path: Path, is_stored: bool) -> None:
    where = ("--data-dir", str(tmp_path)) if is_stored else ()
    with running("--workers", "2", *where) as server:
        send(server, FILL, FUNDING, {**FUNDING, "funding_id": "f2", "symbol": "Y"})
        with connect(f"{server.websocket_url}?channels=bookings&symbols=X&lane_since=0") as client:
            messages = iter(client)
            booking = next(found for found in map(json.loads, messages) if found["type"] == "booking")
        assert (booking["kind"], booking["amount"], booking["prev"]) == ("funding", -5.0, 0)
        for _ in range(4):
            page = server.get("/api/bookings?symbol=Y")
            assert [each["funding_id"] for each in page["bookings"]] == ["f2"]


def test_the_history_has_the_equity_curve_of_each_strategy(tmp_path: Path) -> None:
    with running("--workers", "2", "--data-dir", str(tmp_path), MAX_STRATEGIES="1", STARTING_CAPITAL="1000") as server:
        deposit = {"type": "cash", "cash_id": "c1", "amount": "50", "reason": "deposit", "strategy": "s"}
        equity = {"type": "equity", "value": "100", "strategy": "s"}
        other = {**FILL, "trade_id": "2", "strategy": "t"}
        assert send(server, FILL, equity, deposit, other)["accepted"] == 4
        server.next_snapshot()
        wanted = {"metric_types": ["strategies", "strategy"], "metrics": ["equity"], "interval": "1s", "limit": 9}
        rows = post(server, "/api/metrics/history", wanted)["data"]
        newest = {row.get("strategy", ""): row["equity"] for row in rows}
        assert newest == {"": 1050.0, "s": 150.0, "(other)": None}
        only = post(server, "/api/metrics/history", {**wanted, "strategies": ["s"], "metric_types": ["strategies"]})
        assert {row["strategy"] for row in only["data"]} == {"s"}
        default = post(server, "/api/metrics/history", {"metrics": ["equity"], "interval": "1s", "limit": 9})
        assert {row["type"] for row in default["data"]} == {"strategy"}


def test_a_split_leaves_no_profit_and_no_loss() -> None:
    with running(STARTING_CAPITAL="1000") as server:
        split = {"type": "split", "split_id": "s1", "symbol": "X", "numerator": 2, "denominator": 1}
        quote = {"type": "quote", "symbol": "X", "bid": 50.0, "ask": 50.0}
        answer = send(server, {**FILL, "quantity": "10"}, split, split, quote)
        assert (answer["accepted"], answer["duplicates"]) == (3, 1)
        section = server.next_snapshot()["strategy"]
        (position,) = section["positions"]
        assert (position["quantity"], position["avg_price"], section["unrealized_pnl"]) == (20.0, 50.0, 0.0)
        assert server.get("/api/bookings?kind=split")["bookings"][0]["effect"] == {"quantities": {"s": 20.0}}


def test_types_that_other_systems_name_otherwise_are_booked() -> None:
    with running() as server:
        for kind in ("funding", "dividend", "split", "transfer", "fee"):
            answer = send(server, {"type": kind, "symbol": "X", "amount": "-0.01", "ratio": "2"})
            assert (answer["accepted"], answer["rejected"]) == (1, [])
        assert server.get("/api/bookings")["total"] == 5
