"""Kills, stops and cuts off the hubs of a desk at random moments, while senders send and clients read at its edges, and
checks what all of them have seen.

    PYTHONPATH=tests/support python -m storms.desk_kills --rounds 100
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

from websockets.exceptions import WebSocketException

from cutting_proxy import CuttingProxy
from hosts import fill, post
from hub_program import HubProgram
from nats_server import NatsServer
from pages import read_pages
from server_process import POLL_SECONDS, TIMEOUT_SECONDS, Server
from storms.desk_history import ClientHistory, History, faults_of
from ws_client import connect_async

SENDERS = 3
EDGES = 2
# A hub leads at most this long before something happens to it.
LIFE_SECONDS = 1.5
# Longer than the lease, so that a hub that is cut off is replaced.
CUT_OFF_SECONDS = 3.0
TRADES = "trades"
ACTIONS = ("kill", "kill", "stop", "cut off")


class Traffic:
    """Senders and clients at the edges of a desk, and what they have seen."""

    def __init__(self) -> None:
        self.history = History()
        self._numbers = iter(range(1, 10**9))
        self._is_over = False
        self._senders: list[asyncio.Task[None]] = []
        self._readers: list[asyncio.Task[None]] = []

    def begin(self, edges: list[Server]) -> None:
        """Begins to send at each edge, to read frames at the first and the lane of trades at each."""
        self.history.clients = [ClientHistory() for _ in range(len(edges) + 1)]
        start = asyncio.create_task
        self._senders = [start(self._send(edge)) for edge in edges for _ in range(SENDERS)]
        of_frames, *of_lanes = self.history.clients
        self._readers = [start(self._read_frames(edges[0], of_frames))]
        self._readers += [start(self._read_lane(*each)) for each in zip(edges, of_lanes, strict=True)]

    async def goes_on(self, events: int, frames: int) -> None:
        """Returns once so many more events are acknowledged, and so many more frames have come."""
        acknowledged, got = self.history.acknowledged[TRADES], self.history.frames
        events, frames = events + len(acknowledged), frames + len(got)
        await self._until(lambda: len(acknowledged) >= events and len(got) >= frames)

    async def finish(self, hub: HubProgram) -> str:
        """Waits until every sender has its answer and every lane all trades of the hub that leads, and returns what was
        counted. Raises AssertionError with what is wrong."""
        self._is_over = True
        await asyncio.wait_for(asyncio.gather(*self._senders), TIMEOUT_SECONDS)
        history = self.history
        history.stored[TRADES] = stored = await asyncio.to_thread(self._all_trades, hub)
        entries, (_, *clients) = history.entries[TRADES], history.clients
        await self._until(lambda: all(entries.get(client.newest(TRADES)) == stored[-1] for client in clients))
        await self.stop()
        counts = f"{len(history.acknowledged[TRADES])} acknowledged, {len(history.frames)} frames"
        faults = faults_of(history)
        if faults:
            raise AssertionError(f"{counts}: {faults[:10]}")
        return f"{counts}: nothing lost, nothing twice, no older epoch after a newer one"

    async def stop(self) -> None:
        for task in (*self._senders, *self._readers):
            task.cancel()
        await asyncio.gather(*self._senders, *self._readers, return_exceptions=True)

    def _all_trades(self, hub: HubProgram) -> list[str]:
        return [trade["trade_id"] for trade in read_pages(hub.get, "/api/trades?limit=1000", "trades")][::-1]

    async def _send(self, edge: Server) -> None:
        """Sends one trade after the other, each until it is acknowledged."""
        while not self._is_over:
            number = next(self._numbers)
            self.history.sent[TRADES].add(str(number))
            while True:
                try:
                    answer = await asyncio.to_thread(post, edge, "/api/ingest", [fill(number, "buy", "10")])
                    assert answer["accepted"] + answer["duplicates"] == 1, answer
                    break
                except urllib.error.HTTPError as refused:
                    refused.close()
                    if refused.code != 503:
                        raise
                    await asyncio.sleep(POLL_SECONDS)
            self.history.acknowledged[TRADES].add(str(number))

    async def _read_frames(self, edge: Server, client: ClientHistory) -> None:
        async for message in self._messages(edge, lambda: f"?since={client.position}" if client.position else ""):
            if message["type"] == "connected":
                client.on_connected(edge.websocket_url, message.get("recovered"))
            elif message["type"] == "lag":
                client.on_lag(message["skipped"])
            elif message["type"] == "metrics_update":
                client.on_frame(message["epoch"], message["seq"])
                self.history.frames[f"{message['epoch']}:{message['seq']}"] = {}

    async def _read_lane(self, edge: Server, client: ClientHistory) -> None:
        async for message in self._messages(edge, lambda: f"?channels=trades&lane_since={client.newest(TRADES)}"):
            if message["type"] == "trade":
                client.on_entry(TRADES, message["prev"], message["seq"])
                self.history.add_entry(TRADES, message["seq"], message["trade_id"])

    async def _messages(self, edge: Server, query: Callable[[], str]) -> Any:
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect_async(f"{edge.websocket_url}{query()}") as client:
                    async for text in client:
                        if text != "pong":
                            yield json.loads(text)
            await asyncio.sleep(POLL_SECONDS)

    async def _until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():  # noqa: ASYNC110 - conditions of several objects
                await asyncio.sleep(POLL_SECONDS)


class Storm:
    """The desk, and what happens to it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._traffic = Traffic()
        self._choose = random.Random(seed)
        self._folder = folder
        self._broker = NatsServer(folder)
        self._proxies = [CuttingProxy(self._broker.port) for _ in range(2)]
        self._hubs: list[HubProgram] = []
        self._edges: list[Server] = []

    async def run(self, rounds: int, report: Callable[[str], None]) -> None:
        async with contextlib.AsyncExitStack() as opened:
            opened.callback(self._end)
            for proxy in self._proxies:
                await opened.enter_async_context(proxy.running())
            opened.push_async_callback(self._traffic.stop)
            self._hubs = [self._hub(0)]
            await asyncio.to_thread(self._hubs[0].wait_until_it_leads)
            self._hubs.append(self._hub(1))
            engine = f"nats://{self._broker.address}"
            self._edges = [await asyncio.to_thread(Server, "--engine", engine, "--role", "edge") for _ in range(EDGES)]
            self._traffic.begin(self._edges)
            leader = 0
            for number in range(rounds):
                await asyncio.sleep(self._choose.uniform(0.2, LIFE_SECONDS))
                action = self._choose.choice(ACTIONS)
                await self._disturb(leader, action)
                other = 1 - leader
                started = time.monotonic()
                await asyncio.to_thread(self._hubs[other].wait_until_it_leads)
                report(f"round {number + 1}: {action}; the other hub leads after {time.monotonic() - started:.1f} s")
                self._proxies[leader].resume()
                self._hubs[leader].kill()
                self._hubs[leader] = self._hub(leader)
                leader = other
                await asyncio.to_thread(self._hubs[1 - leader].wait_for_log, "standing by")
            report(await self._traffic.finish(self._hubs[leader]))

    def _hub(self, number: int) -> HubProgram:
        # What the log says of an earlier life would look like news.
        data = self._folder / f"hub{number}"
        data.with_suffix(".log").unlink(missing_ok=True)
        return HubProgram(f"nats://127.0.0.1:{self._proxies[number].port}", data)

    async def _disturb(self, leader: int, action: str) -> None:
        hub = self._hubs[leader]
        if action == "kill":
            hub.process.kill()
        elif action == "stop":
            hub.process.terminate()
        else:
            self._proxies[leader].stall()
            await asyncio.sleep(CUT_OFF_SECONDS)

    def _end(self) -> None:
        for hub in self._hubs:
            hub.kill()
        for edge in self._edges:
            edge.stop()
        self._broker.kill()


async def run(folder: Path, rounds: int, seed: int, report: Callable[[str], None]) -> None:
    """Raises AssertionError with what is wrong."""
    await Storm(folder, seed).run(rounds, report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), given.rounds, given.seed, print))


if __name__ == "__main__":
    sys.exit(main())
