"""A snapshot is one instant: its sections have seen the same events, and its figures add up."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import orjson
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.clocks.timestamps import format_iso_ms
from observability.events import Fill, Print, Quote
from observability.memory.counters import Counters
from observability.metrics import ExecutionCollector, MarketDataCollector, StrategyCollector
from observability.metrics.trades.trade_log import TradeLog
from observability.snapshot.hub import Hub

NOON = 1_340_280_000_000_000_000
MS = 1_000_000
SYMBOLS = ("AAPL", "AMZN")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["quote", "print", "fill", "tick"]),
            st.sampled_from(SYMBOLS),
            st.integers(1, 400),
            st.integers(-5, 5).filter(bool),
        ),
        max_size=40,
    )
)
def test_all_sections_of_a_snapshot_have_seen_the_same_events(steps: list[tuple[str, str, int, int]]) -> None:
    bus, clock, trades = Bus(), EventClock(HostClock()), TradeLog()
    market = MarketDataCollector(bus=bus, clock=clock)
    strategy = StrategyCollector(bus=bus, clock=clock, market=market, trades=trades)
    execution = ExecutionCollector(bus=bus, clock=clock, market=market, trades=trades)
    sections = (market, strategy, execution)
    for section in sections:
        asyncio.run(section.start())
    hub = Hub(0.1, bus, HostClock(), clock, sections, {}, Counters())

    prints = fills = 0
    for number, (kind, symbol, price, quantity) in enumerate([*steps, ("tick", "", 0, 0)]):
        now_ns = NOON + number * MS
        clock.advance(now_ns)
        if kind == "quote":
            bus.publish(Quote(symbol, float(price), price + 2.0, ts=now_ns, ts_init=now_ns))
        elif kind == "print":
            prints += 1
            bus.publish(Print(symbol, float(price), 1.0, ts=now_ns, ts_init=now_ns))
        elif kind == "fill":
            fills += 1
            side = "buy" if quantity > 0 else "sell"
            size = Decimal(abs(quantity))
            bus.publish(Fill(str(number), symbol, side, size, Decimal(price), "o", ts=now_ns, ts_init=now_ns))
        else:
            hub.tick()
            frame = hub.frames.latest()
            assert frame is not None
            snapshot = orjson.loads(frame.payload)
            assert snapshot["timestamp"] == format_iso_ms(now_ns)
            assert sum(each["trades"] for each in snapshot["market_data"].values()) == prints
            account = snapshot["strategy"]
            assert account["fills"] == snapshot["execution"]["fills_today"] == fills
            for position in account["positions"]:
                touch = snapshot["market_data"].get(position["symbol"], {"bid": None, "last_price": None})
                if touch["bid"] is not None:
                    assert position["mark"] == (touch["bid"] + touch["ask"]) / 2
                elif touch["last_price"] is not None:
                    assert position["mark"] == touch["last_price"]
            unrealized = sum(position["unrealized_pnl"] for position in account["positions"])
            assert abs(account["total_pnl"] - account["realized_pnl"] - unrealized) < 1e-6
            by_strategy = sum(each["total_pnl"] for each in account["strategies"].values())
            assert abs(account["total_pnl"] - by_strategy) < 1e-6
