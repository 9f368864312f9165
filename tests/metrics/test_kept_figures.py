"""What sections keep from tick to tick are the figures that they would make anew, and the same bytes."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.events import (
    Cash,
    Dividend,
    Equity,
    Event,
    Fill,
    Instrument,
    Position,
    Print,
    Quote,
    Rate,
    Signal,
    Split,
)
from observability.metrics import MarketDataCollector, StrategyCollector
from observability.snapshot.serializer import Serializer

NOON = 1_340_280_000_000_000_000
MS = 1_000_000
D = Decimal

# Two positions, in one currency; the third instrument is of another one.
BEGINNING = (
    Instrument("ES", "future", "USD", multiplier=D(50)),
    Instrument("SAP", "equity", "EUR"),
    Fill("1", "AAPL", "buy", D(2), D(100), strategy="alpha"),
    Fill("2", "ES", "sell", D(1), D(100), strategy="beta"),
)
SYMBOLS = st.sampled_from(("AAPL", "AAPL", "ES", "ES", "SAP"))
PRICES = st.integers(90_00, 110_00).map(lambda cents: D(cents) / 100)
STRATEGIES = st.sampled_from(("alpha", "beta"))
VENUES = st.sampled_from(("", "", "", "XNAS"))
# The milliseconds until the next tick: within a second, until prices are stale, and beyond the end of the day.
TICK_MS = st.sampled_from((0, 1, 100, 100, 700, 6_000, 43_200_000))
QUOTES = st.builds(
    Quote, SYMBOLS, PRICES.map(float), PRICES.map(float), st.just(1.0), st.sampled_from((1.0, 2.0)), VENUES
)
FILLS = st.builds(
    Fill, st.just("t"), SYMBOLS, st.sampled_from(("buy", "sell")), st.integers(1, 3).map(D), PRICES, st.just("o"),
    st.sampled_from((D(0), D("0.25"))), strategy=STRATEGIES, venue=VENUES,
)  # fmt: skip
OTHERS = st.one_of(
    st.builds(Print, SYMBOLS, PRICES.map(float), st.just(1.0), venue=VENUES),
    st.builds(Cash, st.integers(1, 9).map(D), st.sampled_from(("deposit", "interest")), strategy=STRATEGIES),
    st.builds(Dividend, SYMBOLS, st.just(D("0.5"))),
    st.builds(Split, SYMBOLS, st.sampled_from((D(2), D("0.5"))), st.just(D(1))),
    st.builds(Rate, st.just("EUR"), st.just("USD"), PRICES),
    st.builds(Position, SYMBOLS, st.integers(-2, 2).map(D), PRICES, STRATEGIES),
    st.builds(Equity, st.just(D(10_000)), st.sampled_from(("", "alpha"))),
    st.builds(Signal, STRATEGIES, SYMBOLS, st.just("buy")),
)
IDS = {Fill: "trade_id", Cash: "cash_id", Dividend: "dividend_id", Split: "split_id"}


class Sections:
    """A market and a strategy section on a bus of their own, restored from others if there are any."""

    def __init__(self, clock: EventClock, before: Sections | None = None) -> None:
        self.bus = Bus()
        self.market = MarketDataCollector(bus=self.bus, clock=clock)
        self.strategy = StrategyCollector(bus=self.bus, clock=clock, market=self.market)
        self.serializer = Serializer("e", (self.market, self.strategy))
        for section in (self.market, self.strategy):
            asyncio.run(section.start())
        if before is not None:
            self.market.load(before.market.save())
            self.strategy.load(before.strategy.save())

    def snapshot(self, now_ns: int) -> bytes:
        self.market.refresh(now_ns)
        self.strategy.refresh(now_ns)
        return self.serializer.encode(1, now_ns, 0, {})[0].join()


@given(st.lists(st.one_of(TICK_MS, TICK_MS, QUOTES, QUOTES, FILLS, OTHERS), min_size=15, max_size=40))
def test_figures_kept_from_tick_to_tick_are_those_made_anew(steps: list[Any]) -> None:
    clock = FakeClock(NOON)
    kept = Sections(EventClock(clock))
    n_ticks = 0
    steps = [*BEGINNING, *steps, 100]
    for number, step in enumerate(steps):
        if isinstance(step, Event):
            clock.now_ns += 1
            step.ts, step.ts_init = clock.now_ns - number % 5, clock.now_ns
            name = IDS.get(type(step))
            if name is not None:
                setattr(step, name, str(number))
            kept.bus.publish(step)
        else:
            clock.now_ns += step * MS
            snapshot = kept.snapshot(clock.now_ns)
            n_ticks += 1
            # Making everything anew takes far longer than a tick.
            if n_ticks % 3 == 0 or number == len(steps) - 1:
                assert Sections(EventClock(clock), kept).snapshot(clock.now_ns) == snapshot
