"""A server process that fuzz targets share, started on first use and stopped at exit."""

from __future__ import annotations

import atexit
import socket
from functools import cache

from server_process import TIMEOUT_SECONDS, Server

HANDSHAKE = (
    b"GET %b HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@cache
def server() -> Server:
    """Returns the server, which echoes WebSocket messages at /ws/echo and does not limit their rate."""
    started = Server(OBSERVABILITY_ECHO="1", WS_RATE_LIMIT="0")
    atexit.register(started.stop)
    return started


def check_alive() -> None:
    """Raises AssertionError if the server has ended or reported a fault of its own."""
    assert server().process.poll() is None, "the server has ended"
    faults = [line for line in server().log if " ERROR " in line or "Traceback" in line]
    assert faults == [], "\n".join(faults)


def connect(source: str = "127.0.0.1") -> socket.socket:
    """Returns a connection. Varying `source` keeps thousands of connections a minute from using up the ports."""
    address = ("127.0.0.1", server().port)
    sock = socket.create_connection(address, TIMEOUT_SECONDS, source_address=(source, 0))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def read_head(sock: socket.socket) -> bytes:
    """Reads the 101 and returns the bytes after it."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = sock.recv(65536)
        assert data, f"the handshake was not answered: {received!r}"
        received += data
    head, _, rest = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 "), head
    return rest


class FrameReader:
    """Parses the frames of a server; raises AssertionError for a frame that a server may not send."""

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
        assert buffer[0] & 0x0F in (1, 2, 8, 9, 10), "reserved opcode"
        size, start = buffer[1], 2
        assert size < 128, "a server masks nothing"
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            least = 126 if size == 126 else 65536
            size = int.from_bytes(buffer[2:start], "big")
            assert size >= least, "a length longer than it need be"
        if len(buffer) < start + size:
            return None
        opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + size])
        assert opcode < 8 or size <= 125, "a control frame too long"
        del buffer[: start + size]
        return opcode, payload

    @property
    def is_empty(self) -> bool:
        return not self._buffer


def masked(opcode: int, payload: bytes, *, fin: bool = True, key: bytes = b"\0\0\0\0") -> bytes:
    """Returns a client's frame; a key of zeros leaves the payload readable, and mutations of it meaningful."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    data = bytes(byte ^ key[i % 4] for i, byte in enumerate(payload)) if any(key) else payload
    return bytes((opcode | (0x80 if fin else 0),)) + length + key + data
