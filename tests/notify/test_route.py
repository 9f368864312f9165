"""Which alerts a route takes, and its quiet hours."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from observability.notify.route import QuietHours, Route

LONDON = ZoneInfo("Europe/London")


def alert(
    severity: str = "warning", rule: str | None = "stale_feed", key: str = "", member: str = ""
) -> dict[str, Any]:
    return {"severity": severity, "rule": rule, "key": key or rule, "member": member}


def local_ns(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=LONDON).timestamp()) * 10**9


@pytest.mark.parametrize(
    ("severity", "takes"), [("info", False), ("warning", True), ("critical", True)]
)  # fmt: skip
def test_a_route_takes_alerts_of_its_severity_and_above(severity: str, takes: bool) -> None:
    assert Route(name="r", to="http://h", severity="warning").takes(alert(severity)) is takes


def test_patterns_are_for_the_rule_and_for_the_member() -> None:
    route = Route(name="r", to="http://h", rules=("stale_*",), members=("BTC*", "ETH"))
    assert route.takes(alert(member="BTCUSDT"))
    assert not route.takes(alert(member="SOL"))
    assert not route.takes(alert(rule="latency", member="ETH"))


def test_a_pattern_matches_the_key_of_an_alert_of_the_engine() -> None:
    route = Route(name="r", to="http://h", rules=("gate*",))
    assert route.takes(alert(rule=None, key="gateway"))
    assert not route.takes(alert(rule=None, key="disk"))


def test_a_route_does_not_take_the_alert_that_it_does_not_deliver() -> None:
    fault = alert("critical", rule=None, key="observability/notify/desk")
    assert not Route(name="desk", to="http://h").takes(fault)
    assert Route(name="other", to="http://h").takes(fault)


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-06-01T21:59:59", None),
        ("2026-06-01T22:00:00", "2026-06-02T07:00:00"),
        ("2026-06-02T03:00:00", "2026-06-02T07:00:00"),
        ("2026-06-02T07:00:00", None),
        # Summer time begins in this night, and the hours go by the wall clock.
        ("2026-03-28T23:00:00", "2026-03-29T07:00:00"),
    ],
)
def test_quiet_hours_over_midnight_end_in_the_morning(now: str, end: str | None) -> None:
    quiet = QuietHours(time(22), time(7), LONDON)
    assert quiet.end_ns(local_ns(now)) == (None if end is None else local_ns(end))


def test_quiet_hours_within_a_day_end_on_that_day() -> None:
    quiet = QuietHours(time(12), time(13), LONDON)
    assert quiet.end_ns(local_ns("2026-06-01T12:30:00")) == local_ns("2026-06-01T13:00:00")
    assert quiet.end_ns(local_ns("2026-06-01T11:59:00")) is None


def test_quiet_hours_do_not_hold_back_critical_alerts() -> None:
    route = Route(name="r", to="http://h", quiet=QuietHours(time(22), time(7), LONDON))
    assert not route.heeds_quiet(alert("critical"))
    assert route.heeds_quiet(alert("warning"))
    assert not Route(name="r", to="http://h").heeds_quiet(alert("warning"))
