"""The hours of markets, as the calendars of exchanges have them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import pytest

from observability.instruments import hours as module
from observability.instruments.hours import NOT_INSTALLED, Calendars, MarketHours, Schedule


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


@cache
def hours_of(name: str) -> MarketHours:
    """Returns the hours from October 2025 to the end of 2026."""
    hours = MarketHours(name)
    hours._ask(ns("2025-11-20T00:00"))
    assert hours.fault is None
    return hours


@pytest.fixture(autouse=True)
def _nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MarketHours, "_read", lambda *_: None)


def test_holidays_early_closes_and_both_clocks_of_new_york_are_known() -> None:
    hours = hours_of("XNYS")
    for moment, is_open, until in (
        ("2025-10-31T20:00", False, "2025-11-03T14:30"),  # the clocks go back over the weekend
        ("2025-11-27T15:00", False, "2025-11-28T14:30"),  # Thanksgiving
        ("2025-11-28T17:59", True, "2025-11-28T18:00"),  # closes at 13:00
        ("2025-11-28T18:00", False, "2025-12-01T14:30"),
        ("2026-03-09T13:29", False, "2026-03-09T13:30"),  # and forward
        ("2026-03-09T13:30", True, "2026-03-09T20:00"),
    ):
        assert (hours.is_open(ns(moment)), hours.next_edge_ns(ns(moment))) == (is_open, ns(until)), moment


def test_a_session_lasts_until_the_market_opens_again() -> None:
    hours = hours_of("XNYS")
    assert hours.session_end_ns(ns("2025-11-26T14:30")) == ns("2025-11-28T14:30")
    assert hours.session_end_ns(ns("2025-11-28T14:29:59")) == ns("2025-11-28T14:30")
    assert hours.session_start_ns(ns("2025-11-28T14:30")) == ns("2025-11-26T14:30")


def test_a_break_closes_the_market_and_ends_no_session() -> None:
    hours = hours_of("XHKG")
    noon = ns("2025-11-12T04:30")
    assert (hours.is_open(noon), hours.next_edge_ns(noon)) == (False, ns("2025-11-12T05:00"))
    assert hours.opened_ns(ns("2025-11-12T05:01")) == ns("2025-11-12T05:00")
    assert hours.session_end_ns(noon) == ns("2025-11-13T01:30")


def test_a_market_whose_sessions_follow_each_other_at_once_never_closes_between_them() -> None:
    hours = hours_of("CMES")
    boundary = ns("2025-11-12T23:00")
    assert hours.is_open(boundary - 1) and hours.is_open(boundary)
    assert hours.session_end_ns(boundary - 1) == boundary
    assert hours.opened_ns(boundary) == ns("2025-11-09T23:00")


def test_a_market_that_is_always_open_has_days_of_utc_and_needs_no_package() -> None:
    hours = MarketHours("24/7")
    assert hours.is_open(ns("2025-11-12T23:00"))
    assert hours.session_end_ns(ns("2025-11-12T23:00")) == ns("2025-11-13T00:00")
    assert hours.session_start_ns(ns("2025-11-13T00:00")) == ns("2025-11-12T00:00")
    assert hours.next_edge_ns(ns("2025-11-12T23:00")) is None


def test_nothing_is_said_of_a_time_that_is_not_read_yet() -> None:
    hours = hours_of("XNYS")
    for moment in ("2024-11-12T15:00", "2027-11-12T15:00"):
        assert (hours.is_open(ns(moment)), hours.session_end_ns(ns(moment))) == (None, None)
        assert (hours.opened_ns(ns(moment)), hours.next_edge_ns(ns(moment))) == (0, None)


@pytest.mark.parametrize(
    ("name", "fault"), [("NOWHERE", "no calendar"), ("X\0Y", "cannot be read"), ("-h", "no calendar")]
)
def test_an_unknown_name_is_a_fault(name: str, fault: str) -> None:
    hours = MarketHours(name)
    hours._ask(ns("2025-11-20T00:00"))
    assert fault in str(hours.fault)


def test_a_calendar_that_cannot_be_read_knows_nothing_and_says_why() -> None:
    calendars = Calendars()
    hours = calendars.hours("XNYS")
    assert hours is not None
    hours.take(Schedule(fault="why"))
    assert calendars.hours("XNYS") is hours and calendars.fault("XNYS") == "why"
    assert (hours.is_open(ns("2025-11-12T15:00")), hours.session_end_ns(ns("2025-11-12T15:00"))) == (None, None)


DAYS = Schedule(
    [ns(f"2025-11-{day}T14:30") for day in (12, 13, 14)],
    [ns(f"2025-11-{day}T{at}") for day in (12, 13, 14) for at in ("14:30", "21:00")],
)


def seen_at(
    moments: list[str], answers: list[Schedule], monkeypatch: pytest.MonkeyPatch
) -> list[tuple[bool | None, str | None, int]]:
    """Returns, for each moment, whether the market is open, the fault, and how many answers of the calendar are left;
    the first question of each moment has it read."""
    monkeypatch.undo()
    monkeypatch.setattr(MarketHours, "_ask", lambda hours, _: hours.take(answers.pop(0)))
    monkeypatch.setattr(module.threading, "Thread", _Now)
    hours = MarketHours("XNYS")
    seen = []
    for moment in moments:
        hours.is_open(ns(moment))
        seen.append((hours.is_open(ns(moment)), hours.fault, len(answers)))
    return seen


def test_a_calendar_is_read_again_an_hour_after_a_fault(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    moments = ["2025-11-12T15:00", "2025-11-12T15:59", "2025-11-12T16:00", "2025-11-12T17:00"]
    answers = [Schedule(fault="busy"), Schedule(fault="busy"), DAYS]
    seen = seen_at(moments, answers, monkeypatch)
    assert seen == [(None, "busy", 2), (None, "busy", 2), (None, "busy", 1), (True, None, 0)]
    assert len(caplog.records) == 1


def test_what_a_calendar_has_said_holds_while_it_cannot_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = ["2025-11-12T15:00", "2025-11-13T15:00", "2025-11-14T15:00"]
    answers = [DAYS, Schedule(fault="busy"), Schedule(fault="busy")]
    seen = seen_at(moments, answers, monkeypatch)
    assert seen == [(True, None, 2), (True, None, 1), (None, "busy", 0)]


class _Now:
    """A thread that has run when it has started."""

    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], **_: Any) -> None:
        self._run = partial(target, *args)

    def start(self) -> None:
        self._run()


def test_without_the_extra_only_a_market_that_is_always_open_has_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    calendars = Calendars()
    assert (calendars.hours("XNYS"), calendars.fault("XNYS")) == (None, NOT_INSTALLED)
    assert calendars.hours("24/7") is not None and calendars.fault("") is None


def test_the_table_of_calendars_is_bounded() -> None:
    calendars = Calendars()
    for number in range(module.MAX_CALENDARS):
        assert calendars.hours(f"C{number}") is not None
    assert calendars.hours("ONE-MORE") is None
    assert "no room" in str(calendars.fault("ONE-MORE"))


@pytest.mark.usefixtures("_reading")
def test_a_process_of_its_own_reads_the_year_around_the_events() -> None:
    hours = MarketHours("XNYS")
    assert hours.is_open(ns("2025-11-12T15:00")) is None
    (reader,) = (each for each in threading.enumerate() if each.name == "calendar XNYS")
    reader.join()
    assert hours.is_open(ns("2025-11-12T15:00")) is True
    assert hours.is_open(ns("2025-11-27T15:00")) is False


@pytest.fixture
def _reading(monkeypatch: pytest.MonkeyPatch, _nothing_is_read: None) -> None:
    monkeypatch.undo()
