"""`/ws/echo`: sends every message back, for conformance suites; served only if the configuration asks for it."""

from __future__ import annotations

from typing import ClassVar

from observability.http11.messages import Request
from observability.websocket.connection import Accepted, WebSocketConnection
from observability.websocket.endpoint import WebSocketEndpoint


class EchoClient(WebSocketConnection):
    """Sends back what it receives."""

    def on_message(self, message: bytes, is_text: bool) -> None:
        if is_text:
            self.send_text(message)
        else:
            self.send_binary(message)


class EchoEndpoint(WebSocketEndpoint[EchoClient]):
    """The endpoint. Suites expect nothing but echoes, so it is made without a heartbeat."""

    paths: ClassVar[tuple[str, ...]] = ("/ws/echo",)

    def make_client(self, request: Request, accepted: Accepted) -> EchoClient:
        return EchoClient(accepted)
