"""Sessions: days that never go back, in whatever zone and at whatever time they begin."""

from __future__ import annotations

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.clocks.timestamps import parse_iso_ns
from observability.events import Heartbeat, event_time_ns
from observability.metrics.arithmetic.sessions import Session, SessionCalendar, utc_day_end_ns

MIDNIGHT = parse_iso_ns("2012-06-22T00:00:00Z")
DAY = 86_400_000_000_000
HOUR = DAY // 24


@pytest.mark.parametrize(("offset", "end"), [(-1, 0), (0, DAY), (DAY - 1, DAY)])
def test_a_session_ends_at_the_next_utc_midnight(offset: int, end: int) -> None:
    assert utc_day_end_ns(MIDNIGHT + offset) == MIDNIGHT + end


def test_a_session_rolls_over_once_per_midnight_and_never_back() -> None:
    session = Session()
    times = (MIDNIGHT - 5, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT - 1, MIDNIGHT + 1, MIDNIGHT + 3 * DAY, MIDNIGHT)
    assert [session.roll_over(time) for time in times] == [False, False, True, False, False, True, False]


@pytest.mark.parametrize(("ts", "expected"), [(7, 7), (None, 9), ("2012-06-22T00:00:00Z", 9)])
def test_an_event_without_a_time_has_that_of_its_arrival(ts: int | str | None, expected: int) -> None:
    assert event_time_ns(Heartbeat("feed", ts=ts, ts_init=9)) == expected


def ends(zone: str, start: str, since: str, count: int) -> list[str]:
    """Returns the next boundaries, in UTC."""
    calendar = SessionCalendar(ZoneInfo(zone), time.fromisoformat(start))
    now_ns = parse_iso_ns(since)
    boundaries = []
    for _ in range(count):
        now_ns = calendar.end_ns(now_ns)
        boundaries.append(datetime.fromtimestamp(now_ns // 10**9, UTC).strftime("%d %H:%M"))
    return boundaries


@given(st.integers(0, 4_000_000_000_000_000_000))
def test_a_calendar_has_utc_days_by_default(now_ns: int) -> None:
    assert SessionCalendar().end_ns(now_ns) == utc_day_end_ns(now_ns)


def test_a_session_is_an_hour_shorter_or_longer_when_clocks_change() -> None:
    assert ends("America/New_York", "17:00", "2024-03-08T23:00:00Z", 3) == ["09 22:00", "10 21:00", "11 21:00"]
    assert ends("America/New_York", "17:00", "2024-11-01T23:00:00Z", 3) == ["02 21:00", "03 22:00", "04 22:00"]


def test_a_boundary_that_clocks_skip_is_read_with_the_offset_before() -> None:
    # 02:30 does not occur on the 10th: 03:30 EDT. Those around it are 02:30 EST and 02:30 EDT.
    assert ends("America/New_York", "02:30", "2024-03-09T00:00:00Z", 3) == ["09 07:30", "10 07:30", "11 06:30"]


def test_a_boundary_that_occurs_twice_is_the_first_of_the_two() -> None:
    assert ends("America/New_York", "01:30", "2024-11-02T00:00:00Z", 3) == ["02 05:30", "03 05:30", "04 06:30"]


def test_a_day_that_a_zone_skips_has_no_session() -> None:
    # Samoa skipped 30 December 2011, moving from 10 hours behind UTC to 14 ahead.
    assert ends("Pacific/Apia", "12:00", "2011-12-29T00:00:00Z", 3) == ["29 22:00", "30 22:00", "31 22:00"]


@given(
    st.sampled_from(["America/New_York", "Europe/London", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]),
    st.times().map(lambda at: at.replace(second=0, microsecond=0)),
    st.integers(950_000_000, 2_100_000_000),
)
def test_every_moment_is_in_a_session_of_about_a_day(zone: str, start: time, second: int) -> None:
    calendar = SessionCalendar(ZoneInfo(zone), start)
    now_ns = second * 10**9
    end_ns = calendar.end_ns(now_ns)
    assert now_ns < end_ns
    assert SessionCalendar(ZoneInfo(zone), start).end_ns(end_ns - 1) == end_ns
    assert 22 * HOUR < calendar.end_ns(end_ns) - end_ns < 26 * HOUR


def test_a_session_rolls_over_where_its_calendar_says() -> None:
    session = Session(SessionCalendar(ZoneInfo("Europe/Zurich"), time(0)))
    times = ("2012-06-21T12:00:00Z", "2012-06-21T21:59:59Z", "2012-06-21T22:00:00Z", "2012-06-22T00:00:00Z")
    assert [session.roll_over(parse_iso_ns(at)) for at in times] == [False, False, True, False]
