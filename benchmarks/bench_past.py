"""Question: what do clients that look at the past cost those that look at the present?

One live client measures how long after its tick each snapshot arrives, in turns beside no others, beside a hundred more
live clients in a process of their own, and beside a hundred that play the recording there, each from another second.
The difference between the last two is what the past costs; the rest is what a process that reads a thousand snapshots a
second takes from the machine. The clocks are the same: all run on one host.

    python benchmarks/bench_past.py [VIEWERS]
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

import orjson
from running_server import cpu_seconds, running_server
from websockets.asyncio.client import connect

SECONDS = 6
ROUNDS = 4
RECORDED_SECONDS = 30


async def live_latencies(url: str, seconds: float) -> list[float]:
    """Returns milliseconds from the beginning of each tick to the arrival of its snapshot."""
    found = []
    async with connect(f"{url}?channels=system", compression=None, max_size=None) as stream:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            message = orjson.loads(await stream.recv())
            if message["type"] == "metrics_update":
                found.append((time.monotonic_ns() - message["mono_ns"]) / 1e6)
    # The first is that of the tick before the connection.
    return found[1:]


async def watch(url: str, viewers: int, first: str, *, is_past: bool) -> None:
    """Reads the recording, or the live stream, by so many clients for a while; prints frames per second."""
    start = datetime.fromisoformat(first)
    counts = [0] * viewers

    async def one(number: int) -> None:
        when = (start + timedelta(seconds=number % (RECORDED_SECONDS // 2))).astimezone(UTC).isoformat()
        at = f"?at={when.replace('+', '%2B')}" if is_past else "?mode=full"
        async with connect(f"{url}{at}", compression=None, max_size=None) as stream:
            while True:
                await stream.recv()
                counts[number] += 1

    tasks = [asyncio.create_task(one(number)) for number in range(viewers)]
    await asyncio.sleep(1)
    began, before = time.monotonic(), sum(counts)
    print("watching", flush=True)
    await asyncio.sleep(SECONDS)
    print(f"{(sum(counts) - before) / (time.monotonic() - began):.0f}", flush=True)
    for task in tasks:
        task.cancel()


def percentiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):.2f} ms, p99 {ordered[len(ordered) * 99 // 100]:.2f} ms, n {len(ordered)}"


def measure(viewers: int, *arguments: str) -> None:
    with TemporaryDirectory(dir=".") as directory, running_server("--data-dir", directory, *arguments) as (pid, port):
        url = f"ws://127.0.0.1:{port}/ws/metrics"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/metrics/current") as answer:
            first = orjson.loads(answer.read())["timestamp"]
        time.sleep(RECORDED_SECONDS)
        found: dict[str, list[float]] = {"none": [], "live": [], "past": []}
        for _ in range(ROUNDS):
            found["none"] += asyncio.run(live_latencies(url, SECONDS))
            for kind in ("live", "past"):
                command = [sys.executable, __file__, "watch", url, str(viewers), first, kind]
                with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
                    assert watching.stdout is not None
                    watching.stdout.readline()
                    used = cpu_seconds(pid)
                    found[kind] += asyncio.run(live_latencies(url, SECONDS - 1))
                    used = cpu_seconds(pid) - used
                    print(f"  {viewers} {kind}: {watching.stdout.readline().strip()} frames a second", end="; ")
                    print(f"CPU of the server {100 * used / (SECONDS - 1):.0f} %")
        print(f"{' '.join(arguments) or 'one process'}: from tick to a live client")
        for kind, values in found.items():
            print(f"  beside {viewers if kind != 'none' else 'no'} others ({kind}): {percentiles(values)}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        asyncio.run(watch(sys.argv[2], int(sys.argv[3]), sys.argv[4], is_past=sys.argv[5] == "past"))
    else:
        number = int(sys.argv[1]) if len(sys.argv) > 1 else 100
        measure(number)
        measure(number, "--workers", "2")
