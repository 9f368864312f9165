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
