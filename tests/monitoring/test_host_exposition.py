"""What Prometheus scrapes of several processes: sums that never go back."""

from __future__ import annotations

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from observability.clocks.slices import at_once
from observability.encoding import encode_json
from observability.memory.mapping import SharedMapping
from observability.monitoring.exposition import Exposition
from observability.monitoring.host_exposition import HostCollector, MetricMirror


class Hub:
    """Has a counter, and a gauge whose samples have different labels."""

    def __init__(self) -> None:
        self.counts = {"a": 0}
        self.gauges: list[tuple[dict[str, str], float]] = []

    def metrics(self) -> list[Metric]:
        counted = CounterMetricFamily("things", "Things", labels=["kind"])
        for kind, count in self.counts.items():
            counted.add_metric([kind], count)
        gauge = GaugeMetricFamily("user_metric", "Numbers")
        for labels, value in self.gauges:
            gauge.add_sample("user_metric", labels, value)
        return [counted, gauge]


class Host:
    """The mapping of a host, and what a worker exposes of it."""

    def __init__(self) -> None:
        self.mapping = SharedMapping(3, 1)
        self.mirror: MetricMirror | None = None
        self.exposition = Exposition(HostCollector(self.mapping, self._gauges))

    def start_hub(self, hub: Hub) -> MetricMirror:
        self.mirror = MetricMirror(hub.metrics, self.mapping.hub.counters())
        return self.mirror

    def _gauges(self) -> bytes:
        return b"[]" if self.mirror is None else encode_json(self.mirror.document())

    def exposed(self) -> list[str]:
        body, _ = at_once(self.exposition.rendering(""))
        return [line for line in body.decode().splitlines() if not line.startswith("#")]


def test_counters_of_all_processes_are_added_up() -> None:
    host = Host()
    for slot in host.mapping.slots:
        slot.counters().counter("x_total", "help", a="1").add(slot.number + 1)
        slot.counters().histogram("d_seconds", "help").record(200_000)
    assert 'x_total{a="1"} 6.0' in host.exposed()
    assert 'd_seconds_bucket{le="0.0001"} 0.0' in host.exposed()
    assert 'd_seconds_bucket{le="0.00025"} 3.0' in host.exposed()


def test_workers_expose_the_hubs_counters_and_the_next_hub_adds_to_them() -> None:
    host = Host()
    first, second = Hub(), Hub()
    first.counts["a"] = 5
    host.start_hub(first).update()
    host.start_hub(second).update()
    assert 'things_total{kind="a"} 5.0' in host.exposed()
    second.counts["a"] = 2
    assert host.mirror is not None
    host.mirror.update()
    host.mirror.update()
    assert 'things_total{kind="a"} 7.0' in host.exposed()


def test_gauges_are_the_hubs_newest_whatever_their_labels() -> None:
    host = Host()
    hub = Hub()
    hub.gauges = [({"name": "depth"}, 1.5), ({"name": "depth", "book": "x"}, 2.0)]
    mirror = host.start_hub(hub)
    mirror.update()
    assert {'user_metric{name="depth"} 1.5', 'user_metric{book="x",name="depth"} 2.0'} <= set(host.exposed())
    hub.gauges = []
    mirror.update()
    assert not any("user_metric" in line for line in host.exposed())


def test_a_dead_workers_gauges_become_zero_and_its_counters_stay() -> None:
    host = Host()
    worker = host.mapping.workers[0]
    worker.counters().counter("x_total", "help").add(3)
    worker.counters().gauge("open", "help").set(3)
    worker.clear()
    assert {"x_total 3.0", "open 0.0"} <= set(host.exposed())
