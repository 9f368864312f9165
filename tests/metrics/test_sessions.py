"""Sessions: UTC days that only ever move on."""

from __future__ import annotations

import pytest

from observability.core.events import Heartbeat
from observability.core.timestamps import parse_iso_ns
from observability.metrics.sessions import Session, event_time_ns, session_end_ns

MIDNIGHT = parse_iso_ns("2012-06-22T00:00:00Z")
DAY = 86_400_000_000_000


@pytest.mark.parametrize(("offset", "end"), [(-1, 0), (0, DAY), (DAY - 1, DAY)])
def test_a_session_ends_at_the_next_utc_midnight(offset: int, end: int) -> None:
    assert session_end_ns(MIDNIGHT + offset) == MIDNIGHT + end


def test_a_session_turns_once_per_midnight_and_never_back() -> None:
    session = Session()
    times = (MIDNIGHT - 5, MIDNIGHT - 1, MIDNIGHT, MIDNIGHT - 1, MIDNIGHT + 1, MIDNIGHT + 3 * DAY, MIDNIGHT)
    assert [session.has_turned(time) for time in times] == [False, False, True, False, False, True, False]


@pytest.mark.parametrize(("ts", "expected"), [(7, 7), (None, 9), ("2012-06-22T00:00:00Z", 9)])
def test_an_event_without_a_time_of_its_own_happened_when_it_was_seen(ts: int | str | None, expected: int) -> None:
    assert event_time_ns(Heartbeat("feed", ts=ts, ts_init=9)) == expected
