"""The users' own metrics: the newest value of each name and labels of `metric` events."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import msgspec

from observability.clocks.timestamps import iso_or_none
from observability.errors import EventRefused
from observability.events import Metric, event_time_ns
from observability.metrics.arithmetic.decimals import finite_or_none
from observability.snapshot.sections import JsonPart, Part

logger = logging.getLogger(__name__)


class UserMetric(JsonPart):
    """One series: a name with one set of labels."""

    __slots__ = ("has_input", "labels", "name", "ts_ns", "value")

    def __init__(self, name: str, labels: dict[str, str]) -> None:
        super().__init__()
        self.name = name
        self.labels = labels
        self.value: float | None = None
        """None for a value that JSON cannot represent."""
        self.ts_ns = 0
        self.has_input = False

    def refresh(self) -> None:
        """Updates the JSON to the newest event."""
        if self.has_input:
            self.has_input = False
            self.offer(
                {
                    "name": self.name,
                    "value": self.value,
                    "labels": self.labels,
                    "updated": iso_or_none(self.ts_ns),
                }
            )


class UserMetricState(msgspec.Struct):
    """One series in a checkpoint."""

    name: str
    labels: dict[str, str]
    value: float | None = None
    ts_ns: int = 0


class UserMetrics:
    """At most `max_series` series, in the order in which they appeared. Events of further series are refused and
    counted."""

    def __init__(self, max_series: int) -> None:
        self.series: dict[str, UserMetric] = {}
        """By name and labels in Prometheus notation: `queue{venue="X"}`."""
        self.touched: dict[str, Part] = {}
        """Those that may have changed since the serializer has cleared this."""
        self.refused = 0
        self._max_series = max_series

    def note(self, event: Metric) -> None:
        """Applies one event. Raises EventRefused for a further series."""
        key = series_key(event.name, event.labels)
        metric = self.series.get(key)
        if metric is None:
            metric = self._admit(key, event)
        metric.value = finite_or_none(event.value)
        metric.ts_ns = event_time_ns(event)
        metric.has_input = True
        self.touched[key] = metric

    def named(self, name: str) -> Iterator[UserMetric]:
        """Yields every series of one name."""
        return (metric for metric in self.series.values() if metric.name == name)

    def refresh(self) -> None:
        for key in self.touched:
            self.series[key].refresh()

    def to_json(self) -> dict[str, dict[str, Any]]:
        return {key: dict(metric.to_json()) for key, metric in self.series.items()}

    def to_state(self) -> list[UserMetricState]:
        return [UserMetricState(m.name, m.labels, m.value, m.ts_ns) for m in self.series.values()]

    def load_state(self, state: list[UserMetricState]) -> None:
        for saved in state[: self._max_series]:
            metric = UserMetric(saved.name, saved.labels)
            metric.value, metric.ts_ns, metric.has_input = saved.value, saved.ts_ns, True
            key = series_key(saved.name, saved.labels)
            self.series[key] = self.touched[key] = metric

    def _admit(self, key: str, event: Metric) -> UserMetric:
        if len(self.series) < self._max_series:
            metric = self.series[key] = UserMetric(event.name, dict(sorted(event.labels.items())))
            return metric
        self.refused += 1
        if self.refused == 1:
            logger.warning(
                "metric %r is refused: all %d series are in use; further refusals are only counted",
                event.name, self._max_series,
            )  # fmt: skip
        raise EventRefused("name", f"no room: all {self._max_series} series of metric events are in use")


def series_key(name: str, labels: dict[str, str]) -> str:
    """Returns the key of a series: its name, and its labels in the order of their names."""
    return f"{name}{{{labels_text(labels)}}}" if labels else name


def labels_text(labels: dict[str, str]) -> str:
    """Returns labels in Prometheus notation, in the order of their names."""
    return ",".join(f'{name}="{_quoted(value)}"' for name, value in sorted(labels.items()))


def _quoted(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
