"""Live feeds into a real server: a venue that plays a recorded market, falls silent, sends garbage, and dies."""

from __future__ import annotations

import gzip
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from certified import FIRST, SECOND
from exchange import Exchange, Session
from server_process import POLL_SECONDS, ROOT, TIMEOUT_SECONDS, Server, free_port, run_command

DATA = ROOT / "../shared/data"
RECORDED = [DATA / "binance_spot" / name for name in ("btcusdt_20240808.gz", "ethusdt_20240808_nodepth.gz")]

StartServer = Callable[..., Server]


def wait_for(server: Server, is_there: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """Returns the first snapshot that is as wanted."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        snapshot: dict[str, Any] = server.get("/api/metrics/current")
        if is_there(snapshot):
            return snapshot
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"did not come to be: {server.get('/api/metrics/current')}\n" + "\n".join(server.log))


def source(snapshot: dict[str, Any]) -> dict[str, Any]:
    (each,) = snapshot["system"]["sources"].values()
    found: dict[str, Any] = each
    return found


def messages(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        for line in file:
            message = line.partition(b" ")[2]
            if message.startswith(b'{"stream"'):
                yield message


def play(session: Session) -> int:
    """Plays the recorded market, symbol by symbol; returns the number of quotes and prints."""
    count = 0
    for path in RECORDED:
        recorded = list(messages(path))
        session.send(*recorded)
        count += sum(b"@depth" not in message for message in recorded)
    return count


def trade(number: int, symbol: str = "BTCUSDT", price: str = "5.5") -> str:
    data = {"e": "trade", "s": symbol, "t": number, "p": price, "q": "0.5", "T": time.time_ns() // 10**6, "m": True}
    return json.dumps({"stream": f"{symbol.lower()}@trade", "data": data})


@pytest.mark.skipif(not DATA.is_dir(), reason="the recordings (../shared/data) are not here")
def test_a_recorded_market_played_by_a_venue_ends_where_the_referee_does(start_server: StartServer) -> None:
    with Exchange("binance", {"BTCUSDT", "ETHUSDT"}) as exchange:
        server = start_server("--source", f"binance:BTC/USDT,ETH/USDT?url={exchange.url}")
        count = play(exchange.next_session())
        snapshot = wait_for(server, lambda snapshot: source(snapshot)["events"] == count)
        assert (source(snapshot)["gaps"], source(snapshot)["rejected"]) == (0, 0)
        snapshot = server.next_snapshot()
        for name, want in json.loads((DATA / "expected/binance_spot.json").read_text())["symbols"].items():
            ours = snapshot["market_data"][name.removeprefix("spot:")]
            touch, trades = want["last_book_ticker"], want["trades"]
            assert (ours["bid"], ours["ask"]) == (float(touch["bid"]), float(touch["ask"]))
            assert (ours["bid_size"], ours["ask_size"]) == (float(touch["bid_qty"]), float(touch["ask_qty"]))
            assert (ours["trades"], ours["volume"]) == (trades["trades"], float(trades["volume"]))
            assert ours["buy_volume"] == float(trades["aggressor_buy_volume"])
            assert ours["sell_volume"] == float(trades["aggressor_sell_volume"])
            assert (ours["last_price"], ours["high"], ours["low"]) == tuple(
                float(trades[figure]) for figure in ("last_price", "high", "low")
            )
            assert ours["vwap"] == pytest.approx(trades["vwap"], rel=1e-12)


def test_a_venue_that_dies_is_connected_to_again_and_the_loss_is_counted(
    start_server: StartServer,
) -> None:
    exchange = Exchange("binance", {"BTCUSDT"}, port=free_port())
    try:
        server = start_server("--source", f"binance:BTCUSDT?url={exchange.url}")
        exchange.next_session().send(trade(1))
        wait_for(server, lambda snapshot: source(snapshot)["events"] == 1)
        exchange.stop()
        server.wait_for_log("the connection was lost|closed the connection|cannot be connected to")
        exchange = Exchange("binance", {"BTCUSDT"}, port=exchange.port)
        exchange.next_session().send(trade(4), trade(5))
        snapshot = wait_for(server, lambda snapshot: source(snapshot)["events"] == 3)
        assert (source(snapshot)["reconnects"], source(snapshot)["gaps"]) == (1, 2)
        assert (source(snapshot)["state"], source(snapshot)["error"]) == ("connected", None)
        assert server.next_snapshot()["market_data"]["BTCUSDT"]["trades"] == 3
    finally:
        exchange.stop()


def touch(bid: str, ask: str) -> str:
    data = {"u": 1, "s": "BTCUSDT", "b": bid, "B": "1", "a": ask, "A": "1"}
    return json.dumps({"stream": "btcusdt@bookTicker", "data": data})


def test_the_quote_of_a_venue_that_has_died_is_not_in_the_best(start_server: StartServer) -> None:
    with Exchange("binance", {"BTCUSDT"}) as spot, Exchange("binance-usdm", {"BTCUSDT"}) as futures:
        server = start_server(
            "--source", f"binance:BTCUSDT?url={spot.url}", "--source", f"binance-usdm:BTCUSDT?url={futures.url}",
            STALE_AFTER="1000",
        )  # fmt: skip
        spot.next_session().send(touch("100.5", "101"))
        futures.next_session().send(touch("99", "100"))

        def best(snapshot: dict[str, Any]) -> tuple[Any, Any]:
            symbol = snapshot["market_data"].get("BTCUSDT", {})
            return symbol.get("bid"), symbol.get("ask")

        snapshot = wait_for(server, lambda snapshot: best(snapshot) == (100.5, 100.0))
        assert sorted(snapshot["market_data"]["BTCUSDT"]["venues"]) == ["BINANCE", "BINANCE-USDM"]
        spot.stop()
        snapshot = wait_for(server, lambda snapshot: best(snapshot) == (99.0, 100.0))
        venues = snapshot["market_data"]["BTCUSDT"]["venues"]
        assert (venues["BINANCE"]["stale"], venues["BINANCE-USDM"]["stale"]) == (True, False)


def test_garbage_of_a_venue_costs_only_itself(start_server: StartServer) -> None:
    with Exchange("binance", {"BTCUSDT"}) as exchange:
        server = start_server("--source", f"binance:BTCUSDT?url={exchange.url}")
        exchange.next_session().send(trade(1), "{nonsense", "[" * 10_000, trade(2, price="no price"), trade(3))
        snapshot = wait_for(server, lambda snapshot: source(snapshot)["messages"] == 5)
        assert (source(snapshot)["events"], source(snapshot)["rejected"]) == (2, 3)
        assert source(snapshot)["state"] == "connected"
        server.wait_for_log("rejected: .*nonsense")


def test_a_symbol_that_a_venue_refuses_is_shown_with_its_reason(start_server: StartServer) -> None:
    with Exchange("okx", {"BTC-USDT"}) as exchange:
        server = start_server("--source", f"okx:BTC-USDT,NO-SUCH?url={exchange.url}")
        snapshot = wait_for(server, lambda snapshot: source(snapshot)["state"] == "failed")
        reason = "OKX refuses the subscription: channel:bbo-tbt,instId:NO-SUCH doesn't exist"
        assert source(snapshot)["error"] == reason
        assert reason in server.wait_for_log("cannot be connected to")


def test_a_trade_that_two_connections_bring_counts_once(start_server: StartServer) -> None:
    with Exchange("binance", {"BTCUSDT"}) as exchange:
        server = start_server("--source", f"binance:BTCUSDT?url={exchange.url}")
        again = trade(1)
        exchange.next_session().send(again)
        wait_for(server, lambda snapshot: source(snapshot)["events"] == 1)
        exchange.sessions[0].close(1001, "24 hours")
        exchange.next_session().send(again, trade(2))
        wait_for(server, lambda snapshot: source(snapshot)["events"] == 3)
        assert server.next_snapshot()["market_data"]["BTCUSDT"]["trades"] == 2


def test_a_venue_is_reached_over_tls_if_its_certificate_is_trusted(start_server: StartServer) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*FIRST)
    with Exchange("binance", {"BTCUSDT"}, tls=tls) as exchange:
        url = f"binance:BTCUSDT?url={exchange.url}"
        server = start_server("--source", url, SSL_CERT_FILE=str(FIRST[0]))
        exchange.next_session().send(trade(1))
        wait_for(server, lambda snapshot: source(snapshot)["events"] == 1)
        server = start_server("--source", url, SSL_CERT_FILE=str(SECOND[0]))
        assert "CERTIFICATE_VERIFY_FAILED" in server.wait_for_log("cannot be connected to")


def test_a_url_with_a_fault_ends_the_start() -> None:
    ended = run_command("serve", "--port", "0", "--source", "okx:BTC-USDT?uri=x", "--source", "kraken:BTC%USD")
    assert ended.returncode == 2
    assert "'uri' is not a parameter, expected url" in ended.stderr
    assert "symbol 'BTC%USD', expected kraken:SYMBOL" in ended.stderr
