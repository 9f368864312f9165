"""`/ws/metrics` and `/ws`: the endpoint of the stream."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from observability.access.authorization import OriginCheck
from observability.access.limits import ClientCount
from observability.http11.messages import Request
from observability.stream.state import StreamState
from observability.stream.subscriber import Subscriber
from observability.stream.subscriptions import parse_url
from observability.websocket.connection import Accepted
from observability.websocket.endpoint import WebSocketEndpoint


class StreamEndpoint(WebSocketEndpoint[Subscriber]):
    """Accepts subscribers."""

    paths: ClassVar[tuple[str, ...]] = ("/ws/metrics", "/ws")

    def __init__(
        self,
        state: StreamState,
        loop: asyncio.AbstractEventLoop,
        *,
        max_clients: int,
        origins: OriginCheck,
        client_count: ClientCount | None = None,
    ) -> None:
        super().__init__(
            loop,
            max_clients=max_clients,
            origins=origins,
            heartbeat_seconds=state.settings.heartbeat_seconds,
            client_count=client_count,
        )
        self._state = state

    @property
    def lane_backlog(self) -> int:
        """Messages of the lanes that wait for clients, over all clients."""
        return sum(client.lane_backlog for client in self._state.lane_subscribers)

    def make_client(self, request: Request, accepted: Accepted) -> Subscriber:
        query, subscription = parse_url(request, self._state.views.channels)
        return Subscriber(self._state, accepted, query, subscription)
