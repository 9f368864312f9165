"""The server's own numbers, as alert rules read them under `server.`.

Nothing is measured here; each figure reads what a part of the server counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from observability.core.hub import Hub
from observability.http.worker import Worker
from observability.metrics.metric_paths import Figure
from observability.metrics.system_collector import SystemCollector


def server_figures(
    hub: Hub, worker: Worker, system: SystemCollector, queues: Mapping[str, Callable[[], int]] | None = None
) -> dict[str, Figure]:
    """Returns every figure by name; `queues` are further ones, as `NAME_queue`."""
    broadcaster, bus = worker.broadcaster, hub.bus
    return {
        "ticks": lambda: hub.frames.latest_seq,
        "ticks_missed": lambda: hub.ticks_missed,
        "tick_ms": lambda: hub.last_tick_ns / 1e6,
        "events": lambda: sum(sum(published.values()) for published in bus.published.values()),
        "event_handler_errors": lambda: bus.handler_errors,
        "source_failures": lambda: len(hub.source_failures),
        "websocket_connections": lambda: len(broadcaster.clients),
        "websocket_disconnects": lambda: worker.disconnects.lost,
        "frames_skipped": lambda: broadcaster.frames_skipped,
        "clients_behind": lambda: broadcaster.clients_behind,
        "lane_backlog": lambda: worker.stream.lane_backlog,
        "store_fault": lambda: system.health_reason("store") is not None,
        **{f"{name}_queue": depth for name, depth in (queues or {}).items()},
    }
