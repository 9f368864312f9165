"""What is beyond a bound is never lost in silence: the sender, the alerts and the health say so."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import answer_to, post, wait_until
from server_process import NO_RULES, Server, running


def fill(number: int, symbol: str, side: str = "buy", **fields: object) -> dict[str, object]:
    usual = {"order_id": f"o{number}", "quantity": "10", "price": "100"}
    return {"type": "fill", "trade_id": f"t{number}", "symbol": symbol, "side": side, **usual, **fields}


def report(symbol: str, strategy: str = "") -> dict[str, object]:
    return {"type": "position", "symbol": symbol, "quantity": 1, "avg_price": 100, "strategy": strategy}


def send(server: Server, *events: object) -> dict[str, Any]:
    answer: dict[str, Any] = answer_to(server, "/api/ingest", events)
    return answer


def wait_for_health(server: Server, reason: str | None) -> None:
    """Waits until `reason` degrades the health; with None, until no loss does."""

    def is_so() -> bool:
        reasons = server.next_snapshot()["system"]["health_reasons"]
        return reason in reasons if reason else not any("lost" in each or "refused" in each for each in reasons)

    wait_until(is_so)


def alert_of(server: Server, name: str) -> dict[str, Any]:
    (found,) = [a for a in server.get("/api/system/alerts")["alerts"] if a["key"] == f"observability/{name}"]
    alert: dict[str, Any] = found
    return alert


def test_a_symbol_beyond_the_bound_is_refused_and_everybody_is_told() -> None:
    with running(MAX_SYMBOLS="2") as server:
        quotes = [{"type": "quote", "symbol": symbol, "bid": 99, "ask": 101} for symbol in "ABCC"]
        answer = send(server, *quotes)
        assert (answer["accepted"], [each["index"] for each in answer["rejected"]]) == (2, [2, 3])
        assert "MAX_SYMBOLS" in answer["rejected"][0]["error"]
        assert "$[2].symbol" in answer["rejected"][0]["error"]
        assert send(server, {"type": "print", "symbol": "C", "price": 1, "size": 1})["rejected_count"] == 1
        assert send(server, fill(1, "C"))["accepted"] == 1
        wait_for_health(server, "Symbols are refused")
        strategy = server.next_snapshot()["strategy"]
        assert [(each["mark_source"], each["stale"]) for each in strategy["positions"]] == [("fill", True)]
        assert strategy["positions_at_fill_price"] == 1
        assert alert_of(server, "refused_symbols")["detail"].startswith("1 so far")


def test_a_fill_beyond_the_positions_is_refused_whole_and_may_be_sent_again(tmp_path: Path) -> None:
    with running("--data-dir", str(tmp_path), MAX_POSITIONS="2") as server:
        answer = send(server, fill(1, "A"), fill(2, "B"), fill(3, "C"), fill(1, "A"), fill(4, "A"))
        assert (answer["accepted"], answer["duplicates"], answer["rejected_count"]) == (3, 1, 1)
        assert "MAX_POSITIONS" in answer["rejected"][0]["error"]
        wait_for_health(server, "Fills are lost: all positions are open")
        snapshot = server.next_snapshot()
        assert (snapshot["strategy"]["fills_refused"], snapshot["execution"]["fills_today"]) == (1, 3)
        assert snapshot["system"]["health"] != "healthy"
        alert = alert_of(server, "refused_fills")
        assert alert["severity"] == "critical"
        post(server, f"/api/system/alerts/acknowledge/{alert['alert_id']}", None)
        wait_for_health(server, None)
        # With a flat position there is room.
        assert send(server, fill(5, "B", "sell"), fill(3, "C"))["accepted"] == 2
        assert server.next_snapshot()["strategy"]["open_positions"] == 2


def test_a_reported_position_beyond_the_bound_is_dropped_and_everybody_is_told(tmp_path: Path) -> None:
    title = "Reported positions are not compared"
    with running("--data-dir", str(tmp_path), MAX_POSITIONS="2") as server:
        answer = send(server, *map(report, "ABAC"))
        assert (answer["accepted"], answer["warnings_count"]) == (4, 1)
        assert answer["warnings"][0]["path"] == "$[3].symbol"
        assert "compared in place of B of default" in answer["warnings"][0]["warning"]
        wait_for_health(server, title)
        assert server.next_snapshot()["system"]["health"] != "healthy"
        assert server.next_snapshot()["strategy"]["position_breaks"] == 2
        assert alert_of(server, "position_reports")["detail"].startswith("1 so far")
    with running("--data-dir", str(tmp_path), MAX_POSITIONS="2") as server:
        wait_for_health(server, title)


def test_a_reported_position_of_a_strategy_without_an_account_is_told_to_its_sender() -> None:
    with running() as server:
        send(server, *(fill(number, "A", strategy=f"s{number}") for number in range(65)))
        answer = send(server, report("A", "s63"), report("A", "s64"))
        assert (answer["accepted"], answer["warnings_count"]) == (2, 1)
        assert answer["warnings"][0]["path"] == "$[1].strategy"
        assert "not compared" in answer["warnings"][0]["warning"]


def test_both_sides_of_a_trade_and_several_orders_on_one_side_may_be_ours(tmp_path: Path) -> None:
    both = [fill(1, "A", order_id="a1", strategy="mm"), fill(1, "A", "sell", order_id="b1", strategy="arb")]
    makers = [fill(2, "B", order_id="m1"), fill(2, "B", order_id="m2", quantity="7")]
    flip = [fill(3, "C"), fill(4, "C", "sell"), fill(4, "C", "sell", quantity="3")]
    for _ in range(2):
        # The second time after a restart: all of them are duplicates then.
        with running("--data-dir", str(tmp_path)) as server:
            answer = send(server, *both, *makers, *flip)
            assert answer["rejected_count"] == 0
            assert answer["accepted"] + answer["duplicates"] == 7
            strategy = server.next_snapshot()["strategy"]
            quantities = {(each["strategy"], each["symbol"]): each["quantity"] for each in strategy["positions"]}
            assert quantities == {
                ("mm", "A"): 10.0, ("arb", "A"): -10.0, ("default", "B"): 17.0, ("default", "C"): -3.0
            }  # fmt: skip
            assert (strategy["fills_refused"], strategy["conflicting_fills"]) == (0, 0)
            with pytest.raises(urllib.error.HTTPError) as raised:
                server.get("/api/trades/t1")
            assert raised.value.code == 409
            candidates = json.loads(raised.value.read())["candidates"]
            assert [(each["side"], each["order_id"]) for each in candidates] == [("buy", "a1"), ("sell", "b1")]
    assert answer["duplicates"] == 7


def test_a_conflict_is_rejected_and_the_health_is_not_healthy_over_it(tmp_path: Path) -> None:
    with running("--data-dir", str(tmp_path), **NO_RULES) as server:
        answer = send(server, fill(1, "A"), fill(1, "A", quantity="11"))
        assert (answer["accepted"], answer["rejected"][0]["index"]) == (1, 1)
        assert "conflict" in answer["rejected"][0]["error"]
        wait_for_health(server, "Fills are lost: other content under a known key")
        assert alert_of(server, "conflicting_fills")["severity"] == "critical"
        assert server.next_snapshot()["system"]["health"] != "healthy"
    with running("--data-dir", str(tmp_path), **NO_RULES) as server:
        wait_for_health(server, "Fills are lost: other content under a known key")
        (alert,) = server.get("/api/system/alerts")["alerts"]
        assert (alert["key"], alert["count"]) == ("observability/conflicting_fills", 1)


def test_ids_that_begin_anew_each_day_are_told_apart_where_the_setting_says_so() -> None:
    days = [fill(1, "A", order_id="o", venue="SHFE", ts=f"2025-10-2{day}T03:00:00Z") for day in (1, 2)]
    for venues, accepted in (("SHFE,DCE", 2), ("*", 2), ("DCE", 1)):
        with running(DAILY_TRADE_IDS=venues) as server:
            answer = send(server, *days, *days)
            assert (answer["accepted"], answer["duplicates"]) == (accepted, 4 - accepted)


@pytest.mark.parametrize(
    ("make", "count", "path", "warning"),
    [
        (lambda n: fill(n, "A", strategy=f"s{n}"), 65, "$[64].strategy", "(other)"),
        (
            lambda n: {"type": "signal", "strategy": f"s{n}", "symbol": "A", "action": "x"},
            65,
            "$[64].strategy",
            "(other)",
        ),
        (lambda n: {"type": "heartbeat", "component": f"c{n}"}, 257, "$[256].component", "c0"),
        (lambda n: {"type": "alert", "severity": "info", "title": f"t{n}"}, 1001, "$[1000].key", "dropped"),
    ],
)
def test_what_is_done_instead_beyond_a_bound_is_a_warning_to_the_sender(
    make: Callable[[int], dict[str, object]], count: int, path: str, warning: str
) -> None:
    with running() as server:
        answer = send(server, *map(make, range(count)))
        assert (answer["accepted"], answer["rejected_count"], answer["warnings_count"]) == (count, 0, 1)
        assert answer["warnings"][0]["path"] == path
        assert warning in answer["warnings"][0]["warning"]


@pytest.mark.parametrize(
    ("make", "count", "path"),
    [
        (lambda n: {"type": "metric", "name": "m", "value": n, "labels": {"a": str(n)}}, 257, "$[256].name"),
        (lambda n: {"type": "equity", "value": 1, "strategy": f"s{n}"}, 66, "$[65].strategy"),
    ],
)
def test_what_there_is_no_room_for_is_rejected(make: Callable[[int], dict[str, object]], count: int, path: str) -> None:
    with running() as server:
        answer = send(server, *map(make, range(count)))
        assert (answer["accepted"], answer["rejected_count"]) == (count - 1, 1)
        assert answer["rejected"][0]["error"].endswith(f"`{path}`")
