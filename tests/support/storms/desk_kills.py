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
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from cutting_proxy import CuttingProxy
from hosts import fill, post
from hub_program import HubProgram
from nats_server import NatsServer
from pages import read_pages
from server_process import POLL_SECONDS, TIMEOUT_SECONDS, Server

SENDERS = 3
EDGES = 2
# A hub leads at most this long before something happens to it.
LIFE_SECONDS = 1.5
# Longer than the lease, so that a hub that is cut off is replaced.
CUT_OFF_SECONDS = 3.0
ACTIONS = ("kill", "kill", "stop", "cut off")


@dataclass
class History:
    """What senders and clients have seen, in the order in which each saw it."""

    acknowledged: list[str] = field(default_factory=list)
    """Ids of trades that a sender was told are taken."""
    sent: list[str] = field(default_factory=list)
    trades: list[str] = field(default_factory=list)
    """All trades at the end, oldest first."""
    frames: list[tuple[str, int]] = field(default_factory=list)
    """Epoch and number of each frame that a client got."""
    lanes: list[list[str]] = field(default_factory=list)
    """Trades that each client of the lane got."""


@dataclass(frozen=True)
class Fault:
    """What must not be."""

    kind: str
    what: str


def faults_of(history: History) -> list[Fault]:
    """Returns what is wrong with a history."""
    faults = []
    counted = Counter(history.trades)
    faults += [Fault("lost", ident) for ident in history.acknowledged if not counted[ident]]
    faults += [Fault("twice", ident) for ident, number in counted.items() if number > 1]
    faults += [Fault("never sent", ident) for ident in counted.keys() - set(history.sent)]
    over: set[str] = set()
    newest = ("", 0)
    for epoch, seq in history.frames:
        if epoch in over:
            faults.append(Fault("older epoch", f"{epoch}:{seq} after {newest}"))
        elif seq <= newest[1]:
            faults.append(Fault("back", f"{epoch}:{seq} after {newest}"))
        if epoch != newest[0] and newest[0]:
            over.add(newest[0])
        if epoch not in over:
            newest = (epoch, seq)
    for lane in history.lanes:
        # A client that came later has a part of them; what it has is without a hole.
        start = history.trades.index(lane[0]) if lane and lane[0] in counted else 0
        if lane != history.trades[start : start + len(lane)]:
            faults.append(Fault("lane", f"{lane[-5:]} ends a lane of {len(lane)}"))
    return faults


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
        self.history.lanes = [[] for _ in edges]
        start = asyncio.create_task
        self._senders = [start(self._send(edge)) for edge in edges for _ in range(SENDERS)]
        self._readers = [start(self._read_frames(edges[0]))]
        self._readers += [
            start(self._read_lane(edge, lane)) for edge, lane in zip(edges, self.history.lanes, strict=True)
        ]

    async def goes_on(self, events: int, frames: int) -> None:
        """Returns once so many more events are acknowledged, and so many more frames have come."""
        history = self.history
        events, frames = events + len(history.acknowledged), frames + len(history.frames)
        await self._until(lambda: len(history.acknowledged) >= events and len(history.frames) >= frames)

    async def finish(self, hub: HubProgram) -> str:
        """Waits until every sender has its answer and every lane all trades of the hub that leads, and returns what was
        counted. Raises AssertionError with what is wrong."""
        self._is_over = True
        await asyncio.wait_for(asyncio.gather(*self._senders), TIMEOUT_SECONDS)
        self.history.trades = await asyncio.to_thread(self._all_trades, hub)
        newest = self.history.trades[-1]
        await self._until(lambda: all(lane and lane[-1] == newest for lane in self.history.lanes))
        await self.stop()
        counts = f"{len(self.history.acknowledged)} acknowledged, {len(self.history.frames)} frames"
        faults = faults_of(self.history)
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
            self.history.sent.append(str(number))
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
            self.history.acknowledged.append(str(number))

    async def _read_frames(self, edge: Server) -> None:
        async for message in self._messages(edge, lambda: ""):
            if message["type"] == "metrics_update":
                frame = message["epoch"], message["seq"]
                # A client that comes back gets the newest one again.
                if frame != (self.history.frames or [None])[-1]:
                    self.history.frames.append(frame)

    async def _read_lane(self, edge: Server, lane: list[str]) -> None:
        newest = [0]
        async for message in self._messages(edge, lambda: f"?channels=trades&lane_since={newest[0]}"):
            if message["type"] == "trade":
                newest[0] = message["seq"]
                lane.append(message["trade_id"])

    async def _messages(self, edge: Server, query: Callable[[], str]) -> Any:
        while True:
            with contextlib.suppress(OSError, WebSocketException, TimeoutError):
                async with connect(f"{edge.websocket_url}{query()}") as client:
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
