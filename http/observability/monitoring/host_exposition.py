"""What Prometheus is told of a host with several processes: the sums of all their counters, through whichever is asked.

Nothing is rendered here (see `exposition.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec
import orjson
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from observability.encoding import encode_json
from observability.memory.counters import Counters, HostCounters
from observability.memory.mapping import SharedMapping
from observability.monitoring.exposition import metric_of

HUB_GAUGES: Final = "hub_gauges"
"""Names the document in which the hub publishes its gauges."""


class Gauge(msgspec.Struct, array_like=True):
    """A sample of the hub that is no counter."""

    name: str
    help: str
    labels: dict[str, str]
    value: float


_decode_gauges = msgspec.json.Decoder(list[Gauge]).decode


class HostCollector(Collector):
    """Adds the counters of all slots up, those of dead processes included: what was counted once never goes back."""

    def __init__(self, mapping: SharedMapping, gauges: Callable[[], bytes]) -> None:
        """`gauges` returns those that the hub has published, encoded."""
        self._counters = HostCounters([slot.counters() for slot in mapping.slots])
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for family in self._counters.families():
            yield metric_of(family)
        families: dict[str, GaugeMetricFamily] = {}
        for gauge in _decode_gauges(self._gauges()):
            family_of_gauges = families.get(gauge.name)
            if family_of_gauges is None:
                family_of_gauges = families[gauge.name] = GaugeMetricFamily(gauge.name, gauge.help)
            family_of_gauges.add_sample(gauge.name, gauge.labels, gauge.value)
        yield from families.values()


class MetricMirror:
    """Copies what the hub tells of itself to where workers find it: counters into words, which outlive the hub, gauges
    into a document."""

    def __init__(self, metrics: Callable[[], Iterable[Metric]], counters: Counters) -> None:
        self._metrics = metrics
        self._counters = counters
        self._counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._gauges = orjson.Fragment(b"[]")

    def document(self) -> orjson.Fragment:
        """Returns the gauges as of the last update."""
        return self._gauges

    def update(self) -> None:
        """Brings everything up to date; a counter by what was added since the last call."""
        gauges: list[list[Any]] = []
        for metric in self._metrics():
            for sample in metric.samples:
                if metric.type == "gauge":
                    gauges.append([sample.name, metric.documentation, sample.labels, sample.value])
                    continue
                assert metric.type == "counter", f"{metric.name} is a {metric.type}"
                key = (metric.name, tuple(sample.labels.items()))
                counter = self._counters.float_counter(f"{metric.name}_total", metric.documentation, **sample.labels)
                counter.add(sample.value - self._counted.get(key, 0.0))
                self._counted[key] = sample.value
        self._gauges = orjson.Fragment(encode_json(gauges))
