"""An echo of every message, for conformance suites that need one; served only where the configuration asks for it.

Nothing of the product passes here.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Final

from observability.http11.messages import Request, Response
from observability.websocket.connection import WebSocketConnection, hand_over
from observability.websocket.extensions import answer_fields, negotiate
from observability.websocket.handshake import check_handshake

PATH: Final = "/ws/echo"


class EchoClient(WebSocketConnection):
    """Sends back what it gets."""

    def on_open(self) -> None: ...

    def on_message(self, message: bytes, is_text: bool) -> None:
        if is_text:
            self.send_text(message)
        else:
            self.send_binary(message)

    def on_closed(self) -> None: ...


class EchoEndpoint:
    """Takes the connections of the echo's path."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._numbers = count(1)

    def upgrade(
        self, request: Request, transport: asyncio.Transport, received: bytes, protocol: asyncio.Protocol
    ) -> Response | None:
        key = check_handshake(request, frozenset())
        deflate = negotiate(request.header(b"sec-websocket-extensions"))
        client = EchoClient(next(self._numbers), request.client_address, self._loop)
        client.takes_deflate = deflate is not None
        hand_over(client, transport, key, received, answer_fields(deflate))
        return None
