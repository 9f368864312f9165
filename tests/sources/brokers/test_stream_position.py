from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import SourceError
from observability.sources.brokers.stream_position import StreamPosition

CREATED = "2026-11-29T12:56:10.320223477Z"


def make_position(*numbers: int, cursor: str | None = None) -> StreamPosition:
    """Takes messages; each has its number as its time."""
    position = StreamPosition(CREATED, cursor)
    for number in numbers:
        position.take(number, number, None)
    return position


def test_messages_in_order_are_one_range() -> None:
    assert make_position(1, 2, 3).cursor() == f"{CREATED} 3 1-3"


def test_a_message_that_was_passed_over_is_not_taken() -> None:
    position = make_position(1, 2, 5, 6)
    assert [number for number in range(1, 9) if not position.has(number, number)] == [3, 4, 7, 8]


def test_numbers_that_the_stream_has_not_for_us_are_taken_with_the_message_after_them() -> None:
    position = make_position(1)
    position.take(9, 9, 1)
    assert position.cursor() == f"{CREATED} 9 1-9"


def test_a_cursor_restores_the_position() -> None:
    cursor = make_position(1, 2, 5, 6).cursor()
    assert make_position(cursor=cursor).cursor() == cursor
    assert make_position(cursor=make_position().cursor()).cursor() == make_position().cursor()


def test_the_cursor_of_a_stream_that_was_created_anew_is_void() -> None:
    position = StreamPosition("2026-11-30T00:00:00Z", make_position(1, 2).cursor())
    assert position.is_void
    assert not position.has(1, 1)


def test_a_newer_message_of_a_known_number_comes_from_a_stream_that_was_set_back() -> None:
    position = make_position(1, 2, 3, 4)
    assert not position.has(3, 5)
    position.take(3, 5, None)
    assert not position.has(4, 6)
    assert position.has(2, 2)
    assert position.cursor() == f"{CREATED} 5 1-3"


def test_what_the_server_never_sends_again_closes_the_holes_below_it() -> None:
    position = make_position(2, 4, 9)
    position.settle(6)
    assert position.cursor() == f"{CREATED} 9 1-6,9-9"
    assert position.pieces == 2


def test_numbers_that_are_missing_are_counted() -> None:
    assert make_position(1, 2, 5).missing_before(8) == 4
    assert make_position(1, 2, 5).missing_before(5) == 2
    assert make_position(1, 2).missing_before(3) == 0


def test_text_that_is_no_position_is_refused() -> None:
    with pytest.raises(SourceError, match="'1-5' is not the position"):
        StreamPosition(CREATED, "1-5")


@given(st.lists(st.integers(1, 30), unique=True), st.integers(0, 30), st.integers(0, 30))
def test_any_order_takes_the_same_messages(numbers: list[int], settled: int, cut: int) -> None:
    position = make_position(*numbers[:cut])
    position.settle(settled)
    position = make_position(*numbers[cut:], cursor=position.cursor())
    taken = {*numbers, *range(1, settled + 1)}
    newest = max(numbers, default=0)
    assert {number for number in range(1, 40) if position.has(number, min(number, newest))} == taken
    assert position.missing_before(20) == len(set(range(1, 20)) - taken)
