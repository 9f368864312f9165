"""The endpoint of the stream: `/ws/metrics` and `/ws` by WebSocket, `/stream` as server-sent events."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import ClassVar, Final, Protocol

from observability.access.authorization import OriginCheck
from observability.access.limits import ClientCount
from observability.http11.messages import Request, Response
from observability.http11.refusals import Unprocessable
from observability.routing.parameters import parameters_of
from observability.routing.router import HandOver, Parameter, RouteDescription, Router
from observability.stream.event_stream import MEDIA_TYPE, parse_event_id
from observability.stream.event_subscriber import EventSubscriber
from observability.stream.state import StreamState
from observability.stream.subscriber import Subscriber
from observability.stream.subscriptions import (
    DEFAULT,
    NO_QUERY,
    StreamQuery,
    Subscription,
    WebSocketQuery,
    parse_url,
)
from observability.websocket.connection import Accepted
from observability.websocket.endpoint import WebSocketEndpoint

EVENTS_PATH: Final = "/stream"

# nginx passes on at once what has this field, whatever its configuration says.
_FIELDS: Final = ((b"Cache-Control", b"no-store"), (b"X-Accel-Buffering", b"no"))


class PastClients(Protocol):
    """Makes the clients that look at the past."""

    def make_client(self, accepted: Accepted, query: WebSocketQuery, subscription: Subscription) -> Subscriber:
        """Returns the client of a connection, which begins with `query.at`. Raises Refusal."""


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
        past: PastClients,
    ) -> None:
        """`past` makes the clients that look at a recording."""
        super().__init__(
            loop,
            max_clients=max_clients,
            origins=origins,
            heartbeat_seconds=state.settings.heartbeat_seconds,
            client_count=client_count,
        )
        self._state = state
        self._past = past

    @property
    def lane_backlog(self) -> int:
        """Messages of the lanes that wait for clients, over all clients."""
        return sum(client.lane_backlog for client in self._state.lane_subscribers)

    def add_to(self, router: Router) -> None:
        router.add(
            "GET",
            EVENTS_PATH,
            self.events,
            name="stream",
            description=RouteDescription(
                "The stream as server-sent events",
                tags=("metrics",),
                parameters=(
                    *parameters_of(StreamQuery),
                    Parameter("Last-Event-ID", str, "the `id` of the last event received", where="header"),
                ),
                statuses=(200, 403, 422, 503),
                media_types=(MEDIA_TYPE.decode(),),
            ),
        )

    def make_client(self, request: Request, accepted: Accepted) -> Subscriber:
        # hot: once per handshake (observability bench --only storm)
        if not request.head.query:
            return Subscriber(self._state, accepted, NO_QUERY, DEFAULT)
        query, subscription = parse_url(request, self._state.views.channels, WebSocketQuery)
        if isinstance(query, WebSocketQuery) and query.at is not None:
            return self._past.make_client(accepted, query, subscription)
        if isinstance(query, WebSocketQuery) and query.speed is not None:
            raise Unprocessable([{"parameter": "speed", "error": "is of the past alone; expected `at` with it"}])
        return Subscriber(self._state, accepted, query, subscription)

    def events(self, request: Request) -> Response | HandOver:
        """Answers with the stream as server-sent events."""
        self._origins.check(request)
        query, subscription = parse_url(request, self._state.views.channels)
        head = Response(content_type=MEDIA_TYPE, headers=_FIELDS, has_length=False)
        return head if request.method == "HEAD" else HandOver(head, partial(self._open_events, query, subscription))

    def _open_events(
        self,
        query: StreamQuery,
        subscription: Subscription,
        head: bytes,
        request: Request,
        transport: asyncio.Transport,
        received: bytes,
        protocol: asyncio.Protocol,
    ) -> None:
        if transport.is_closing():
            return
        last_id = request.header(b"last-event-id")
        back = None if last_id is None else parse_event_id(last_id)
        client = EventSubscriber(self._state, self.accept(request, None), query, subscription, back)
        self.open_client(client, transport, received, head)
