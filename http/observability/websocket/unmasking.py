"""The unmasking of data frames, by picows: a picows protocol without a socket, made when a client sends its first one.

Most clients of the stream send none, so that neither the handshake nor the memory of a client pays for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

from picows import (
    WSAutoPingStrategy,
    WSFrame,
    WSListener,
    WSTransport,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in its stubs

# The buffer grows with a frame and never shrinks, so it starts at picows' minimum.
READ_BUFFER_BYTES: Final = 2048

# The handshake has been answered. picows must see one, of which only the form matters.
_HEAD: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

logger = logging.getLogger(__name__)


class _PeerLog(logging.LoggerAdapter[logging.Logger]):
    """picows' logger, with levels lowered: picows reports every connection, and reports a peer's violation of the
    protocol as an error.

    It is an adapter because picows makes a child of a plain logger for every connection and keeps it.
    """

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.logger.debug(msg, *args)

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.logger.info(msg, *args)


PICOWS_LOG: Final = _PeerLog(logger, {})


class _Wire:
    """The transport, and its socket, as the protocol sees them: its answer to the handshake goes nowhere, and what it
    sends later, when our code fails, goes to the client."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.is_open = False

    # -- the socket

    def setsockopt(self, *option: int) -> None: ...

    def getsockopt(self, *option: int) -> int:
        return 0

    def fileno(self) -> int:
        return -1

    # -- the transport

    def get_extra_info(self, name: str) -> _Wire | None:
        return self if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        # Not empty, so that picows does not write to the socket itself.
        return 1

    def write(self, data: bytes) -> None:
        if self.is_open:
            self._transport.write(data)

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class _Listener(WSListener):
    """Passes on the payload of each frame."""

    def __init__(self, on_payload: Callable[[bytes], None]) -> None:
        self._on_payload = on_payload

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._on_payload(frame.get_payload_as_bytes())


def make_unmasker(transport: asyncio.Transport, max_frame_bytes: int, on_payload: Callable[[bytes], None]) -> Any:
    """Returns a picows protocol that calls `on_payload` with the payload of each data frame whose bytes it is given.
    If the call fails, it closes the client's connection with 1011."""
    wire = _Wire(transport)
    answer = WSUpgradeResponseWithListener(WSUpgradeResponse.create_101_response(()), _Listener(on_payload))
    protocol = WSProtocol(
        None,  # host and port
        None,  # path
        False,  # is_client_side
        lambda _request: answer,
        PICOWS_LOG,
        True,  # disconnect_on_exception
        None,  # handshake timeout: the whole head is fed below
        False,  # auto ping: the endpoint pings
        0.0,
        0.0,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        False,  # auto pong would hide the frame's RSV bits
        max_frame_bytes,
        None,  # extra headers
        READ_BUFFER_BYTES,
    )
    protocol.connection_made(wire)
    protocol.get_buffer(-1)[: len(_HEAD)] = _HEAD
    protocol.buffer_updated(len(_HEAD))
    wire.is_open = True
    return protocol
