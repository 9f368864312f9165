"""Question: how many events a second does one core take in from NATS, by type, transport and events per message?

Starts a real NATS server and the real server with it as its source, and publishes events while it reads. Counted is the
processor time of the server's process for them, ticks included; the least of all rounds. With a stream every message is
acknowledged, after the fsync of its events with `--data-dir`.

    PYTHONPATH=tests/support python benchmarks/bench_nats.py [--events 100000] [--rounds 3] [--data-dir DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import urllib.request
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from bench_intake import Make, fill, order, quote
from nats.aio.client import Client
from running_server import running_server

from nats_server import NatsServer, make_stream

# Below what a source of core subjects keeps waiting.
WINDOW_MESSAGES = 20_000
POLL_SECONDS = 0.005
TIMEOUT_SECONDS = 300
SOURCES = {"stream": "stream=S&durable=d&max_ack_pending=10000", "subjects": "subjects=S.%3E"}


def payloads(make: Make, events: int, size: int) -> Iterator[bytes]:
    for start in range(0, events, size):
        batch = [make(number) for number in range(start, start + size)]
        yield json.dumps(batch if size > 1 else batch[0]).encode()


def source_of(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/system/sources") as response:
        (source,) = json.load(response)["sources"].values()
    found: dict[str, Any] = source
    return found


async def until_connected(port: int) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            if (await asyncio.to_thread(source_of, port))["state"] == "connected":
                return
            await asyncio.sleep(POLL_SECONDS)


async def until_settled(port: int, messages: int) -> dict[str, Any]:
    """Returns the source once so many messages have come, or are lost."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while True:
            source = await asyncio.to_thread(source_of, port)
            if source["messages"] + source["gaps"] >= messages:
                return source
            await asyncio.sleep(POLL_SECONDS)


async def publish(client: Client, port: int, messages: list[bytes]) -> None:
    """Publishes without leaving the source more than it may have waiting."""
    for start in range(0, len(messages), WINDOW_MESSAGES):
        await until_settled(port, start - WINDOW_MESSAGES // 2)
        for number, message in enumerate(messages[start : start + WINDOW_MESSAGES]):
            await client.publish("S.events", message)
            if number % 500 == 0:
                await client.flush()
    await client.flush()


async def measure(broker: NatsServer, make: Make, transport: str, size: int, events: int, *, stores: bool) -> float:
    """Returns the microseconds of processor time per event."""
    messages = list(payloads(make, events, size))
    async with broker.client() as client:
        await make_stream(client, "S", max_msgs=10**7)
        with tempfile.TemporaryDirectory() as data:
            where = ("--data-dir", data) if stores else ()
            url = f"nats://{broker.address}?{SOURCES[transport]}"
            with running_server("--source", url, *where, is_demo=False, LOG_LEVEL="ERROR") as (pid, port):
                await until_connected(port)
                process = psutil.Process(pid)
                before = process.cpu_times()
                await publish(client, port, messages)
                source = await until_settled(port, len(messages))
                after = process.cpu_times()
        await client.jetstream().delete_stream("S")
    if source["gaps"] or source["rejected"]:
        raise SystemExit(f"not all were taken: {source}")
    return (after.user + after.system - before.user - before.system) / events * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path)
    args = parser.parse_args()
    print(f"{'events':8} {'transport':10} {'a message':>9} {'us/event':>9} {'events/s/core':>14}")
    with tempfile.TemporaryDirectory(dir=args.data_dir) as folder:
        broker = NatsServer(Path(folder))
        try:
            for make, transport, size in product((fill, order, quote), SOURCES, (1, 50)):
                stores = args.data_dir is not None
                rounds = [
                    asyncio.run(measure(broker, make, transport, size, args.events, stores=stores))
                    for _ in range(args.rounds)
                ]
                least = min(rounds)
                print(f"{make.__name__:8} {transport:10} {size:9} {least:9.1f} {1e6 / least:14,.0f}", flush=True)
        finally:
            broker.kill()


if __name__ == "__main__":
    main()
