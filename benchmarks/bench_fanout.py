"""Question: does every reading client get every snapshot, and does memory stay flat, while some clients never read?

Starts the real server with its simulator, connects CLIENTS WebSocket clients, STALLED of which never read a byte, and
watches for SECONDS: snapshots that the readers missed, ticks that the server missed, latency from tick to client,
memory of the process, and socket memory of the kernel.

    python benchmarks/bench_fanout.py [--clients 1000] [--stalled 20] [--seconds 60]
"""

from __future__ import annotations

import argparse
import re
import time
import urllib.request
from pathlib import Path

import psutil
from running_server import running_server
from stream_reader import StreamReader, Window, connect, open_readers, percentile_ms, read_ready, selector_of

SAMPLE_SECONDS = 5.0
SETTLE_SECONDS = 1.0


def counter(port: int, name: str) -> float:
    """Returns the sum of a counter over its labels, as `/metrics` shows it."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(_total)?[ {{]", line))


def kernel_tcp_pages() -> int:
    """Returns how many pages of memory the sockets of all TCP connections of this host take."""
    match = re.search(r"TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text())
    return int(match[1]) if match else 0


def watch(readers: list[StreamReader], pid: int, seconds: float) -> tuple[Window, list[tuple[float, int]]]:
    """Reads for `seconds`; returns what was seen, and RSS in MB and kernel pages every `SAMPLE_SECONDS`."""
    window = Window()
    samples: list[tuple[float, int]] = []
    process = psutil.Process(pid)
    with selector_of(readers) as selector:
        start = next_sample = time.monotonic()
        while (now := time.monotonic()) < start + seconds:
            if now >= next_sample:
                samples.append((process.memory_info().rss / 1e6, kernel_tcp_pages()))
                next_sample += SAMPLE_SECONDS
            read_ready(selector, window)
    return window, samples


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--stalled", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()

    with running_server() as (pid, port):
        stalled = [connect(port, receive_buffer=4096) for _ in range(args.stalled)]
        readers = open_readers(port, args.clients - args.stalled)
        # Connecting takes seconds in which no client reads: what was missed until here is not counted.
        watch(readers, pid, SETTLE_SECONDS)
        missed_ticks = counter(port, "tick_missed")
        cpu = psutil.Process(pid).cpu_times()
        window, samples = watch(readers, pid, args.seconds)
        cpu_after = psutil.Process(pid).cpu_times()
        missed_ticks = counter(port, "tick_missed") - missed_ticks
        skipped = counter(port, "websocket_frames_skipped")
        for sock in stalled:
            sock.close()

    latencies_ns = sorted(window.latencies_ns)
    cpu_s = cpu_after.user + cpu_after.system - cpu.user - cpu.system
    print(f"clients                    {len(readers)} reading, {len(stalled)} stalled, {args.seconds:.0f} s")
    print(f"snapshots received         {window.received} ({window.received / max(len(readers), 1):.1f} per client)")
    print(f"snapshots missed           {window.missed}")
    print(f"snapshots skipped (all)    {skipped:.0f}")
    print(f"ticks missed               {missed_ticks:.0f}")
    for percent in (50, 99, 99.9):
        print(f"tick to client p{percent:<10} {percentile_ms(latencies_ns, percent):.2f} ms")
    print(
        f"server CPU                 {cpu_s / args.seconds:.3f} cores, "
        f"{cpu_s / max(window.received, 1) * 1e6:.1f} us per client and tick"
    )
    print("RSS MB                     " + " ".join(f"{rss:.1f}" for rss, _ in samples))
    print("kernel TCP pages           " + " ".join(str(pages) for _, pages in samples))


if __name__ == "__main__":
    main()
