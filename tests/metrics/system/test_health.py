"""The verdict on the system, and its reasons."""

from __future__ import annotations

import pytest

from observability.metrics.system.health import THRESHOLDS, assess

FINE = dict.fromkeys(THRESHOLDS, 1.0)


def test_with_everything_in_range_the_system_is_healthy() -> None:
    assert assess(FINE, [("feed", "ok")], 0) == ("healthy", [])


def test_what_was_not_measured_is_no_reason() -> None:
    assert assess(dict.fromkeys(THRESHOLDS), [], 0) == ("healthy", [])


@pytest.mark.parametrize(
    ("figure", "value", "verdict", "reason"),
    [
        ("cpu_percent", 94.9, "healthy", None),
        ("cpu_percent", 100.0, "degraded", "cpu_percent >= 95"),
        ("memory_percent", 85.0, "degraded", "memory_percent >= 85"),
        ("memory_percent", 95.0, "unhealthy", "memory_percent >= 95"),
        ("disk_percent", 94.9, "degraded", "disk_percent >= 85"),
        ("event_loop_lag_ms", 99.9, "healthy", None),
        ("event_loop_lag_ms", 1000.0, "unhealthy", "event_loop_lag_ms >= 1000"),
    ],
)
def test_each_threshold_is_where_the_table_says(figure: str, value: float, verdict: str, reason: str | None) -> None:
    assert assess(FINE | {figure: value}, [], 0) == (verdict, [] if reason is None else [reason])


@pytest.mark.parametrize(
    ("status", "verdict"), [("ok", "healthy"), ("degraded", "degraded"), ("silent", "degraded"), ("down", "unhealthy")]
)
def test_a_component_counts_by_its_status(status: str, verdict: str) -> None:
    assert assess(FINE, [("feed", status)], 0)[0] == verdict


def test_a_critical_alert_degrades() -> None:
    assert assess(FINE, [], 1) == ("degraded", ["a critical alert is active"])


def test_the_worst_comes_first() -> None:
    verdict, reasons = assess(FINE | {"cpu_percent": 99.0}, [("feed", "down")], 0)
    assert (verdict, reasons) == ("unhealthy", ["component feed is down", "cpu_percent >= 95"])
