"""The WebSocket client of the tests: raw frames where bytes matter, and helpers for connections of the `websockets`
package, which is an independent implementation, everywhere else."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, Final, Self

from websockets.asyncio import client as asyncio_client
from websockets.exceptions import ConnectionClosed
from websockets.sync import client as sync_client
from websockets.sync.client import ClientConnection

from server_process import TIMEOUT_SECONDS

RECEIVE_BYTES = 1 << 16

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NO_STATUS = 1005
"""RFC 6455 section 7.1.5: stands for a Close without a code."""

# The key of RFC 6455 section 1.3.
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE_FIELDS = ("Host: localhost", "Upgrade: websocket", "Connection: Upgrade", KEY, "Sec-WebSocket-Version: 13")


# -- the `websockets` package

# By default it waits ten seconds for an answer, while a busy machine may need more, and takes a connection for dead in
# which a test has read nothing for twenty.
_PATIENT: Final[dict[str, Any]] = {"open_timeout": TIMEOUT_SECONDS, "ping_interval": None}
connect = partial(sync_client.connect, **_PATIENT)
connect_async = partial(asyncio_client.connect, **_PATIENT)


def receive(connection: ClientConnection, *types: str) -> dict[str, Any]:
    """Returns the next JSON message of one of these types, or of any type if none is given. Skips other messages, but
    raises AssertionError for an error."""
    message: dict[str, Any] = json.loads(receive_text(connection, *types))
    return message


def receive_text(connection: ClientConnection, *types: str) -> str:
    """Returns the same message as it was sent."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while True:
        # Snapshots come for ever, so the time for each would bound nothing.
        data = connection.recv(max(0.0, deadline - time.monotonic()))
        assert isinstance(data, str)
        if data != "pong":
            kind = json.loads(data)["type"]
            if not types or kind in types:
                return data
            assert kind != "error", data


def receive_snapshots(connection: ClientConnection, count: int) -> Iterator[dict[str, Any]]:
    """Yields `count` snapshots to a client that has asked for something. A worker that was late skips some and says so;
    raises AssertionError for a gap in their numbers that no `lag` before it accounts for."""
    held: int | None = None
    skipped = 0
    while count:
        message = receive(connection, "metrics_update", "lag")
        if message["type"] == "lag":
            skipped += message["skipped"]
            continue
        assert held is None or message["seq"] == held + skipped + 1, (held, skipped, message["seq"])
        held, skipped = message["seq"], 0
        count -= 1
        yield message


def receive_deltas(connection: ClientConnection, count: int, held: int | None = None) -> Iterator[dict[str, Any]]:
    """Yields `count` deltas, each of which applies to the frame `held` by the client. A server that was late sends a
    whole snapshot instead of a delta; raises AssertionError if it does so more often than every other time."""
    deltas = 0
    for _ in range(2 * count):
        message = receive(connection, "metrics_update", "metrics_delta")
        if message["type"] == "metrics_delta":
            assert message["prev_seq"] == held
            assert message["seq"] == message["prev_seq"] + 1
            deltas += 1
            yield message
            if deltas == count:
                return
        held = message["seq"]
    raise AssertionError(f"{deltas} deltas among {2 * count} snapshots, expected {count}")


def receive_pong(connection: ClientConnection) -> None:
    """Returns when the answer to a text `ping` has arrived."""
    while connection.recv(TIMEOUT_SECONDS) != "pong":
        pass


def ask(connection: ClientConnection, **message: Any) -> None:
    """Sends one JSON message."""
    connection.send(json.dumps(message))


def read_to_close(connection: ClientConnection) -> tuple[list[dict[str, Any]], int | None]:
    """Returns all messages until the server has closed the connection, and the code of its Close, if there was one."""
    messages = []
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        while True:
            data = connection.recv(max(0.0, deadline - time.monotonic()))
            if data != "pong":
                messages.append(json.loads(data))
    except ConnectionClosed as closed:
        return messages, None if closed.rcvd is None else closed.rcvd.code


# -- raw frames


def open_socket(port: int, *, source: str = "127.0.0.1", receive_buffer: int | None = None) -> socket.socket:
    """Returns a connected socket. Where many are opened in a minute, `source` keeps their ports apart."""
    sock = socket.socket()
    try:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
    except OSError:
        sock.close()
        raise
    return sock


def reset(sock: socket.socket) -> None:
    """Closes a connection as a process that dies with unread bytes does."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def handshake(path: str, *fields: str, version: str = "HTTP/1.1") -> bytes:
    """Returns the request of an opening handshake, with `HANDSHAKE_FIELDS` unless others are given."""
    return "\r\n".join((f"GET {path} {version}", *(fields or HANDSHAKE_FIELDS), "", "")).encode()


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, masked: bool = True, key: bytes = bytes(4)
) -> bytes:
    """Returns a client's frame. A key of zeros leaves the payload readable, and mutations of it meaningful."""
    size, mask_bit = len(payload), 0x80 if masked else 0
    if size < 126:
        length = bytes((mask_bit | size,))
    elif size < 65536:
        length = bytes((mask_bit | 126,)) + size.to_bytes(2, "big")
    else:
        length = bytes((mask_bit | 127,)) + size.to_bytes(8, "big")
    first = bytes(((0x80 if fin else 0) | rsv << 4 | opcode,))
    if not masked:
        return first + length + payload
    data = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload)) if any(key) else payload
    return first + length + key + data


class FrameReader:
    """Splits a server's bytes into frames; raises AssertionError for a frame that a server must not send."""

    def __init__(self, received: bytes = b"") -> None:
        self._buffer = bytearray(received)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> tuple[int, bytes] | None:
        """Returns opcode and payload, or None if more bytes are needed."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        assert buffer[0] & 0x70 == 0, "reserved bits"
        assert buffer[0] & 0x80, "a fragment"
        assert buffer[0] & 0x0F in (TEXT, BINARY, CLOSE, PING, PONG), "reserved opcode"
        size, start = buffer[1], 2
        assert size < 128, "a server does not mask"
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            least = 126 if size == 126 else 65536
            size = int.from_bytes(buffer[2:start], "big")
            assert size >= least, "a length longer than necessary"
        if len(buffer) < start + size:
            return None
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        assert opcode < CLOSE or size <= 125, "a control frame too long"
        del buffer[: start + size]
        return opcode, payload

    @property
    def is_empty(self) -> bool:
        return not self._buffer


class RawClient:
    """A connection that has sent its handshake, and reads nothing unless asked to. It answers no ping and no Close."""

    def __init__(
        self,
        port: int,
        path: str = "/ws/metrics",
        *,
        receive_buffer: int | None = None,
        behind: bytes = b"",
    ) -> None:
        """`behind` is sent in one piece with the handshake."""
        self.sock = open_socket(port, receive_buffer=receive_buffer)
        self._reader: FrameReader | None = None
        self.send(handshake(path) + behind)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def next_frame(self) -> tuple[int, bytes] | None:
        """Returns opcode and payload of the next frame; None once the server has ended the connection."""
        if self._reader is None:
            self._reader = FrameReader(self._read_head())
        while (received := self._reader.next_frame()) is None:
            data = self.sock.recv(RECEIVE_BYTES)
            if not data:
                return None
            self._reader.feed(data)
        return received

    def frames(self) -> Iterator[tuple[int, bytes]]:
        """Yields opcode and payload of each frame until the server ends the connection."""
        while (received := self.next_frame()) is not None:
            yield received

    def close_code(self) -> int:
        """Reads up to the server's Close; returns its code, or `NO_STATUS`."""
        for opcode, payload in self.frames():
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else NO_STATUS
        raise AssertionError("the connection ended without a Close frame")

    def _read_head(self) -> bytes:
        """Reads the 101; returns the bytes behind it."""
        received = b""
        while b"\r\n\r\n" not in received:
            data = self.sock.recv(RECEIVE_BYTES)
            assert data, f"the handshake was not answered: {received!r}"
            received += data
        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        return rest
