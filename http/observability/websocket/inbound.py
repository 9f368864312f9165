"""What a peer sends, cut into frames (RFC 6455 section 5.2), within what one connection may take of the event loop.

    socket ─► Inbound ─┬─ control frames ─► WebSocketConnection
                       └─ data frames, one at a time ─► picows, which unmasks them ─► WebSocketConnection

picows would read one frame ahead, and whatever a peer has sent in one piece, in one turn of the loop. Here a turn takes
a few frames; then reading pauses until the other connections have had their turn, or until the peer's rate allows the
next frame. Nothing behind a Close is looked at.
"""

from __future__ import annotations

import asyncio
import time
from enum import Enum, auto
from typing import Any, Final, NamedTuple, Protocol

from observability.clocks.slices import SLICE_NS
from observability.websocket.close_codes import CloseCode

# Of one connection. A turn ends earlier if it has lasted for a slice of time.
FRAMES_PER_TURN: Final = 16
# How long reading pauses when a peer has used up its rate: long enough for some frames together.
RATE_PAUSE_SECONDS: Final = 0.25
# Once a Close has been sent, frames are skipped until the peer's Close comes. There may be many before it, and a peer
# that goes on sending must not keep the loop busy.
SKIPPED_FRAMES_PER_TURN: Final = 256
SKIP_PAUSE_SECONDS: Final = 0.01

MAX_CONTROL_BYTES: Final = 125
MASK_BYTES: Final = 4
# How the answer to our ping begins: a final Pong, masked and empty. Its mask follows.
_EMPTY_PONG: Final = b"\x8a\x80"
_EMPTY_PONG_BYTES: Final = len(_EMPTY_PONG) + MASK_BYTES

CONTINUATION: Final = 0
TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
CONTROL: Final = frozenset({CLOSE, PING, PONG})
_OPCODES: Final = CONTROL | {CONTINUATION, TEXT, BINARY}


class Fault(Exception):
    """A frame that the RFC forbids, or that is too large; the connection closes with `code`."""

    def __init__(self, code: CloseCode, reason: str) -> None:
        self.code = code
        super().__init__(reason)


class FrameHeader(NamedTuple):
    """The header of one frame."""

    opcode: int
    fin: bool
    rsv: int
    """RSV1, RSV2 and RSV3, as the bits 4, 2 and 1."""
    size: int
    """The length of the payload."""
    length: int
    """The length of the header itself, which ends with the mask."""


def parse_header(data: bytes, at: int) -> FrameHeader | None:
    """Returns the header that begins at `at`, or None if more bytes are needed. Raises Fault."""
    available = len(data) - at
    if available < 2:
        return None
    first, second = data[at], data[at + 1]
    opcode, size, length = first & 0x0F, second & 0x7F, 2
    if opcode not in _OPCODES:
        raise Fault(CloseCode.PROTOCOL_ERROR, f"no opcode {opcode}")
    if not second & 0x80:
        raise Fault(CloseCode.PROTOCOL_ERROR, "frames of a client are masked")
    if opcode in CONTROL and (size > MAX_CONTROL_BYTES or not first & 0x80):
        raise Fault(CloseCode.PROTOCOL_ERROR, f"a control frame is one frame of at most {MAX_CONTROL_BYTES} bytes")
    if size > MAX_CONTROL_BYTES:
        length, least = (4, 126) if size == 126 else (10, 1 << 16)
        if available < length:
            return None
        size = int.from_bytes(data[at + 2 : at + length], "big")
        if size < least or size >> 63:
            raise Fault(CloseCode.PROTOCOL_ERROR, "a length is written in as few bytes as possible")
    return FrameHeader(opcode, bool(first & 0x80), first >> 4 & 7, size, length + MASK_BYTES)


class FrameConsumer(Protocol):
    """The connection, as its inbound side sees it."""

    is_closing: bool
    has_ended: bool
    silent_heartbeats: int
    """Pings since the peer last sent something."""

    @property
    def may_read(self) -> bool:
        """Whether the peer may be read from now."""

    def may_take(self, header: FrameHeader) -> bool:
        """Counts a frame against the peer's rate; returns False, and counts nothing, if it has to wait."""

    def begin_frame(self, header: FrameHeader) -> None:
        """Takes the header of a data frame, whose payload comes from picows. Raises Fault."""

    def make_unmasker(self) -> Any:
        """Returns the picows protocol that unmasks data frames."""

    def on_control_frame(self, header: FrameHeader, payload: bytes) -> None:
        """Takes a control frame. Raises Fault."""

    def on_bytes(self) -> None:
        """Called whenever something has come from the peer."""

    def close(self, code: int, reason: str = "") -> None:
        """Sends Close."""

    def end(self) -> None:
        """Ends the connection: both sides have sent Close, or the peer cannot be understood any more."""

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...

    def on_lost(self) -> None:
        """Called once the socket is closed."""


class _Step(Enum):
    """What became of one frame."""

    DONE = auto()
    NEEDS_BYTES = auto()
    EXCEEDS_RATE = auto()


class Inbound(asyncio.Protocol):
    """The protocol of a connection's transport."""

    __slots__ = (
        "_at",
        "_consumer",
        "_frame_left",
        "_is_in_turn",
        "_is_reading",
        "_is_started",
        "_loop",
        "_next_turn",
        "_pending",
        "_picows",
        "_transport",
    )

    def __init__(
        self,
        consumer: FrameConsumer,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        received: bytes,
    ) -> None:
        """`received` has come already. Nothing is looked at before `start`."""
        self._consumer = consumer
        # Made for the first data frame.
        self._picows: Any = None
        self._transport = transport
        self._loop = loop
        self._pending = received
        self._at = 0
        # Of the data frame that has begun: the bytes of header and payload that have not been passed on or skipped.
        self._frame_left = 0
        self._is_started = False
        self._is_reading = True
        self._is_in_turn = False
        self._next_turn: asyncio.Handle | None = None

    def start(self) -> None:
        """Begins to read."""
        self._is_started = True
        if self._pending or not self._consumer.may_read:
            self.resume()

    def resume(self) -> None:
        """Reads on, if the connection may; called whenever that may have changed."""
        if self._is_started and not self._is_in_turn and self._next_turn is None:
            self._take_turn()

    def is_closing(self) -> bool:
        """Whether the connection has ended, though its socket may still wait for the peer to close its side."""
        return self._consumer.has_ended

    # -- called by the event loop

    def data_received(self, data: bytes) -> None:
        # hot: once per client and heartbeat (observability bench --only fanout)
        consumer = self._consumer
        is_due = consumer.silent_heartbeats and not self._pending and not self._frame_left
        consumer.on_bytes()
        if is_due and len(data) == _EMPTY_PONG_BYTES and data.startswith(_EMPTY_PONG):
            # The answer to our ping, one for each: it needs no turn, and does not count against the peer's rate.
            return
        self._pending = self._pending[self._at :] + data
        self._at = 0
        self.resume()

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._consumer.pause_writing()

    def resume_writing(self) -> None:
        self._consumer.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._next_turn is not None:
            self._next_turn.cancel()
        self._consumer.on_lost()
        # Whoever still knows this object keeps no buffers alive.
        self._picows, self._pending = None, b""

    # -- a turn

    def _take_turn(self) -> None:
        self._next_turn = None
        self._is_in_turn = True
        try:
            pause_seconds = self._read()
        finally:
            self._is_in_turn = False
        if pause_seconds is not None:
            self._next_turn = (
                self._loop.call_later(pause_seconds, self._take_turn)
                if pause_seconds
                else self._loop.call_soon(self._take_turn)
            )
        self._set_reading(pause_seconds is None and self._consumer.may_read)

    def _read(self) -> float | None:
        """Takes some of the frames received. Returns the time until the next turn; None if more bytes are needed, or
        the connection may not read."""
        # hot: once per inbound message
        consumer = self._consumer
        end_ns = time.monotonic_ns() + SLICE_NS
        for _ in range(SKIPPED_FRAMES_PER_TURN if consumer.is_closing else FRAMES_PER_TURN):
            if consumer.has_ended:
                has_come = bool(self._pending)
                self._pending, self._at = b"", 0
                return SKIP_PAUSE_SECONDS if has_come else None
            if not consumer.may_read:
                return None
            step = self._skip_frame() if consumer.is_closing else self._take_frame()
            if step is _Step.NEEDS_BYTES:
                has_advanced = self._at > 0
                self._pending = self._pending[self._at :]
                self._at = 0
                return SKIP_PAUSE_SECONDS if consumer.is_closing and has_advanced else None
            if step is _Step.EXCEEDS_RATE:
                return RATE_PAUSE_SECONDS
            if time.monotonic_ns() >= end_ns:
                break
        return SKIP_PAUSE_SECONDS if consumer.is_closing else 0.0

    def _take_frame(self) -> _Step:
        consumer = self._consumer
        try:
            if self._frame_left:
                return self._pass_on()
            pending, at = self._pending, self._at
            header = parse_header(pending, at)
            if header is None:
                return _Step.NEEDS_BYTES
            start = at + header.length
            is_control = header.opcode in CONTROL
            if len(pending) < (start + header.size if is_control else start):
                return _Step.NEEDS_BYTES
            if not consumer.may_take(header):
                return _Step.EXCEEDS_RATE
            if is_control:
                self._at = start + header.size
                consumer.on_control_frame(
                    header, _unmask(pending[start : self._at], pending[start - MASK_BYTES : start])
                )
                return _Step.DONE
            consumer.begin_frame(header)
            self._frame_left = header.length + header.size
            return self._pass_on()
        except Fault as fault:
            consumer.close(fault.code, str(fault))
            return _Step.DONE

    def _pass_on(self) -> _Step:
        """Passes on what has come of the data frame that has begun."""
        picows = self._picows
        if picows is None:
            picows = self._picows = self._consumer.make_unmasker()
        rest = memoryview(self._pending)[self._at : self._at + self._frame_left]
        self._at += len(rest)
        self._frame_left -= len(rest)
        while rest:
            buffer = picows.get_buffer(-1)
            size = min(len(buffer), len(rest))
            buffer[:size] = rest[:size]
            picows.buffer_updated(size)
            rest = rest[size:]
        return _Step.NEEDS_BYTES if self._frame_left else _Step.DONE

    def _skip_frame(self) -> _Step:
        """Skips one frame, unless it is the peer's Close."""
        if not self._frame_left:
            try:
                header = parse_header(self._pending, self._at)
            except Fault:
                self._consumer.end()
                return _Step.DONE
            if header is None:
                return _Step.NEEDS_BYTES
            if header.opcode == CLOSE:
                self._consumer.end()
                return _Step.DONE
            self._frame_left = header.length + header.size
        size = min(self._frame_left, len(self._pending) - self._at)
        self._at += size
        self._frame_left -= size
        return _Step.NEEDS_BYTES if self._frame_left else _Step.DONE

    def _set_reading(self, is_reading: bool) -> None:
        # A closing transport allows neither.
        if is_reading == self._is_reading or self._transport.is_closing():
            return
        self._is_reading = is_reading
        if is_reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()


def _unmask(payload: bytes, key: bytes) -> bytes:
    """Returns the payload of a control frame (RFC 6455 section 5.3)."""
    return bytes(byte ^ key[i % MASK_BYTES] for i, byte in enumerate(payload))
