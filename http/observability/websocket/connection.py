"""One WebSocket client over picows: the hand-over of the socket, messages out of frames, and the rules of RFC 6455 that
picows leaves to its user.

No broadcasting here (see `broadcast.py`) and no handshake (see `handshake.py`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import abstractmethod
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, ClassVar, Final

from picows import (
    WSAutoPingStrategy,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSProtocol  # type: ignore[attr-defined]  # not in its stubs

from observability.websocket.close_codes import NO_CLOSE, NO_STATUS, Side
from observability.websocket.inflate import InflateRefusal, inflate

MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_FRAGMENTS: Final = 256
# Per client; it grows with a message and shrinks never, so it starts at picows' least.
READ_BUFFER_BYTES: Final = 2048
# A peer that does not take what it asked for (pongs, answers) is not read from; this long, then it is gone.
WRITE_STALL_SECONDS: Final = 30.0
# After our Close frame the peer has this long for its own.
CLOSE_TIMEOUT_SECONDS: Final = 2.0
MAX_BACKLOG_BYTES: Final = 64 * 1024

# picows wants a head of its own liking: Connection with "upgrade" alone.
_HEAD: Final = (
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n\r\n"
)

logger = logging.getLogger(__name__)


class _PeerLog(logging.LoggerAdapter[logging.Logger]):
    """picows' logger. It tells of every connection, and calls a peer's violation of the protocol an error: here the one
    is of no interest, and the other is one more refusal.

    An adapter, because picows makes a child of a plain logger for every connection and keeps it.
    """

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.logger.debug(msg, *args)

    def error(self, msg: object, *args: object, **kwargs: Any) -> None:
        self.logger.info(msg, *args)


_picows_logger = _PeerLog(logger, {})


class CloseCode(IntEnum):
    """RFC 6455 section 7.4.1, and the IANA registry: those this server sends."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    INVALID_TEXT = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    TRY_AGAIN_LATER = 1013


class WebSocketConnection(WSListener):
    """One connected client: frames in, whole messages to `on_message`; all sending goes through it, and after `close`
    nothing is sent. What a path does with its clients is in a subclass."""

    max_message_bytes: ClassVar[int] = MAX_MESSAGE_BYTES

    def __init__(self, number: int, peer: str, loop: asyncio.AbstractEventLoop) -> None:
        self.number = number
        """Counts the clients of this worker."""
        self.peer = peer
        self.loop = loop
        self.silent_heartbeats = 0
        """Heartbeats since something was received."""
        self.is_closing = False
        self.close_code = NO_CLOSE
        """Of the Close that ended the connection, the first one if both sides sent one."""
        self.closed_by: Side = "client"
        self.takes_deflate = False
        """permessage-deflate was negotiated: messages may come with RSV1."""
        self.is_held = False
        """It is not read from, for a reason of the subclass."""
        self.transport: asyncio.Transport
        # Bound on connection, for the broadcast's inner loop.
        self.buffered_bytes: Callable[[], int]
        self.send_shared: Callable[..., None]
        self._ws: WSTransport
        self._fragments: list[bytes] = []
        self._fragments_bytes = 0
        self._is_text = False
        self._is_compressed = False
        self._stall_timer: asyncio.TimerHandle | None = None

    # -- for the subclass

    @abstractmethod
    def on_open(self) -> None:
        """The handshake is done and its answer is on its way."""

    @abstractmethod
    def on_message(self, message: bytes, is_text: bool) -> None:
        """A whole message; text is UTF-8."""

    @abstractmethod
    def on_closed(self) -> None:
        """The connection has ended, opened or not."""

    def on_drained(self) -> None:
        """Everything sent so far has left for the kernel, after it had not for a while."""

    def hold(self, is_held: bool) -> None:
        """Stops reading from the peer, or goes on."""
        if is_held != self.is_held:
            self.is_held = is_held
            self._judge_reading()

    # -- sending

    def send_text(self, data: bytes) -> None:
        """Sends one text message; a client that is closing gets nothing more."""
        if not self.is_closing:
            self._ws.send(WSMsgType.TEXT, data)
            self._check_backlog()

    def send_binary(self, data: bytes) -> None:
        if not self.is_closing:
            self._ws.send(WSMsgType.BINARY, data)
            self._check_backlog()

    def send_ping(self) -> None:
        if not self.is_closing and not self.buffered_bytes():
            self._ws.send_ping()

    def close(self, code: int, reason: str = "") -> None:
        """Sends Close; the socket is closed when the peer's Close comes, or after `CLOSE_TIMEOUT_SECONDS`."""
        if self.is_closing:
            return
        self.is_closing = True
        self.close_code, self.closed_by = code, "server"
        self._ws.send_close(code, reason.encode())  # type: ignore[arg-type]  # takes any code
        self._end_stall()
        # The peer's own Close is still to be read.
        self._judge_reading()
        # What a peer that reads nothing has not taken by then, it will not take.
        self.loop.call_later(CLOSE_TIMEOUT_SECONDS, self.transport.abort)

    def abort(self) -> None:
        if not self.is_closing:
            self.is_closing = True
            self.closed_by = "server"
        self.transport.abort()

    # -- picows' callbacks

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._ws = transport
        self.transport = transport.underlying_transport
        # Zero: `resume_writing` then says when everything has left.
        self.transport.set_write_buffer_limits(high=0)
        self.buffered_bytes = self.transport.get_write_buffer_size
        self.send_shared = transport.send_reuse_external_bytearray
        # The 101 is on its way only at the end of this turn of the loop: what is sent in the next goes straight out.
        self.loop.call_soon(self._open)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        opcode = frame.msg_type
        if self.is_closing:
            # RFC 6455 section 1.4: after a Close nothing counts but the peer's own.
            if opcode == WSMsgType.CLOSE:
                transport.disconnect()
            return
        self.silent_heartbeats = 0
        # RFC 6455 section 5.2: RSV bits MUST be 0 unless an extension defines them. RFC 7692 section 6: RSV1 is set on
        # the first frame of a compressed message, on no other and on no control frame.
        may_be_compressed = self.takes_deflate and opcode in (WSMsgType.TEXT, WSMsgType.BINARY)
        if frame.rsv2 or frame.rsv3 or (frame.rsv1 and not may_be_compressed):
            self.close(CloseCode.PROTOCOL_ERROR, "reserved bits are set")
        elif opcode == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
            self._check_backlog()
        elif opcode == WSMsgType.CLOSE:
            self._on_close_frame(transport, frame)
        elif opcode != WSMsgType.PONG:
            self._on_data_frame(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.is_closing = True
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self.on_closed()

    def pause_writing(self) -> None:
        """Called by the transport once something waits in its buffer; `_check_backlog` judges how much is too much."""

    def resume_writing(self) -> None:
        self._end_stall()
        if not self.is_closing:
            self.on_drained()

    # -- messages

    def _check_backlog(self) -> None:
        """Stops reading from a peer that does not take the answers it asks for."""
        if self._stall_timer is None and self.buffered_bytes() > MAX_BACKLOG_BYTES:
            self._stall_timer = self.loop.call_later(WRITE_STALL_SECONDS, self.abort)
            self._judge_reading()

    def _end_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
            self._judge_reading()

    def _judge_reading(self) -> None:
        # A closing transport refuses either.
        if self.transport.is_closing():
            return
        if self._stall_timer is None and (self.is_closing or not self.is_held):
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _open(self) -> None:
        if not self.is_closing:
            self.on_open()

    def _on_data_frame(self, frame: WSFrame) -> None:
        is_continuation = frame.msg_type == WSMsgType.CONTINUATION
        # RFC 6455 section 5.4: fragments of one message are not interleaved with another's.
        if is_continuation != bool(self._fragments):
            self.close(CloseCode.PROTOCOL_ERROR, "fragments out of order")
            return
        if not is_continuation:
            self._is_text = frame.msg_type == WSMsgType.TEXT
            self._is_compressed = frame.rsv1
            self._fragments_bytes = 0
        self._fragments_bytes += frame.payload_size
        if self._fragments_bytes > self.max_message_bytes or len(self._fragments) >= MAX_FRAGMENTS:
            self._fragments = []
            self.close(CloseCode.MESSAGE_TOO_BIG, f"a message is at most {self.max_message_bytes} bytes")
            return
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            message, self._fragments = b"".join(self._fragments), []
            self._on_whole_message(message)

    def _on_whole_message(self, message: bytes) -> None:
        if self._is_compressed:
            try:
                message = inflate(message, self.max_message_bytes)
            except InflateRefusal as refusal:
                self.close(refusal.close_code, str(refusal))
                return
        if self._is_text and not _is_utf8(message):
            # RFC 6455 section 8.1
            self.close(CloseCode.INVALID_TEXT, "text is not UTF-8")
            return
        self.on_message(message, self._is_text)

    def _on_close_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.is_closing = True
        if frame.payload_size == 0:
            # RFC 6455 section 5.5.1 leaves the code of the answer open. An empty Close of ours is one that picows does
            # not count: it would send another for a fault behind the peer's.
            echoed: int = CloseCode.NORMAL
            self.close_code = NO_STATUS
        else:
            code = int.from_bytes(frame.get_payload_as_bytes()[:2], "big")
            echoed = code if _is_close_code(code) else CloseCode.PROTOCOL_ERROR
            self.close_code = echoed
        transport.send_close(echoed)  # type: ignore[arg-type]  # takes any code
        transport.disconnect()
        # A peer that reads nothing would keep what is unsent, and the connection with it.
        self.loop.call_later(CLOSE_TIMEOUT_SECONDS, self.transport.abort)


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_close_code(code: int) -> bool:
    """RFC 6455 section 7.4: codes an endpoint may put into a Close frame."""
    return 3000 <= code <= 4999 or (1000 <= code <= 1014 and code not in (1004, 1005, 1006))


def hand_over(
    client: WebSocketConnection,
    transport: asyncio.Transport,
    key: bytes,
    received: bytes,
    fields: Sequence[tuple[str, str]] = (),
) -> None:
    """Makes picows the protocol of `transport`, which completes the handshake with `key` (checked already) and then
    reads frames, beginning with `received`. `fields` join the 101. Raises nothing a peer can cause."""
    response = WSUpgradeResponse.create_101_response(fields)
    protocol: Any = WSProtocol(
        None,  # host and port
        None,  # path
        False,  # is_client_side
        lambda _request: WSUpgradeResponseWithListener(response, client),
        _picows_logger,
        True,  # disconnect_on_exception
        None,  # handshake timeout: the whole head is fed right here
        False,  # auto ping: the worker's heartbeat pings
        0.0,
        0.0,
        WSAutoPingStrategy.PING_WHEN_IDLE,
        False,  # auto pong would hide the frame's RSV bits
        client.max_message_bytes,
        None,  # extra headers
        READ_BUFFER_BYTES,
    )
    transport.pause_reading()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    pending = memoryview(_HEAD % key + received)
    while pending and not transport.is_closing():
        buffer = protocol.get_buffer(-1)
        size = min(len(buffer), len(pending))
        buffer[:size] = pending[:size]
        protocol.buffer_updated(size)
        pending = pending[size:]
    if not transport.is_closing():
        transport.resume_reading()


def limit_unsent(transport: asyncio.Transport, unsent_bytes: int) -> None:
    """Lets the kernel hold about `unsent_bytes` that are not on the wire yet: a slow reader is then noticed after a few
    frames, where the default lets megabytes pile up unseen."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent_bytes)
