"""Question: how long does a start take with a million fills in the store, after a clean stop and after a kill?

Measured from the command to the line that says where the server listens, and compared with a start on an empty
directory. After the kill, the records since the last checkpoint are replayed: as many as fit between two checkpoints.

    python benchmarks/bench_recovery.py [--fills 1000000] [--directory DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from statistics import median

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import Config
from observability.events import Event, Fill, Order
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.journal import CHECKPOINT_RECORDS
from observability.metrics.durability.persistence import Persistence
from observability.store.file import DATABASE_NAME

START_NS = 1_767_225_600_000_000_000
STEP_NS = 10_000_000
BATCH = 500
REPEATS = 5
SYMBOLS = 64


def events(first: int, count: int) -> Iterator[Event]:
    """Yields a fill for each of `count` orders, between two reports of the order."""
    for n in range(first, first + count):
        now_ns = START_NS + n * STEP_NS
        symbol, side = f"SYM{n % SYMBOLS}", ("buy", "sell")[n // SYMBOLS % 2]
        quantity, price = Decimal(100 + n % 7), Decimal(50_000 + n % 1000) / 100
        times = {"ts": now_ns, "ts_init": now_ns}
        terms = {"strategy": f"strategy{n % 8}", "venue": "XNAS"}
        yield Order(f"o{n}", symbol, side, quantity, "new", arrival_price=price, **terms, **times)  # type: ignore[arg-type]
        yield Fill(f"t{n}", symbol, side, quantity, price, f"o{n}", Decimal("0.35"), **terms, **times)  # type: ignore[arg-type]
        yield Order(f"o{n}", symbol, side, quantity, "filled", **terms, **times)  # type: ignore[arg-type]


async def fill_store(directory: Path, first: int, count: int, *, is_clean: bool) -> None:
    """Takes events in as a server does. Without a clean stop, no checkpoint covers them."""
    host_clock, bus, counters = HostClock(), Bus(), Counters()
    event_clock, history = EventClock(host_clock), make_history(SYMBOLS)
    config = Config(max_symbols=SYMBOLS, data_dir=directory)
    persistence = Persistence(config, bus, history, counters, host_clock, event_clock)
    collectors = make_collectors(config, bus, event_clock, history, persistence.sequence)
    persistence.attach(collectors)
    for collector in collectors.sections:
        await collector.start()
    persistence.recover()
    persistence.start(asyncio.get_running_loop())
    store = persistence.store
    assert store is not None
    for number, event in enumerate(events(first, count)):
        bus.publish(event)
        if number % BATCH == 0:
            while not store.has_room:
                await store.durable(store.position, 60)
            await asyncio.sleep(0)
    if is_clean:
        await persistence.stop()
    else:
        await store.stop()
    for collector in collectors.sections:
        await collector.stop()


def start_seconds(directory: Path) -> float:
    """Returns the time from the command to its start line. The server is then killed, so that the next start finds what
    this one found."""
    command = [sys.executable, "-m", "observability", "serve", "--port", "0", "--data-dir", str(directory)]
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    seconds = time.perf_counter() - begin
    if not re.search(r"listening on", line):
        raise SystemExit("the server did not start")
    process.send_signal(signal.SIGKILL)
    process.wait()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--fills", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="where to make the stores; a temporary directory if absent")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.directory) as name:
        empty, clean, killed = (Path(name) / which for which in ("empty", "clean", "killed"))
        begin = time.perf_counter()
        asyncio.run(fill_store(clean, 0, args.fills, is_clean=True))
        seconds = time.perf_counter() - begin
        size = (clean / DATABASE_NAME).stat().st_size
        print(
            f"{args.fills} fills and {2 * args.fills} reports taken in, durable: {seconds:.0f} s, {size / 1e6:.0f} MB"
        )
        shutil.copytree(clean, killed)
        asyncio.run(fill_store(killed, args.fills, CHECKPOINT_RECORDS // 3, is_clean=False))
        baseline = median(start_seconds(empty) for _ in range(REPEATS))
        print(f"start with an empty store                       {baseline:6.2f} s")
        after_stop = median(start_seconds(clean) for _ in range(REPEATS))
        print(f"start after a clean stop                        {after_stop:6.2f} s  {after_stop / baseline:5.2f} x")
        after_kill = start_seconds(killed)
        ratio = after_kill / baseline
        print(f"start after a kill, {CHECKPOINT_RECORDS} records to replay    {after_kill:6.2f} s  {ratio:5.2f} x")


if __name__ == "__main__":
    main()
