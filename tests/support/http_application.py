"""An application with handlers that answer, wait, fail and refuse; requests to it, and readers of its answers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from observability.access.limits import Limits
from observability.connections.connection import HttpConnection
from observability.connections.states import ConnectionState
from observability.http11.documents import ReadyDocument
from observability.http11.messages import Request, Response
from observability.http11.refusals import Refusal
from observability.routing.application import Application
from observability.routing.router import Content, Router

HELLO = b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"
# Those of which the tests send content.
ANY_TYPE = (b"application/json", b"application/x-www-form-urlencoded", b"application/octet-stream")
# Of 64 such answers, the most that one turn makes, the kernel's buffers hold only a part.
LARGE = b"x" * 256 * 1024


class HttpApplication:
    """An application whose handlers cover what a connection can meet, and the answers that its hook has counted."""

    def __init__(self, clock: Any, limits: Limits | None = None) -> None:
        self.answers: list[tuple[str, str, int]] = []
        self.gates: list[asyncio.Future[None]] = []
        self.upgraded: list[bytes] = []
        router = Router()
        router.add("GET", "/hello", self.hello)
        router.add("GET", "/slow", self.slow)
        router.add("GET", "/large", self.large)
        router.add("GET", "/echo/{word}", self.echo)
        router.add("POST", "/echo", self.echo_body, role="open", content=Content(ANY_TYPE))
        router.add("GET", "/fail", self.fail)
        router.add("GET", "/fail-later", self.fail_later)
        router.add("GET", "/refuse-later", self.refuse_later)
        router.add_websocket("/ws")
        self.application = Application(
            router, clock, limits=limits or Limits(), upgrade=self.upgrade, on_answers=self.count
        )

    def count(self, method: str, route: str, status: int, spent_ns: int, number: int) -> None:
        assert spent_ns >= 0
        self.answers += [(method, route, status)] * number

    def hello(self, request: Request) -> Response:
        return Response(body=b"hello " + request.peer.encode())

    async def slow(self, request: Request) -> Response:
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        await gate
        return Response(body=b"slow")

    def large(self, request: Request) -> ReadyDocument:
        return ReadyDocument(LARGE, b'"1"')

    def echo(self, request: Request, word: str) -> Response:
        return Response(body=word.encode())

    def echo_body(self, request: Request) -> Response:
        return Response(body=request.body)

    def fail(self, request: Request) -> Response:
        raise RuntimeError("s3cret")

    async def fail_later(self, request: Request) -> Response:
        raise RuntimeError("s3cret")

    async def refuse_later(self, request: Request) -> Response:
        raise Refusal(409, "two of them")

    def upgrade(
        self, request: Request, transport: asyncio.Transport, leftover: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        if request.query == "full":
            return Response(503, b"full")
        if request.query == "forbidden":
            raise Refusal(403, "origin")
        if request.query == "broken":
            raise RuntimeError("s3cret")
        brackets = BracketProtocol(transport)
        transport.set_protocol(brackets)
        if request.query == "broken-late":
            raise RuntimeError("s3cret")
        transport.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        if leftover:
            brackets.data_received(leftover)
        return None


class BracketProtocol(asyncio.Protocol):
    """The protocol that an upgrade hands the transport to: it returns every chunk of data in brackets."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"<" + data + b">")


def get(path: bytes, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"\r\n".join([b"GET " + path + b" HTTP/" + version, b"Host: a", *fields, b"", b""])


def upgrade(target: bytes) -> bytes:
    return get(target, b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")


def bodies(data: bytes) -> list[tuple[int, bytes]]:
    """Returns the status and content of each answer in `data`."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(fields.get(b"content-length", 0))
        answers.append((int(lines[0].split()[1]), data[:length]))
        data = data[length:]
    return answers


def receive(sock: socket.socket, ending: bytes) -> bytes:
    data = b""
    while not data.endswith(ending):
        part = sock.recv(65536)
        assert part, f"the server ended the connection after {data!r}"
        data += part
    return data


def receive_all(sock: socket.socket) -> bytes:
    data = bytearray()
    while part := sock.recv(1 << 20):
        data += part
    return bytes(data)


def only_connection(server: Any) -> HttpConnection:
    (connection,) = server.listener._connections
    assert isinstance(connection, HttpConnection)
    return connection


def in_state(server: Any, state: ConnectionState) -> Callable[[], bool]:
    return lambda: [connection._state for connection in server.listener._connections] == [state]
