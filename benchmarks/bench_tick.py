"""Question: what does one tick cost, by the number of symbols and the share of them that changed?

The hub ticks ten times a second: every collector writes its row of history, the parts that changed are encoded, and the
snapshot is joined and published. For comparison, each group also encodes the whole document anew. The alert rules are
evaluated once per second, after one tick in ten: groups "default alert rules".

    pytest benchmarks/bench_tick.py
"""

from __future__ import annotations

import asyncio
from itertools import count

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.events import Quote
from observability.memory.counters import Counters
from observability.metrics.alerts.metric_paths import MetricSources
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.alerts.rule_file import load_rules
from observability.metrics.assembly import make_collectors, make_history
from observability.snapshot.hub import Hub

INTERVAL_SECONDS = 0.1
FIGURES = {name: lambda: 0 for name in ("ticks_missed", "websocket_disconnects", "store_fault")}
ROUNDS = 200

by_size = pytest.mark.parametrize("symbols", [1, 10, 100, 1000])
by_change = pytest.mark.parametrize("changed_percent", [0, 10, 100])


class Market:
    """A hub with a number of symbols."""

    def __init__(self, symbols: int) -> None:
        host_clock = HostClock()
        event_clock = EventClock(host_clock)
        self._bus = Bus()
        collectors = make_collectors(Config(max_symbols=symbols), self._bus, event_clock, make_history(symbols))
        system = collectors.system
        sources = MetricSources(collectors.sections, system.user_metrics, FIGURES, {})
        self.rules = RuleBook(load_rules(None), sources, system.alert_book)
        for collector in collectors.sections:
            asyncio.run(collector.start())
        self.hub = Hub(INTERVAL_SECONDS, self._bus, host_clock, event_clock, collectors.sections, {}, Counters())
        self._symbols = symbols
        self._prices = count(1)
        self._clock = host_clock
        self.move(100)
        self.hub.tick()

    def move(self, changed_percent: int) -> None:
        """Publishes a new quote for a share of the symbols, rounded up."""
        changed = -(-self._symbols * changed_percent // 100)
        bid = 100 + next(self._prices) % 1000 / 100
        now_ns = self._clock.time_ns()
        quotes = [Quote(f"SYM{n:04d}", bid, bid + 0.02, 100, 200, ts=now_ns, ts_init=now_ns) for n in range(changed)]
        self._bus.publish_all(quotes, "bench")


@by_size
@by_change
def test_tick(benchmark: BenchmarkFixture, symbols: int, changed_percent: int) -> None:
    market = Market(symbols)
    benchmark.group = f"{symbols} symbols, {changed_percent} % changed"
    benchmark.pedantic(market.hub.tick, setup=lambda: market.move(changed_percent), rounds=ROUNDS, warmup_rounds=5)
    frame = market.hub.frames.latest()
    assert frame is not None
    assert len(orjson.loads(frame.payload)["market_data"]) == symbols
    benchmark.extra_info["snapshot_bytes"] = len(frame.payload)


@by_size
def test_rules(benchmark: BenchmarkFixture, symbols: int) -> None:
    market = Market(symbols)
    benchmark.group = f"default alert rules, {symbols} symbols"
    seconds = count()
    benchmark.pedantic(lambda: market.rules.evaluate(next(seconds) * NS_PER_S, 0), rounds=ROUNDS, warmup_rounds=5)
    assert {rule["n_members"] for rule in market.rules.to_json()} == {1, symbols}


@by_size
@by_change
def test_encoding_anew(benchmark: BenchmarkFixture, symbols: int, changed_percent: int) -> None:
    frame = Market(symbols).hub.frames.latest()
    assert frame is not None
    document = orjson.loads(frame.payload)
    benchmark.group = f"{symbols} symbols, {changed_percent} % changed"
    benchmark.pedantic(orjson.dumps, args=(document,), rounds=ROUNDS, warmup_rounds=5)
