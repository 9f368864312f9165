"""Question: how many entries of a Redis stream a second does one core take in?

`read` is the source alone: from the socket to events. `taken` is the whole way: the gate validates and publishes them
to the collectors, with the position of each batch; no store. The time is the CPU time of this process; the server is
one of its own. Whether hiredis parses the answers is in the name of the benchmark, as the machine has it.

    pytest benchmarks/bench_redis.py
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

import nautilus_bus as bus
from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import Config
from observability.ingest.gate import IngestGate
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.persistence import Persistence
from observability.sources.brokers.redis import RedisSource, from_url
from redis_server import RedisServer, needs_redis

pytestmark = [needs_redis, pytest.mark.benchmark(timer=time.process_time)]
ENTRIES = 10_000
ROUNDS = 5
PARSER = "hiredis" if importlib.util.find_spec("hiredis") else "python"

Make = Callable[[int], dict[str, bytes]]


def own_quote(n: int) -> dict[str, bytes]:
    return {
        "event": b'{"type": "quote", "symbol": "BTCUSDT-PERP", "bid": 61837.6, "ask": 61837.7, "bid_size": 1.5, '
        b'"ask_size": 2.0, "venue": "BINANCE", "ts": %d}' % (bus.T0 + n)
    }


def quote(n: int) -> dict[str, bytes]:
    return bus.entry(bus.quote(n))


def trade(n: int) -> dict[str, bytes]:
    return bus.entry(bus.trade(n))


def fill(n: int) -> dict[str, bytes]:
    return bus.entry(bus.filled(f"t{n}", f"o{n}"))


each_kind = pytest.mark.parametrize(
    "make", [own_quote, quote, trade, fill], ids=lambda make: f"{make.__name__}-{PARSER}"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    running = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        yield running
    finally:
        running.stop()


def measure(
    benchmark: BenchmarkFixture,
    server: RedisServer,
    make: Make,
    take: Callable[[RedisSource], Coroutine[Any, Any, None]],
    runner: asyncio.Runner,
) -> None:
    # Ids are new in each round, or only duplicates would be measured.
    rounds = itertools.count()

    def setup() -> tuple[tuple[RedisSource], dict[str, object]]:
        number = next(rounds)
        with server.client() as client:
            client.flushall()
            for start in range(0, ENTRIES, 1_000):
                with client.pipeline(transaction=False) as pipeline:
                    for n in range(start, start + 1_000):
                        pipeline.xadd("entries", make(number * ENTRIES + n))  # type: ignore[arg-type]
                    pipeline.execute()
        source = from_url(f"redis://{server.address}?stream=entries&from=start")
        runner.run(source.connect(None))
        return (source,), {}

    def run(source: RedisSource) -> None:
        runner.run(take(source))

    benchmark.pedantic(run, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["entries_per_second"] = round(ENTRIES / benchmark.stats.stats.min)


@each_kind
def test_read(benchmark: BenchmarkFixture, server: RedisServer, make: Make) -> None:
    async def take(source: RedisSource) -> None:
        messages = 0
        while messages < ENTRIES:
            messages += (await source.read()).messages
        await source.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measure(benchmark, server, make, take, runner)


@each_kind
def test_taken(benchmark: BenchmarkFixture, server: RedisServer, make: Make) -> None:
    host_clock, events, counters = HostClock(), Bus(), Counters()
    clock, history, config = EventClock(host_clock), make_history(8), Config(max_symbols=8)
    persistence = Persistence(config, events, history, counters, host_clock, clock)
    collectors = make_collectors(config, events, clock, history, persistence.sequence)
    gate = IngestGate(events, persistence.attach(collectors), clock, counters, prints=collectors.market)

    async def take(source: RedisSource) -> None:
        messages = 0
        while messages < ENTRIES:
            batch = await source.read()
            taken = await gate.take_read(batch.events, source=source.name, cursor=batch.cursor)
            assert taken.outcome.accepted == batch.messages
            messages += batch.messages
        await source.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measure(benchmark, server, make, take, runner)
