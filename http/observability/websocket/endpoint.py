"""The base of every WebSocket endpoint: it checks the handshake, admits the client, pings it, and closes all clients on
shutdown."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import suppress
from itertools import count
from typing import ClassVar, Generic, NamedTuple, TypeVar

from observability.access.authorization import OriginCheck, Role, chosen_subprotocol
from observability.access.limits import ClientCount, ProcessClientCount
from observability.http11.messages import Request
from observability.http11.refusals import Unavailable
from observability.websocket.connection import Accepted, WebSocketConnection
from observability.websocket.extensions import DeflateParameters, negotiate
from observability.websocket.handshake import check_handshake, handshake_answer
from observability.websocket.heartbeat import ClientPinger

ClientT = TypeVar("ClientT", bound=WebSocketConnection)


class WebSocketEndpoint(ABC, Generic[ClientT]):
    """Accepts the clients of some paths and keeps track of them. A subclass makes the clients."""

    paths: ClassVar[tuple[str, ...]]
    role: ClassVar[Role] = "read"
    """The role that a client needs."""
    clients_are: ClassVar[str] = "WebSocket connections"

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_clients: int,
        origins: OriginCheck | None = None,
        heartbeat_seconds: float | None = None,
        client_count: ClientCount | None = None,
    ) -> None:
        """`client_count` counts beyond this process if `max_clients` holds for several processes. Without
        `heartbeat_seconds` clients are not pinged."""
        self.clients: dict[int, ClientT] = {}
        """Connected clients by their numbers."""
        self._loop = loop
        self._max_clients = max_clients
        self._origins = OriginCheck() if origins is None else origins
        self._client_count = ProcessClientCount() if client_count is None else client_count
        self._pinger = None if heartbeat_seconds is None else ClientPinger(heartbeat_seconds, loop)
        # Clients that have ended, and whose sockets still wait for the peer to close its side.
        self._lingering: dict[int, ClientT] = {}
        self._numbers = count(1)
        # Bound once for all clients.
        self._on_end, self._on_lost = self._forget, self._release
        self._empty = asyncio.Event()
        self._is_closing = False

    @abstractmethod
    def make_client(self, request: Request, accepted: Accepted) -> ClientT:
        """Returns the connection of a client whose handshake is valid. Raises Refusal."""

    def on_count(self, clients: int) -> None:
        """Called with the number of clients whenever it has changed."""

    def upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> None:
        """Turns an HTTP connection into a client; `received` followed the request. Raises Refusal for a bad handshake,
        and if `max_clients` are connected."""
        if transport.is_closing():
            # The peer is gone already. picows would never report the end of this client.
            return
        key = check_handshake(request)
        self._origins.check(request)
        terms = request.head.terms
        if not isinstance(terms, _Terms):
            terms = request.head.terms = _Terms.of(request)
        deflate = terms.deflate
        client = self.make_client(request, self.accept(request, deflate))
        self.open_client(client, transport, received, handshake_answer(key, terms.fields))

    def accept(self, request: Request, deflate: DeflateParameters | None) -> Accepted:
        """Returns what the next client is made from."""
        return Accepted(
            next(self._numbers), request.client_address, self._loop, deflate, self._on_end, self._on_lost
        )  # fmt: skip

    def open_client(self, client: ClientT, transport: asyncio.Transport, received: bytes, answer: bytes) -> None:
        """Sends `answer` and gives the transport to the client. Raises Refusal if `max_clients` are connected."""
        if self._client_count.set(len(self.clients) + 1) > self._max_clients:
            self._client_count.set(len(self.clients))
            raise Unavailable(f"all {self._max_clients} {self.clients_are} are in use")
        self.clients[client.number] = client
        self.on_count(len(self.clients))
        self._empty.clear()
        if self._pinger is not None and not self._is_closing:
            # Before it opens: a Close that came with the handshake ends it within the call.
            self._pinger.add(client)
        client.open(transport, answer, received)
        if self._is_closing:
            # While other workers accept, a connection may land here by chance. Its client connects again at once.
            client.finish()

    async def close(self, grace_seconds: float) -> None:
        """Asks every client to finish, also those that still come, waits up to `grace_seconds` for them, and aborts
        those that remain."""
        self._is_closing = True
        if self._pinger is not None:
            self._pinger.stop()
        for client in tuple(self.clients.values()):
            client.finish()
        if self.clients:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), grace_seconds)
        for client in (*self.clients.values(), *self._lingering.values()):
            client.abort()
        # Transports report their end in the loop's next iteration.
        await asyncio.sleep(0)

    def _forget(self, number: int) -> None:
        client = self._lingering[number] = self.clients.pop(number)
        if self._pinger is not None:
            self._pinger.discard(client)
        self._client_count.set(len(self.clients))
        self.on_count(len(self.clients))
        if not self.clients:
            self._empty.set()

    def _release(self, number: int) -> None:
        del self._lingering[number]


class _Terms(NamedTuple):
    """What the head of a handshake settles; clients whose heads differ in nothing but their keys share it."""

    deflate: DeflateParameters | None
    fields: bytes
    """The field lines of the 101 that name what was negotiated."""

    @classmethod
    def of(cls, request: Request) -> _Terms:
        """Raises Refusal for a value that cannot be read."""
        fields = b""
        deflate = negotiate(request.header(b"sec-websocket-extensions"))
        if deflate is not None:
            fields += b"Sec-WebSocket-Extensions: %b\r\n" % deflate.response
        subprotocol = chosen_subprotocol(request)
        if subprotocol is not None:
            fields += b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("ascii")
        return cls(deflate, fields)
