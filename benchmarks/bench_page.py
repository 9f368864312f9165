"""Question: what does a tick cost the page's main thread, when every symbol moves?

A server gets a quote of each symbol ten times a second, and a headless Chromium of 1400 x 900 shows a view. The kernel
counts the CPU time of the page's main thread without any help of the browser: scripts, layout, painting, garbage
collection and what the connection brings. Windows of measurement begin in the quiet before each tick; one that begins
while the thread is at work, or late because the machine is busy, is left out and counted.

Of one more stretch the browser itself says what the time goes into, which costs it time, too: `--work`.

    PYTHONPATH=tests/support python benchmarks/bench_page.py
    PYTHONPATH=tests/support python benchmarks/bench_page.py --view overview --seconds 20 --work
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import random
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from running_server import running_server

from browser import Page, browser_page

VIEWS = ("market", "overview")
TICK_SECONDS = 0.1
# A window begins this long before the tick, and at most this late.
EARLY_SECONDS = 0.006
LATE_SECONDS = 0.005
SETTLE_SECONDS = 6
# So long the page is kept busy, so that the kernel tells which process is its own.
BUSY_MS = 500
# What a tick may cost, for the share of those that cost more.
DEAR_MS = 8
PRICES = (0.00001234, 1.2345, 85.2, 640.11, 64000.5)
TRACED = ["toplevel", "devtools.timeline"]


def send_quotes(port: int, symbols: int) -> None:
    """Sends a quote of each symbol ten times a second, until the process is ended."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/ingest", headers={"Content-Type": "application/json"}, method="POST"
    )
    mids = [random.choice(PRICES) for _ in range(symbols)]
    steps = [mid * 1e-4 for mid in mids]
    due = time.monotonic()
    while True:
        quotes = []
        for number, step in enumerate(steps):
            mids[number] = mid = mids[number] + random.choice((-step, step))
            bid, ask = float(f"{mid:.6g}"), float(f"{mid + step:.6g}")
            quote = {"type": "quote", "symbol": f"SYM{number:04}", "bid": bid, "ask": ask}
            quotes.append({**quote, "bid_size": 5, "ask_size": 7})
        request.data = orjson.dumps(quotes)
        urllib.request.urlopen(request, timeout=30).close()
        due += TICK_SECONDS
        time.sleep(max(0.0, due - time.monotonic()))


@contextmanager
def moving_market(symbols: int) -> Iterator[int]:
    """A server whose symbols all move on every tick; yields its port."""
    with running_server(is_demo=False) as (_, port):
        sender = multiprocessing.Process(target=send_quotes, args=(port, symbols), daemon=True)
        sender.start()
        try:
            yield port
        finally:
            sender.terminate()
            sender.join()


def renderers() -> list[int]:
    """Returns the processes of pages that this one has started; the main thread has the id of its process."""
    parents, commands = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:
            continue  # It has ended.
    found = []
    for pid, command in commands.items():
        above = pid
        while above in parents and above != os.getpid():
            above = parents[above]
        if above == os.getpid() and "--type=renderer" in command:
            found.append(pid)
    return found


@dataclass
class Thread:
    """The main thread of a process, as the kernel sees it."""

    pid: int

    def cpu_ms(self) -> float:
        return int(Path(f"/proc/{self.pid}/task/{self.pid}/schedstat").read_text().split()[0]) / 1e6

    def is_at_work(self) -> bool:
        return Path(f"/proc/{self.pid}/task/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"


def thread_of(page: Page) -> Thread:
    """Returns the main thread of the page: the busiest while the page is. There are spare ones, too."""
    before = {pid: Thread(pid).cpu_ms() for pid in renderers()}
    page.evaluate(f"{{ const end = performance.now() + {BUSY_MS}; while (performance.now() < end); }}")
    return max((Thread(pid) for pid in before), key=lambda each: each.cpu_ms() - before[each.pid])


def next_tick(port: int) -> float:
    """Returns when a coming tick begins, by the monotonic clock."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/metrics/current", timeout=30) as answer:
        tick = json.load(answer)["mono_ns"] / 1e9
    return float(tick + TICK_SECONDS * (1 + math.ceil((time.monotonic() - tick) / TICK_SECONDS)))


def measure(thread: Thread, port: int, seconds: float) -> tuple[list[float], int]:
    """Returns the milliseconds that ticks took from the main thread, and how many ticks are left out."""
    costs, left_out, due = [], 0, next_tick(port) - EARLY_SECONDS
    before: float | None = None
    for _ in range(round(seconds / TICK_SECONDS) + 1):
        time.sleep(max(0.0, due - time.monotonic()))
        now = thread.cpu_ms()
        if thread.is_at_work() or time.monotonic() > due + LATE_SECONDS:
            before, left_out = None, left_out + 1
        else:
            if before is not None:
                costs.append(now - before)
            before = now
        due += TICK_SECONDS
    return costs, left_out


def work(page: Page, seconds: float) -> dict[str, float]:
    """Returns milliseconds per tick by kind of work, as the browser names them; those within others count twice."""
    events: list[dict[str, Any]] = []
    page.listeners["Tracing.dataCollected"] = lambda parameters: events.extend(parameters["value"])
    page.ask("Tracing.start", transferMode="ReportEvents", traceConfig={"includedCategories": TRACED})
    time.sleep(seconds)
    ended: list[Any] = []
    page.listeners["Tracing.tracingComplete"] = ended.append
    page.ask("Tracing.end")
    while not ended:
        page.evaluate("1")
    threads = Counter((event["pid"], event["tid"]) for event in events if event["name"] == "UpdateLayoutTree")
    ((main, _),) = threads.most_common(1)
    kinds: Counter[str] = Counter()
    for event in events:
        if (event["pid"], event["tid"]) == main and "tdur" in event:
            kinds[event["name"]] += event["tdur"]
    return {name: total / 1e3 / (seconds / TICK_SECONDS) for name, total in kinds.most_common(12)}


def percentile(costs: list[float], percent: float) -> float:
    return sorted(costs)[max(0, math.ceil(len(costs) * percent / 100) - 1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--view", default=",".join(VIEWS), help="views, with commas between")
    parser.add_argument("--symbols", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--work", action="store_true", help="what the time goes into, too")
    options = parser.parse_args()
    with moving_market(options.symbols) as port, browser_page() as page:
        page.ask("Emulation.setDeviceMetricsOverride", width=1400, height=900, deviceScaleFactor=1, mobile=False)
        for view in options.view.split(","):
            page.open("about:blank")
            page.open(f"http://127.0.0.1:{port}/#/{view}")
            page.wait_for("window.app?.feed.snapshot")
            time.sleep(SETTLE_SECONDS)
            thread = thread_of(page)
            renders = page.evaluate("app.feed.renders")
            costs, left_out = measure(thread, port, options.seconds)
            renders = page.evaluate("app.feed.renders") - renders
            told = " ".join(f"p{each} {percentile(costs, each):.1f}" for each in (50, 95, 99))
            print(
                f"{view}: {told} max {max(costs):.1f} mean {statistics.mean(costs):.1f} ms of CPU per tick; "
                f"{100 * sum(each > DEAR_MS for each in costs) / len(costs):.1f} % above {DEAR_MS} ms; "
                f"{len(costs)} ticks, {left_out} left out, {renders} renders",
                flush=True,
            )
            if options.work:
                kinds = work(page, options.seconds)
                print("  " + ", ".join(f"{name} {ms:.2f}" for name, ms in kinds.items()), flush=True)


if __name__ == "__main__":
    main()
