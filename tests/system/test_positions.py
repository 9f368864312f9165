"""Positions through a real server: fills that no order of ours has made."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hosts import post
from server_process import Server

StartServer = Callable[..., Server]

FILL: dict[str, Any] = {"type": "fill", "symbol": "DOGEUSDT", "venue": "V", "price": "0.05"}


def shown(server: Server) -> tuple[Any, ...]:
    snapshot = server.next_snapshot()
    strategy, execution = snapshot["strategy"], snapshot["execution"]
    positions = {each["key"]: each["quantity"] for each in strategy["positions"]}
    return positions, strategy["realized_pnl"], execution["fills_today"], execution["orders_today"]


def test_a_fill_without_an_order_counts_once_over_a_crash(start_server: StartServer, tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"))
    server = start_server(*arguments)
    order = {"type": "order", "order_id": "o1", "symbol": "DOGEUSDT", "side": "buy", "quantity": "8285"}
    bought = FILL | {"trade_id": "t1", "order_id": "o1", "side": "buy", "quantity": "8285", "strategy": "grid"}
    # One sender leaves the id out, another writes null, a third an empty text: they say the same.
    liquidated = FILL | {"trade_id": "liq", "side": "sell", "quantity": "8285", "price": "0.04", "strategy": "grid"}
    unnamed = FILL | {"trade_id": "adl", "side": "sell", "quantity": "100", "order_id": None}
    answer = post(server, "/api/ingest", [order | {"status": "new", "strategy": "grid"}, bought, liquidated, unnamed])
    assert (answer["accepted"], answer["rejected"]) == (4, [])
    expected = {"default/DOGEUSDT": -100.0}, -82.85, 3, 1
    assert shown(server) == expected
    trades = server.get("/api/trades?strategy=grid")["trades"]
    assert [(each["trade_id"], each["order_id"], each["pnl"]) for each in trades] == [
        ("liq", "", -82.85), ("t1", "o1", None)
    ]  # fmt: skip
    server.stop(signal.SIGKILL)
    server = start_server(*arguments)
    assert shown(server) == expected
    again = post(server, "/api/ingest", [liquidated, liquidated | {"order_id": ""}, unnamed, bought])
    assert (again["duplicates"], shown(server)) == (4, expected)


def test_hedge_mode_is_the_same_everywhere_over_a_crash(start_server: StartServer, tmp_path: Path) -> None:
    arguments = ("--data-dir", str(tmp_path / "data"), "--workers", "2")
    server = start_server(*arguments)
    fill = FILL | {"symbol": "BTCUSDT", "strategy": "hedge"}
    events = [
        fill | {"trade_id": "1", "side": "buy", "quantity": "2", "price": "100", "position_side": "LONG"},
        fill | {"trade_id": "2", "side": "SELL", "quantity": "1", "price": "105", "position_side": "Short"},
        fill | {"trade_id": "3", "side": "buy", "quantity": "1", "price": "90", "position_side": "BOTH"},
        fill | {"trade_id": "4", "side": "sell", "quantity": "1", "price": "110", "position_side": "long",
                "reason": "liquidation"},
        {"type": "position", "symbol": "BTCUSDT", "strategy": "hedge", "quantity": "1", "avg_price": "105",
         "position_side": "SHORT"},
    ]  # fmt: skip
    answer = post(server, "/api/ingest", [*events, events[3] | {"trade_id": "5", "quantity": "2"}])
    assert (answer["accepted"], answer["rejected_count"]) == (5, 1)
    assert "closes 2 of the long side, which holds 1" in answer["rejected"][0]["error"]
    for _ in range(2):
        positions = {each["key"]: each for each in server.next_snapshot()["strategy"]["positions"]}
        assert {key: (each["position_side"], each["quantity"], each["realized_pnl"], each["difference"])
                for key, each in positions.items()} == {
            "hedge/BTCUSDT:long": ("long", 1.0, 10.0, None),
            "hedge/BTCUSDT:short": ("short", -1.0, 0.0, 0.0),
            "hedge/BTCUSDT": ("", 1.0, 0.0, None),
        }  # fmt: skip
        found = {
            side: [each["trade_id"] for each in server.get(f"/api/trades?position_side={side}")["trades"]]
            for side in ("long", "short", "both")
        }
        assert found == {"long": ["4", "1"], "short": ["2"], "both": ["3"]}
        (last,) = server.get("/api/trades?limit=1")["trades"]
        assert (last["position_side"], last["reason"]) == ("long", "liquidation")
        server.stop(signal.SIGKILL)
        server = start_server(*arguments)
    assert post(server, "/api/ingest", events[:4])["duplicates"] == 4


def test_opening_positions_are_adopted_once_over_crashes(start_server: StartServer, tmp_path: Path) -> None:
    path = tmp_path / "positions.toml"
    path.write_text(
        '[[position]]\nsymbol = "AAPL"\nquantity = 100\navg_price = "187.25"\nstrategy = "mean"\n'
        '[[position]]\nsymbol = "BTC"\nquantity = 2\navg_price = 61000\nposition_side = "short"\n'
    )
    arguments = ("--data-dir", str(tmp_path / "data"), "--positions", str(path))
    server = start_server(*arguments)
    adopted = {"type": "position", "adopt": True, "symbol": "MSFT", "quantity": "-5", "avg_price": "400"}
    other = adopted | {"quantity": "-6"}
    fill = {"type": "fill", "symbol": "AAPL", "strategy": "mean", "side": "sell", "quantity": "40", "price": "190.25"}
    answer = post(
        server, "/api/ingest",
        [adopted, adopted, other, fill | {"trade_id": "1"}, fill | {"trade_id": "2", "symbol": "KNOWN"},
         adopted | {"symbol": "KNOWN", "strategy": "mean"}],
    )  # fmt: skip
    assert (answer["accepted"], answer["duplicates"], answer["rejected_count"]) == (3, 1, 2)
    conflict, refused = (each["error"] for each in answer["rejected"])
    assert "conflict: a position of this key has other content" in conflict
    assert "mean/KNOWN holds -40 already" in refused
    for number in (signal.SIGKILL, signal.SIGTERM, None):
        strategy = server.next_snapshot()["strategy"]
        assert {each["key"]: (each["quantity"], each["avg_price"]) for each in strategy["positions"]} == {
            "mean/AAPL": (60.0, 187.25), "default/BTC:short": (-2.0, 61000.0), "default/MSFT": (-5.0, 400.0),
            "mean/KNOWN": (-40.0, 190.25),
        }  # fmt: skip
        assert (strategy["realized_pnl"], strategy["fills"]) == (120.0, 2)
        bookings = server.get("/api/bookings?kind=adopt")["bookings"]
        assert [(each["symbol"], each["effect"]["amount"]) for each in bookings] == [
            ("MSFT", -2000.0), ("BTC", -122000.0), ("AAPL", 18725.0)
        ]  # fmt: skip
        if number is not None:
            server.stop(number)
            server = start_server(*arguments)
            server.wait_for_log("0 opening positions are adopted, 2 were known already, 0 are refused")


def test_a_fault_in_the_file_of_positions_keeps_the_server_from_starting(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = tmp_path / "positions.jsonl"
    path.write_text('{"symbol": "AAPL", "quantity": 1}\n')
    with pytest.raises(AssertionError, match=r"positions\.jsonl:1: Object missing required field `avg_price`"):
        start_server("--positions", str(path))
