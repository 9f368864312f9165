"""Question: what do clients that look at the past cost those that look at the present?

One live client measures how long after its tick each snapshot arrives, in turns beside no others, beside a hundred more
live clients in a process of their own, and beside a hundred that play the recording there, each from another second.
The difference between the last two is what the past costs; the rest is what a process that reads a thousand snapshots a
second takes from the machine. The clocks are the same: all run on one host. Each round has the three in another order,
and of each kind the median over the rounds is printed, with the CPU time of all processes of the server.

    python benchmarks/bench_past.py [VIEWERS]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from tempfile import TemporaryDirectory

import orjson
from running_server import cpu_seconds_of_all, running_server
from websockets.asyncio.client import connect

SECONDS = 6
ROUNDS = 6
KINDS = ("none", "live", "past")
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


def percentile(values: list[float], percent: int) -> float:
    return sorted(values)[len(values) * percent // 100]


def beside(kind: str, viewers: int, pid: int, url: str, first: str) -> tuple[float, float, float, str]:
    """Returns p50 and p99 of a live client in milliseconds, the CPU of the server in per cent, and the frames that the
    others got in a second."""
    command = [sys.executable, __file__, "watch", url, str(0 if kind == "none" else viewers), first, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        watching.stdout.readline()
        used, began = cpu_seconds_of_all(pid), time.monotonic()
        found = asyncio.run(live_latencies(url, SECONDS - 1))
        used = 100 * (cpu_seconds_of_all(pid) - used) / (time.monotonic() - began)
        return percentile(found, 50), percentile(found, 99), used, watching.stdout.readline().strip()


def measure(viewers: int, *arguments: str) -> None:
    with TemporaryDirectory(dir=".") as directory, running_server("--data-dir", directory, *arguments) as (pid, port):
        url = f"ws://127.0.0.1:{port}/ws/metrics"
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/metrics/current") as answer:
            first = orjson.loads(answer.read())["timestamp"]
        time.sleep(RECORDED_SECONDS)
        rounds: dict[str, list[tuple[float, float, float, str]]] = {kind: [] for kind in KINDS}
        for number in range(ROUNDS):
            for at in range(len(KINDS)):
                kind = KINDS[(number + at) % len(KINDS)]
                rounds[kind].append(beside(kind, viewers, pid, url, first))
        print(f"{' '.join(arguments) or 'one process'}: from tick to a live client, median of {ROUNDS} rounds")
        for kind, found in rounds.items():
            p50, p99, used = (statistics.median(each[at] for each in found) for at in range(3))
            least = min(each[2] for each in found)
            others = f"{viewers} {kind} ({found[-1][3]} frames a second)" if kind != "none" else "no others"
            print(f"  beside {others}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, CPU {used:.0f} %, at least {least:.0f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("viewers", type=int, nargs="?", default=100, metavar="VIEWERS", help="of each kind [100]")
    viewers = parser.parse_args().viewers
    measure(viewers)
    measure(viewers, "--workers", "2")


if __name__ == "__main__":
    if sys.argv[1:2] == ["watch"]:
        asyncio.run(watch(sys.argv[2], int(sys.argv[3]), sys.argv[4], is_past=sys.argv[5] == "past"))
    else:
        main()
