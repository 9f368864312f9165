"""One WebSocket connection to a venue, as its client: what has arrived, in order, in a bounded queue.

picows calls `on_ws_frame` in the event loop for every frame, so nothing here waits. While the queue is full nothing is
read from the socket: the venue's TCP window closes, and it drops the connection if that takes it too long.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final
from urllib.parse import urlsplit

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSError,
    WSFrame,
    WSInvalidStatusError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from observability.clocks.clock import Clock
from observability.errors import SourceError
from observability.sources.feeds.dialect import Heartbeat

HANDSHAKE_SECONDS: Final = 10.0
REPLY_SECONDS: Final = 10.0
"""How long a venue may take to answer a heartbeat. Any frame of its counts as an answer."""
MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
# Reading stops when this much is waiting, and goes on when half of it is left.
MAX_WAITING_MESSAGES: Final = 4096
MAX_WAITING_BYTES: Final = 8 * 1024 * 1024
# What is given away at a time: about a millisecond of decoding.
MAX_TAKEN: Final = 256

Message = tuple[int, bytes]
"""When it arrived, in nanoseconds since the epoch, and its bytes."""


class Connection(WSListener):
    """Made by `open_connection`."""

    def __init__(self, clock: Clock, heartbeat: Heartbeat) -> None:
        self._time_ns = clock.time_ns
        self._heartbeat = heartbeat
        self._transport: WSTransport | None = None
        self._messages: deque[Message] = deque()
        self._waiting_bytes = 0
        self._is_paused = False
        self._fragments = bytearray()
        self._arrival: asyncio.Future[None] | None = None
        self._closed: str | None = None

    def send(self, message: bytes) -> None:
        """Sends a text message."""
        if self._transport is not None:
            self._transport.send(WSMsgType.TEXT, message)

    async def receive(self) -> list[Message]:
        """Waits for messages, or until `wake` is called, and returns what has come, at most MAX_TAKEN messages. Raises
        EOFError, with the reason, when the connection has been closed and everything before that was returned."""
        if not self._messages and self._closed is None:
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival
        if not self._messages and self._closed is not None:
            raise EOFError(self._closed)
        return self.take()

    def take(self) -> list[Message]:
        """Returns what has arrived, at most MAX_TAKEN messages."""
        waiting = self._messages
        taken = [waiting.popleft() for _ in range(min(len(waiting), MAX_TAKEN))]
        self._waiting_bytes -= sum(len(message) for _, message in taken)
        has_room = 2 * len(waiting) <= MAX_WAITING_MESSAGES and 2 * self._waiting_bytes <= MAX_WAITING_BYTES
        if self._is_paused and has_room:
            self._is_paused = False
            if self._transport is not None:
                self._transport.underlying_transport.resume_reading()
        return taken

    def close(self) -> None:
        """Closes the connection; what has arrived may still be taken."""
        if self._transport is not None:
            self._transport.send_close()
            self._transport.disconnect()

    def wake(self, _: object = None) -> None:
        """Ends the waiting of `receive`; may be the callback of a future."""
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    # -- called by picows

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        # hot: once per message (benchmarks/bench_feeds.py)
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            code: int | WSCloseCode = frame.get_close_code()
            reason = (frame.get_close_message() or b"").decode(errors="replace")
            number = code.value if isinstance(code, WSCloseCode) else code
            self._closed = f"the venue has closed the connection: {number} {reason}".rstrip()
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        if kind is WSMsgType.PONG:
            return
        payload = frame.get_payload_as_bytes()
        if self._fragments or not frame.fin:
            self._fragments += payload
            if len(self._fragments) > MAX_MESSAGE_BYTES:
                self._closed = f"the venue has sent a message of more than {MAX_MESSAGE_BYTES} bytes"
                transport.send_close(WSCloseCode.MESSAGE_TOO_BIG)
                transport.disconnect()
                return
            if not frame.fin:
                return
            payload, self._fragments = bytes(self._fragments), bytearray()
        self._messages.append((self._time_ns(), payload))
        self._waiting_bytes += len(payload)
        if len(self._messages) >= MAX_WAITING_MESSAGES or self._waiting_bytes >= MAX_WAITING_BYTES:
            self._pause(transport)
        self.wake()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._transport = None
        if self._closed is None:
            # None where neither side has said that it closes, whatever its type says.
            sent = getattr(transport.close_handshake, "sent", None)
            self._closed = "the connection was lost" if sent is None else f"the connection was closed: {sent.reason}"
        self.wake()

    def send_user_specific_ping(self, transport: WSTransport) -> None:
        if self._heartbeat.text:
            transport.send(WSMsgType.TEXT, self._heartbeat.text)
        else:
            transport.send_ping()
        if self._is_paused:
            # No answer is read now, and that is not the venue's fault.
            asyncio.get_running_loop().call_soon(transport.notify_user_specific_pong_received)

    def is_user_specific_pong(self, frame: WSFrame) -> bool:
        if self._transport is not None:
            self._transport.notify_user_specific_pong_received()
        return False

    def _pause(self, transport: WSTransport) -> None:
        if not self._is_paused:
            self._is_paused = True
            transport.underlying_transport.pause_reading()
            transport.notify_user_specific_pong_received()


async def open_connection(url: str, heartbeat: Heartbeat, clock: Clock) -> Connection:
    """Returns a connection that is open. Raises SourceError, or OSError if the address cannot be reached."""
    connection = Connection(clock, heartbeat)
    where = urlsplit(url).netloc.rpartition("@")[2]
    try:
        await ws_connect(
            lambda: connection,
            url,
            websocket_handshake_timeout=HANDSHAKE_SECONDS,
            enable_auto_ping=True,
            auto_ping_idle_timeout=heartbeat.seconds,
            auto_ping_reply_timeout=min(REPLY_SECONDS, heartbeat.seconds),
            auto_ping_strategy=WSAutoPingStrategy.PING_PERIODICALLY,
            max_frame_size=MAX_MESSAGE_BYTES,
        )
    except WSInvalidStatusError as error:
        status = error.response.status if error.response is not None else "?"
        raise SourceError(f"{where} refuses the connection: HTTP status {status}") from None
    except WSError as error:
        raise SourceError(f"{where}: {error}") from None
    return connection
