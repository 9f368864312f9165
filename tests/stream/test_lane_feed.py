"""The archives of the lanes: pages of the store, and the entry before each page."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Cash, Dividend, Order
from observability.memory.counters import Counters
from observability.memory.layout import ALERTS_LANE, BOOKINGS_LANE, LANES, ORDERS_LANE, TRADES_LANE
from observability.metrics.execution.orders.report_log import OrderReport
from observability.metrics.execution.orders.rows import report_row
from observability.metrics.trades.booking import Booking, booking_row
from observability.store.limits import StoreLimits
from observability.store.schema import INSERT_ALERT_TRANSITION, INSERT_BOOKING, INSERT_FILL, INSERT_ORDER_REPORT
from observability.store.store import Store
from observability.stream.lane_feed import make_lanes
from observability.stream.lanes import Page
from stored import NOON_NS, fill_row

SOON = 30.0


def booking_of(seq: int, symbol: str) -> Booking:
    """Returns a booking; that of C has no symbol."""
    event = Cash(Decimal(seq), "rebate") if symbol == "C" else Dividend(symbol, Decimal(seq))
    event.ts = event.ts_init = NOON_NS
    return Booking.from_event(seq, event)


def order_of(seq: int, symbol: str) -> OrderReport:
    return OrderReport(seq, Order(f"o{seq}", symbol, "buy", Decimal(1), "new", ts=NOON_NS, ts_init=NOON_NS))


WRITERS: dict[str, Callable[[Store, int, str], None]] = {
    TRADES_LANE: lambda store, seq, symbol: store.put(INSERT_FILL, fill_row(seq, symbol=symbol)),
    ALERTS_LANE: lambda store, seq, _: store.put(INSERT_ALERT_TRANSITION, (seq, seq, "id", "raised", f'{{"n":{seq}}}')),
    BOOKINGS_LANE: lambda store, seq, symbol: store.put(INSERT_BOOKING, booking_row(booking_of(seq, symbol))),
    ORDERS_LANE: lambda store, seq, symbol: store.put(INSERT_ORDER_REPORT, report_row(order_of(seq, symbol))),
}
"""Each writes an entry of one lane."""


def write_and_read(directory: Path, symbols: list[str], after: int, wanted: frozenset[str] | None) -> dict[str, Page]:
    """Writes an entry of every lane per symbol, and a booking that conflicts; returns a page of each lane."""

    async def use() -> dict[str, Page]:
        store = Store.open(directory, StoreLimits(), Counters())
        store.start(asyncio.get_running_loop())
        for number, symbol in enumerate(symbols):
            for place, write in enumerate(WRITERS.values(), 1):
                write(store, 5 * number + place, symbol)
            conflict = booking_row(booking_of(5 * number + 5, symbol), is_conflict=True)
            store.put(INSERT_BOOKING, conflict)
        assert await store.durable(store.position, SOON)
        pages = {}
        for name, lane in make_lanes(store.reader).items():
            assert lane.archive is not None
            pages[name] = await lane.archive.read_page(after, wanted, 4)
        await store.stop()
        return pages

    return asyncio.run(use())


def described(lane: str, entry: Any) -> Any:
    """Returns what tells an entry's document from those of others."""
    document = orjson.loads(b"{%b}" % entry.members)
    if lane == BOOKINGS_LANE:
        return document.get("amount_per_share", document.get("amount"))
    return document[{TRADES_LANE: "trade_id", ALERTS_LANE: "n", ORDERS_LANE: "order_id"}[lane]]


@given(
    st.lists(st.sampled_from("ABC"), max_size=9),
    st.integers(0, 50),
    st.none() | st.sets(st.sampled_from("ABC")).map(frozenset),
)
def test_a_page_has_the_next_entries_and_names_the_one_before_them(
    tmp_path_factory: pytest.TempPathFactory, symbols: list[str], after: int, wanted: frozenset[str] | None
) -> None:
    pages = write_and_read(tmp_path_factory.mktemp("store"), symbols, after, wanted)
    assert pages.keys() == WRITERS.keys() == set(LANES)
    # Entries without a symbol, alerts and some bookings, pass every filter.
    without_symbol = {ALERTS_LANE: "ABC", BOOKINGS_LANE: "C"}
    texts = {TRADES_LANE: "t{}", ORDERS_LANE: "o{}"}
    for place, lane in enumerate(WRITERS, 1):
        passing = [
            5 * number + place
            for number, symbol in enumerate(symbols)
            if wanted is None or symbol in wanted or symbol in without_symbol.get(lane, "")
        ]
        page = pages[lane]
        assert [entry.seq for entry in page.entries] == [seq for seq in passing if seq > after][:4]
        assert page.prev == max((seq for seq in passing if seq <= after), default=0)
        for entry in page.entries:
            assert described(lane, entry) == (texts[lane].format(entry.seq) if lane in texts else entry.seq)
            symbol = symbols[entry.seq // 5]
            assert entry.symbol == (None if symbol in without_symbol.get(lane, "") else symbol)
