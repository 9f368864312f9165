"""The worker: the side that owns sockets. It sends frames to clients and answers their requests."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import Any, Final

from observability.access.addresses import TrustedProxies, is_loopback
from observability.access.authorization import AccessPolicy, HostCheck, OriginCheck
from observability.access.limits import ClientCounts, Limits
from observability.access.rates import RequestRate
from observability.clocks.clock import Clock
from observability.config.config import LOCAL_WRITES_BY_USER, Config
from observability.connections.listener import HttpListener
from observability.connections.tls import Certificate
from observability.http11.cors import CorsPolicy
from observability.http11.messages import Request, Response
from observability.ingest.gate import Gate
from observability.memory.counters import Counters
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.monitoring.request_counters import RequestCounters
from observability.monitoring.serving import SentListener
from observability.past.player import Player
from observability.past.reader import RecordingReader
from observability.processes.child import ChildContext
from observability.processes.listeners import open_listeners
from observability.routing.application import Application
from observability.routing.router import Router, TakeTransport
from observability.senders.endpoint import SenderEndpoint
from observability.snapshot.frames import Frame
from observability.stream.broadcast import Broadcaster, ChunkSize, open_batches
from observability.stream.endpoint import StreamEndpoint
from observability.stream.state import Feed, StreamSettings, StreamState
from observability.websocket.echo import EchoEndpoint
from observability.websocket.endpoint import WebSocketEndpoint

# Other workers would have answered a connection that was accepted just before this one stops, so it gets this long to
# send its request.
NEWCOMERS_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class SharedPort:
    """One worker's share of a port that all workers of the host listen on."""

    slot: int
    """The worker's number."""
    sockets: tuple[socket.socket, ...]
    """Sockets that listen already."""
    client_counts: ClientCounts
    """Counts the clients of all workers together."""

    @classmethod
    def of(cls, context: ChildContext) -> SharedPort:
        """Returns the share of the worker in a process slot."""
        counts = ClientCounts.of_host(context.mapping.workers, context.slot)
        return cls(context.slot.number, context.listeners, counts)


class Worker:
    """Serves the clients of one port: HTTP by the routing table, WebSocket by an endpoint per path.

    Without a `shared_port` it listens on the configured address. Raises ConfigError if the TLS certificate and key do
    not match.
    """

    def __init__(
        self,
        config: Config,
        feed: Feed,
        gate: Gate,
        counters: Counters,
        host_clock: Clock,
        loop: asyncio.AbstractEventLoop,
        shared_port: SharedPort | None = None,
        *,
        recording: RecordingReader,
        slices: asyncio.Lock,
    ) -> None:
        """`slices` is shared by everything that works in slices."""
        self._requests = RequestCounters(counters)
        self._chunk_size = ChunkSize()
        client_counts = ClientCounts() if shared_port is None else shared_port.client_counts
        self.certificate = _certificate(config)
        self.router = Router()
        self._batches = open_batches(config.broadcast, config.ws_max_connections)
        self._broadcaster = Broadcaster(counters, host_clock, loop, self._batches)
        settings = StreamSettings(
            interval_seconds=config.metric_collection_interval,
            heartbeat_seconds=config.ws_heartbeat_interval,
            max_backlog=config.ws_message_queue_size,
            messages_per_second=config.ws_rate_limit,
            slot=None if shared_port is None else shared_port.slot,
        )
        self._state = StreamState(feed, settings, self._broadcaster, host_clock, counters)
        cors = CorsPolicy(config.cors_origins)
        origins = OriginCheck(cors)
        proxies = TrustedProxies(config.trusted_proxies)
        hosts = HostCheck(config.cors_origins, proxies) if all(map(is_loopback, config.hosts)) else None
        player = Player(self._state, recording, counters, loop, slices)
        self._broadcaster.add_sent_listener(player.on_sent)
        self._stream = StreamEndpoint(
            self._state,
            loop,
            max_clients=config.ws_max_connections,
            origins=origins,
            client_count=client_counts.websockets,
            past=player,
        )
        senders = SenderEndpoint(
            gate,
            feed.event_clock,
            counters,
            loop,
            origins=origins,
            heartbeat_seconds=config.ws_heartbeat_interval,
            control_frames_per_second=config.ws_rate_limit,
        )
        self._endpoints: list[WebSocketEndpoint[Any]] = [self._stream, senders]
        if config.echo:
            self._endpoints.append(EchoEndpoint(loop, max_clients=config.ws_max_connections))
        self._upgrades: dict[str, TakeTransport] = {}
        for endpoint in self._endpoints:
            for path in endpoint.paths:
                self.router.add_websocket(path, endpoint.role)
                self._upgrades[path] = endpoint.upgrade
        self._stream.add_to(self.router)
        self._application = Application(
            self.router,
            clock=host_clock,
            cors=cors,
            limits=Limits(
                max_connections=config.ws_max_connections,
                max_connections_per_address=config.max_connections_per_address or None,
                idle_seconds=config.http_idle_timeout,
                max_content_memory=config.http_body_memory,
            ),
            access=AccessPolicy(
                config.api_tokens, origins, hosts=hosts, takes_local_writes=config.local_writes == LOCAL_WRITES_BY_USER
            ),
            proxies=proxies,
            takes_proxy_protocol=config.proxy_protocol,
            request_rate=RequestRate(config.http_rate_limit) if config.http_rate_limit else None,
            is_tls=self.certificate is not None,
            upgrade=self._upgrade,
            on_answers=self._requests.on_answers,
            keep_pace=self._state.keep_pace,
        )
        self._listener = HttpListener(self._application, client_counts.connections)
        self._config = config
        self._counters = counters
        self._sockets = () if shared_port is None else shared_port.sockets

    async def start(self) -> None:
        """Opens the port. Raises OSError if it cannot be opened."""
        sockets = self._sockets
        if not sockets:
            (sockets,) = open_listeners(self._config.hosts, self._config.port, 1, reuse_port=False)
        await self._listener.start(sockets, certificate=self.certificate)

    async def stop(self) -> None:
        """Stops accepting, answers the requests that have come, and closes every WebSocket with 1001; what takes longer
        than the grace period is cut off."""
        grace_seconds = self._config.shutdown_grace_seconds
        await asyncio.gather(
            self._listener.close(grace_seconds, NEWCOMERS_SECONDS if self._sockets else 0.0),
            *(endpoint.close(grace_seconds) for endpoint in self._endpoints),
        )
        if self._batches is not None:
            self._batches.close()

    def send_frame(self, frame: Frame) -> None:
        """Sends a frame to every subscriber. Answers made from the frame before are not ready any more."""
        self._application.clear_ready()
        self._broadcaster.send_frame(frame, self._chunk_size.of_frame(self._requests.answers))

    def add_sent_listener(self, listener: SentListener) -> None:
        self._broadcaster.add_sent_listener(listener)

    def set_stale(self, message: bytes | None) -> None:
        """Sends subscribers the message that the data is stale; None ends this."""
        self._state.set_stale(message)

    @property
    def port(self) -> int:
        return self._listener.port

    @property
    def counted(self) -> Counters:
        return self._counters

    @property
    def lane_backlog(self) -> int:
        return self._stream.lane_backlog

    @property
    def websocket_clients(self) -> int:
        return len(self._broadcaster.clients)

    @property
    def http_connections(self) -> int:
        return self._listener.connection_count

    @property
    def http_requests(self) -> int:
        return self._counters.total("http_requests_total")

    @property
    def messages_sent(self) -> int:
        return self._broadcaster.messages_sent

    @property
    def frames_skipped(self) -> int:
        return self._broadcaster.frames_skipped

    @property
    def clients_behind(self) -> int:
        return self._broadcaster.clients_behind

    @property
    def fanout(self) -> DurationHistogram:
        return self._broadcaster.fanout

    def processes(self) -> dict[str, dict[str, Any]]:
        return {}

    def not_ready(self) -> list[str]:
        return []

    def _upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        return self._upgrades[request.path](request, transport, received, protocol)


def _certificate(config: Config) -> Certificate | None:
    if config.tls_cert is None or config.tls_key is None:
        return None
    return Certificate(config.tls_cert, config.tls_key)
