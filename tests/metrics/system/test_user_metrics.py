"""The users' own metrics: one series per name and labels, bounded in number, and part of the snapshot."""

from __future__ import annotations

import math
from typing import Any

import pytest

from observability.bus import Bus
from observability.errors import CheckpointError, EventRefused
from observability.events import Alert, Heartbeat, Log, Metric
from observability.metrics.system.user_metrics import UserMetrics
from observability.metrics.system_collector import SystemCollector

NOON = 1_340_280_000_000_000_000  # 2012-06-21T12:00:00Z
S = 1_000_000_000


def metric(name: str = "queue", value: float = 3.0, seconds: int = 0, **labels: str) -> Metric:
    return Metric(name, value, labels, ts=NOON + seconds * S, ts_init=NOON + seconds * S)


def shown(metrics: UserMetrics) -> dict[str, dict[str, Any]]:
    metrics.refresh()
    return metrics.to_json()


def test_the_newest_value_of_each_name_and_labels_is_shown() -> None:
    metrics = UserMetrics(10)
    for event in (metric(), metric(value=4.0, seconds=1), metric(venue="X", side="buy"), metric(side="buy", venue="X")):
        metrics.note(event)
    assert shown(metrics) == {
        "queue": {"name": "queue", "value": 4.0, "labels": {}, "updated": "2012-06-21T12:00:01.000Z"},
        'queue{side="buy",venue="X"}': {
            "name": "queue",
            "value": 3.0,
            "labels": {"side": "buy", "venue": "X"},
            "updated": "2012-06-21T12:00:00.000Z",
        },
    }


def test_labels_with_quotation_marks_are_distinct_series() -> None:
    metrics = UserMetrics(10)
    metrics.note(metric(a='1",b="2'))
    metrics.note(metric(a="1", b="2"))
    assert len(metrics.series) == 2


def test_an_infinite_value_is_null() -> None:
    metrics = UserMetrics(10)
    metrics.note(metric(value=math.inf))
    assert shown(metrics)["queue"]["value"] is None


def test_an_unchanged_series_keeps_its_version() -> None:
    metrics = UserMetrics(10)
    metrics.note(metric())
    shown(metrics)
    version = metrics.series["queue"].version
    shown(metrics)
    assert metrics.series["queue"].version == version
    metrics.note(metric(value=5.0))
    shown(metrics)
    assert metrics.series["queue"].version > version


def test_a_metric_beyond_the_limit_is_refused_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    metrics = UserMetrics(2)
    for taken in (metric("first"), metric("second"), metric("first", 4.0)):
        metrics.note(taken)
    for _ in range(2):
        with pytest.raises(EventRefused, match="all 2 series"):
            metrics.note(metric("third"))
    assert list(metrics.series) == ["first", "second"]
    assert (metrics.refused, len(caplog.records)) == (2, 1)


def collector() -> tuple[Bus, SystemCollector]:
    bus = Bus()
    made = SystemCollector(bus=bus)
    for kind, handler in made._handlers().items():
        bus.subscribe(kind, handler)
    return bus, made


def test_user_metrics_are_a_group_of_the_system_section() -> None:
    bus, system = collector()
    bus.publish(metric())
    system.refresh(NOON)
    (group,) = system.groups
    assert group.name == "metrics"
    assert group.parts["queue"].to_json()["value"] == 3.0
    assert system.last_input_ns == NOON


def test_a_restored_section_continues_as_the_original_would() -> None:
    bus, system = collector()
    bus.publish_all([metric(), metric(venue="X"), Heartbeat("feed", "degraded", "slow", ts=NOON, ts_init=NOON)])
    bus.publish(Alert("critical", "Feed lost", ts=NOON, ts_init=NOON))
    other_bus, restored = collector()
    restored.load(system.save())
    for target in (bus, other_bus):
        target.publish_all(
            [metric(value=9.0, seconds=2), Alert("critical", "Feed lost", ts=NOON + S, ts_init=NOON + S)]
        )
    for section in (system, restored):
        section.refresh(NOON + 3 * S)
    assert restored.fields.to_json() == system.fields.to_json()
    assert restored.user_metrics.to_json() == system.user_metrics.to_json()
    assert restored.components(NOON + S) == system.components(NOON + S)
    assert restored.alert_book.all() == system.alert_book.all()
    assert restored.last_input_ns == system.last_input_ns
    assert restored.save() == system.save()


def test_an_unreadable_state_changes_nothing() -> None:
    bus, system = collector()
    bus.publish(Log("info", "hello", ts=NOON, ts_init=NOON))
    before = system.save()
    with pytest.raises(CheckpointError):
        system.load(b"\xc1")
    assert system.save() == before
