"""`/ws/echo`: sends every message back, for conformance suites; served only if the configuration asks for it."""

from __future__ import annotations

from typing import ClassVar, Final

from observability.http11.messages import Request
from observability.websocket.connection import Accepted, WebSocketConnection
from observability.websocket.endpoint import WebSocketEndpoint

# The largest message of Autobahn's suite, and its smallest fragments.
MAX_MESSAGE_BYTES: Final = 16 * 1024 * 1024
MIN_FRAGMENT_BYTES: Final = 64


class EchoClient(WebSocketConnection):
    """Sends back what it receives."""

    max_message_bytes: ClassVar[int] = MAX_MESSAGE_BYTES
    max_fragments: ClassVar[int] = MAX_MESSAGE_BYTES // MIN_FRAGMENT_BYTES

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
