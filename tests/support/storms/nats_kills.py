"""Kills the server, the NATS server that it reads, and the connection between them at random moments, and says whether
any message was lost, or counted twice.

    PYTHONPATH=tests/support python -m storms.nats_kills --kills 200

The messages are reports of positions, which have no id by which the server would know one that it has already.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nats.aio.client import Client
from nats.errors import Error

from cutting_proxy import CuttingProxy
from hosts import source_of
from nats_server import NatsServer, make_stream
from server_process import POLL_SECONDS, TIMEOUT_SECONDS, Server

# One of the three is killed at most this long after messages were seen to come.
LIFE_SECONDS = 0.2
AT_ONCE = 20
# A server takes longest to start, so it is killed less often.
VICTIMS = ("server", "nats", "nats", "connection")


async def _ignore(_error: Exception) -> None:
    """Takes what nats-py would log: that the server is gone is no news here."""


_ONE_CONNECTION: dict[str, Any] = {
    "allow_reconnect": False,
    "max_reconnect_attempts": 1,
    "reconnect_time_wait": 0,
    "error_cb": _ignore,
}


class Publisher:
    """Publishes reports with the quantities 1, 2, 3, ...; each until the stream has it, which knows it by its id."""

    def __init__(self, broker: NatsServer) -> None:
        self.stored = 0
        self._broker = broker

    async def publish(self) -> None:
        """Publishes until it is cancelled."""
        while True:
            with contextlib.suppress(Error, OSError):
                async with self._broker.client(**_ONE_CONNECTION) as client:
                    await self._publish_through(client)
            await asyncio.sleep(POLL_SECONDS)

    async def _publish_through(self, client: Client) -> None:
        stream = client.jetstream(timeout=1)
        while True:
            numbers = range(self.stored + 1, self.stored + AT_ONCE + 1)
            sent = [
                stream.publish("S.positions", _report(number), headers={"Nats-Msg-Id": str(number)})
                for number in numbers
            ]
            for answer in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(answer, BaseException):
                    raise answer
            self.stored = numbers[-1]
            await asyncio.sleep(POLL_SECONDS)


def _report(number: int) -> bytes:
    return json.dumps({"type": "position", "symbol": "A", "quantity": number, "avg_price": 1}).encode()


async def run(kills: int, seed: int, report: Callable[[str], None]) -> None:
    """Kills so often; raises AssertionError with what went wrong."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        (Path(folder) / "nats").mkdir()
        broker = NatsServer(Path(folder) / "nats")
        server: Server | None = None
        try:
            async with broker.client() as client:
                await make_stream(client, "S")
            proxy = CuttingProxy(broker.port)
            publisher = Publisher(broker)
            async with proxy.running():
                url = f"nats://127.0.0.1:{proxy.port}?stream=S&durable=d&ack_wait=1&max_ack_pending=200"

                def start() -> Server:
                    return Server("--source", url, "--data-dir", str(data))

                server = await asyncio.to_thread(start)
                publishing = asyncio.ensure_future(publisher.publish())
                try:
                    for kill in range(1, kills + 1):
                        await _until_messages_come(server)
                        await asyncio.sleep(rng.random() * LIFE_SECONDS)
                        victim = rng.choice(VICTIMS)
                        if victim == "server":
                            await asyncio.to_thread(server.stop, signal.SIGKILL)
                            server = await asyncio.to_thread(start)
                        elif victim == "nats":
                            broker.kill()
                            await asyncio.to_thread(broker.start)
                            proxy.target = broker.port
                        else:
                            proxy.cut()
                        report(f"{kill} kills, {publisher.stored} messages")
                finally:
                    publishing.cancel()
                    await asyncio.wait([publishing])
                await _until_all_is_acknowledged(broker)
                await asyncio.to_thread(server.stop)
            check(data, publisher.stored)
            report(f"{kills} kills, {publisher.stored} messages: nothing lost, nothing twice")
        finally:
            if server is not None:
                server.stop(signal.SIGKILL)
            broker.kill()


def check(data: Path, stored: int) -> None:
    """Raises AssertionError if any message is missing in the store, or is there twice."""
    (file,) = data.glob("*.db")
    with contextlib.closing(sqlite3.connect(file)) as connection:
        found = [int(row[0]) for row in connection.execute("SELECT quantity FROM position_reports ORDER BY seq")]
    lost = set(range(1, stored + 1)) - set(found)
    twice = {number for number, times in Counter(found).items() if times > 1}
    if lost or twice:
        raise AssertionError(f"of {stored}: lost {sorted(lost)[:20]}, twice {sorted(twice)[:20]}")


async def _until_messages_come(server: Server) -> None:
    before = (await asyncio.to_thread(source_of, server))["messages"]
    await _until(lambda: asyncio.to_thread(lambda: source_of(server)["messages"] > before), server)


async def _until_all_is_acknowledged(broker: NatsServer) -> None:
    async with broker.client() as client:

        async def is_all() -> bool:
            state = await client.jetstream().consumer_info("S", "d")
            return state.num_pending == state.num_ack_pending == 0

        await _until(is_all)


async def _until(look: Callable[[], Awaitable[bool]], server: Server | None = None) -> None:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not await look():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        raise AssertionError("no messages come:\n" + "\n".join(server.log if server else ())) from None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    def report(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    asyncio.run(run(args.kills, args.seed, report))


if __name__ == "__main__":
    main()
