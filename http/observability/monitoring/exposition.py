"""The Prometheus exposition: counters and figures of the hub, in the format that the scraper accepts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from observability.clocks.slices import Steps
from observability.clocks.timestamps import NS_PER_S
from observability.events import TYPE_NAMES
from observability.memory.counters import BucketHistogram, Family
from observability.metrics.alerts.book import SEVERITIES
from observability.metrics.system.user_metrics import UserMetrics
from observability.metrics.system_collector import SystemCollector
from observability.snapshot.hub import Hub
from observability.sources import Replay
from observability.sources.health import SourceHealth

# Half a millisecond of encoding.
SAMPLES_PER_STEP: Final = 50

_SOURCE_COUNTERS: Final[tuple[tuple[str, str, Callable[[SourceHealth], int]], ...]] = (
    ("source_messages", "Messages that a live source has brought", lambda health: health.messages),
    ("source_events", "Events taken from a live source", lambda health: health.events),
    ("source_gaps", "Messages of a live source that are known to be lost", lambda health: health.gaps),
    ("source_rejected", "Messages and events of a live source that cannot be used", lambda health: health.rejected),
    ("source_reconnects", "Connections to a live source after the first", lambda health: health.reconnects),
)
_SOURCE_GAUGES: Final[tuple[tuple[str, str, Callable[[SourceHealth], float | None]], ...]] = (
    ("source_connected", "1 while a live source is connected", lambda health: int(health.is_connected)),
    (
        "source_silent",
        "1 while it is connected and silent against its normal",
        lambda health: int(health.state == "silent"),
    ),
    (
        "source_last_message_age_seconds",
        "Age of the newest message of a live source",
        lambda health: health.age_seconds,
    ),
)

_OPENMETRICS_END: Final = b"# EOF\n"
_HEADER_LINES: Final = re.compile(rb"^#.*\n", re.MULTILINE)
_NOT_IN_LABELS = re.compile("[^a-zA-Z0-9_]")


class HubCollector(Collector):
    """Yields the counters of this process, and the figures of the hub and its collectors."""

    def __init__(
        self,
        hub: Hub,
        system: SystemCollector,
        replay: Replay | None = None,
        sources: Sequence[SourceHealth] = (),
    ) -> None:
        """`sources` are the live ones."""
        self._hub = hub
        self._system = system
        self._replay = replay
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        for family in self._hub.counters.families():
            yield metric_of(family)
        yield from self.hub_metrics()

    def hub_metrics(self) -> Iterator[Metric]:
        """Yields what is not among the counters."""
        yield from self._data_path_metrics()
        yield from self._alert_metrics()
        yield _user_metric(self._system.user_metrics)

    def _data_path_metrics(self) -> Iterator[Metric]:
        hub = self._hub
        yield CounterMetricFamily("tick_missed", "Ticks skipped because an earlier one took too long", hub.ticks_missed)
        collected = CounterMetricFamily(
            "collector_metrics_collected", "Metrics collected per collector", labels=["collector"]
        )
        for collector in (*hub.collectors, *hub.custom.collectors.values()):
            collected.add_metric([collector.name], collector.metrics_collected)
        yield collected
        events = CounterMetricFamily("ingest_events", "Events published on the bus", labels=["type", "source"])
        for source, published in hub.bus.published.items():
            for kind, count in published.items():
                if count:
                    events.add_metric([TYPE_NAMES[kind], source], count)
        yield events
        yield CounterMetricFamily(
            "event_handler_errors", "Deliveries of an event that raised in a subscriber", hub.bus.handler_errors
        )
        age = GaugeMetricFamily("event_age_seconds", "Age of a section's newest input, event time", labels=["section"])
        now_ns = hub.event_clock.time_ns()
        for section in hub.collectors:
            if section.last_input_ns is not None:
                age.add_metric([section.name], max(0, now_ns - section.last_input_ns) / NS_PER_S)
        yield age
        yield from self._replay_metrics()
        yield from self._source_metrics()

    def _replay_metrics(self) -> Iterator[Metric]:
        progress = None if self._replay is None else self._replay.progress()
        running = progress is not None and progress.state == "running"
        yield GaugeMetricFamily("replay_running", "1 while a replay runs", int(running))
        for name, what, count in (
            ("replay_events", "Events that the replay published", progress and progress.events),
            ("replay_skipped_lines", "Lines of recordings that become no event", progress and progress.skipped_lines),
            ("replay_bad_lines", "Lines of recordings that cannot be read", progress and progress.bad_lines),
        ):
            yield CounterMetricFamily(name, what, count or 0)

    def _source_metrics(self) -> Iterator[Metric]:
        for health in self._sources:
            health.refresh()
        for name, what, figure in _SOURCE_COUNTERS:
            counter = CounterMetricFamily(name, what, labels=["source"])
            for health in self._sources:
                counter.add_metric([health.name], figure(health))
            yield counter
        for name, what, gauge in _SOURCE_GAUGES:
            family = GaugeMetricFamily(name, what, labels=["source"])
            for health in self._sources:
                value = gauge(health)
                if value is not None:
                    family.add_metric([health.name], value)
            yield family

    def _alert_metrics(self) -> Iterator[Metric]:
        system = self._system
        active = GaugeMetricFamily("alerts_active", "Alerts neither acknowledged nor resolved", labels=["severity"])
        severities = [alert.severity for alert in system.alert_book.active()]
        for severity in SEVERITIES:
            active.add_metric([severity], severities.count(severity))
        yield active
        transitions = CounterMetricFamily(
            "alert_transitions", "Alerts raised, acknowledged and resolved", labels=["rule", "action"]
        )
        for (rule, action), count in system.alert_book.transitions.items():
            transitions.add_metric([rule or "", action], count)
        yield transitions


class Exposition:
    """Renders what its collectors yield."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def rendering(self, accept: str, further: Iterable[bytes] = ()) -> Steps[tuple[bytes, str]]:
        """Renders body and content type in steps: OpenMetrics if `accept` asks for it, else the Prometheus text format.
        Families are rendered one after the other, and each shows the moment of its own step; those of `further`, which
        are rendered as it is iterated, come last."""
        encode, content_type = choose_encoder(accept)
        parts = []
        ending = b""
        for collector in self._collectors:
            for metric in collector.collect():
                for number, part in enumerate(_parts(metric)):
                    encoded = encode(_OneMetric(part))
                    if encoded.endswith(_OPENMETRICS_END):
                        encoded, ending = encoded.removesuffix(_OPENMETRICS_END), _OPENMETRICS_END
                    parts.append(encoded if number == 0 else _HEADER_LINES.sub(b"", encoded))
                    yield
        for family in further:
            parts.append(family)
            yield
        return b"".join((*parts, ending)), content_type


def is_openmetrics(accept: str) -> bool:
    """Returns whether a scraper is answered in OpenMetrics."""
    return choose_encoder(accept)[1].startswith("application/openmetrics-text")


class _OneMetric(Collector):
    """Yields one metric, for an encoder that asks a registry."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric


def _parts(metric: Metric) -> Iterator[Metric]:
    """Yields a metric in parts of at most `SAMPLES_PER_STEP` samples."""
    samples = metric.samples
    if len(samples) <= SAMPLES_PER_STEP:
        yield metric
        return
    for at in range(0, len(samples), SAMPLES_PER_STEP):
        part = Metric(metric.name, metric.documentation, metric.type, metric.unit)
        part.samples = samples[at : at + SAMPLES_PER_STEP]
        yield part


def process_collector() -> Collector:
    """Returns the collector of this process's CPU time, memory and descriptors."""
    return ProcessCollector(registry=None)


def metric_of(family: Family) -> Metric:
    """Returns a family of counters in Prometheus' terms."""
    names = [name for name, _ in next(iter(family.samples))]
    if family.kind == "histogram":
        return _histogram(family, names)
    kind = CounterMetricFamily if family.kind in ("counter", "float_counter") else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=names)
    for labels, sample in family.samples.items():
        assert not isinstance(sample, BucketHistogram)
        metric.add_metric([value for _, value in labels], sample.value)
    return metric


def _user_metric(metrics: UserMetrics) -> GaugeMetricFamily:
    """Returns the numbers of `metric` events. Prometheus rejects a whole scrape in which a series occurs twice: among
    metrics whose labels become equal once they are made valid, the newest stands for all."""
    family = GaugeMetricFamily("user_metric", "Numbers of `metric` events", labels=["name"])
    samples: dict[tuple[tuple[str, str], ...], float] = {}
    for metric in sorted(metrics.series.values(), key=lambda metric: metric.ts_ns):
        if metric.value is not None:
            labels = {_label_name(name): value for name, value in metric.labels.items()} | {"name": metric.name}
            samples[tuple(sorted(labels.items()))] = metric.value
    for key, value in samples.items():
        family.add_sample(family.name, dict(key), value)
    return family


def _label_name(name: str) -> str:
    """Returns a valid label name for `name`: `[a-zA-Z_][a-zA-Z0-9_]*`, not starting with `__`, and not "name", which
    is the label of the metric's own name."""
    allowed = _NOT_IN_LABELS.sub("_", name)
    return f"label_{allowed}" if allowed in ("", "name") or not allowed[0].isalpha() else allowed


def _histogram(family: Family, names: list[str]) -> HistogramMetricFamily:
    metric = HistogramMetricFamily(family.name, family.help, labels=names)
    for labels, sample in family.samples.items():
        assert isinstance(sample, BucketHistogram)
        bounds = [*(str(bound) for bound in sample.bounds_seconds), "+Inf"]
        buckets = list(zip(bounds, accumulate(sample.counts), strict=True))
        metric.add_metric([value for _, value in labels], buckets=buckets, sum_value=sample.sum_ns / NS_PER_S)
    return metric
