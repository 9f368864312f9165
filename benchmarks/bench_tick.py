"""Question: what does one tick cost, by the number of symbols and the share of them that changed?

The hub ticks ten times a second: the symbols that changed are refreshed and write their rows of history, the parts that
changed are encoded, and the snapshot is published; here it is joined too, as for a client. The clock moves by 0.1 s per
tick, so that seconds end as often as in a real market. For comparison, each group also encodes the whole document anew.
The alert rules are evaluated once per second, after one tick in ten: groups "default alert rules". With several
currencies the symbols are of each in turn, and every rate moves before every tick, too.

After a pause, code and objects are in no cache any more: then a tick in which nothing happens takes many times as long.

    pytest benchmarks/bench_tick.py
    pytest benchmarks/bench_tick.py -k pause --benchmark-timer=time.thread_time
"""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal
from itertools import count

import orjson
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import NS_PER_S
from observability.config.config import Config
from observability.events import Fill, Instrument, Quote, Rate
from observability.memory.counters import Counters
from observability.metrics.alerts.metric_paths import MetricSources
from observability.metrics.alerts.rule_book import RuleBook
from observability.metrics.alerts.rule_file import load_rules, parse_rules
from observability.metrics.assembly import make_collectors, make_history
from observability.snapshot.hub import Hub

INTERVAL_SECONDS = 0.1
FIGURES = {name: lambda: 0 for name in ("ticks_missed", "tick_ms", "websocket_disconnects", "store_fault")}
LOOKING_BACK = {
    "change": 'change_over = "5m"\nabove = 1e9',
    "deviation": 'deviation_over = "6h"\nabove = 1e9',
    "objective": "above = 50\nobjective = 99",
    "absence": 'absent_for = "5m"',
}
TICK_NS = round(INTERVAL_SECONDS * NS_PER_S)
RATES = {"EUR": Decimal("1.08"), "GBP": Decimal("1.27")}
ROUNDS = 200

by_size = pytest.mark.parametrize("symbols", [1, 10, 100, 1000])
by_change = pytest.mark.parametrize("changed_percent", [0, 10, 100])


class SteppedClock:
    """A host's clock that moves by one interval per tick."""

    def __init__(self) -> None:
        self.now_ns = HostClock().time_ns()

    def time_ns(self) -> int:
        return self.now_ns

    def mono_ns(self) -> int:
        return self.now_ns


class Market:
    """A hub with a number of symbols and, if there are strategies, of open positions."""

    def __init__(self, symbols: int, strategies: int = 0, positions: int = 0, currencies: int = 1) -> None:
        host_clock = SteppedClock()
        event_clock = EventClock(host_clock)
        self._bus = Bus()
        collectors = make_collectors(Config(max_symbols=symbols), self._bus, event_clock, make_history(symbols))
        system = collectors.system
        sources = MetricSources(collectors.sections, system.user_metrics, FIGURES, {})
        self.sources = sources
        self.alerts = system.alert_book
        self.rules = RuleBook(load_rules(None), sources, self.alerts)
        for collector in collectors.sections:
            asyncio.run(collector.start())
        self.hub = Hub(INTERVAL_SECONDS, self._bus, host_clock, event_clock, collectors.sections, {}, Counters())
        self._symbols = symbols
        self._prices = count(1)
        self.clock = host_clock
        self._next = 0
        self._currencies = list(RATES)[: currencies - 1]
        now_ns = host_clock.time_ns()
        self._bus.publish_all(
            [
                Instrument(
                    f"SYM{n:04d}", "equity", ["USD", *self._currencies][n % currencies], ts=now_ns, ts_init=now_ns
                )
                for n in range(symbols)
            ],
            "bench",
        )
        self.move(100)
        self._bus.publish_all(
            [
                Fill(
                    f"t{n}", f"SYM{n * symbols // positions:04d}", "buy", Decimal(10), Decimal("100.5"), f"o{n}",
                    strategy=f"s{n % strategies}", ts=now_ns, ts_init=now_ns,
                )
                for n in range(positions)
            ],
            "bench",
        )  # fmt: skip
        self.tick()

    def tick(self) -> None:
        """Ticks, and joins the snapshot."""
        self.clock.now_ns += TICK_NS
        self.hub.tick()
        frame = self.hub.frames.latest()
        assert frame is not None and frame.payload

    def move(self, changed_percent: int) -> None:
        """Publishes a new quote for a share of the symbols, rounded up: other ones each time."""
        changed = -(-self._symbols * changed_percent // 100)
        bid = 100 + next(self._prices) % 1000 / 100
        now_ns = self.clock.time_ns()
        numbers = [n % self._symbols for n in range(self._next, self._next + changed)]
        self._next += changed
        self._bus.publish_all(
            [
                Rate(currency, "USD", RATES[currency] + Decimal(self._next % 100) / 10_000, ts=now_ns, ts_init=now_ns)
                for currency in self._currencies
            ],
            "bench",
        )
        quotes = [Quote(f"SYM{n:04d}", bid, bid + 0.02, 100, 200, ts=now_ns, ts_init=now_ns) for n in numbers]
        self._bus.publish_all(quotes, "bench")


@by_size
@by_change
def test_tick(benchmark: BenchmarkFixture, symbols: int, changed_percent: int) -> None:
    market = Market(symbols)
    benchmark.group = f"{symbols} symbols, {changed_percent} % changed"
    benchmark.pedantic(market.tick, setup=lambda: market.move(changed_percent), rounds=ROUNDS, warmup_rounds=5)
    frame = market.hub.frames.latest()
    assert frame is not None
    assert len(orjson.loads(frame.payload)["market_data"]) == symbols
    benchmark.extra_info["snapshot_bytes"] = len(frame.payload)


@pytest.mark.parametrize("currencies", [1, 3])
@pytest.mark.parametrize("changed_percent", [0, 10])
def test_tick_with_positions(benchmark: BenchmarkFixture, changed_percent: int, currencies: int) -> None:
    market = Market(500, strategies=20, positions=100, currencies=currencies)
    benchmark.group = f"500 symbols, 20 strategies, 100 positions, {changed_percent} % changed"
    benchmark.pedantic(market.tick, setup=lambda: market.move(changed_percent), rounds=ROUNDS, warmup_rounds=5)


def test_idle_tick_after_a_pause(benchmark: BenchmarkFixture) -> None:
    market = Market(1)

    def pause() -> None:
        market.clock.now_ns += TICK_NS
        time.sleep(0.04)

    benchmark.group = "a tick in which nothing happens, after a pause"
    benchmark.pedantic(market.hub.tick, setup=pause, rounds=ROUNDS, warmup_rounds=100)


@by_size
def test_rules(benchmark: BenchmarkFixture, symbols: int) -> None:
    market = Market(symbols)
    benchmark.group = f"default alert rules, {symbols} symbols"
    seconds = count()
    benchmark.pedantic(lambda: market.rules.evaluate(next(seconds) * NS_PER_S, 0), rounds=ROUNDS, warmup_rounds=5)
    assert {1, symbols} <= {rule["n_members"] for rule in market.rules.to_json()}


@by_size
@by_change
def test_encoding_anew(benchmark: BenchmarkFixture, symbols: int, changed_percent: int) -> None:
    frame = Market(symbols).hub.frames.latest()
    assert frame is not None
    document = orjson.loads(frame.payload)
    benchmark.group = f"{symbols} symbols, {changed_percent} % changed"
    benchmark.pedantic(orjson.dumps, args=(document,), rounds=ROUNDS, warmup_rounds=5)


@pytest.mark.parametrize("kind", LOOKING_BACK)
def test_a_rule_that_looks_back_at_every_symbol(benchmark: BenchmarkFixture, kind: str) -> None:
    market = Market(500)
    (rule,) = parse_rules(f'[r]\nmetric = "market_data.*.spread_bps"\n{LOOKING_BACK[kind]}', "")
    rules = RuleBook([rule], market.sources, market.alerts)
    benchmark.group = "one rule that looks back at 500 symbols, per second"
    seconds = count(1)
    benchmark.pedantic(lambda: rules.evaluate(next(seconds) * NS_PER_S, 0), rounds=ROUNDS, warmup_rounds=50)
    assert rules.to_json()[0]["n_members"] == 500


def test_a_tick_between_two_evaluations_is_counted(benchmark: BenchmarkFixture) -> None:
    market = Market(1)
    market.tick()
    frame = market.hub.frames.latest()
    assert frame is not None
    market.rules.on_frame(frame)
    benchmark.group = "a tick that counts for an objective"
    benchmark(lambda: market.rules.on_frame(frame))
