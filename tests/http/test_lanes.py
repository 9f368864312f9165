"""The lossless lanes: every message once, in order, and gaps that cannot be mistaken for filters."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from observability.http.lanes import Lane, LaneReader


def fill_lane(symbols: list[str], capacity: int = 100) -> Lane:
    lane = Lane("trade", capacity)
    for seq, symbol in enumerate(symbols, 1):
        lane.append(seq, symbol, {"symbol": symbol})
    return lane


def drain(reader: LaneReader) -> list[tuple[int, int]]:
    """Returns seq and prev of each message that is left."""
    read = []
    while (data := reader.next_message()) is not None:
        message = orjson.loads(data)
        assert message["type"] == "trade"
        read.append((message["seq"], message["prev"]))
    return read


def test_each_message_names_the_one_before_it() -> None:
    lane = fill_lane([])
    reader = LaneReader(lane, None, None)
    for seq in (1, 2, 5):
        lane.append(seq, "A", {"x": 1})
    assert drain(reader) == [(1, 0), (2, 1), (5, 2)]


def test_a_filtered_reader_sees_a_chain_without_gaps() -> None:
    lane = fill_lane(["A", "B", "A", "B", "B", "A"])
    assert drain(LaneReader(lane, frozenset({"A"}), 0)) == [(1, 0), (3, 1), (6, 3)]


def test_a_filter_over_symbols_lets_through_what_has_none() -> None:
    lane = Lane("alert")
    lane.append(1, None, {"x": 1})
    reader = LaneReader(lane, frozenset({"A"}), 0)
    assert reader.next_message() is not None


@given(st.lists(st.sampled_from("AB"), max_size=30), st.integers(0, 30), st.none() | st.just(frozenset("A")))
def test_a_replay_holds_exactly_what_came_after(symbols: list[str], since: int, wanted: frozenset[str] | None) -> None:
    lane = fill_lane(symbols, capacity=12)
    passing = [
        seq for seq, symbol in enumerate(symbols, 1) if seq > len(symbols) - 12 and (wanted is None or symbol in wanted)
    ]
    read = drain(LaneReader(lane, wanted, since))
    assert [seq for seq, _ in read] == [seq for seq in passing if seq > since]


def test_without_a_replay_only_the_future_is_read() -> None:
    lane = fill_lane(["A", "A"])
    reader = LaneReader(lane, None, None)
    lane.append(3, "A", {"x": 1})
    assert drain(reader) == [(3, 2)]


def test_a_replay_is_no_backlog_and_what_comes_live_is() -> None:
    lane = fill_lane(["A"] * 50)
    reader = LaneReader(lane, None, 0)
    assert reader.backlog == 0
    for seq in range(51, 61):
        lane.append(seq, "A", {"x": 1})
    assert reader.backlog == 10
    drain(reader)
    assert reader.backlog == 0


def test_a_reader_whose_messages_were_dropped_is_told() -> None:
    lane = fill_lane([], capacity=10)
    reader = LaneReader(lane, None, None)
    for seq in range(1, 12):
        lane.append(seq, "A", {"x": 1})
    assert reader.has_lost


def test_readers_at_the_same_place_share_the_bytes() -> None:
    lane = fill_lane(["A", "B", "A"])
    readers = [LaneReader(lane, symbols, 1) for symbols in (None, None, frozenset("AB"), frozenset("B"))]
    first, second, third, other = (reader.next_message() for reader in readers)
    assert first is second is third
    assert other is not None
    assert orjson.loads(other)["prev"] == 0


def test_the_oldest_entry_that_can_be_replayed_is_known() -> None:
    assert fill_lane([]).oldest_seq == 1
    assert fill_lane(["A"] * 25, capacity=10).oldest_seq == 16
