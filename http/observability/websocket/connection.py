"""One WebSocket connection: assembling messages from frames, sending, closing (RFC 6455).

picows unmasks data frames and sends.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import socket
from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any, ClassVar, Final, NamedTuple

from picows import WSMsgType, WSTransport

from observability.access.rates import MessageRate
from observability.clocks.timestamps import NS_PER_S
from observability.websocket.close_codes import NO_CLOSE, NO_STATUS, CloseCode, Ender, is_sendable
from observability.websocket.extensions import DeflateParameters
from observability.websocket.inbound import (
    BINARY,
    CLOSE,
    CONTINUATION,
    CONTROL,
    PING,
    TEXT,
    Fault,
    FrameHeader,
    Inbound,
)
from observability.websocket.inflate import InflateRefusal, inflate
from observability.websocket.unmasking import PICOWS_LOG, make_unmasker

DEFAULT_MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_FRAGMENTS: Final = 256
# With more than this unsent, a peer is not read from: it asks for answers (pongs, say) faster than it reads them.
MAX_BACKLOG_BYTES: Final = 64 * 1024
# A peer that leaves its backlog unread for this long is disconnected.
WRITE_STALL_SECONDS: Final = 30.0
# A client that sends this many messages in as many seconds that are refused does not speak this protocol.
MAX_REFUSED_MESSAGES: Final = 10
# How long after our Close frame the peer may take to send its own.
CLOSE_TIMEOUT_SECONDS: Final = 2.0

RSV1: Final = 4

logger = logging.getLogger(__name__)

# It holds the interpreter's lock, which is given up and taken again in more time than the call takes.
_libc = ctypes.PyDLL(None, use_errno=True)
_INT_BYTES: Final = ctypes.sizeof(ctypes.c_int)


class Accepted(NamedTuple):
    """What an endpoint gives to each connection that it accepts."""

    number: int
    """Distinguishes the connections of one endpoint."""
    peer: str
    loop: asyncio.AbstractEventLoop
    deflate: DeflateParameters | None
    """The negotiated permessage-deflate, if any."""
    on_end: Callable[[int], None]
    """Called with the number once the connection has ended; its socket may take a moment longer to close."""
    on_lost: Callable[[int], None]
    """Called with the number once the socket is closed too."""


class WebSocketConnection:
    """One connection. It passes whole messages to `on_message`, and sends nothing after `close`."""

    max_message_bytes: ClassVar[int] = DEFAULT_MAX_MESSAGE_BYTES
    max_fragments: ClassVar[int] = MAX_FRAGMENTS
    counts_data: ClassVar[bool] = True
    """Whether data frames count against the peer's rate, or control frames alone."""
    # RFC 6455 section 5.5.2: a final frame without payload, which a server does not mask.
    ping: ClassVar[bytes] = b"\x89\x00"

    __slots__ = (
        "_fragments",
        "_fragments_bytes",
        "_header",
        "_inbound",
        "_is_compressed",
        "_is_text",
        "_on_end",
        "_on_lost",
        "_rate",
        "_refusals",
        "_stall_timer",
        "_ws",
        "close_code",
        "closed_by",
        "has_ended",
        "is_closing",
        "is_held",
        "is_over_rate",
        "is_tls",
        "loop",
        "number",
        "peer",
        "silent_heartbeats",
        "takes_deflate",
        "transport",
    )

    def __init__(self, accepted: Accepted, frames_per_second: int = 0) -> None:
        """`frames_per_second` is the peer's rate; 0 means no limit."""
        self.number = accepted.number
        self.peer = accepted.peer
        self.loop = accepted.loop
        self.silent_heartbeats = 0
        """Pings since the peer last sent something."""
        self.is_closing = False
        """Whether either side has sent Close."""
        self.has_ended = False
        """Whether nothing more is sent or looked at."""
        self.is_over_rate = False
        """Whether the message being taken exceeds the peer's rate."""
        self.close_code = NO_CLOSE
        """The code of the Close that ended the connection: the first one if both sides sent one."""
        self.closed_by: Ender = "client"
        self.takes_deflate = accepted.deflate is not None
        """Whether messages may come compressed, with RSV1."""
        self.is_held = False
        """Whether the subclass has paused reading."""
        self.transport: asyncio.Transport
        self.is_tls = False
        self._on_end = accepted.on_end
        self._on_lost = accepted.on_lost
        # Has the methods of picows' WSTransport; `_framing` makes it.
        self._ws: Any = None
        self._inbound: Inbound | _NoSocket
        self._rate = MessageRate(frames_per_second)
        self._refusals: MessageRate | None = None
        self._header: FrameHeader
        # None while no message has begun.
        self._fragments: list[bytes] | None = None
        self._fragments_bytes = 0
        self._is_text = False
        self._is_compressed = False
        self._stall_timer: asyncio.TimerHandle | None = None

    # -- for subclasses

    def on_open(self, answer: bytes) -> None:
        """Sends `answer` to the client's request, and what it gets before it asks for anything."""
        self.transport.write(answer)

    @abstractmethod
    def on_message(self, message: bytes, is_text: bool) -> None:
        """Called with each whole message; text is valid UTF-8."""

    def on_closing(self) -> None:
        """Called when the connection begins to close, on either side: nothing is sent to it any more."""

    def on_closed(self) -> None:
        """Called when the connection has ended, whether it had opened or not."""

    def on_drained(self) -> None:
        """Called when the kernel has taken everything that had to wait in the transport's buffer."""

    def finish(self) -> None:
        """Closes with 1001; called on shutdown."""
        self.close(CloseCode.GOING_AWAY, "server shutdown")

    def hold(self, is_held: bool) -> None:
        """Pauses or resumes reading from the peer."""
        if is_held != self.is_held:
            self.is_held = is_held
            self._inbound.resume()

    # -- sending

    @property
    def _framing(self) -> Any:
        """What writes messages to the transport, with the methods of picows' WSTransport. It is made for the first
        message that it writes, which most clients of the stream never get: it has a buffer of a kilobyte."""
        ws = self._ws
        if ws is None:
            # The descriptor of a transport that closes may belong to the next connection already.
            if self.transport.is_closing():
                return _NO_SOCKET
            ws = self._ws = self.make_framing(self.transport)
        return ws

    @property
    def send_shared(self) -> Callable[..., None]:
        """Sends a frame whose payload is shared with other connections: picows writes its header in front of it."""
        send: Callable[..., None] = self._framing.send_reuse_external_bytearray
        return send

    def buffered_bytes(self) -> int:
        """Returns how many bytes wait in the transport's buffer."""
        return self.transport.get_write_buffer_size()

    def send_text(self, data: bytes) -> None:
        """Sends one text message, unless the connection is closing."""
        if not self.is_closing:
            self._framing.send(WSMsgType.TEXT, data)
            self._check_backlog()

    def send_binary(self, data: bytes) -> None:
        if not self.is_closing:
            self._framing.send(WSMsgType.BINARY, data)
            self._check_backlog()

    def send_ping(self) -> None:
        if not self.is_closing and not self.buffered_bytes():
            self.transport.write(self.ping)

    def close(self, code: int, reason: str = "") -> None:
        """Sends Close. The connection ends when the peer's Close arrives, or after `CLOSE_TIMEOUT_SECONDS`."""
        if self.is_closing:
            return
        self._begin_closing()
        self.close_code, self.closed_by = code, "server"
        self._framing.send_close(code, reason.encode())
        self._await_end()
        # The peer's Close must still be read.
        self._inbound.resume()

    def end(self) -> None:
        """Ends the connection once both sides have sent Close, or the peer cannot be understood any more."""
        if self.has_ended or self.transport.is_closing():
            return
        self.has_ended = True
        self._on_end(self.number)
        # RFC 6455 section 7.1.1: closing while the peer still sends would reset the connection and destroy the Close
        # that the peer has not read. What still comes is dropped.
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def abort(self) -> None:
        if not self.is_closing:
            self._begin_closing()
            self.closed_by = "server"
        self.transport.abort()

    def _begin_closing(self) -> None:
        if not self.is_closing:
            self.is_closing = True
            self.on_closing()

    def _await_end(self) -> None:
        """Lets the peer take what it has been sent, Close included, and close its side, but not for long."""
        self._end_stall()
        self.loop.call_later(CLOSE_TIMEOUT_SECONDS, self.transport.abort)

    # -- the socket

    def open(self, transport: asyncio.Transport, answer: bytes, received: bytes) -> None:
        """Takes the transport over and sends `answer` to the request; `received` has come behind the request."""
        self.transport = transport
        self._inbound = self.make_inbound(transport, received)
        transport.set_protocol(self._inbound)
        # Zero makes the transport call `resume_writing` when its buffer is empty. It may call `pause_writing` at once.
        transport.set_write_buffer_limits(high=0)
        self.is_tls = transport.get_extra_info("ssl_object") is not None
        self.on_open(answer)
        # What came together with the handshake is read only now, so that no answer precedes the greeting.
        self._inbound.start()

    def make_framing(self, transport: asyncio.Transport) -> Any:
        """Returns the framing."""
        return WSTransport(False, transport, PICOWS_LOG, self.loop)  # type: ignore[call-arg]  # not in its stubs

    def make_inbound(self, transport: asyncio.Transport, received: bytes) -> Inbound:
        """Returns the protocol that takes what the peer sends; `received` has come already."""
        return Inbound(self, transport, self.loop, received)

    def make_unmasker(self) -> Any:
        return make_unmasker(self.transport, self.max_message_bytes, self._on_payload)

    def on_lost(self) -> None:
        if not self.has_ended:
            self.has_ended = True
            self._on_end(self.number)
        self._begin_closing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        # picows still knows the descriptor, which belongs to the next connection now. The socket and `_inbound` refer
        # to this object, or to its transport: without them it is freed at once, where ten thousand lost clients would
        # keep the garbage collector, and the next tick, waiting.
        self._ws = self._inbound = _NO_SOCKET
        self.on_closed()
        self._on_lost(self.number)

    def pause_writing(self) -> None:
        """Called by the transport once its buffer is not empty; `_check_backlog` decides how much is too much."""

    def resume_writing(self) -> None:
        self._end_stall()
        if not self.is_closing:
            self.on_drained()

    # -- flow control

    def _check_backlog(self) -> None:
        """Pauses reading from a peer that leaves too many answers unread."""
        if self._stall_timer is None and self.buffered_bytes() > MAX_BACKLOG_BYTES:
            self._stall_timer = self.loop.call_later(WRITE_STALL_SECONDS, self.abort)
            self._inbound.resume()

    def _end_stall(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
            self._inbound.resume()

    # -- from the inbound side

    @property
    def may_read(self) -> bool:
        return self.is_closing or (self._stall_timer is None and not self.is_held)

    def on_bytes(self) -> None:
        self.silent_heartbeats = 0

    def may_take(self, header: FrameHeader) -> bool:
        if not self.counts_data and header.opcode not in CONTROL:
            return True
        is_allowed = self._rate.allow(self._now_ns())
        # A message of one frame is taken nevertheless, so that the client can be told; anything else waits.
        is_message = header.fin and header.opcode in (TEXT, BINARY)
        self.is_over_rate = is_message and not is_allowed
        return is_allowed or is_message

    def begin_frame(self, header: FrameHeader) -> None:
        is_continuation = header.opcode == CONTINUATION
        # RFC 7692 section 6: RSV1 is set on the first frame of a compressed message, and on no other.
        self._check_reserved(header, may_be_compressed=self.takes_deflate and not is_continuation)
        # RFC 6455 section 5.4: fragments of one message are not interleaved with another's.
        if is_continuation != (self._fragments is not None):
            raise Fault(CloseCode.PROTOCOL_ERROR, "fragments out of order")
        if not is_continuation:
            self._is_text = header.opcode == TEXT
            self._is_compressed = bool(header.rsv)
            self._fragments_bytes = 0
        self._fragments_bytes += header.size
        if self._fragments_bytes > self.max_message_bytes:
            raise Fault(CloseCode.MESSAGE_TOO_BIG, f"a message is at most {self.max_message_bytes} bytes")
        if self._fragments is not None and len(self._fragments) >= self.max_fragments:
            raise Fault(CloseCode.MESSAGE_TOO_BIG, f"a message is at most {self.max_fragments} fragments")
        self._header = header

    def on_control_frame(self, header: FrameHeader, payload: bytes) -> None:
        self._check_reserved(header, may_be_compressed=False)
        if header.opcode == PING:
            self._framing.send_pong(payload)
            self._check_backlog()
        elif header.opcode == CLOSE:
            self._on_close_frame(payload)

    def _check_reserved(self, header: FrameHeader, *, may_be_compressed: bool) -> None:
        # RFC 6455 section 5.2: RSV bits MUST be 0 unless an extension defines them.
        if header.rsv and not (may_be_compressed and header.rsv == RSV1):
            raise Fault(CloseCode.PROTOCOL_ERROR, "reserved bits are set")

    # -- messages

    def log_ids(self) -> dict[str, Any]:
        """Returns what the log calls this connection by."""
        return {"peer": self.peer, "connection": self.number}

    def count_refused(self) -> None:
        """Counts a message that was refused, and closes with 1008 if there were too many."""
        if self._refusals is None:
            self._refusals = MessageRate(1, MAX_REFUSED_MESSAGES - 1)
        if not self._refusals.allow(self._now_ns()):
            logger.info(
                "websocket %s: %d messages were refused within %d seconds, closing",
                self.peer, MAX_REFUSED_MESSAGES, MAX_REFUSED_MESSAGES, extra={"ids": self.log_ids()},
            )  # fmt: skip
            self.close(CloseCode.POLICY_VIOLATION, "too many messages were refused")

    def _now_ns(self) -> int:
        return round(self.loop.time() * NS_PER_S)

    def _on_payload(self, payload: bytes) -> None:
        """Takes the payload of a data frame."""
        fragments, is_last = self._fragments, self._header.fin
        if fragments is not None:
            fragments.append(payload)
            if is_last:
                self._fragments = None
                self._on_whole_message(b"".join(fragments))
        elif is_last:
            self._on_whole_message(payload)
        else:
            self._fragments = [payload]

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

    def _on_close_frame(self, payload: bytes) -> None:
        if len(payload) == 1:
            raise Fault(CloseCode.PROTOCOL_ERROR, "half a close code")
        if not _is_utf8(payload[2:]):
            raise Fault(CloseCode.INVALID_TEXT, "the reason is not UTF-8")
        if not payload:
            # RFC 6455 section 5.5.1 leaves the code of the answer open.
            echoed: int = CloseCode.NORMAL
            self.close_code = NO_STATUS
        else:
            code = int.from_bytes(payload[:2], "big")
            echoed = code if is_sendable(code) else CloseCode.PROTOCOL_ERROR
            self.close_code = echoed
        self._begin_closing()
        self._framing.send_close(echoed)
        self._await_end()
        self.end()


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode()
    except UnicodeDecodeError:
        return False
    return True


class _NoSocket:
    """Takes the place of what belongs to a socket that is closed; sends and reads nothing."""

    def _send_nothing(self, *message: object) -> None: ...

    send = send_pong = send_close = send_reuse_external_bytearray = _send_nothing

    def resume(self) -> None: ...


_NO_SOCKET: Final = _NoSocket()


def limit_unsent(transport: asyncio.Transport, unsent_bytes: int) -> None:
    """Limits what the kernel holds back for the peer to about `unsent_bytes`. A slow reader is then noticed after a few
    frames; by default the kernel accepts megabytes first."""
    # hot: once per handshake (observability bench --only storm)
    if not hasattr(socket, "TCP_NOTSENT_LOWAT"):
        return
    # uvloop's socket makes one of the standard library for each option that is set, which costs three times as much.
    fd = transport.get_extra_info("socket").fileno()
    value = _int_pointer(unsent_bytes)
    if _libc.setsockopt(fd, socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, value, _INT_BYTES):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@lru_cache(1)
def _int_pointer(value: int) -> Any:
    """Returns a pointer to `value`, which is the same for all clients of a tick."""
    return ctypes.pointer(ctypes.c_int(value))
