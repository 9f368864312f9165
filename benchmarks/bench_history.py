"""Question: what does a query of the history cost, and how much does it delay the tick?

A day at 1 m and 5 minutes at 100 ms of 64 symbols with full rings, as rows and as columns, over HTTP. A hub ticks at
10 Hz while every symbol changes; another process sends one query after the other, at most RATE a second. The delay is
that of the tick behind its schedule, for comparison also without queries.

    python benchmarks/bench_history.py [--seconds 10] [--rate 5]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from array import array
from itertools import count
from typing import Any, Final

import uvloop

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.config.config import Config
from observability.connections.listener import HttpListener
from observability.events import Quote
from observability.history.history import History
from observability.history.layout import TIERS
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.rest.history import HistoryRoutes
from observability.routing.application import Application
from observability.routing.router import Router
from observability.snapshot.frames import Frame
from observability.snapshot.hub import Hub

SYMBOLS: Final = 64
INTERVAL_SECONDS: Final = 0.1
MARKET: Final[dict[str, Any]] = {"metric_types": ["market_data"], "limit": 10_000}
DAY: Final = {**MARKET, "time_range": "24h", "interval": "1m"}
QUERIES: Final = {
    "1 m of a day, rows": DAY,
    "1 m of a day, columns": {**DAY, "format": "columns"},
    "100 ms of 5 minutes, rows": {**MARKET, "interval": "100ms"},
    "100 ms of 5 minutes, columns": {**MARKET, "interval": "100ms", "format": "columns"},
    "1 m of a day, columns, six aggregates": {
        **DAY, "format": "columns", "aggregates": ["first", "min", "max", "last", "mean", "count"]
    },
}  # fmt: skip

# Queries for `seconds`, at most `rate` times a second; prints the time of each answer, its size and number of points.
CLIENT: Final = """
import http.client, json, sys, time
port, seconds, rate, body = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), sys.argv[4]
connection = http.client.HTTPConnection("127.0.0.1", port)
took, end, due = [], time.monotonic() + seconds, time.monotonic()
while time.monotonic() < end:
    start = time.monotonic()
    connection.request("POST", "/api/metrics/history", body, {"Content-Type": "application/json"})
    answer = connection.getresponse().read()
    took.append((time.monotonic() - start) * 1e3)
    due = max(due + 1 / rate, time.monotonic() - 1 / rate)
    time.sleep(max(0, due - time.monotonic()))
print(json.dumps({"took_ms": sorted(took), "bytes": len(answer), "count": json.loads(answer)["count"]}))
"""


class Desk:
    """A hub that ticks, and a port that answers queries of its history."""

    def __init__(self) -> None:
        host_clock = HostClock()
        clock = EventClock(host_clock)
        self._bus = Bus()
        self._history = make_history(SYMBOLS)
        collectors = make_collectors(Config(max_symbols=SYMBOLS), self._bus, clock, self._history)
        self._hub = Hub(INTERVAL_SECONDS, self._bus, host_clock, clock, collectors.sections, {}, Counters())
        self._hub.add_frame_listener(self._on_frame)
        self._prices = count(1)
        self.lateness_ms: list[float] = []
        router = Router()
        HistoryRoutes(self._history.reader(Counters()), clock).add_to(router)
        self._listener = HttpListener(Application(router, clock=host_clock))

    async def start(self) -> int:
        for collector in self._hub.collectors:
            await collector.start()
        self._move()
        fill(self._history)
        await self._hub.start()
        await self._listener.start()
        return self._listener.port

    async def stop(self) -> None:
        await self._listener.close(grace_seconds=0.1)
        await self._hub.stop()

    def _on_frame(self, frame: Frame) -> None:
        ticker = self._hub.ticker
        if ticker is not None:
            due_ns = ticker.schedule.next_ns - ticker.schedule.interval_ns
            self.lateness_ms.append((frame.mono_ns - due_ns) / NS_PER_MS)
        self._move()

    def _move(self) -> None:
        bid = 100 + next(self._prices) % 1000 / 100
        now_ns = time.time_ns()
        quotes = [Quote(f"SYM{n:02d}", bid, bid + 0.02, 100, 200, ts=now_ns, ts_init=now_ns) for n in range(SYMBOLS)]
        self._bus.publish_all(quotes, "bench")


def fill(history: History) -> None:
    """Fills the rings of every symbol up to now, as a day of ticks does."""
    now_ns = time.time_ns()
    for series in history.series():
        if series.section != "market_data":
            continue
        width = len(series.fields)
        for ring, tier in zip(series.rings, TIERS, strict=True):
            step_ns = tier.interval_ns or round(INTERVAL_SECONDS * NS_PER_S)
            end_ns = now_ns - now_ns % step_ns
            for n in range(tier.rows):
                values = [100 + (n * 7 + field) % 1000 / 100 for field in range(width)]
                if tier.interval_ns:
                    values = [number for x in values for number in (x, x - 0.5, x + 0.5, x + 0.25, 10 * x, 10.0)]
                ring.write_row(end_ns - (tier.rows - n) * step_ns, array("d", values))


async def measure(seconds: float, rate: float) -> None:
    desk = Desk()
    port = await desk.start()
    print(
        f"{'query':<38} {'points':>7} {'MB':>5} {'answers':>7} {'p50 ms':>7} {'max ms':>7}   "
        f"tick late: {'p50 ms':>6} {'p99':>5} {'max':>5}"
    )
    for name, query in {"no queries": None, **QUERIES}.items():
        desk.lateness_ms.clear()
        cost = ""
        if query is None:
            await asyncio.sleep(seconds)
        else:
            arguments = (str(port), str(seconds), str(rate), json.dumps(query))
            client = await asyncio.create_subprocess_exec(
                sys.executable, "-c", CLIENT, *arguments, stdout=subprocess.PIPE
            )
            answer = json.loads((await client.communicate())[0])
            took = answer["took_ms"]
            cost = (
                f"{answer['count']:>7} {answer['bytes'] / 1e6:>5.1f} {len(took):>7} {took[len(took) // 2]:>7.1f} "
                f"{took[-1]:>7.1f}"
            )
        late = sorted(desk.lateness_ms)
        p50, p99 = late[len(late) // 2], late[len(late) * 99 // 100]
        print(f"{name:<38} {cost:<37}   {p50:>17.2f} {p99:>5.1f} {late[-1]:>5.1f}")
    await desk.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=float, default=5)
    args = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(args.seconds, args.rate))


if __name__ == "__main__":
    main()
