"""Question: what do several workers cost and give, against one process, and how evenly do clients spread over them?

Starts the real server with its simulator for each number of workers, connects CLIENTS WebSocket clients that all read,
and watches for SECONDS: latency from tick to client, CPU of the hub and of the workers per client and tick, snapshots
encoded per tick, memory of each process without clients and with them (RSS, and PSS, which divides shared pages among
the processes that share them), and how many clients each worker has. With `--spread` it connects the clients and shows
only how they are spread.

    python benchmarks/bench_workers.py [--workers 1,2,4] [--clients 1000] [--seconds 20]
    python benchmarks/bench_workers.py --spread --workers 4 --clients 10000
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from bench_fanout import watch
from running_server import running_server
from stream_reader import connect, open_readers, percentile_ms

SETTLE_SECONDS = 2.0


@dataclass
class Process:
    """One process of the server, and the resources it uses."""

    name: str
    process: psutil.Process

    @classmethod
    def all_of(cls, pid: int) -> list[Process]:
        """Returns the processes of a server: one, or the supervisor and its children."""
        parent = psutil.Process(pid)
        children = parent.children()
        if not children:
            return [cls("server", parent)]
        names = [
            (Path(f"/proc/{child.pid}/comm").read_text().strip().removeprefix("obs-"), child) for child in children
        ]
        return [cls("supervisor", parent), *(cls(name, child) for name, child in sorted(names))]

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def memory_mb(self) -> tuple[float, float]:
        """Returns RSS and PSS."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        rss, pss = (int(re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)[1]) for name in ("Rss", "Pss"))  # type: ignore[index]
        return rss / 1e3, pss / 1e3


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
        return json.load(response)


def spread(port: int) -> list[int]:
    """Returns the number of clients of each worker."""
    components = get(port, "/api/system/components")["components"]
    return [one["websocket_clients"] for name, one in sorted(components.items()) if name.startswith("worker-")]


def show_spread(counts: list[int]) -> str:
    share = sum(counts) / len(counts)
    return f"{counts}, the fullest {max(counts) / share - 1:+.1%}, the emptiest {min(counts) / share - 1:+.1%}"


def measure(workers: int, clients: int, seconds: float) -> None:
    with running_server("--workers", str(workers), WS_MAX_CONNECTIONS=str(clients)) as (pid, port):
        time.sleep(SETTLE_SECONDS)
        processes = Process.all_of(pid)
        idle = {one.name: one.memory_mb() for one in processes}
        readers = open_readers(port, clients)
        watch(readers, pid, SETTLE_SECONDS)
        before = get(port, "/api/system/stats")
        cpu = {one.name: one.cpu_seconds() for one in processes}
        window, _ = watch(readers, pid, seconds)
        cpu = {one.name: one.cpu_seconds() - cpu[one.name] for one in processes}
        after = get(port, "/api/system/stats")
        busy = {one.name: one.memory_mb() for one in processes}
        counts = spread(port)
        for reader in readers:
            reader.sock.close()
    latencies_ns = sorted(window.latencies_ns)
    ticks = after["ticks"] - before["ticks"]
    encoded = after["snapshots_encoded"] - before["snapshots_encoded"]
    print(f"-- {workers} workers" if workers > 1 else "-- one process")
    print(f"   clients              {clients}, {window.received / clients:.0f} snapshots each, {window.missed} missed")
    print(f"   encoded per tick     {encoded / ticks:.3f} ({ticks} ticks)")
    print(
        "   tick to client       " + ", ".join(f"p{p} {percentile_ms(latencies_ns, p):.2f} ms" for p in (50, 99, 99.9))
    )
    for one in processes:
        per_client = f"{cpu[one.name] / window.received * 1e6:.2f} us per client and tick of all"
        (idle_rss, idle_pss), (rss, pss) = idle[one.name], busy[one.name]
        print(
            f"   {one.name:<12} CPU     {cpu[one.name] / seconds * 100:5.1f} %, {per_client}; "
            f"RSS {idle_rss:.0f} -> {rss:.0f} MB, PSS {idle_pss:.0f} -> {pss:.0f} MB"
        )
    if counts:
        print(f"   spread               {show_spread(counts)}")


def measure_spread(workers: int, clients: int) -> None:
    with running_server("--workers", str(workers), WS_MAX_CONNECTIONS=str(clients)) as (_, port):
        socks = [connect(port, receive_buffer=4096) for _ in range(clients)]
        while sum(counts := spread(port)) < clients:
            time.sleep(0.2)
        for sock in socks:
            sock.close()
    print(f"{clients} clients on {workers} workers: {show_spread(counts)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--spread", action="store_true")
    args = parser.parse_args()
    for workers in map(int, args.workers.split(",")):
        if args.spread:
            measure_spread(workers, args.clients)
        else:
            measure(workers, args.clients, args.seconds)


if __name__ == "__main__":
    main()
