"""Real recordings through the real server: what it says at the end is what independent arithmetic says."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from server_process import ROOT, Server

DATA = ROOT / "../shared/data"
LOBSTER = [DATA / f"lobster/{symbol}_2012-06-21_34200000_57600000_message_1.csv.gz" for symbol in ("AAPL", "AMZN")]
LATENCIES = ["binance_aws_asia_1_Tokyo_latency_check.csv.gz", "kucoin_hft_latency_check.csv.gz"]
BINANCE = [DATA / "binance_spot" / name for name in ("btcusdt_20240808.gz", "ethusdt_20240808_nodepth.gz")]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings (../shared/data) are not here")

StartServer = Callable[..., Server]


def expected(name: str) -> dict[str, Any]:
    symbols: dict[str, Any] = json.loads((DATA / "expected" / name).read_text())["symbols"]
    return symbols


def replayed(
    start_server: StartServer, paths: list[Path], *arguments: str, **environment: str
) -> tuple[Server, dict[str, Any]]:
    server = start_server("--replay", *map(str, paths), "--speed", "max", *arguments, **environment)
    server.wait_for_log("source replay has ended")
    return server, server.next_snapshot()


def ask_history(server: Server, **question: Any) -> dict[str, Any]:
    request = urllib.request.Request(
        server.url("/api/metrics/history"), json.dumps(question).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        history: dict[str, Any] = json.load(response)
    return history


def check_session(ours: dict[str, Any], trades: dict[str, Any]) -> None:
    assert ours["volume"] == float(trades["volume"])
    assert ours["buy_volume"] == float(trades["aggressor_buy_volume"])
    assert ours["sell_volume"] == float(trades["aggressor_sell_volume"])
    assert ours["trades"] == trades["trades"]
    assert ours["high"] == float(trades["high"])
    assert ours["low"] == float(trades["low"])
    assert ours["last_price"] == float(trades["last_price"])
    assert ours["vwap"] == pytest.approx(trades["vwap"], rel=1e-12)


def test_lobster_ends_where_the_referee_does(start_server: StartServer) -> None:
    _, snapshot = replayed(start_server, LOBSTER)
    for symbol, want in expected("lobster.json").items():
        ours = snapshot["market_data"][symbol]
        check_session(ours, want["trades_all_types_4_5"])
        assert (ours["bid"], ours["ask"]) == (float(want["last_bid"]), float(want["last_ask"]))
        assert (ours["bid_size"], ours["ask_size"]) == (want["last_bid_size"], want["last_ask_size"])


def test_binance_ends_where_the_referee_does(start_server: StartServer) -> None:
    _, snapshot = replayed(start_server, BINANCE)
    for symbol, want in expected("binance_spot.json").items():
        ours = snapshot["market_data"][symbol.removeprefix("spot:")]
        check_session(ours, want["trades"])
        touch = want["last_book_ticker"]
        assert (ours["bid"], ours["ask"]) == (float(touch["bid"]), float(touch["ask"]))
        assert (ours["bid_size"], ours["ask_size"]) == (float(touch["bid_qty"]), float(touch["ask_qty"]))


def test_every_event_of_a_recording_was_published(start_server: StartServer) -> None:
    server, _ = replayed(start_server, LOBSTER)
    want = expected("lobster.json").values()
    events = server.get("/api/system/stats")["events"]["replay"]
    assert events["print"] == sum(symbol["trades_all_types_4_5"]["trades"] for symbol in want)


def test_a_paper_strategy_trades_on_a_recording_and_its_books_balance(start_server: StartServer) -> None:
    server, snapshot = replayed(start_server, LOBSTER, "--demo")
    execution, strategy = snapshot["execution"], snapshot["strategy"]
    assert execution["fills_today"] > 0
    assert execution["rejected"] + execution["cancelled"] > 0
    stats = server.get("/api/trades/stats/summary")
    assert stats["count"] == execution["fills_today"]
    assert strategy["total_pnl"] == pytest.approx(strategy["realized_pnl"] + strategy["unrealized_pnl"], abs=1e-9)
    assert stats["realized_pnl"] == pytest.approx(strategy["realized_pnl"], abs=1e-9)


def test_execution_quality_is_the_same_at_any_pace_of_ticks(start_server: StartServer) -> None:
    qualities = []
    for interval in ("0.02", "1"):
        server, snapshot = replayed(start_server, LOBSTER[1:], "--demo", METRIC_COLLECTION_INTERVAL=interval)
        qualities.append(server.get("/api/trades/execution/quality"))
        # The ticks that they describe are others.
        del qualities[-1]["timestamp"], qualities[-1]["seq"]
    quality = qualities[0]
    assert qualities[1] == quality
    shortfall = quality["implementation_shortfall"]
    parts = sum(shortfall[part] for part in ("delay", "trading", "opportunity", "fees"))
    assert shortfall["total"] == pytest.approx(parts, rel=1e-9)
    assert (
        shortfall["n"] + sum(shortfall["left_out"].values()) + snapshot["execution"]["open_orders"] == quality["orders"]
    )
    for figure in (quality["effective_spread"], *quality["markouts"].values()):
        left_out = sum(figure["left_out"].values())
        assert 0 <= quality["fills"] - figure["n"] - left_out <= quality["pending_markouts"]
    assert quality["effective_spread"]["n"] > 0
    assert quality["vwap_deviation_bps"]["n"] > 0


@pytest.mark.parametrize("name", LATENCIES)
def test_order_latencies_are_those_of_the_referee(start_server: StartServer, name: str) -> None:
    server, snapshot = replayed(start_server, [DATA / "order_latency" / name])
    want = json.loads((DATA / "expected/order_latency.json").read_text())["files"][name]
    assert server.get("/api/system/stats")["events"]["replay"]["order"] == want["rows"]
    quality = server.get("/api/trades/execution/quality")
    maker, taker = (quality["by_strategy"][kind]["latency_total"] for kind in ("maker", "taker"))
    for legs, leg, transition in (
        (maker, "send_to_ack", "create_ack_ms"),
        (maker, "cancel_to_ack", "cancel_ack_ms"),
        (taker, "send_to_complete", "execute_ms"),
    ):
        ours, expected = legs[leg], want[transition]
        assert (ours["n"], ours["min_ms"], ours["max_ms"]) == (expected["n"], expected["min"], expected["max"])
        assert round(ours["mean_ms"], 4) == expected["mean"]
        # The histogram keeps three digits, the recording whole milliseconds.
        for percentile in ("p50", "p90", "p99"):
            assert round(ours[f"{percentile}_ms"]) == expected[percentile], (leg, percentile)
    status = want["status"]
    assert snapshot["execution"]["unacknowledged_cancels"] == status["PENDING_CANCEL"] - status["CANCELED"]


def test_history_knows_the_day_that_was_replayed(start_server: StartServer) -> None:
    server, snapshot = replayed(start_server, LOBSTER)
    history = ask_history(server, time_range="24h", interval="1h", symbols=["AAPL"], metric_types=["market_data"])
    assert history["data"][-1]["last"] == snapshot["market_data"]["AAPL"]["last_price"]
    # The recording ends just before 20:00, and the event clock then passes it.
    assert "2012-06-21T19:00:00.000Z" in [point["timestamp"] for point in history["data"][-2:]]


@pytest.mark.parametrize(
    ("paths", "name", "trades"),
    [(LOBSTER, "lobster.json", "trades_all_types_4_5"), (BINANCE, "binance_spot.json", "trades")],
)
def test_history_has_every_bar_of_the_referee(
    start_server: StartServer, paths: list[Path], name: str, trades: str
) -> None:
    server, _ = replayed(start_server, paths)
    history = ask_history(server, time_range="24h", interval="1m", metric_types=["bars"], format="columns")
    curves = {curve["symbol"]: curve for curve in history["data"]}
    for symbol, want in expected(name).items():
        curve = curves[symbol.removeprefix("spot:")]
        bars = want[trades]["bars_1m"]
        # Time stands still where a recording ends: its last minute is never over, nor the one before within its grace.
        assert len(bars) - 2 <= len(curve["timestamp"]) <= len(bars)
        times = [datetime.fromisoformat(timestamp).timestamp() for timestamp in curve["timestamp"]]
        ours = zip(
            times, *(curve[field] for field in ("open", "high", "low", "close", "volume", "trades")), strict=True
        )
        assert [list(bar) for bar in ours] == [bar[:7] for bar in bars[: len(times)]]
        assert curve["vwap"] == pytest.approx([bar[7] for bar in bars[: len(times)]], rel=1e-12)


def test_history_merges_bars_as_the_referee_would(start_server: StartServer) -> None:
    server, _ = replayed(start_server, LOBSTER)
    history = ask_history(server, time_range="24h", interval="30m", metric_types=["bars"], symbols=["AAPL"])
    first = history["data"][0]
    bars = expected("lobster.json")["AAPL"]["trades_all_types_4_5"]["bars_1m"][:30]
    assert (first["open"], first["close"]) == (bars[0][1], bars[-1][4])
    assert (first["high"], first["low"]) == (max(bar[2] for bar in bars), min(bar[3] for bar in bars))
    assert (first["volume"], first["trades"]) == (sum(bar[5] for bar in bars), sum(bar[6] for bar in bars))
    turnover = sum(bar[5] * bar[7] for bar in bars)
    assert first["vwap"] == pytest.approx(turnover / first["volume"], rel=1e-12)
