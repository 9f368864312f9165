"""The archives of the lanes: pages of the store, and the entry before each page."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.memory.counters import Counters
from observability.store.limits import StoreLimits
from observability.store.schema import INSERT_ALERT_TRANSITION, INSERT_FILL
from observability.store.store import Store
from observability.stream.lane_feed import AlertArchive, TradeArchive
from observability.stream.lanes import Page
from stored import fill_row

SOON = 30.0


def write_and_read(directory: Path, symbols: list[str], after: int, wanted: frozenset[str] | None) -> tuple[Page, Page]:
    """Writes a trade (odd `seq`) and an alert (even `seq`) per symbol; returns a page of each."""

    async def use() -> tuple[Page, Page]:
        store = Store.open(directory, StoreLimits(), Counters())
        store.start(asyncio.get_running_loop())
        for number, symbol in enumerate(symbols):
            seq = 2 * number + 1
            store.put(INSERT_FILL, fill_row(seq, symbol=symbol))
            store.put(INSERT_ALERT_TRANSITION, (seq + 1, seq, "id", "raised", f'{{"n":{seq + 1}}}'))
        assert await store.durable(store.position, SOON)
        pages = (
            await TradeArchive(store.reader).read_page(after, wanted, 4),
            await AlertArchive(store.reader).read_page(after, wanted, 4),
        )
        await store.stop()
        return pages

    return asyncio.run(use())


@given(
    st.lists(st.sampled_from("ABC"), max_size=9),
    st.integers(0, 20),
    st.none() | st.sets(st.sampled_from("ABC"), min_size=1).map(frozenset),
)
def test_a_page_has_the_next_entries_and_names_the_one_before_them(
    tmp_path_factory: pytest.TempPathFactory, symbols: list[str], after: int, wanted: frozenset[str] | None
) -> None:
    trades, alerts = write_and_read(tmp_path_factory.mktemp("store"), symbols, after, wanted)
    passing = [2 * n + 1 for n, symbol in enumerate(symbols) if wanted is None or symbol in wanted]
    assert [entry.seq for entry in trades.entries] == [seq for seq in passing if seq > after][:4]
    assert trades.prev == max((seq for seq in passing if seq <= after), default=0)
    assert all(orjson.loads(b"{%b}" % entry.members)["trade_id"] == f"t{entry.seq}" for entry in trades.entries)
    # An alert has no symbol and passes every filter.
    every = [2 * n + 2 for n in range(len(symbols))]
    assert [entry.seq for entry in alerts.entries] == [seq for seq in every if seq > after][:4]
    assert alerts.prev == max((seq for seq in every if seq <= after), default=0)
    assert all(orjson.loads(b"{%b}" % entry.members) == {"n": entry.seq} for entry in alerts.entries)
