"""Real recordings through replay, bus and collector: bars, spreads and latencies as independent arithmetic has them."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
from collections import defaultdict
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.metrics.market.bar_table import Bar
from observability.metrics.market.feed import FeedLatency
from observability.metrics.market_data_collector import MarketDataCollector, MarketDataSettings
from observability.sources import Replay
from server_process import ROOT

DATA = ROOT / "../shared/data"
LOBSTER = [DATA / f"lobster/{symbol}_2012-06-21_34200000_57600000_message_1.csv.gz" for symbol in ("AAPL", "AMZN")]
BINANCE = [DATA / "binance_spot" / name for name in ("btcusdt_20240808.gz", "ethusdt_20240808_nodepth.gz")]
HOUR_NS = 3600 * 10**9

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the recordings (../shared/data) are not here")


def expected(name: str) -> dict[str, Any]:
    symbols: dict[str, Any] = json.loads((DATA / "expected" / name).read_text())["symbols"]
    return {symbol.removeprefix("spot:"): want for symbol, want in symbols.items()}


class Market:
    """A market that was replayed flat out, and the bars it handed on."""

    def __init__(self, paths: list[Path], *, ticks_every: int = 0) -> None:
        bus = Bus()
        clock = EventClock(HostClock())
        settings = MarketDataSettings(feed_window_seconds=24 * 3600)
        self.collector = MarketDataCollector(bus=bus, clock=clock, settings=settings)
        self.handed_on: dict[str, dict[int, Bar]] = defaultdict(dict)
        self.collector.add_bar_listener(lambda symbol, bar: self.handed_on[symbol].__setitem__(bar.ts_ns, bar))
        batches = 0

        def publish(events: Any) -> None:
            nonlocal batches
            bus.publish_all(events)
            batches += 1
            if ticks_every and batches % ticks_every == 0:
                self.collector.refresh(clock.time_ns())

        async def replay() -> None:
            await self.collector.start()
            await Replay(paths, publish=publish, event_clock=clock).run()

        asyncio.run(replay())
        self.collector.refresh(clock.time_ns() + 2 * 60 * 10**9)

    def bars(self, symbol: str) -> list[list[Any]]:
        """Returns the rows of the expected files."""
        kept = list(self.collector.bars(symbol, 0, 2**63))
        assert kept == [self.handed_on[symbol][ts_ns] for ts_ns in sorted(self.handed_on[symbol])]
        return [[bar.ts_ns // 10**9, *bar[1:8]] for bar in kept]


def check_bars(ours: list[list[Any]], want: list[list[Any]]) -> None:
    assert [row[:7] for row in ours] == [row[:7] for row in want]
    assert [row[7] for row in ours] == pytest.approx([row[7] for row in want], rel=1e-12)


@pytest.mark.parametrize("ticks_every", [0, 1, 100])
def test_every_bar_of_lobster_is_the_referee_s(ticks_every: int) -> None:
    market = Market(LOBSTER, ticks_every=ticks_every)
    for symbol, want in expected("lobster.json").items():
        check_bars(market.bars(symbol), want["trades_all_types_4_5"]["bars_1m"])
    assert market.collector.late_prints == 0


@pytest.mark.parametrize("ticks_every", [0, 1, 100])
def test_every_bar_of_binance_is_the_referee_s(ticks_every: int) -> None:
    market = Market(BINANCE, ticks_every=ticks_every)
    for symbol, want in expected("binance_spot.json").items():
        check_bars(market.bars(symbol), want["trades"]["bars_1m"])
    assert market.collector.late_prints == 0


def arrivals(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Returns the local time and the content of each trade of a Binance recording."""
    with gzip.open(path, "rt") as lines:
        messages = [(int(line.partition(" ")[0]), json.loads(line.partition(" ")[2])) for line in lines]
    return [(local_ns, m["data"]) for local_ns, m in messages if m.get("stream", "").endswith("@trade")]


def test_latency_is_the_referee_s_although_its_clock_is_ahead() -> None:
    # The referee takes when the exchange sent a trade (E), while our prints have when it happened (T).
    for path, want in zip(BINANCE, expected("binance_spot.json").values(), strict=True):
        offsets = want["local_minus_exchange_ms"]["trade"]
        feed = FeedLatency(24 * 3600)
        for local_ns, trade in arrivals(path):
            feed.arrived.append(local_ns - trade["E"] * 10**6)
            feed.refresh(local_ns)
        found = feed.figures
        assert (found.n, found.clock_offset_ms) == (offsets["n"], pytest.approx(offsets["min"], abs=0.0006))
        assert found.max_ms == pytest.approx(offsets["max"] - offsets["min"], abs=0.0011)
        # Half of a step that is 16 us wide by then.
        assert found.p50_ms == pytest.approx(offsets["p50"] - offsets["min"], abs=0.01)
        assert found.p99_ms == pytest.approx(offsets["p99"] - offsets["min"], abs=0.01)


def test_the_latency_of_a_replayed_feed_is_that_of_its_prints() -> None:
    market = Market(BINANCE)
    for path, symbol in zip(BINANCE, ("BTCUSDT", "ETHUSDT"), strict=True):
        offsets = sorted((local_ns - trade["T"] * 10**6) / 10**6 for local_ns, trade in arrivals(path))
        state = market.collector.symbol(symbol)
        assert state is not None
        found = state.feed.figures
        assert (found.n, found.clock_offset_ms) == (len(offsets), pytest.approx(offsets[0], abs=1e-6))
        assert found.max_ms == pytest.approx(offsets[-1] - offsets[0], abs=1e-6)
        for percent, ours in ((50, found.p50_ms), (99, found.p99_ms)):
            theirs = offsets[-(-percent * len(offsets) // 100) - 1] - offsets[0]
            assert ours == pytest.approx(theirs, abs=0.14)


def touches(path: Path) -> list[tuple[Fraction, Fraction]]:
    """Returns time and spread after each row of a LOBSTER recording."""
    orderbook = path.with_name(path.name.replace("_message_", "_orderbook_"))
    with gzip.open(path, "rt") as messages, gzip.open(orderbook, "rt") as books:
        return [
            (Fraction(message[0]), Fraction(int(book[0]) - int(book[2]), 10_000))
            for message, book in zip(csv.reader(messages), csv.reader(books), strict=True)
        ]


def test_the_time_weighted_spread_of_lobster_is_that_of_its_rows() -> None:
    market = Market(LOBSTER)
    for path, symbol in zip(LOBSTER, ("AAPL", "AMZN"), strict=True):
        rows = touches(path)
        # From the first touch to the newest one, which has yet to stand for any time.
        changes = [rows[0], *(row for before, row in pairwise(rows) if row != before)]
        state = market.collector.symbol(symbol)
        assert state is not None
        end = Fraction(state.quotes.newest_ns % (24 * HOUR_NS) - 4 * HOUR_NS, 10**9)
        weights = [(spread, min(then, end) - now) for (now, spread), (then, _) in pairwise(changes) if now < end]
        wanted = sum(spread * weight for spread, weight in weights) / sum(weight for _, weight in weights)
        assert state.time_weighted_spread == pytest.approx(float(wanted), rel=1e-11)
