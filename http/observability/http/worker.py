"""The worker: the side that owns sockets. It takes frames from the hub and everything else from its peers.

No collecting and no encoding of snapshots here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from observability.core.clock import Clock
from observability.core.config import Config
from observability.core.counters import Counter, Counters, DurationHistogram
from observability.core.hub import Hub
from observability.core.timestamps import NS_PER_S
from observability.http.application import Application, Limits
from observability.http.broadcast import Broadcaster, Heartbeat
from observability.http.cors import CorsPolicy
from observability.http.lanes import Lane
from observability.http.listener import HttpListener
from observability.http.router import Router
from observability.http.stream import PATHS, MetricsStream


class RequestCounters:
    """Counts answers by method, route and status, and times them by route."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._known: dict[tuple[str, str, int], tuple[Counter, DurationHistogram]] = {}

    def on_request(self, method: str, route: str, status: int, seconds: float) -> None:
        # hot: once per request (benchmarks/bench_http.py)
        known = self._known.get((method, route, status))
        if known is None:
            known = self._known[method, route, status] = (
                self._counters.counter(
                    "http_requests_total", "HTTP requests answered", method=method, route=route, status=str(status)
                ),
                self._counters.histogram(
                    "http_request_duration_seconds", "From the parsed request to its written answer", route=route
                ),
            )
        known[0].add()
        known[1].record(int(seconds * NS_PER_S))


class Worker:
    """Serves clients on one port: HTTP through the routing table, WebSocket through the stream."""

    def __init__(
        self, config: Config, hub: Hub, lanes: dict[str, Lane], host_clock: Clock, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.router = Router()
        self.broadcaster = Broadcaster(hub.counters, host_clock, loop)
        self.heartbeat = Heartbeat(self.broadcaster.clients, config.ws_heartbeat_interval, loop)
        self.stream = MetricsStream(
            hub.frames,
            hub.serializer.index,
            lanes,
            self.broadcaster,
            hub.event_clock,
            host_clock,
            interval_seconds=config.metric_collection_interval,
            heartbeat_seconds=config.ws_heartbeat_interval,
            max_connections=config.ws_max_connections,
            max_backlog=config.ws_message_queue_size,
            allowed_origins=frozenset(config.cors_origins),
            loop=loop,
        )
        for path in PATHS:
            self.router.add_websocket(path)
        self.application = Application(
            self.router,
            clock=host_clock,
            cors=CorsPolicy(config.cors_origins),
            limits=Limits(max_connections=config.ws_max_connections),
            upgrade=self.stream.upgrade,
            on_request=RequestCounters(hub.counters).on_request,
        )
        self.listener = HttpListener(self.application)
        self._config = config
        hub.on_frame(self.broadcaster.send_frame)

    async def start(self, on_listening: Callable[[int], None]) -> None:
        """Opens the port and reports it. Raises OSError if it cannot be had."""
        await self.listener.start(self._config.host, self._config.port)
        self.heartbeat.start()
        on_listening(self.listener.port)

    async def stop(self) -> None:
        """Stops accepting, lets answers go out, closes every WebSocket with 1001, within the grace period."""
        self.heartbeat.stop()
        grace_seconds = self._config.shutdown_grace_seconds
        await asyncio.gather(self.listener.close(grace_seconds), self.stream.close(grace_seconds))
