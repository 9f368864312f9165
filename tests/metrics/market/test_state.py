"""The market data section in a checkpoint: restored, it equals one that never stopped."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.bus import Bus
from observability.errors import CheckpointError
from observability.events import Event, Print, Quote
from observability.metrics.market.bar_table import Bar
from observability.metrics.market.state import MarketState
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings
from observability.store.checkpoint import Stateful, pack

# Just before a session's end, so that some events belong to the next one.
NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000
EVE = NOON + 12 * 3600 * S - 100 * S


class Process:
    """A collector on a bus of its own, and the bars that it published."""

    def __init__(self, **settings: Any) -> None:
        self.bus = Bus()
        self.collector = MarketDataCollector(bus=self.bus, settings=MarketDataSettings(**settings))
        self.bars: list[tuple[str, Bar]] = []
        self.collector.add_bar_listener(lambda symbol, bar: self.bars.append((symbol, bar)))
        asyncio.run(self.collector.start())

    def apply(self, steps: list[Event | int]) -> None:
        """Publishes events; a number is a tick at that time."""
        for step in steps:
            if isinstance(step, int):
                self.collector.refresh(step)
            else:
                self.bus.publish(step)

    def metrics(self, now_ns: int) -> dict[str, Any]:
        self.collector.refresh(now_ns)
        return {symbol: dict(part.to_json()) for symbol, part in self.collector.groups[0].parts.items()}


symbols = st.sampled_from(["AAPL", "AMZN", "BTCUSDT"])
seconds = st.integers(0, 400)
delays_ns = st.integers(-2 * S, 2 * S)
prices = st.one_of(st.integers(1, 10**6).map(lambda cents: cents / 100), st.just(61_837.123456), st.just(-37.63))
sizes = st.one_of(st.integers(0, 10**6).map(lambda units: units / 1000), st.just(1e-8))
sides = st.sampled_from(["buy", "sell", None])


@st.composite
def steps(draw: st.DrawFn) -> list[Event | int]:
    """Events and ticks whose times mostly rise."""
    made: list[Event | int] = []
    now_ns = EVE
    for _ in range(draw(st.integers(0, 40))):
        now_ns += draw(st.sampled_from([0, 1, S // 7, S, 61 * S, 400 * S]))
        ts_ns = now_ns + draw(delays_ns)
        match draw(st.sampled_from(["quote", "print", "tick"])):
            case "quote":
                bid = draw(st.one_of(prices, st.none(), st.just(math.inf)))
                made.append(Quote(draw(symbols), bid, draw(prices), 1.0, 2.0, ts=ts_ns, ts_init=now_ns))
            case "print":
                made.append(Print(draw(symbols), draw(prices), draw(sizes), draw(sides), ts=ts_ns, ts_init=now_ns))
            case _:
                made.append(now_ns)
    return made


def time_of(step: Event | int) -> int:
    return step if isinstance(step, int) else step.ts_init


def moved(step: Event | int, by_ns: int) -> Event | int:
    """Returns a step, so much later."""
    if isinstance(step, int):
        return step + by_ns
    assert isinstance(step.ts, int)
    return msgspec.structs.replace(step, ts=step.ts + by_ns, ts_init=step.ts_init + by_ns)


@given(steps(), steps())
def test_a_restored_collector_equals_one_that_never_stopped(
    before: list[Event | int], after: list[Event | int]
) -> None:
    kept = Process(max_symbols=2)
    kept.apply(before)
    loaded = Process(max_symbols=2)
    loaded.collector.load(kept.collector.save())
    kept.bars.clear()
    # The clock of a process that is restored goes on; a tick before the newest event would be one of another time.
    end_ns = max((time_of(step) for step in before), default=EVE)
    after = [moved(step, end_ns - EVE) for step in after]
    for process in (kept, loaded):
        process.apply(after)
    end_ns = max((time_of(step) for step in after), default=end_ns)
    for now_ns in (end_ns, end_ns + S, end_ns + 6 * S, end_ns + 400 * S):
        assert loaded.metrics(now_ns) == kept.metrics(now_ns)
    assert loaded.bars == kept.bars
    assert loaded.collector.save() == kept.collector.save()
    assert loaded.collector.last_input_ns == kept.collector.last_input_ns
    assert loaded.collector.events_refused == kept.collector.events_refused


def test_the_collector_implements_the_checkpoint_protocol() -> None:
    collector: Stateful = MarketDataCollector(bus=Bus())
    assert collector.name == "market_data"


def test_a_restored_symbol_shows_its_figures_before_the_first_event() -> None:
    kept = Process()
    kept.apply(
        [Quote("AAPL", 10.0, 10.5, ts=EVE - S, ts_init=EVE), Print("AAPL", 10.25, 3.0, "buy", ts=EVE, ts_init=EVE)]
    )
    shown = kept.metrics(EVE + 2 * S)
    loaded = Process()
    loaded.collector.load(kept.collector.save())
    assert loaded.metrics(EVE + 2 * S) == shown
    assert (shown["AAPL"]["volume"], shown["AAPL"]["n_feed_latency"], shown["AAPL"]["update_rate"]) == (3.0, 1, 1.0)


def test_finished_bars_that_can_be_amended_are_restored() -> None:
    kept = Process()
    kept.apply([Print("AAPL", 10.0, 1.0, ts=EVE + s * S, ts_init=EVE + s * S) for s in (0, 60, 120, 180)])
    kept.apply([EVE + 125 * S])
    loaded = Process()
    loaded.collector.load(kept.collector.save())
    assert list(loaded.collector.bars("AAPL", 0, 2 * EVE)) == list(kept.collector.bars("AAPL", 0, 2 * EVE)) != []


def test_the_second_of_the_restart_counts_as_one_second() -> None:
    kept = Process()
    kept.apply([Quote("AAPL", 1.0, 2.0, ts=EVE + ns, ts_init=EVE + ns) for ns in (0, S // 2)])
    loaded = Process()
    loaded.collector.load(kept.collector.save())
    loaded.apply([Quote("AAPL", 1.0, 2.0, ts=EVE + S - 1, ts_init=EVE + S - 1)])
    assert loaded.metrics(EVE + S)["AAPL"]["update_rate"] == 3.0


def test_symbols_are_restored_in_order_up_to_the_capacity(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kept = Process()
    kept.apply([Quote(symbol, 1.0, 2.0, ts=EVE, ts_init=EVE) for symbol in ("C", "A", "B")])
    loaded = Process(max_symbols=2)
    with caplog.at_level(logging.WARNING):
        loaded.collector.load(kept.collector.save())
    assert loaded.collector.symbols == ("C", "A")
    assert "symbol 'B' is refused" in caplog.text


def test_staleness_follows_the_settings_of_the_new_process() -> None:
    kept = Process()
    kept.apply([Quote("AAPL", 1.0, 2.0, ts=EVE, ts_init=EVE)])
    loaded = Process(stale_after_seconds_by_symbol={"AAPL": 60.0})
    loaded.collector.load(kept.collector.save())
    assert loaded.metrics(EVE + 30 * S)["AAPL"]["stale"] is False


@pytest.mark.parametrize("data", [b"", b"\xc1", pack(MarketState())[:-1], b"\x81\xa7symbols\x91\x81\xa6symbol\x01"])
def test_a_checkpoint_that_cannot_be_read_changes_nothing(data: bytes) -> None:
    process = Process()
    process.apply([Quote("AAPL", 1.0, 2.0, ts=EVE, ts_init=EVE)])
    before = process.collector.save()
    with pytest.raises(CheckpointError):
        process.collector.load(data)
    assert process.collector.save() == before


def test_fields_that_an_older_checkpoint_lacks_take_their_defaults() -> None:
    loaded = Process()
    loaded.collector.load(b"\x81\xa7symbols\x91\x81\xa6symbol\xa4AAPL")
    assert loaded.collector.symbols == ("AAPL",)
    loaded.apply([Print("AAPL", 10.0, 1.0, ts=EVE, ts_init=EVE)])
    assert loaded.metrics(EVE)["AAPL"]["volume"] == 1.0
