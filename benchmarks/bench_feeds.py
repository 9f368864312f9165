"""Question: how many quotes and prints a second does one core take in from the feed of each venue?

`decoded` is the dialect alone, with one event per message, as venues mostly send them. `taken` is the whole way: a
venue on loopback sends MESSAGES messages in a thread; here they are read from the socket, unframed, decoded, validated
by the gate and published to the collectors. The time is the CPU time of this thread, so the venue's own is not in it.

    pytest benchmarks/bench_feeds.py
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

from exchange import Exchange, Session
from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import Config
from observability.ingest.gate import IngestGate
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.metrics.durability.persistence import Persistence
from observability.sources.feeds.feed import Feed, from_url
from observability.sources.feeds.venues import VENUES

MESSAGES = 5000
ROUNDS = 10
SYMBOL = {"binance": "BTCUSDT", "coinbase": "BTC-USD", "kraken": "BTC/USD", "bybit": "BTCUSDT", "okx": "BTC-USDT"}
MS = 1_723_161_255_342
ISO = "2024-08-08T23:54:15.342123Z"


def binance(kind: str, n: int) -> str:
    if kind == "quote":
        return (
            f'{{"stream":"btcusdt@bookTicker","data":{{"u":{n},"s":"BTCUSDT","b":"61837.63000000","B":"3.78826000",'
            '"a":"61837.64000000","A":"1.54698000"}}'
        )
    return (
        f'{{"stream":"btcusdt@trade","data":{{"e":"trade","E":{MS},"s":"BTCUSDT","t":{n},"p":"61837.63000000",'
        f'"q":"0.02000000","T":{MS},"m":true,"M":true}}}}'
    )


def coinbase(kind: str, n: int) -> str:
    each = {"product_id": "BTC-USD", "price": "68900.50"}
    touch = {"best_bid": "68900.00", "best_bid_quantity": "1.5", "best_ask": "68901.00", "best_ask_quantity": "0.5"}
    day = {"volume_24_h": "15328.12345678", "low_24_h": "67500.00", "high_24_h": "69200.00"}
    if kind == "quote":
        channel, event = "ticker", {"tickers": [{"type": "ticker", **each, **day, **touch}]}
    else:
        trade = {"trade_id": str(n), **each, "size": "0.0015", "side": "BUY", "time": ISO}
        channel, event = "market_trades", {"trades": [trade]}
    message = {"channel": channel, "client_id": "", "timestamp": ISO, "events": [{"type": "update", **event}]}
    return json.dumps(message, separators=(",", ":"))


def kraken(kind: str, n: int) -> str:
    if kind == "quote":
        return (
            '{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":105944.2,"bid_qty":2.5,'
            '"ask":105944.3,"ask_qty":3.2,"last":105899.4,"volume":163.28908096,"vwap":105904.39279,"low":104711.0,'
            f'"high":106613.1,"change":250.0,"change_pct":0.24,"timestamp":"{ISO}"}}]}}'
        )
    return (
        '{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":105944.2,"qty":0.00027625,'
        f'"ord_type":"limit","trade_id":{n},"timestamp":"{ISO}"}}]}}'
    )


def bybit(kind: str, n: int) -> str:
    if kind == "quote":
        return (
            f'{{"topic":"orderbook.1.BTCUSDT","type":"snapshot","ts":{MS},"data":{{"s":"BTCUSDT",'
            f'"b":[["16578.50","1.5"]],"a":[["16578.56","0.6"]],"u":{n},"seq":7961638724}},"cts":{MS}}}'
        )
    return (
        f'{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":{MS},"data":[{{"T":{MS},"s":"BTCUSDT","S":"Buy",'
        f'"v":"0.010","p":"27451.00","i":"2290000000{n}","BT":false}}]}}'
    )


def okx(kind: str, n: int) -> str:
    if kind == "quote":
        return (
            '{"arg":{"channel":"bbo-tbt","instId":"BTC-USDT"},"data":[{"asks":[["8476.98","415","0","13"]],'
            f'"bids":[["8476.97","256","0","12"]],"ts":"{MS}","seqId":{n}}}]}}'
        )
    return (
        '{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{"instId":"BTC-USDT",'
        f'"tradeId":"{n}","px":"42219.9","sz":"0.12060306","side":"buy","ts":"{MS}","count":"1"}}]}}'
    )


MESSAGE: dict[str, Callable[[str, int], str]] = {
    "binance": binance, "coinbase": coinbase, "kraken": kraken, "bybit": bybit, "okx": okx
}  # fmt: skip
each_kind = pytest.mark.parametrize("kind", ["quote", "print"])
each_venue = pytest.mark.parametrize("venue", MESSAGE)


def fresh(venue: str, kind: str) -> Iterator[list[str]]:
    """Yields rounds of messages; the ids of trades are new each time, or only duplicates would be measured."""
    for start in range(1, 10**9, MESSAGES):
        yield [MESSAGE[venue](kind, n) for n in range(start, start + MESSAGES)]


@each_kind
@each_venue
@pytest.mark.benchmark(timer=time.thread_time)
def test_decoded(benchmark: BenchmarkFixture, venue: str, kind: str) -> None:
    dialect, rounds, now = VENUES[venue](), fresh(venue, kind), time.time_ns()

    def decode(messages: list[bytes]) -> None:
        for message in messages:
            assert len(dialect.decode(message, now)) == 1

    def setup() -> tuple[tuple[list[bytes]], dict[str, object]]:
        return ([message.encode() for message in next(rounds)],), {}

    benchmark.pedantic(decode, setup=setup, rounds=ROUNDS, warmup_rounds=1)
    benchmark.extra_info["events_per_second"] = round(MESSAGES / benchmark.stats.stats.min)


class Hub:
    """A hub's side of a feed: gate, bus, collectors and journal, without a store."""

    def __init__(self) -> None:
        host_clock, self.bus, counters = HostClock(), Bus(), Counters()
        clock, history, config = EventClock(host_clock), make_history(8), Config(max_symbols=8)
        self._persistence = Persistence(config, self.bus, history, counters, host_clock, clock)
        collectors = make_collectors(config, self.bus, clock, history, self._persistence.sequence)
        journal = self._persistence.attach(collectors)
        self._gate = IngestGate(self.bus, journal, clock, counters, prints=collectors.market)

    async def start(self) -> None:
        self._persistence.start(asyncio.get_running_loop())

    async def stop(self) -> None:
        await self._persistence.stop()

    async def take(self, feed: Feed) -> None:
        """Reads and publishes MESSAGES events."""
        events = 0
        while events < MESSAGES:
            batch = await feed.read()
            taken = await self._gate.take_read(batch.events, source=feed.name)
            assert taken.outcome.accepted == len(batch.events)
            events += len(batch.events)


@each_kind
@each_venue
@pytest.mark.benchmark(timer=time.thread_time)
def test_taken(benchmark: BenchmarkFixture, venue: str, kind: str) -> None:
    symbol, rounds = SYMBOL[venue], fresh(venue, kind)
    with Exchange(venue, {symbol}) as exchange, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        hub, feed = Hub(), from_url(f"{venue}:{symbol}?url={exchange.url}")
        runner.run(hub.start())
        runner.run(feed.connect(None))
        session: Session = exchange.next_session()

        def setup() -> None:
            threading.Thread(target=session.send, args=next(rounds)).start()

        benchmark.pedantic(lambda: runner.run(hub.take(feed)), setup=setup, rounds=ROUNDS, warmup_rounds=1)
        runner.run(feed.close())
        runner.run(hub.stop())
    benchmark.extra_info["events_per_second"] = round(MESSAGES / benchmark.stats.stats.min)
