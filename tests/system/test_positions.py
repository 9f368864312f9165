"""Positions through a real server: fills that no order of ours has made."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
