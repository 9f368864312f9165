"""Accounting through a real server: sessions, capital and contracts as they were set."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from hosts import post, wait_until
from recordings import record
from server_process import TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]

SETTINGS = {
    "SESSION_TIMEZONE": "America/New_York",
    "SESSION_START": "17:00",
    "STARTING_CAPITAL": "100000.50",
    "CONTRACT_MULTIPLIERS": "ES:50",
}

# New York puts its clocks forward on that Sunday: the session of 23 hours ends at 21:00 UTC, 17:00 there.
EVENTS: list[dict[str, Any]] = [
    {"type": "fill", "trade_id": "1", "order_id": "o", "symbol": "ES", "side": "buy", "quantity": "2", "price": "5100",
     "commission": "4.20", "strategy": "carry", "ts": "2024-03-10T20:00:00Z"},
    {"type": "quote", "symbol": "ES", "bid": 5100.75, "ask": 5101.25, "ts": "2024-03-10T20:59:59.999Z"},
    {"type": "quote", "symbol": "ES", "bid": 5103.75, "ask": 5104.25, "ts": "2024-03-10T21:00:00Z"},
    {"type": "print", "symbol": "ES", "price": 5104.0, "size": 3, "ts": "2024-03-10T21:00:01Z"},
    {"type": "position", "symbol": "ES", "quantity": "3", "avg_price": "5100", "strategy": "carry",
     "ts": "2024-03-10T21:00:02Z"},
]  # fmt: skip


def test_a_replay_at_full_speed_is_accounted_for_by_the_sessions_that_were_set(
    start_server: StartServer, tmp_path: Path
) -> None:
    path = record(tmp_path / "events.jsonl", *EVENTS)
    server = start_server("--replay", path, "--speed", "max", **SETTINGS)
    server.wait_for_log("source .* has ended")
    snapshot = server.next_snapshot()
    account = snapshot["strategy"]
    assert (account["total_pnl"], account["daily_pnl"]) == (395.8, 300.0)
    assert (account["starting_capital"], account["equity"]) == (100000.5, 100396.3)
    assert (account["gross_exposure"], account["position_breaks"]) == (510400.0, 1)
    assert (account["positions"][0]["mark"], account["positions"][0]["difference"]) == (5104.0, 1.0)
    assert snapshot["market_data"]["ES"]["volume"] == 3.0


def test_a_zone_that_does_not_exist_keeps_the_server_from_starting(start_server: StartServer) -> None:
    with pytest.raises(AssertionError, match="SESSION_TIMEZONE: 'Europe/Atlantis', expected UTC or a time zone"):
        start_server(SESSION_TIMEZONE="Europe/Atlantis")


def test_performance_and_differences_to_the_engine_can_be_asked_for(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    trade = {"type": "fill", "symbol": "AAPL"}
    events = [
        {"type": "equity", "value": "1000"},
        trade | {"trade_id": "1", "order_id": "1", "side": "buy", "quantity": "2", "price": "10"},
        trade | {"trade_id": "2", "order_id": "2", "side": "sell", "quantity": "1", "price": "13"},
        {"type": "position", "symbol": "AAPL", "quantity": "5", "avg_price": "10"},
    ]
    post(server, "/api/ingest", events)
    server.next_snapshot()
    (difference,) = server.get("/api/strategy/breaks")["breaks"]
    assert (difference["symbol"], difference["difference"]) == ("AAPL", 4.0)
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while (performance := server.get("/api/strategy/performance"))["account"]["best"]["value"] is None:
        # It is made once a second.
        assert time.monotonic() < deadline
    assert performance["account"]["best"]["value"] == 3.0
    assert performance["account"]["sharpe"]["value"] is None and performance["account"]["sharpe"]["reason"]


def trade(number: int, quantity: int, price: str, fee: str, symbol: str = "ES") -> dict[str, str]:
    return {
        "type": "fill",
        "trade_id": str(number),
        "order_id": str(number),
        "symbol": symbol,
        "side": "buy" if quantity > 0 else "sell",
        "quantity": str(abs(quantity)),
        "price": price,
        "commission": fee,
        "strategy": "carry",
    }


# Four round trips: one closed in three fills, which brings 50 * 0.02 * 3 less 3.60; one that a fill through zero begins
# with 1.20 of its fee of 1.80 and that loses just that and its own; one that breaks even; and one that is half closed.
ROUND_TRIPS = [
    trade(1, 3, "5100", "1.80"),
    *(trade(number, -1, "5100.02", "0.60") for number in (2, 3)),
    trade(4, -3, "5100.02", "1.80"),
    trade(5, 2, "5100.02", "1.20"),
    trade(6, 2, "0.00012345", "0", "SATS"),
    trade(7, -2, "0.00012345", "0", "SATS"),
    trade(8, 2, "5100", "1.20"),
    trade(9, -1, "5101", "0.60"),
]
OUTCOMES = {"n_wins": 1, "n_losses": 2, "n_breakeven": 1}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_outcomes_of_round_trips_are_the_same_everywhere(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    arguments = ("--workers", workers, "--data-dir", str(tmp_path / "data"))
    settings = {"CONTRACT_MULTIPLIERS": "ES:50,SATS:0.00000001"}
    server = start_server(*arguments, **settings)
    post(server, "/api/ingest", ROUND_TRIPS)
    for is_restarted in (False, True):
        if is_restarted:
            server.stop()
            server = start_server(*arguments, **settings)
        account = server.next_snapshot()["strategy"]
        stats = server.get("/api/trades/stats/summary")
        assert {name: stats[name] for name in OUTCOMES} == OUTCOMES
        assert {name: account["strategies"]["carry"][name] for name in OUTCOMES} == OUTCOMES
        for name in ("win_rate", "profit_factor", "expectancy", "n_closing"):
            assert stats[name] == account[name], name
        # The last position carries half of its opening fee.
        assert account["expectancy"] * 4 == pytest.approx(account["realized_pnl"] + 0.60)
        assert stats["realized_pnl"] == account["realized_pnl"]
        assert (stats["best"], stats["worst"]) == (48.8, -2.4)
        assert stats["notional"] == pytest.approx(50 * (5100 * 5 + 5100.02 * 7 + 5101), rel=1e-12)
        pnl = [each["pnl"] for each in server.get("/api/trades")["trades"] if each["pnl"] is not None]
        assert sum(pnl) == pytest.approx(account["realized_pnl"] + 0.60)


def by_strategy(server: Server) -> dict[str, dict[str, int]]:
    """Returns how many fills each strategy has, by every document that says so."""
    snapshot = server.next_snapshot()["strategy"]
    names = {each["strategy"] for each in server.get("/api/trades")["trades"]}
    quality = server.get("/api/trades/execution/quality")["by_strategy"]
    return {
        "accounts": {name: account["fills"] for name, account in snapshot["strategies"].items()},
        "trades": {name: server.get(f"/api/trades?strategy={name}")["total"] for name in names},
        "statistics": {name: server.get(f"/api/trades/stats/summary?strategy={name}")["count"] for name in names},
        "quality": {name: group["fills"] for name, group in quality.items() if group["fills"]},
        "positions": {position["strategy"]: round(position["quantity"]) for position in snapshot["positions"]},
    }


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_fill_without_a_strategy_takes_that_of_its_order(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    arguments = ("--workers", workers, "--data-dir", str(tmp_path / "data"))
    server = start_server(*arguments)
    order = {"type": "order", "symbol": "X", "side": "buy", "quantity": "9", "status": "new", "strategy": "mm"}
    fill = {"type": "fill", "symbol": "X", "side": "buy", "quantity": "1", "price": "10"}
    early = fill | {"trade_id": "e1", "order_id": "late"}
    known = fill | {"trade_id": "k1", "order_id": "known"}
    events = [order | {"order_id": "known"}, known, early, order | {"order_id": "late"}]
    post(server, "/api/ingest", [*events, early | {"trade_id": "e2"}])
    # The fill that came before the first report of its order stays where it was put, in every document.
    expected = {"mm": 2, "default": 1}
    assert by_strategy(server) == dict.fromkeys(("accounts", "trades", "statistics", "quality", "positions"), expected)
    server.stop()
    server = start_server(*arguments)
    again = post(server, "/api/ingest", [known, known | {"strategy": "mm"}, early | {"trade_id": "e3"}])
    assert (again["duplicates"], again["accepted"]) == (2, 1)
    expected = {"mm": 3, "default": 1}
    assert by_strategy(server) == dict.fromkeys(("accounts", "trades", "statistics", "quality", "positions"), expected)


INVERSE = """
[[instrument]]
symbol = "XBTUSD"
kind = "perpetual"
contract = "inverse"
base_currency = "XBT"
quote_currency = "USD"
"""


@pytest.mark.parametrize("workers", ["1", "2"])
def test_instruments_of_a_file_hold_over_a_reload_and_a_restart(
    start_server: StartServer, tmp_path: Path, workers: str
) -> None:
    path = tmp_path / "instruments.toml"
    path.write_text(INVERSE)
    arguments = ("--workers", workers, "--data-dir", str(tmp_path / "data"), "--instruments", str(path))
    server = start_server(*arguments, REPORTING_CURRENCY="USDT")
    post(
        server,
        "/api/ingest",
        [
            trade(1, 60_000, "60000", "0", "XBTUSD"),
            trade(2, -60_000, "66000", "0", "XBTUSD"),
            trade(3, 60_000, "60000", "0", "XBTUSD"),
            trade(4, 1, "100", "1", "AAPL") | {"commission_asset": "BNB"},
            {"type": "rate", "base": "BTC", "quote": "USDT", "rate": "66000"},
        ],
    )
    # The first would change the terms of what is held, the second only says what was assumed.
    path.write_text(
        INVERSE.replace('"inverse"', '"linear"') + INVERSE.replace("XBTUSD", "ETHUSD").replace("XBT", "ETH")
    )
    server.process.send_signal(signal.SIGHUP)
    server.wait_for_log("an instrument of .* is refused: .*a position in XBTUSD is held under other terms")
    post(server, "/api/ingest", [{"type": "rate", "base": "BNB", "quote": "USDT", "rate": "600"}])
    for is_restarted in (False, True):
        if is_restarted:
            server.stop()
            server = start_server(*arguments, REPORTING_CURRENCY="USDT")
        section = server.next_snapshot()["strategy"]
        assert (section["realized_pnl"], section["fees"]) == (5400.0, 600.0)
        # Both are made of a document that is made once a second.
        wait_until(partial(has_contracts, server))
        stats = wait_until(partial(known_stats, server))
        assert (stats["realized_pnl"], stats["commission"]) == (5400.0, 600.0)


def has_contracts(server: Server) -> bool:
    instruments = server.get("/api/instruments")["instruments"]
    contracts = {each["symbol"]: each["contract"] for each in instruments}
    return contracts == {"XBTUSD": "inverse", "ETHUSD": "inverse", "AAPL": "linear"}


def known_stats(server: Server) -> dict[str, Any] | None:
    stats: dict[str, Any] = server.get("/api/trades/stats/summary")
    return None if stats["unconverted_reason"] else stats
