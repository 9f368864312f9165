"""A tick shows everything that has changed, although it only looks where something may have."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import orjson
import pytest
from msgspec import structs

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.config.config import Config
from observability.events import (
    Alert,
    Cash,
    Dividend,
    Equity,
    Event,
    Fill,
    Funding,
    Heartbeat,
    Instrument,
    Metric,
    Order,
    Position,
    Print,
    Quote,
    Rate,
    Settlement,
    Signal,
    Split,
)
from observability.memory.counters import Counters
from observability.metrics.assembly import make_collectors, make_history
from observability.snapshot.hub import Hub
from observability.snapshot.serializer import Serializer

EVENTS = [
    Alert("critical", "The margin is low"),
    Cash(Decimal(500), "deposit"),
    Dividend("AAPL", Decimal("0.25")),
    Equity(Decimal(10_000)),
    Fill("t2", "AAPL", "sell", Decimal(10), Decimal(101), "o2"),
    Funding("AAPL", Decimal(-3)),
    Heartbeat("gateway", "down"),
    Instrument("AMZN", "equity", "EUR"),
    Metric("queue", 3.0),
    Order("o3", "AAPL", "buy", Decimal(5), "rejected"),
    Position("AAPL", Decimal(7), Decimal(100), "mine"),
    Print("AAPL", 102.0, 50.0),
    Print("AMZN", 12.0, 50.0),
    Quote("AAPL", 99.0, 99.5, 10.0, 10.0),
    Quote("AAPL", 100.0, 100.5, 20.0, 10.0),
    Rate("EUR", "USD", Decimal("1.1")),
    Settlement("AAPL", Decimal(98)),
    Signal("mine", "AAPL", "buy"),
    Split("AAPL", Decimal(2)),
]


class Desk:
    """A hub that has shown a quote and an open position and is quiet since. With `is_thorough` each section is brought
    up to date before each further tick, whether or not it seems to have changed, and the snapshot is encoded anew."""

    def __init__(self, *, is_thorough: bool) -> None:
        self.clock = FakeClock()
        self._is_thorough = is_thorough
        event_clock = EventClock(self.clock)
        self._bus = Bus()
        self._collectors = collectors = make_collectors(Config(max_symbols=4), self._bus, event_clock, make_history(4))
        self._sections = collectors.sections
        for section in self._sections:
            if section is not collectors.system:
                asyncio.run(section.start())
        # The thread of the system section is not started: what it samples changes by itself.
        for kind, handler in collectors.system._handlers().items():
            self._bus.subscribe(kind, handler)
        self._hub = Hub(0.1, self._bus, self.clock, event_clock, self._sections, {}, Counters())
        self.publish(Quote("AAPL", 100.0, 100.5, 10.0, 10.0))
        self.publish(Fill("t1", "AAPL", "buy", Decimal(10), Decimal(100), "o1", strategy="mine"))
        for _ in range(30):
            self.clock.advance(0.1)
            self._hub.tick()

    def publish(self, event: Event) -> None:
        self._bus.publish(structs.replace(event, ts=self.clock.now_ns, ts_init=self.clock.now_ns))

    def tick(self) -> None:
        self.clock.advance(0.1)
        if self._is_thorough:
            for section in self._sections:
                asyncio.run(section.get_current_metrics())
        self._hub.tick()

    def shown(self) -> dict[str, Any]:
        frame = self._hub.frames.latest()
        assert frame is not None
        payload = frame.payload
        if self._is_thorough:
            payload = Serializer("", self._sections).encode(0, 0, 0, {})[0].join()
        document = orjson.loads(payload)
        sections = {name: document[name] for name in ("market_data", "strategy", "execution", "system")}
        return {**sections, "quality": self._collectors.execution.quality()}


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: f"{type(event).__name__} {getattr(event, 'symbol', '')}")
@pytest.mark.parametrize("later_seconds", [0, 6, 90_000])
def test_the_tick_after_an_event_shows_all_that_it_has_changed(event: Event, later_seconds: float) -> None:
    desks = Desk(is_thorough=False), Desk(is_thorough=True)
    before = desks[0].shown()
    for desk in desks:
        desk.publish(event)
        desk.tick()
        if later_seconds:
            desk.clock.advance(later_seconds)
            desk.tick()
    after, expected = (desk.shown() for desk in desks)
    assert after == expected
    assert after != before


def test_a_quiet_tick_shows_what_the_one_before_has() -> None:
    desk = Desk(is_thorough=False)
    before = desk.shown()
    desk.tick()
    assert desk.shown() == before
