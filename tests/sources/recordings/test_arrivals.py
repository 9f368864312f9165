"""When the events of a recording without arrival times arrived: in order, and not an hour ahead for one wrong line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import SourceError
from observability.events import AnyEvent, Heartbeat, Quote
from observability.sources.recordings.arrivals import AHEAD_NS, NEIGHBOURS, with_arrivals

BASE = 1_700_000_000_000_000_000
S = 1_000_000_000
HOUR = 3600 * S
OPENED = BASE + 1000 * HOUR


def arrivals(*seconds: float | None) -> list[float]:
    """Returns when quotes with these times arrived, in seconds."""
    events: Sequence[AnyEvent] = [
        Quote("X", 1.0, 2.0, ts=None if second is None else BASE + round(second * S)) for second in seconds
    ]
    return [(event.ts_init - BASE) / S for event in with_arrivals(events, OPENED)]


def test_events_in_order_arrived_at_their_own_time() -> None:
    assert arrivals(0, 0.5, 7, 9000) == [0, 0.5, 7, 9000]


def test_a_late_event_arrived_with_the_line_before_it() -> None:
    assert arrivals(0, 20, 10, 21) == [0, 20, 20, 21]


@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("ahead", [AHEAD_NS // S + 11, 3600, 100 * 86_400])
def test_an_event_dated_ahead_of_its_neighbours_arrived_among_them(place: int, ahead: int) -> None:
    seconds: list[float] = [0, 1, 2, 3, 4, 5]
    seconds[place] += ahead
    found = arrivals(*seconds)
    assert found == sorted(found) and max(found) == 5
    assert [found[n] for n in range(6) if n != place] == [n for n in range(6) if n != place]


def test_several_events_dated_ahead_in_a_row_move_no_other() -> None:
    assert arrivals(0, 3601, 3602, 3603, 4, 5, 6, 7, 8, 9) == [0, 0, 0, 0, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize("count", [0, 1, NEIGHBOURS, NEIGHBOURS + 5])
def test_damage_costs_none_of_the_events_before_it(count: int) -> None:
    def damaged() -> Iterator[AnyEvent]:
        yield from (Quote("X", 1.0, 2.0, ts=BASE + second * S) for second in range(count))
        raise SourceError("damaged")

    arrived = with_arrivals(damaged(), OPENED)
    assert [next(arrived).ts_init for _ in range(count)] == [BASE + second * S for second in range(count)]
    with pytest.raises(SourceError, match="damaged"):
        next(arrived)


def test_a_gap_of_hours_is_no_fault() -> None:
    assert arrivals(0, 1, 9000, 9001, 9002) == [0, 1, 9000, 9001, 9002]
    # Also with a late event after it, and where nothing tells.
    assert arrivals(0, 9000, 2, 9001, 9002) == [0, 9000, 9000, 9001, 9002]
    assert arrivals(0, 9000, 2) == [0, 9000, 9000]


def test_events_without_a_time_arrived_with_the_line_before() -> None:
    assert arrivals(None, 5, None, 6) == [(OPENED - BASE) / S, 5, 5, 6]


def test_an_arrival_that_is_recorded_stays() -> None:
    events: list[AnyEvent] = [
        Quote("X", 1.0, 2.0, ts=BASE + HOUR, ts_init=BASE), Heartbeat("c", ts=BASE + S), Heartbeat("c", ts_init=BASE)
    ]  # fmt: skip
    assert [event.ts_init - BASE for event in with_arrivals(events, OPENED)] == [0, S, 0]


@given(st.lists(st.integers(0, AHEAD_NS // S), max_size=3 * NEIGHBOURS))
def test_arrivals_are_in_order_and_never_before_the_event(seconds: list[int]) -> None:
    found = arrivals(*seconds)
    assert found == sorted(found)
    assert all(arrival >= second for arrival, second in zip(found, seconds, strict=True))
