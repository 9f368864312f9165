"""Question: how many events a second does one core take in, from bytes to rings, by type?

Decode (msgspec, a JSON array of BATCH events), bus, collectors; every 40 batches a tick writes its rows into the rings.

    pytest benchmarks/bench_intake.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import Config
from observability.ingest.decoder import EventDecoder
from observability.metrics.assembly import make_collectors, make_history

BATCH = 1000
BATCHES_PER_TICK = 40
TICK_NS = 100_000_000
NOW_NS = 1_700_000_000_000_000_000


def quote(n: int) -> dict[str, object]:
    bid = 585.0 + n % 50 / 100
    return {
        "type": "quote",
        "symbol": f"SYM{n % 20}",
        "ts": NOW_NS + n,
        "bid": bid,
        "ask": bid + 0.02,
        "bid_size": 100 + n % 7,
        "ask_size": 200,
    }


def market_print(n: int) -> dict[str, object]:
    return {
        "type": "print",
        "symbol": f"SYM{n % 20}",
        "ts": NOW_NS + n,
        "price": 585.0 + n % 50 / 100,
        "size": 1 + n % 300,
        "aggressor_side": "buy",
    }


def order(n: int) -> dict[str, object]:
    status = ("pending_new", "new", "filled")[n % 3]
    return {
        "type": "order",
        "order_id": f"o{n // 3}",
        "symbol": f"SYM{n % 20}",
        "side": "buy",
        "quantity": "100",
        "price": "585.25",
        "status": status,
        "strategy": "alpha",
        "ts": NOW_NS + n * 1000,
    }


def fill(n: int) -> dict[str, object]:
    return {
        "type": "fill",
        "trade_id": f"t{n}",
        "order_id": f"o{n}",
        "symbol": f"SYM{n % 20}",
        "side": ("buy", "sell")[n % 2],
        "quantity": "100",
        "price": "585.25",
        "commission": "0.1",
        "strategy": "alpha",
        "ts": NOW_NS + n,
    }


def signal(n: int) -> dict[str, object]:
    return {"type": "signal", "strategy": "alpha", "symbol": f"SYM{n % 20}", "action": "buy", "confidence": 0.7}


def heartbeat(n: int) -> dict[str, object]:
    return {"type": "heartbeat", "component": f"engine{n % 5}"}


def measure(benchmark: BenchmarkFixture, make: Callable[[int], dict[str, object]], first: bytes = b"[]") -> None:
    bus = Bus()
    clock = EventClock(HostClock())
    collectors = make_collectors(Config(max_symbols=64), bus, clock, make_history(64))
    for collector in (collectors.market, collectors.strategy, collectors.execution):
        asyncio.run(collector.start())
    tick_sections = collectors.sections[:3]
    decoder = EventDecoder()
    bus.publish_all(decoder.decode_array(first, NOW_NS).events, "bench")
    now_ns = NOW_NS
    batch_numbers = count(1)
    # Keys of fills must be new each time, or only duplicates would be measured.
    batches = (orjson.dumps([make(n) for n in range(start, start + BATCH)]) for start in range(0, 10**9, BATCH))

    def setup() -> tuple[tuple[bytes], dict[str, object]]:
        return (next(batches),), {}

    def take_in(batch: bytes) -> None:
        nonlocal now_ns
        bus.publish_all(decoder.decode_array(batch, now_ns).events, "bench")
        # 10 Hz at 400,000 events a second: a tick per 40 batches, and its row in every ring.
        now_ns += TICK_NS // BATCHES_PER_TICK
        if next(batch_numbers) % BATCHES_PER_TICK == 0:
            for section in tick_sections:
                section.refresh(now_ns)

    benchmark.pedantic(take_in, setup=setup, rounds=200, warmup_rounds=5)
    benchmark.extra_info["events_per_second"] = round(BATCH / benchmark.stats.stats.median)


@pytest.mark.parametrize("make", [quote, market_print, order, fill, signal, heartbeat], ids=lambda make: make.__name__)
def test_intake(benchmark: BenchmarkFixture, make: Callable[[int], dict[str, object]]) -> None:
    measure(benchmark, make)


@pytest.mark.parametrize("make", [quote, market_print], ids=lambda make: make.__name__)
def test_intake_with_orders(benchmark: BenchmarkFixture, make: Callable[[int], dict[str, object]]) -> None:
    """The execution section follows the market of a symbol from its first order on."""
    measure(benchmark, make, orjson.dumps([order(3 * n) for n in range(20)]))
