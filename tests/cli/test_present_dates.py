"""The times that a replay to a server gives its events."""

from __future__ import annotations

from observability.cli.replay import PresentDates
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.events import Quote

THEN_NS = 1_340_280_000 * NS_PER_S
NOW_NS = 1_790_000_000 * NS_PER_S


def quotes(*arrivals_ms: int, latency_ms: int = 0) -> list[Quote]:
    times = [THEN_NS + arrival * NS_PER_MS for arrival in arrivals_ms]
    return [Quote("A", 1.0, 2.0, ts=time_ns - latency_ms * NS_PER_MS, ts_init=time_ns) for time_ns in times]


def moved_ms(dates: PresentDates, batch: list[Quote], now_ms: int) -> list[int]:
    """Returns the milliseconds after NOW_NS at which each event is dated."""
    dates.move(batch, NOW_NS + now_ms * NS_PER_MS)
    return [(event.ts - NOW_NS) // NS_PER_MS for event in batch if isinstance(event.ts, int)]


def test_the_newest_event_of_a_batch_is_dated_now_and_the_others_before_it() -> None:
    assert moved_ms(PresentDates(1.0), quotes(0, 30, 50), 1000) == [950, 980, 1000]


def test_a_speed_brings_events_closer_together() -> None:
    assert moved_ms(PresentDates(10.0), quotes(0, 300, 500), 1000) == [950, 980, 1000]


def test_without_a_pace_all_events_are_dated_now() -> None:
    assert moved_ms(PresentDates(None), quotes(0, 300, 500), 1000) == [1000, 1000, 1000]


def test_no_event_is_dated_before_one_that_came_earlier() -> None:
    dates = PresentDates(1.0)
    assert moved_ms(dates, quotes(0, 10), 1000) == [990, 1000]
    assert moved_ms(dates, quotes(20, 70), 1010) == [1000, 1010]


def test_the_time_from_an_event_to_its_arrival_stays() -> None:
    assert moved_ms(PresentDates(10.0), quotes(0, 100, latency_ms=7), 1000) == [983, 993]
