"""Question: how many messages of a source does one core take in, and by which way of reading a socket?

A publisher in another process sends ROUND messages; measured is the CPU time of this one, libzmq's thread included,
from the first of them to the last. Each round has ids of its own (`@` in a message). `test_intake` goes the whole way:
the source, its runner, the gate, the collectors. The others read the socket and drop what they have read.

    pytest benchmarks/bench_sources.py
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop
import zmq
import zmq.asyncio
from bench_intake import Intake, fill, market_print, quote
from pytest_benchmark.fixture import BenchmarkFixture

from observability.clocks.clock import HostClock
from observability.events import Event
from observability.ingest.decoder import EventDecoder
from observability.sources.brokers.zmq import from_url
from observability.sources.runner import SourceRunner

ROUND = 50_000
ROUNDS = 7
TIME = "2025-10-21T22:00:00.123456789Z"

Make = Callable[[int], dict[str, object]]

PUBLISHER = """
import json, sys, zmq
socket = zmq.Context().socket(zmq.XPUB)
socket.set_hwm(0)
print(socket.bind_to_random_port("tcp://127.0.0.1"), flush=True)
messages = [[b"t", line.encode()] for line in json.loads(sys.stdin.readline())]
socket.recv()
for line in sys.stdin:
    for topic, message in messages:
        socket.send_multipart([topic, message.replace(b"@", line.strip().encode())])
"""


def book(n: int) -> dict[str, object]:
    levels = [{"quantity": 1.5 + level, "timestamp": TIME} for level in range(5)]
    return {
        "type": "OrderBookUpdate",
        "symbol": f"SYM{n % 20}",
        "bids": [{"price": 585.0 + n % 50 / 100 - place, **level} for place, level in enumerate(levels)],
        "asks": [{"price": 585.5 + n % 50 / 100 + place, **level} for place, level in enumerate(levels)],
        "timestamp": TIME,
        "sequence": n,
    }


def new_fill(n: int) -> dict[str, object]:
    return fill(n) | {"trade_id": f"t{n}@", "order_id": f"o{n}@"}


def engine_order(n: int) -> dict[str, object]:
    return {
        "type": "OrderRequest",
        "order_id": f"o{n}@",
        "client_order_id": f"c{n}@",
        "symbol": f"SYM{n % 20}",
        "side": "Bid",
        "order_type": "Limit",
        "quantity": 2.0,
        "price": 585.25,
        "stop_price": None,
        "status": "Pending",
        "filled_quantity": 0.0,
        "average_price": None,
        "created_at": TIME,
        "updated_at": TIME,
    }


@contextmanager
def publisher(make: Make) -> Iterator[tuple[int, Callable[[], None]]]:
    """Yields a port, and what makes a round of messages come from it."""
    with subprocess.Popen(
        [sys.executable, "-c", PUBLISHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        stdin = process.stdin
        port = int(process.stdout.readline())

        def send(line: str) -> None:
            stdin.write(line + "\n")
            stdin.flush()

        send(json.dumps([json.dumps(make(n)) for n in range(ROUND)]))
        rounds = itertools.count()
        try:
            yield port, lambda: send(str(next(rounds)))
        finally:
            process.kill()


def measure(benchmark: BenchmarkFixture, take: Callable[[], None], start: Callable[[], None]) -> None:
    benchmark.pedantic(take, setup=start, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["messages_per_cpu_second"] = round(ROUND / benchmark.stats.stats.median)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("make", [quote, market_print, new_fill, book, engine_order], ids=lambda make: make.__name__)
def test_intake(benchmark: BenchmarkFixture, make: Make) -> None:
    with publisher(make) as (port, start), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        intake = Intake(None)
        source = from_url(f"zmq://127.0.0.1:{port}?hwm=100000000")
        running = SourceRunner(source, intake.gate, HostClock())
        runner.run(intake.start())
        task = runner.get_loop().create_task(running.run())

        async def take() -> None:
            wanted = running.health.events + ROUND
            while running.health.events < wanted:  # noqa: ASYNC110 - a runner tells nobody
                await asyncio.sleep(0.001)

        measure(benchmark, lambda: runner.run(take()), start)
        assert running.health.rejected == 0
        task.cancel()
        runner.run(asyncio.wait([task]))
        runner.run(intake.stop())


@pytest.mark.benchmark(timer=time.process_time)
def test_reading_by_the_descriptor(benchmark: BenchmarkFixture) -> None:
    with publisher(quote) as (port, start), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        source = from_url(f"zmq://127.0.0.1:{port}?hwm=100000000")
        runner.run(source.connect(None))

        async def take() -> None:
            taken = 0
            while taken < ROUND:
                taken += (await source.read()).messages

        measure(benchmark, lambda: runner.run(take()), start)
        runner.run(source.close())


@pytest.mark.benchmark(timer=time.process_time)
def test_reading_by_zmq_asyncio(benchmark: BenchmarkFixture) -> None:
    with publisher(quote) as (port, start), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        context = zmq.asyncio.Context()

        async def connect() -> Any:
            socket = context.socket(zmq.SUB)
            socket.set_hwm(0)
            socket.subscribe(b"")
            socket.connect(f"tcp://127.0.0.1:{port}")
            return socket

        socket = runner.run(connect())

        async def take() -> None:
            for _ in range(ROUND):
                await socket.recv_multipart()

        measure(benchmark, lambda: runner.run(take()), start)
        context.destroy(linger=0)


@pytest.mark.benchmark(timer=time.process_time)
@pytest.mark.parametrize("make", [quote, fill], ids=lambda make: make.__name__)
def test_checking_what_a_source_has_decoded(benchmark: BenchmarkFixture, make: Make) -> None:
    """What the gate adds for events that are no bytes."""
    decoder = EventDecoder()
    events: list[Event] = decoder.decode_all(json.dumps([make(n) for n in range(100)]).encode(), 10**18) or []

    def check() -> None:
        for event in events:
            decoder.check_decoded(event, 0, 10**18)

    benchmark(check)
    benchmark.extra_info["events_per_second"] = round(len(events) / benchmark.stats.stats.median)
