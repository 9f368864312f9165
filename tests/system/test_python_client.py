"""The Python client in use: its states, its refusals, its questions, its events."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cutting_proxy import CuttingProxy
from observability.clients import BlockingStream, ConnectionState, Refused, Rest, RestError, Sender, SpoolError, Stream
from server_process import ROOT, TIMEOUT_SECONDS, Server

StartServer = Callable[..., Server]


def test_the_states_of_a_stream_tell_a_silent_server_from_a_lost_one(start_server: StartServer) -> None:
    server = start_server(METRIC_COLLECTION_INTERVAL="0.02")
    states: asyncio.Queue[ConnectionState] = asyncio.Queue()

    async def reach(wanted: ConnectionState) -> None:
        # A server that is late is silent, too.
        while (state := await states.get()) is not wanted:
            assert state in (ConnectionState.LIVE, ConnectionState.STALE)

    async def watch() -> None:
        async with CuttingProxy(server.port).running() as proxy:
            async with Stream(proxy.url, on_state=states.put_nowait):
                await reach(ConnectionState.LIVE)
                proxy.stall()
                await reach(ConnectionState.STALE)
                proxy.resume()
                await reach(ConnectionState.LIVE)
                proxy.target = 1
                proxy.cut()
                await reach(ConnectionState.LOST)
                proxy.target = server.port
                await reach(ConnectionState.LIVE)
            await reach(ConnectionState.CLOSED)

    asyncio.run(asyncio.wait_for(watch(), TIMEOUT_SECONDS))


def test_a_program_that_is_slow_gets_the_newest_snapshot_next(demo_server: Server) -> None:
    with BlockingStream(demo_server.url("")) as stream:
        first = next(stream)["seq"]
        while demo_server.next_snapshot()["seq"] < first + 5:
            pass
        assert next(stream)["seq"] >= first + 4


def test_the_blocking_stream_yields_snapshots_and_times_out(demo_server: Server) -> None:
    with BlockingStream(demo_server.url(""), channels=["trades"], lane_since={"trades": 10**9}) as lane:
        assert lane.receive(timeout=0.05) is None
    with BlockingStream(demo_server.url(""), every_frame=True) as stream:
        seqs = [message["seq"] for message, _ in zip(stream, range(4), strict=False)]
    assert seqs == list(range(seqs[0], seqs[0] + 4))
    assert list(stream) == []


def test_a_refusal_that_would_come_again_ends_the_stream_with_its_reason(start_server: StartServer) -> None:
    server = start_server(API_TOKENS="read:secret-of-the-reader,write:secret-of-the-writer")
    with BlockingStream(server.url("")) as stream, pytest.raises(Refused) as refused:
        next(stream)
    assert refused.value.status == 401
    with BlockingStream(server.url(""), token="secret-of-the-reader") as stream:
        assert next(stream)["seq"] > 0
    with (
        BlockingStream(server.url(""), token="secret-of-the-reader", channels=["weather"]) as stream,
        pytest.raises(Refused, match="weather"),
    ):
        next(stream)


def test_rest_answers_with_all_pages_and_with_the_servers_reason(start_server: StartServer) -> None:
    server = start_server()
    with Sender(server.url("")) as sender:
        for number in range(25):
            sender.fill(f"t{number}", f"o{number}", "AAPL", "buy", 1, 100)
        assert sender.flush(TIMEOUT_SECONDS)
    rest = Rest(server.url(""))
    trades = list(rest.trades(limit=10))
    assert [trade["trade_id"] for trade in trades] == [f"t{number}" for number in reversed(range(25))]
    assert rest.trade("t3") == trades[21]
    with pytest.raises(RestError, match="did you mean symbol") as refused:
        rest.get("/api/trades", symbl="AAPL")
    assert refused.value.status == 422
    frame = rest.trades_frame(symbol="AAPL")
    assert list(frame["trade_id"]) == [trade["trade_id"] for trade in trades]
    assert str(frame["timestamp"].dtype).endswith("UTC]")
    history = rest.history(time_range="1h", metric_types=["strategy"])
    assert list(history.to_frame()["total_pnl"]) == [row["total_pnl"] for row in history] != []


def test_a_rejected_event_is_reported_and_costs_no_other(demo_server: Server) -> None:
    rejected: list[tuple[str, str]] = []

    def on_rejected(event: bytes, reason: str) -> None:
        rejected.append((json.loads(event)["trade_id"], reason))

    with Sender(demo_server.url(""), on_rejected=on_rejected) as sender:
        sender.fill("good", "o1", "REJ", "buy", 1, 100)
        sender.fill("bad", "o1", "REJ", "buy", -1, 100)
        sender.fill("worse", "o1", "REJ", "buy", object(), 100)
        assert sender.flush(TIMEOUT_SECONDS)
    assert (sender.stats.accepted, sender.stats.rejected) == (1, 2)
    assert [(trade_id, "quantity" in reason) for trade_id, reason in rejected] == [("bad", True)]


CRASHING = """
import os, signal, sys, time
from observability.clients import Sender
sender = Sender(sys.argv[1], spool=sys.argv[2])
for number in range(50):
    sender.fill(f"t{number}", f"o{number}", "AAPL", "buy", 1, 100)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_fills_of_a_killed_program_are_sent_by_the_next_one(start_server: StartServer, tmp_path: Path) -> None:
    spool = tmp_path / "engine.spool"
    # Nothing listens on port 1.
    crashed = subprocess.run(
        [sys.executable, "-c", CRASHING, "http://127.0.0.1:1", str(spool)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "http")},
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert crashed.returncode == -signal.SIGKILL
    server = start_server()
    with Sender(server.url(""), spool=spool) as sender:
        assert sender.flush(TIMEOUT_SECONDS)
        with pytest.raises(SpoolError, match="another process"):
            Sender(server.url(""), spool=spool)
    assert sender.stats.accepted == 50
    trades = server.get("/api/trades?limit=100")["trades"]
    assert [trade["trade_id"] for trade in trades] == [f"t{number}" for number in reversed(range(50))]


def test_a_sender_without_a_server_neither_raises_nor_waits(tmp_path: Path) -> None:
    sender = Sender("http://127.0.0.1:1", spool=tmp_path / "engine.spool")
    for number in range(100):
        sender.fill(f"t{number}", "o1", "AAPL", "buy", 1, 100)
        sender.quote("AAPL", 1, 2)
    assert not sender.flush(0.05)
    assert sender.waiting == 200
    assert not sender.close(0.0)
