"""The server's own figures, by the names that alert rules read under `server.`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from observability.clocks.steady import SteadyClock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.memory.counters import Counted, Counter
from observability.metrics.alerts.metric_paths import Figure
from observability.metrics.assembly import Collectors
from observability.snapshot.hub import Hub
from observability.websocket.close_codes import DISCONNECTS, is_loss


def server_figures(
    hub: Hub,
    host_clock: SteadyClock,
    collectors: Collectors,
    queues: Mapping[str, Callable[[], int]],
    counters: Counted,
) -> dict[str, Figure]:
    """Returns a function for each figure, by name. The depths of `queues` are among them; `counters` are those of all
    processes."""
    bus = hub.bus
    return {
        "ticks": lambda: hub.frames.latest_seq,
        "ticks_missed": lambda: hub.ticks_missed,
        "tick_ms": lambda: hub.last_tick_ns / NS_PER_MS,
        "events": lambda: sum(sum(published.values()) for published in bus.published.values()),
        "event_handler_errors": lambda: bus.handler_errors,
        "events_ahead": lambda: collectors.market.dated_ahead + collectors.execution.dated_ahead,
        "clock_set_back_seconds": lambda: host_clock.set_back_ns / NS_PER_S,
        "source_failures": lambda: len(hub.source_failures),
        "websocket_connections": lambda: counters.total("websocket_connections_active"),
        "websocket_disconnects": lambda: sum(
            value for labels, value in _samples(counters, DISCONNECTS) if is_loss(labels["code"], labels["by"])
        ),
        "frames_skipped": lambda: counters.total("websocket_frames_skipped_total"),
        "store_fault": lambda: collectors.system.health_reason("store") is not None,
        **queues,
    }


def _samples(counters: Counted, name: str) -> Iterator[tuple[dict[str, str], int]]:
    """Yields the labels and the value of each sample of a family."""
    for family in counters.families():
        if family.name == name:
            for labels, sample in family.samples.items():
                assert isinstance(sample, Counter)
                yield dict(labels), sample.value
