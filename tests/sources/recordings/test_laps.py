"""Laps: time never goes back and ids never repeat, however many laps there are."""

from __future__ import annotations

from decimal import Decimal
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import SourceError
from observability.events import Event, Fill, Order, Print, Quote
from observability.sources.recordings.laps import Laps

HOUR_NS = 3_600 * 10**9
DAY_NS = 24 * HOUR_NS
START_NS = 1_700_000_000 * 10**9


def quote(ts_init: int) -> Event:
    return Quote("X", 1.0, 2.0, ts=ts_init - 5, ts_init=ts_init)


def trade(ts_init: int, trade_id: int | str | None) -> Event:
    return Print("X", 1.0, 1.0, None, trade_id, "V", ts=ts_init, ts_init=ts_init)


@given(offsets=st.lists(st.integers(0, 3 * DAY_NS), min_size=1, max_size=20).map(sorted))
def test_time_never_goes_back(offsets: list[int]) -> None:
    laps = Laps(lambda: (quote(START_NS + offset) for offset in offsets))
    times = [event.ts_init for event in islice(laps, 4 * len(offsets))]
    assert times == sorted(times)
    assert times[len(offsets)] > times[len(offsets) - 1]


def test_the_first_lap_is_as_recorded() -> None:
    events = [quote(START_NS), trade(START_NS + 1, 7)]
    laps = Laps(lambda: iter([quote(START_NS), trade(START_NS + 1, 7)]))
    assert list(islice(laps, 2)) == events


def test_both_times_of_an_event_are_shifted_by_the_same_amount() -> None:
    laps = Laps(lambda: iter([quote(START_NS), quote(START_NS + 7)]))
    for event in islice(laps, 6):
        assert event.ts == event.ts_init - 5


def test_a_long_recording_is_repeated_at_the_same_time_of_day() -> None:
    laps = Laps(lambda: iter([quote(START_NS), quote(START_NS + 6 * HOUR_NS)]))
    starts = [event.ts_init for event in islice(laps, 0, 6, 2)]
    assert starts == [START_NS, START_NS + DAY_NS, START_NS + 2 * DAY_NS]


def test_a_short_recording_is_repeated_after_a_pause_of_a_second() -> None:
    laps = Laps(lambda: iter([quote(START_NS), quote(START_NS + 500)]))
    starts = [event.ts_init for event in islice(laps, 0, 6, 2)]
    assert starts == [START_NS, START_NS + 500 + 10**9, START_NS + 2 * (500 + 10**9)]


def test_a_gap_of_years_between_recordings_is_not_repeated() -> None:
    laps = Laps(lambda: iter([quote(START_NS), quote(START_NS + 4_000 * DAY_NS)]))
    times = [event.ts_init for event in islice(laps, 200)]
    assert times[1] - times[0] == 4_000 * DAY_NS
    assert times == sorted(times)
    assert times[-1] - times[1] < 99 * 9 * DAY_NS


@given(ids=st.lists(st.integers(0, 10**12), min_size=1, unique=True))
def test_integer_trade_ids_do_not_repeat(ids: list[int]) -> None:
    laps = Laps(lambda: (trade(START_NS + index, number) for index, number in enumerate(ids)))
    seen = [event.trade_id for event in islice(laps, 3 * len(ids)) if isinstance(event, Print)]
    assert len(set(seen)) == 3 * len(ids)


def test_contiguous_integer_trade_ids_stay_contiguous() -> None:
    laps = Laps(lambda: (trade(START_NS + number, number) for number in range(100, 105)))
    seen = [event.trade_id for event in islice(laps, 15) if isinstance(event, Print)]
    assert seen == list(range(100, 115))


def test_ids_of_orders_and_fills_do_not_repeat_and_still_match() -> None:
    def lap() -> list[Event]:
        order = Order("o", "X", "buy", Decimal(1), "new", decision_ts=START_NS, ts=START_NS, ts_init=START_NS)
        return [order, Fill("t", "X", "buy", Decimal(1), Decimal(1), "o", ts=START_NS + 1, ts_init=START_NS + 1)]

    orders, fills = [], []
    for event in islice(Laps(lambda: iter(lap())), 6):
        if isinstance(event, Order):
            orders.append(event)
        elif isinstance(event, Fill):
            fills.append(event)
    assert [order.order_id for order in orders] == [fill.order_id for fill in fills] == ["o", "o~2", "o~3"]
    assert len({fill.trade_id for fill in fills}) == 3
    assert [order.decision_ts for order in orders] == [order.ts for order in orders]


def test_recordings_without_events_end_at_once() -> None:
    assert list(Laps(lambda: iter([]))) == []


def test_a_lap_without_events_is_the_last() -> None:
    laps = iter([[quote(START_NS)], [quote(START_NS)]])
    assert len(list(islice(Laps(lambda: iter(next(laps, []))), 10))) == 2


def test_the_end_of_64_bit_time_is_an_error_and_not_an_overflow() -> None:
    laps = Laps(lambda: iter([quote(START_NS), quote(2**63 - 1)]))
    with pytest.raises(SourceError, match="2262"):
        list(laps)
