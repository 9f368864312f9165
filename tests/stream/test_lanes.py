"""Lanes: every entry once, in order, and gaps that cannot be mistaken for a filter."""

from __future__ import annotations

import asyncio

import orjson
from hypothesis import given
from hypothesis import strategies as st

from observability.stream.lanes import Entry, Lane, LaneReader, Page, SymbolFilter


def fill_lane(symbols: list[str], capacity: int = 100) -> Lane:
    lane = Lane("trade", capacity)
    for seq, symbol in enumerate(symbols, 1):
        lane.append(Entry(seq, symbol, {"symbol": symbol}))
    return lane


def drain(reader: LaneReader) -> list[tuple[int, int]]:
    """Returns `seq` and `prev` of each remaining message."""
    read = []
    while (data := reader.next_message()) is not None:
        message = orjson.loads(data)
        assert message["type"] == "trade"
        read.append((message["seq"], message["prev"]))
    return read


def test_each_message_names_the_previous_one() -> None:
    lane = fill_lane([])
    reader = LaneReader(lane, None, None)
    for seq in (1, 2, 5):
        lane.append(Entry(seq, "A", {"x": 1}))
    assert drain(reader) == [(1, 0), (2, 1), (5, 2)]


def test_a_filtered_reader_sees_a_chain_without_gaps() -> None:
    lane = fill_lane(["A", "B", "A", "B", "B", "A"])
    assert drain(LaneReader(lane, frozenset({"A"}), 0)) == [(1, 0), (3, 1), (6, 3)]


def test_an_entry_without_a_symbol_passes_every_filter() -> None:
    lane = Lane("alert")
    lane.append(Entry(1, None, {"x": 1}))
    reader = LaneReader(lane, frozenset({"A"}), 0)
    assert reader.next_message() is not None


@given(st.lists(st.sampled_from("AB"), max_size=30), st.integers(0, 30), st.none() | st.just(frozenset("A")))
def test_a_replay_has_exactly_the_entries_after_the_named_one(
    symbols: list[str], since: int, wanted: frozenset[str] | None
) -> None:
    lane = fill_lane(symbols, capacity=12)
    passing = [
        seq for seq, symbol in enumerate(symbols, 1) if seq > len(symbols) - 12 and (wanted is None or symbol in wanted)
    ]
    read = drain(LaneReader(lane, wanted, since))
    assert [seq for seq, _ in read] == [seq for seq in passing if seq > since]


def test_a_reader_without_a_replay_gets_only_later_entries() -> None:
    lane = fill_lane(["A", "A"])
    reader = LaneReader(lane, None, None)
    lane.append(Entry(3, "A", {"x": 1}))
    assert drain(reader) == [(3, 2)]


def test_only_entries_that_arrive_live_form_a_backlog() -> None:
    lane = fill_lane(["A"] * 50)
    reader = LaneReader(lane, None, 0)
    assert reader.backlog == 0
    for seq in range(51, 61):
        lane.append(Entry(seq, "A", {"x": 1}))
    assert reader.backlog == 10
    drain(reader)
    assert reader.backlog == 0


def test_a_reader_that_was_lapped_knows_it_has_lost_entries() -> None:
    lane = fill_lane([], capacity=10)
    reader = LaneReader(lane, None, None)
    for seq in range(1, 12):
        lane.append(Entry(seq, "A", {"x": 1}))
    assert reader.has_lost


def test_readers_at_the_same_entry_share_the_bytes_of_its_message() -> None:
    lane = fill_lane(["A", "B", "A"])
    readers = [LaneReader(lane, symbols, 1) for symbols in (None, None, frozenset("AB"), frozenset("B"))]
    first, second, third, other = (reader.next_message() for reader in readers)
    assert first is second is third
    assert other is not None
    assert orjson.loads(other)["prev"] == 0


def test_a_lane_knows_the_oldest_entry_in_its_ring() -> None:
    assert fill_lane([]).oldest_seq == 1
    assert fill_lane(["A"] * 25, capacity=10).oldest_seq == 16


class Ledger:
    """An archive with pages of three entries."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def write(self, seq: int, symbol: str) -> None:
        self.entries.append(Entry(seq, symbol, {"symbol": symbol}))

    async def read_page(self, after_seq: int, symbols: SymbolFilter, limit: int) -> Page:
        passing = [entry for entry in self.entries if entry.passes(symbols)]
        prev = max((entry.seq for entry in passing if entry.seq <= after_seq), default=0)
        return Page(prev, [entry for entry in passing if entry.seq > after_seq][:3])


@given(
    st.lists(st.sampled_from("AB"), max_size=30),
    st.lists(st.tuples(st.sampled_from("AB"), st.sampled_from(("write", "publish", "read", "fetch"))), max_size=40),
    st.integers(0, 30),
    st.none() | st.just(frozenset("A")),
    st.integers(0, 5),
)
def test_a_replay_moves_from_archive_to_ring_without_gap_or_repetition(
    before: list[str], during: list[tuple[str, str]], since: int, wanted: SymbolFilter, late: int
) -> None:
    # A client may have more than is here: the newest entries come late to an edge.
    ledger = Ledger()
    lane = Lane("trade", 4, ledger)
    symbols = list(before)
    for seq, symbol in enumerate(before, 1):
        ledger.write(seq, symbol)
        if seq <= len(before) - late:
            lane.append(Entry(seq, symbol, {"symbol": symbol}))
    since = min(since, len(before))
    reader = LaneReader(lane, wanted, since)
    read: list[tuple[int, int]] = []
    for symbol, action in during:
        # An entry is published in the ring after it has been written to the archive.
        if action == "write" and len(ledger.entries) < lane.seq + 3:
            symbols.append(symbol)
            ledger.write(len(symbols), symbol)
        elif action == "publish" and lane.seq < len(ledger.entries):
            lane.append(Entry(lane.seq + 1, symbols[lane.seq], {"symbol": symbols[lane.seq]}))
        elif action == "fetch" and reader.wants_page:
            asyncio.run(reader.fetch())
        elif action == "read":
            read += drain(reader)
        if reader.has_lost:
            return
    while lane.seq < len(ledger.entries):
        read += drain(reader)
        lane.append(Entry(lane.seq + 1, symbols[lane.seq], {"symbol": symbols[lane.seq]}))
    read += drain(reader)
    while reader.wants_page:
        asyncio.run(reader.fetch())
        read += drain(reader)
    passing = [seq for seq, symbol in enumerate(symbols, 1) if wanted is None or symbol in wanted]
    expected = [seq for seq in passing if seq > since]
    assert [seq for seq, _ in read] == expected
    assert [prev for _, prev in read] == [max((p for p in passing if p < seq), default=0) for seq in expected]


def test_a_reader_is_fetching_from_the_moment_a_page_is_requested() -> None:
    lane = Lane("trade", 4, Ledger())
    reader = LaneReader(lane, None, 0)
    fetching = reader.fetch()
    assert reader.is_fetching
    asyncio.run(fetching)
    assert not reader.is_fetching


def test_a_client_that_is_ahead_of_an_edge_is_not_told_that_the_lane_begins_anew() -> None:
    lane = Lane("trade", 4, Ledger())
    lane.append(Entry(1, "A", {}))
    assert LaneReader(lane, None, 3).newest_seq == 1
    lane.may_be_behind = True
    assert LaneReader(lane, None, 3).newest_seq == 3


def test_numbers_that_begin_anew_in_the_archive_are_read_by_a_client_that_had_more() -> None:
    ledger = Ledger()
    lane = Lane("trade", 4, ledger)
    reader = LaneReader(lane, None, 30)
    lane.append(Entry(1, "A", {"x": 1}))
    asyncio.run(reader.fetch())
    lane.append(Entry(2, "A", {"x": 1}))
    assert drain(reader) == [(1, 0), (2, 1)]
