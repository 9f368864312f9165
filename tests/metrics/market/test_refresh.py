"""A tick looks at the symbols that have an input or are due, and shows what looking at every symbol would."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from fake_clock import FakeClock
from observability.bus import Bus
from observability.clocks.clock import EventClock
from observability.clocks.timestamps import NS_PER_S
from observability.encoding import encode_json
from observability.events import Print, Quote
from observability.memory.counters import Counters
from observability.metrics import MarketDataCollector
from observability.metrics.market.tracked_symbol import TrackedSymbol
from observability.metrics.market_data_collector import MarketDataSettings
from observability.snapshot.hub import Hub

S = NS_PER_S
SYMBOLS = ("AAPL", "AMZN", "BTCUSDT")


class Market:
    """A hub with a market data section whose quotes are stale after two seconds, and whose feed window is six."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.bus = Bus()
        event_clock = EventClock(self.clock)
        self.collector = MarketDataCollector(
            bus=self.bus, clock=event_clock, settings=MarketDataSettings(stale_after_seconds=2, feed_window_seconds=6)
        )
        asyncio.run(self.collector.start())
        self._hub = Hub(0.1, self.bus, self.clock, event_clock, [self.collector], {}, Counters())

    @property
    def symbols(self) -> list[TrackedSymbol]:
        return [tracked for name in self.collector.symbols if (tracked := self.collector.symbol(name)) is not None]

    def publish(self, kind: str, symbol: str, price: int, late_ns: int = 0) -> None:
        now_ns = self.clock.now_ns
        if kind == "quote":
            self.bus.publish(Quote(symbol, price / 4, price / 4 + 1, 1.0, 2.0, ts=now_ns - late_ns, ts_init=now_ns))
        else:
            self.bus.publish(Print(symbol, price / 4, 1.0, "buy", ts=now_ns - late_ns, ts_init=now_ns))

    def tick(self) -> bytes:
        self._hub.tick()
        frame = self._hub.frames.latest()
        assert frame is not None
        return frame.payload


steps = st.lists(
    st.tuples(
        st.sampled_from(["quote", "print", "tick", "tick", "wait"]),
        st.sampled_from(SYMBOLS),
        st.integers(1, 20_000),
        st.sampled_from([0, S // 10, S, 2 * S, 7 * S, 70 * S]),
    ),
    max_size=40,
)


@given(steps)
def test_every_frame_is_that_of_refreshing_and_encoding_all(steps: list[tuple[str, str, int, int]]) -> None:
    market = Market()
    for kind, symbol, price, wait_ns in [*steps, ("tick", "", 0, 0)]:
        if kind == "wait":
            market.clock.now_ns += wait_ns
            continue
        if kind != "tick":
            market.publish(kind, symbol, price, late_ns=wait_ns % (2 * S))
            continue
        market.clock.now_ns += S // 10
        payload = market.tick()
        for tracked in market.symbols:
            # Nothing is left to do for a symbol that the tick has not looked at.
            if market.clock.now_ns >= tracked.second_end_ns:
                assert not tracked._end_second(market.clock.now_ns)
            tracked._note_ages(market.clock.now_ns)
            tracked._derive()
        everything: dict[str, Any] = {tracked.symbol: tracked.to_json() for tracked in market.symbols}
        assert payload.endswith(b',"market_data":' + encode_json(everything) + b"}")


def test_a_tick_derives_no_symbol_that_has_neither_input_nor_a_change_by_time() -> None:
    market = Market()
    for symbol in SYMBOLS:
        market.publish("quote", symbol, 400)
    market.tick()
    versions = [tracked.version for tracked in market.symbols]
    market.publish("quote", "AMZN", 401)
    market.clock.now_ns += S // 10
    market.tick()
    changed = [tracked.version != version for tracked, version in zip(market.symbols, versions, strict=True)]
    assert changed == [False, True, False]


def test_a_quote_is_stale_from_the_first_tick_after_its_age_on() -> None:
    market = Market()
    market.publish("quote", "AAPL", 400)
    stale = []
    for _ in range(25):
        market.clock.now_ns += S // 10
        stale.append(orjson.loads(market.tick())["market_data"]["AAPL"]["stale"])
    assert stale == [False] * 20 + [True] * 5


def test_a_silent_symbol_is_not_looked_at_any_more() -> None:
    market = Market()
    market.publish("quote", "AAPL", 400)
    for _ in range(20):
        market.clock.now_ns += S
        market.tick()
    assert orjson.loads(market.tick())["market_data"]["AAPL"]["update_rate"] == 0
    assert market.collector._due == []
    market.publish("quote", "AAPL", 401)
    market.clock.now_ns += S
    assert orjson.loads(market.tick())["market_data"]["AAPL"]["update_rate"] == 0.2
