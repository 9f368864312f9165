"""What Prometheus scrapes, rendered in steps: the same bytes as in one piece."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from observability.clocks.slices import at_once
from observability.monitoring.exposition import SAMPLES_PER_STEP, Exposition

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class Figures(Collector):
    """A counter, a gauge without labels, and a histogram of more samples than one step has."""

    def collect(self) -> Iterator[Metric]:
        counted = CounterMetricFamily("requests", "Requests", labels=["path"])
        counted.add_metric(["# not a comment\n#"], 3)
        yield counted
        yield GaugeMetricFamily("depth", "Depth", 2.5)
        histogram = HistogramMetricFamily("seconds", "Seconds", labels=["path"])
        for path in range(SAMPLES_PER_STEP):
            histogram.add_metric([str(path)], [("0.1", 1.0), ("+Inf", 2.0)], 0.3)
        yield histogram


class More(Collector):
    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("more", "More", 1)


@pytest.mark.parametrize("accept", ["", "text/plain", OPENMETRICS])
def test_the_steps_yield_what_one_piece_would_be(accept: str) -> None:
    registry = CollectorRegistry()
    registry.register(Figures())
    registry.register(More())
    encode, content_type = choose_encoder(accept)
    assert at_once(Exposition(Figures(), More()).rendering(accept)) == (encode(registry), content_type)


def test_a_large_family_takes_several_steps() -> None:
    assert len(list(Exposition(Figures()).rendering(""))) == 2 + 4
