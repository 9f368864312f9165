"""What Prometheus scrapes of a host with several processes: through any worker, the sums of all their counters."""

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
    """One sample of a gauge of the hub."""

    name: str
    help: str
    labels: dict[str, str]
    value: float


_decode_gauges = msgspec.json.Decoder(list[Gauge]).decode


class HostCollector(Collector):
    """Adds up the counters of all slots, those of processes that have died included, so that no counter goes back."""

    def __init__(self, mapping: SharedMapping, gauges: Callable[[], bytes]) -> None:
        """`gauges` returns the document in which the hub publishes its gauges."""
        self._counters = HostCounters([slot.counters() for slot in mapping.slots])
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for family in self._counters.families():
            yield metric_of(family)
        families: dict[str, GaugeMetricFamily] = {}
        for gauge in _decode_gauges(self._gauges()):
            of_gauges = families.get(gauge.name)
            if of_gauges is None:
                of_gauges = families[gauge.name] = GaugeMetricFamily(gauge.name, gauge.help)
            of_gauges.add_sample(gauge.name, gauge.labels, gauge.value)
        yield from families.values()


class MetricMirror:
    """Copies the hub's metrics to where workers find them: counters into the words of its slot, which outlive the hub,
    and gauges into a document."""

    def __init__(self, metrics: Callable[[], Iterable[Metric]], counters: Counters) -> None:
        self._metrics = metrics
        self._counters = counters
        self._counted: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
        self._gauges = orjson.Fragment(b"[]")

    def document(self) -> orjson.Fragment:
        """Returns the gauges of the last update."""
        return self._gauges

    def update(self) -> None:
        """Copies all metrics. A counter grows by what was added since the last call."""
        gauges: list[list[Any]] = []
        for metric in self._metrics():
            for sample in metric.samples:
                if metric.type == "gauge":
                    gauges.append([sample.name, metric.documentation, sample.labels, sample.value])
                    continue
                assert metric.type == "counter", f"{metric.name} is a {metric.type}, expected a counter or a gauge"
                key = (metric.name, tuple(sample.labels.items()))
                counter = self._counters.float_counter(f"{metric.name}_total", metric.documentation, **sample.labels)
                counter.add(sample.value - self._counted.get(key, 0.0))
                self._counted[key] = sample.value
        self._gauges = orjson.Fragment(encode_json(gauges))
