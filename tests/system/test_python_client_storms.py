"""The Python client over connections that are cut and stall, and over servers that are killed: its snapshots are the
server's byte for byte, and every entry of a lane comes once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import orjson
import pytest

from cutting_proxy import CuttingProxy
from observability.clients import Sender, Stream
from server_process import TIMEOUT_SECONDS, Server
from ws_client import connect_async

StartServer = Callable[..., Server]

pytestmark = pytest.mark.parametrize("worker_arguments", [1, 2], indirect=True, scope="module")

FAST = {"METRIC_COLLECTION_INTERVAL": "0.02", "WS_RATE_LIMIT": "0"}


async def record(url: str, into: dict[tuple[str, int], bytes]) -> None:
    """Keeps what another client gets of the same view, on a connection that nobody disturbs."""
    async with connect_async(url, max_size=None) as connection:
        async for data in connection:
            message = orjson.loads(data)
            if message["type"] == "metrics_update":
                into[message["epoch"], message["seq"]] = orjson.dumps(message)


async def follow(server: Server, mode: Literal["full", "delta"], channels: tuple[str, ...]) -> None:
    reference: dict[tuple[str, int], bytes] = {}
    query = "" if channels == ("metrics",) else f"?channels={','.join(channels)}"
    recording = asyncio.create_task(record(server.websocket_url + query, reference))
    compared = 0
    async with (
        CuttingProxy(server.port).running() as proxy,
        Stream(proxy.url, channels=channels, mode=mode, every_frame=True) as stream,
    ):
        storm = asyncio.create_task(proxy.disturb(len(mode), 15))
        async for snapshot in stream:
            same = reference.get((snapshot["epoch"], snapshot["seq"]))
            if same is not None:
                assert orjson.dumps(snapshot) == same
                compared += 1
            if storm.done() and compared > 50:
                break
        assert stream.connections > 3
    recording.cancel()
    await asyncio.wait([recording])


@pytest.mark.parametrize("mode", ["full", "delta"])
@pytest.mark.parametrize("channels", [("metrics",), ("market_data", "strategy")])
def test_snapshots_are_the_servers_over_cut_and_stalled_connections(
    start_server: StartServer, mode: Literal["full", "delta"], channels: tuple[str, ...]
) -> None:
    asyncio.run(asyncio.wait_for(follow(start_server("--demo", **FAST), mode, channels), 2 * TIMEOUT_SECONDS))


class Sequel:
    """A server that is killed and started again behind a proxy, with the same store."""

    def __init__(self, start: StartServer, directory: Path, *arguments: str) -> None:
        self._start = lambda: start(*arguments, DATA_DIR=str(directory), **FAST)
        self.server = self._start()

    def kill(self) -> None:
        self.server.stop(signal.SIGKILL)

    async def restart(self, proxy: CuttingProxy) -> None:
        self.server = await asyncio.to_thread(self._start)
        proxy.target = self.server.port


async def follow_trades(sequel: Sequel) -> None:
    fills = 300
    seen: list[str] = []
    async with CuttingProxy(sequel.server.port).running() as proxy:
        stream = Stream(proxy.url, channels=["trades"], lane_since={"trades": 0})
        with Sender(proxy.url) as sender:

            async def trade() -> None:
                for number in range(fills):
                    sender.fill(f"t{number}", f"o{number}", "AAPL", "buy", 1, 100)
                    await asyncio.sleep(0.01)
                    if number in (100, 200):
                        sequel.kill()
                        await sequel.restart(proxy)

            async with stream:
                trading, storm = asyncio.create_task(trade()), asyncio.create_task(proxy.disturb(7, 15))
                async for message in stream:
                    assert message["type"] == "trade"
                    seen.append(message["trade_id"])
                    if len(seen) == fills:
                        break
                await asyncio.gather(trading, storm)
            assert await asyncio.to_thread(sender.flush, TIMEOUT_SECONDS)
    assert seen == [f"t{number}" for number in range(fills)]
    assert stream.lost_entries == {"trades": 0}
    assert sequel.server.get("/api/trades?limit=1")["total"] == fills


def test_every_fill_is_sent_and_received_once_though_the_server_is_killed(
    start_server: StartServer, tmp_path: Path
) -> None:
    asyncio.run(asyncio.wait_for(follow_trades(Sequel(start_server, tmp_path)), 4 * TIMEOUT_SECONDS))


def test_a_lane_begins_anew_with_a_server_that_has_no_store(start_server: StartServer) -> None:
    async def follow_both() -> list[str]:
        seen: list[str] = []
        first = start_server(**FAST)
        async with CuttingProxy(first.port).running() as proxy, Stream(proxy.url, channels=["trades"]) as stream:
            await connected(stream)
            for server, number in ((first, 0), (start_server(**FAST), 10)):
                proxy.target = server.port
                with Sender(server.url("")) as sender:
                    for trade in range(number, number + 10):
                        sender.fill(f"t{trade}", f"o{trade}", "AAPL", "buy", 1, 100)
                    assert await asyncio.to_thread(sender.flush, TIMEOUT_SECONDS)
                if server is not first:
                    proxy.cut()
                for _ in range(10):
                    message = await anext(stream)
                    assert message["type"] == "trade"
                    seen.append(message["trade_id"])
        return seen

    assert asyncio.run(follow_both()) == [f"t{number}" for number in range(20)]


async def connected(stream: Stream) -> None:
    """Waits until the server has told a stream the positions of its lanes."""
    deadline = asyncio.get_running_loop().time() + TIMEOUT_SECONDS
    while not stream.is_subscribed:
        assert asyncio.get_running_loop().time() < deadline
        await asyncio.sleep(0.01)
