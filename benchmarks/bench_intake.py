"""Question: how many events a second does one core ingest, by type, without a store and with one?

The whole path of an event except the network: the gate of ingest takes JSON arrays of BATCH events, IN_FLIGHT at once,
and answers each; in between are the decoder, the bus, the collectors and the journal. With a store an answer waits for
the disk, in `--basetemp DIR`. Orders and fills come in the smaller batches of a trading engine too. Every 40 batches of
BATCH a tick writes its rows of history and, when one is due, a checkpoint.

    pytest benchmarks/bench_intake.py
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson
import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import Config
from observability.ingest.gate import SOURCE, IngestGate
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.persistence import Persistence
from observability.snapshot.frames import Frame

BATCH = 1000
IN_FLIGHT = 8
EVENTS_PER_TICK = 40 * BATCH
TICK_NS = 100_000_000
NOW_NS = 1_700_000_000_000_000_000
SYMBOLS = 64
ROUNDS = 30

Make = Callable[[int], dict[str, object]]


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


def numbered_print(n: int) -> dict[str, object]:
    return market_print(n) | {"trade_id": n}


def order(n: int) -> dict[str, object]:
    status = ("pending_new", "new", "filled")[n % 3]
    return {
        "type": "order",
        "order_id": f"o{n // 3}",
        "symbol": f"SYM{n // 3 % 20}",
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


class Intake:
    """A hub's side of ingest: gate, bus, collectors, journal and, in a directory, a store."""

    def __init__(self, directory: Path | None) -> None:
        host_clock, self.bus, counters = HostClock(), Bus(), Counters()
        self._clock, history = EventClock(host_clock), make_history(SYMBOLS)
        self._clock.advance(NOW_NS)
        config = Config(max_symbols=SYMBOLS, data_dir=directory)
        self._persistence = Persistence(config, self.bus, history, counters, host_clock, self._clock)
        collectors = make_collectors(config, self.bus, self._clock, history, self._persistence.sequence)
        self._journal = self._persistence.attach(collectors)
        self.gate = IngestGate(self.bus, self._journal, self._clock, counters, prints=collectors.market)
        self._sections = collectors.sections[:3]
        self._events = 0

    async def start(self) -> None:
        for section in self._sections:
            await section.start()
        self._persistence.start(asyncio.get_running_loop())

    async def stop(self) -> None:
        await self._persistence.stop()

    async def take(self, batches: list[bytes], size: int) -> None:
        """Returns once every batch, of `size` events, has been answered."""
        answers = await asyncio.gather(*(self.gate.take(batch, source="http") for batch in batches))
        assert all(answer.status == 200 for answer in answers)
        # 10 Hz at 400,000 events a second.
        events = size * len(batches)
        self._events += events
        self._clock.advance(self._clock.time_ns() + TICK_NS * events // EVENTS_PER_TICK)
        if self._events % EVENTS_PER_TICK < events:
            now_ns = self._clock.time_ns()
            for section in self._sections:
                section.refresh(now_ns)
            self._journal.on_frame(Frame("e", 1, now_ns, 0, b"{}"))


@contextmanager
def running(directory: Path | None) -> Iterator[tuple[Intake, asyncio.Runner]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        intake = Intake(directory)
        runner.run(intake.start())
        yield intake, runner
        runner.run(intake.stop())


def measure(
    benchmark: BenchmarkFixture, make: Make, directory: Path | None, first: bytes = b"[]", size: int = BATCH
) -> None:
    # The keys of fills must be new each time, or only duplicates would be measured.
    batches = (orjson.dumps([make(n) for n in range(start, start + size)]) for start in range(0, 10**9, size))

    with running(directory) as (intake, runner):
        published = len(orjson.loads(first))
        runner.run(intake.take([first], published))

        def setup() -> tuple[tuple[list[bytes]], dict[str, object]]:
            return ([next(batches) for _ in range(IN_FLIGHT)],), {}

        benchmark.pedantic(
            lambda some: runner.run(intake.take(some, size)), setup=setup, rounds=ROUNDS, warmup_rounds=2
        )
        published += (ROUNDS + 2) * IN_FLIGHT * size
        assert sum(intake.bus.published[SOURCE].values()) == published
    benchmark.extra_info["events_per_second"] = round(IN_FLIGHT * size / benchmark.stats.stats.median)


@pytest.mark.parametrize("has_store", [False, True], ids=["no store", "store"])
@pytest.mark.parametrize(
    "make",
    [quote, market_print, numbered_print, order, fill, signal, heartbeat],
    ids=lambda make: make.__name__,
)
def test_intake(benchmark: BenchmarkFixture, make: Make, has_store: bool, tmp_path: Path) -> None:
    measure(benchmark, make, tmp_path if has_store else None)


@pytest.mark.parametrize("size", [1, 10, 100])
@pytest.mark.parametrize("make", [order, fill], ids=lambda make: make.__name__)
def test_intake_by_batch(benchmark: BenchmarkFixture, make: Make, size: int, tmp_path: Path) -> None:
    measure(benchmark, make, tmp_path, size=size)


@pytest.mark.parametrize("make", [quote, market_print], ids=lambda make: make.__name__)
def test_intake_with_orders(benchmark: BenchmarkFixture, make: Make) -> None:
    """The execution section follows the market of a symbol from its first order on."""
    measure(benchmark, make, None, orjson.dumps([order(3 * n) for n in range(20)]))


@pytest.mark.parametrize("make", [quote, market_print], ids=lambda make: make.__name__)
def test_intake_with_positions(benchmark: BenchmarkFixture, make: Make) -> None:
    """Each price of a symbol that is held marks its position."""
    measure(benchmark, make, None, orjson.dumps([fill(2 * n) for n in range(20)]))
