"""Bars of many minutes: merged, they equal bars made from the prints themselves."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import NS_PER_MINUTE
from observability.history.history import History, HistoryReader
from observability.history.layout import Budget
from observability.memory.counters import Counters
from observability.metrics.market.bar_history import BARS_PER_READ, BarHistory, merge_bars
from observability.metrics.market.bar_table import BARS, FIELDS, Bar, BarTable
from observability.store.limits import StoreLimits
from observability.store.schema import UPSERT_BAR
from observability.store.store import Store

SOON = 30.0
Print = tuple[int, float, float]


def recorded(bars: Iterable[Bar]) -> HistoryReader:
    """Returns a history with bars of one symbol."""
    history = History(Budget({}, {len(FIELDS): 1}))
    ring = BarTable(history.open_table(BARS, "AAPL", FIELDS))
    for bar in bars:
        ring.put(bar)
    return history.reader(Counters())


def make_bar(n: int) -> Bar:
    return Bar(n * NS_PER_MINUTE, 10.0 + n, 12.0 + n, 9.0 + n, 11.0 + n, 5.0, 2, 10.5 + n)


def bars_of(prints: Sequence[Print], interval_ns: int) -> dict[int, list[Print]]:
    groups: dict[int, list[Print]] = {}
    for each in prints:
        groups.setdefault(each[0] - each[0] % interval_ns, []).append(each)
    return groups


def vwap_of(prints: Sequence[Print]) -> Fraction | None:
    volume = sum(Fraction(size) for _, _, size in prints)
    return sum(Fraction(price) * Fraction(size) for _, price, size in prints) / volume if volume else None


def bar_of(start_ns: int, prints: Sequence[Print]) -> Bar:
    prices = [price for _, price, _ in prints]
    vwap = vwap_of(prints)
    volume = math.fsum(size for _, _, size in prints)
    return Bar(
        start_ns, prices[0], max(prices), min(prices), prices[-1], volume, len(prints),
        None if vwap is None else float(vwap),
    )  # fmt: skip


prints = st.lists(
    st.tuples(
        st.integers(0, 100 * NS_PER_MINUTE),
        st.integers(1, 10**7).map(lambda cents: cents / 100),
        st.integers(0, 10**6).map(lambda lots: lots / 8),
    ),
    min_size=1,
    max_size=100,
).map(sorted)


@given(prints, st.integers(1, 90))
def test_merged_bars_equal_bars_made_from_the_prints(prints: list[Print], minutes: int) -> None:
    fine = [bar_of(start_ns, group) for start_ns, group in bars_of(prints, NS_PER_MINUTE).items()]
    merged = merge_bars(fine, minutes * NS_PER_MINUTE)
    expected = [bar_of(start_ns, group) for start_ns, group in bars_of(prints, minutes * NS_PER_MINUTE).items()]
    assert [bar[:7] for bar in merged] == [bar[:7] for bar in expected]
    for bar, wanted in zip(merged, expected, strict=True):
        assert (bar.vwap is None) == (wanted.vwap is None)
        if bar.vwap is not None and wanted.vwap is not None:
            assert math.isclose(bar.vwap, wanted.vwap, rel_tol=1e-15)


def test_a_single_bar_is_merged_unchanged() -> None:
    bar = Bar(0, 0.1, 0.3, 0.1, 0.2, 0.3, 3, 0.1 + 0.2)
    assert merge_bars([bar], NS_PER_MINUTE) == [bar]


def test_without_a_store_bars_come_from_memory() -> None:
    history = BarHistory(recorded(make_bar(n) for n in range(10)))
    bars = asyncio.run(history.read("AAPL", 3 * NS_PER_MINUTE, 6 * NS_PER_MINUTE, NS_PER_MINUTE))
    assert bars == [make_bar(n) for n in range(3, 6)]


def test_the_first_bar_is_complete_when_the_start_is_within_it() -> None:
    history = BarHistory(recorded(make_bar(n) for n in range(10)))
    bars = asyncio.run(history.read("AAPL", 7 * NS_PER_MINUTE, 10 * NS_PER_MINUTE, 5 * NS_PER_MINUTE))
    assert [(bar.ts_ns, bar.open, bar.close) for bar in bars] == [(5 * NS_PER_MINUTE, 15.0, 20.0)]


def test_bars_older_than_those_in_memory_come_from_the_store(tmp_path: Path) -> None:
    count = BARS_PER_READ + 50

    async def main() -> None:
        store = Store.open(tmp_path, StoreLimits(), Counters())
        store.start(asyncio.get_running_loop())
        try:
            for n in range(count):
                store.put(UPSERT_BAR, ("AAPL", *make_bar(n)[:8]))
            store.put(UPSERT_BAR, ("MSFT", *make_bar(1)[:8]))
            assert await store.durable(store.position, SOON)
            history = BarHistory(recorded(make_bar(n) for n in range(count - 10, count + 10)), store.reader)
            bars = await history.read("AAPL", 0, (count + 10) * NS_PER_MINUTE, NS_PER_MINUTE)
            assert bars == [make_bar(n) for n in range(count + 10)]
            assert await history.read("MSFT", 0, count * NS_PER_MINUTE, NS_PER_MINUTE) == [make_bar(1)]
        finally:
            await store.stop()

    asyncio.run(main())
