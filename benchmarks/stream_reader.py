"""Subscribers that read the stream as fast as it comes, and what they see of it: snapshots, gaps and latencies."""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

SEQ = re.compile(rb'"seq":(\d+)')
MONO_NS = re.compile(rb'"mono_ns":(\d+)')
RECEIVE_BYTES = 1 << 16
# Everything a reader wants to know of a snapshot stands in its first bytes.
HEAD_BYTES = 200
HANDSHAKE = (
    b"GET /ws/metrics HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
EMPTY_PONG = b"\x8a\x80\x00\x00\x00\x00"


@dataclass
class Window:
    """What all readers saw in a stretch of time."""

    received: int = 0
    missed: int = 0
    latencies_ns: list[int] = field(default_factory=list)
    """From the tick to the client."""

    def percentile_ms(self, percent: float) -> float:
        return percentile_ms(sorted(self.latencies_ns), percent)


@dataclass
class StreamReader:
    """One subscriber, which also answers pings."""

    sock: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    last_seq: int | None = None

    def read_handshake(self) -> None:
        """Waits for the 101; from then on the socket does not block."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self.sock.recv(RECEIVE_BYTES)
        head, _, rest = received.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"handshake refused: {head[:200]!r}")
        self.buffer += rest
        self.sock.setblocking(False)

    def feed(self, data: bytes, window: Window) -> None:
        """Splits received bytes into frames, which servers send unmasked and this one unfragmented."""
        now_ns = time.monotonic_ns()
        buffer = self.buffer
        buffer += data
        while len(buffer) >= 2:
            length, start = buffer[1], 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(buffer[2:start], "big")
            if len(buffer) < start + length:
                return
            opcode = buffer[0] & 0x0F
            if opcode == 9:
                self.sock.send(EMPTY_PONG)
            elif opcode == 1 and b'"metrics_update"' in (head := bytes(buffer[start : start + HEAD_BYTES])):
                self._on_snapshot(head, now_ns, window)
            del buffer[: start + length]

    def _on_snapshot(self, head: bytes, now_ns: int, window: Window) -> None:
        seq, mono_ns = SEQ.search(head), MONO_NS.search(head)
        assert seq is not None and mono_ns is not None
        if self.last_seq is not None:
            window.missed += int(seq[1]) - self.last_seq - 1
            window.latencies_ns.append(now_ns - int(mono_ns[1]))
        self.last_seq = int(seq[1])
        window.received += 1


def connect(port: int, receive_buffer: int | None = None, source: str | None = None) -> socket.socket:
    """Returns a connection on which a handshake was sent, from the address `source` if given."""
    sock = open_connection(port, receive_buffer, source)
    sock.sendall(HANDSHAKE)
    return sock


def open_connection(port: int, receive_buffer: int | None = None, source: str | None = None) -> socket.socket:
    """Returns a connection on which nothing was sent."""
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source is not None:
        sock.bind((source, 0))
    sock.connect(("127.0.0.1", port))
    return sock


def open_readers(port: int, count: int) -> list[StreamReader]:
    """Returns readers that are connected; the answers to their handshakes are read once all of them are."""
    readers = [StreamReader(connect(port)) for _ in range(count)]
    for reader in readers:
        reader.read_handshake()
    return readers


def selector_of(readers: Sequence[StreamReader]) -> selectors.BaseSelector:
    """Returns a selector that waits for any of the readers."""
    selector = selectors.DefaultSelector()
    for reader in readers:
        selector.register(reader.sock, selectors.EVENT_READ, reader)
    return selector


def read_ready(selector: selectors.BaseSelector, window: Window, timeout_seconds: float = 0.05) -> None:
    """Reads whatever has come for the readers of `selector`, or comes within the timeout."""
    for key, _ in selector.select(timeout_seconds):
        data = key.data.sock.recv(RECEIVE_BYTES)
        if not data:
            raise SystemExit("the server closed the connection of a client that reads")
        key.data.feed(data, window)


def percentile_ms(ordered_ns: Sequence[int], percent: float) -> float:
    """Returns a percentile of sorted durations in milliseconds; NaN without any."""
    if not ordered_ns:
        return float("nan")
    return ordered_ns[min(len(ordered_ns) - 1, int(len(ordered_ns) * percent / 100))] / 1e6
