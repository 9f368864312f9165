"""The health of the system and its reasons."""

from __future__ import annotations

import pytest

from observability.metrics.system.health import THRESHOLDS, assess

FINE = dict.fromkeys(THRESHOLDS, 1.0)


def test_the_system_is_healthy_with_everything_in_range() -> None:
    assert assess(FINE, [("feed", "ok")], 0) == ("healthy", [])


def test_a_missing_measurement_gives_no_reason() -> None:
    assert assess(dict.fromkeys(THRESHOLDS), [], 0) == ("healthy", [])


@pytest.mark.parametrize(
    ("figure", "value", "health", "reason"),
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
def test_each_threshold_is_that_of_the_table(figure: str, value: float, health: str, reason: str | None) -> None:
    assert assess(FINE | {figure: value}, [], 0) == (health, [] if reason is None else [reason])


@pytest.mark.parametrize(
    ("status", "health"), [("ok", "healthy"), ("degraded", "degraded"), ("silent", "degraded"), ("down", "unhealthy")]
)
def test_the_status_of_a_component_decides_the_health(status: str, health: str) -> None:
    assert assess(FINE, [("feed", status)], 0)[0] == health


def test_an_active_critical_alert_degrades_the_health() -> None:
    assert assess(FINE, [], 1) == ("degraded", ["a critical alert is active"])


def test_the_worst_reasons_come_first() -> None:
    health, reasons = assess(FINE | {"cpu_percent": 99.0}, [("feed", "down")], 0)
    assert (health, reasons) == ("unhealthy", ["component feed is down", "cpu_percent >= 95"])
