"""The server's own figures, by the names that alert rules read under `server.`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from observability.clocks.steady import SteadyClock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S
from observability.memory.counters import Counted, Counter, Labels
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
        "websocket_disconnects": lambda: _losses(counters),
        "frames_skipped": lambda: counters.total("websocket_frames_skipped_total"),
        "store_fault": lambda: collectors.system.health_reason("store") is not None,
        **queues,
    }


def _losses(counters: Counted) -> int:
    """Returns how many clients of the stream were lost or closed by the server."""
    family = counters.family(DISCONNECTS)
    if family is None:
        return 0
    return sum(
        sample.value for labels, sample in family.samples.items() if isinstance(sample, Counter) and _is_loss(labels)
    )


@cache
def _is_loss(labels: Labels) -> bool:
    named = dict(labels)
    return is_loss(named["code"], named["by"])
