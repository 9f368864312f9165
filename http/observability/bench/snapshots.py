"""Snapshots of a wanted size: the events that give ours this size, and the copy of it that peers send.

A full snapshot without a symbol has about 1.9 KB, and each symbol adds half a kilobyte. A smaller one is the section
that a client gets who has subscribed to one channel. While a server is measured, each symbol gets one quote a second.
"""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import msgspec

from observability.bench.servers import HOST, Server
from observability.encoding import encode_json
from observability.errors import BenchError

STREAM_PATH: Final = "/ws/metrics"
ONE_SECTION_PATH: Final = "/ws/metrics?channels=strategy"
# A snapshot below this size is taken from one section.
ONE_SECTION_BELOW_BYTES: Final = 1500
MAX_SYMBOLS: Final = 5000
# What a symbol adds, and what it adds at most, with its position.
SYMBOL_BYTES: Final = 480
MAX_SYMBOL_BYTES: Final = 1400
# One position for so many symbols.
SYMBOLS_PER_POSITION: Final = 4
QUOTE_SECONDS: Final = 1.0
FIRST_SEQ: Final = 10_000_000
"""Peers count from here, so that the number of digits stays what it is."""

_TIMEOUT_SECONDS: Final = 10.0
_TICKS_SECONDS: Final = 0.25
_HANDSHAKE: Final = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that a server is brought to, and what its clients then get."""

    wanted: int
    """The size asked for, in bytes."""
    symbols: int
    path: str
    """Where a client of ours subscribes to it."""
    copy: bytes
    """For peers: the same bytes, with a `seq` of eight digits."""

    @property
    def size(self) -> int:
        return len(self.copy)

    @property
    def is_full(self) -> bool:
        """Whether `GET /api/metrics/current` answers with it, too."""
        return self.path == STREAM_PATH


def grow(server: Server, symbols: int, size: int) -> int:
    """Adds symbols to a server that has some, until its snapshot is as near to `size` bytes as it can be; returns how
    many there are then."""
    while symbols < MAX_SYMBOLS and (missing := size - len(_current(server))) > SYMBOL_BYTES / 2:
        more = max(1, missing // MAX_SYMBOL_BYTES)
        fill(server, symbols + more)
        symbols += more
    return symbols


def fill(server: Server, symbols: int) -> None:
    """Sends the events that make a number of symbols, with their positions, and waits until a snapshot has them."""
    if symbols:
        _post(server, [event for number in range(symbols) for event in _events(number)])
        time.sleep(_TICKS_SECONDS)


def take_snapshot(server: Server, wanted: int | None, symbols: int) -> Snapshot:
    """Returns what a client of a server with a number of symbols gets; of a small size it is one section."""
    path = ONE_SECTION_PATH if wanted is not None and wanted < ONE_SECTION_BELOW_BYTES else STREAM_PATH
    message = _first_snapshot(server, path)
    copy, count = re.subn(rb'"seq":\d+', b'"seq":%d' % FIRST_SEQ, message, count=1)
    if not count or b'"mono_ns":' not in copy:
        raise BenchError(f"not a snapshot: {message[:100]!r}")
    return Snapshot(len(copy) if wanted is None else wanted, symbols, path, copy)


class Traffic:
    """Sends each symbol one quote a second from a thread, as a context."""

    def __init__(self, server: Server, symbols: int) -> None:
        self._server = server
        self._symbols = symbols
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        if self._symbols:
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(_TIMEOUT_SECONDS)

    def _run(self) -> None:
        moves = 0
        with closing(http.client.HTTPConnection(HOST, self._server.port, timeout=_TIMEOUT_SECONDS)) as connection:
            while not self._stopping.wait(QUOTE_SECONDS):
                moves += 1
                body = encode_json([_quote(number, moves) for number in range(self._symbols)])
                try:
                    connection.request("POST", "/api/ingest", body, {"Content-Type": "application/json"})
                    connection.getresponse().read()
                except OSError:
                    # The server is being ended, or is overloaded; the measurement shows the latter.
                    connection.close()


def _events(number: int) -> Iterator[dict[str, Any]]:
    yield _quote(number, 0)
    yield {"type": "print", "symbol": _symbol(number), "price": 100.5, "size": 100}
    if number % SYMBOLS_PER_POSITION == 0:
        yield {
            "type": "fill", "trade_id": f"t{number}", "order_id": f"o{number}", "symbol": _symbol(number),
            "side": "buy", "quantity": "100", "price": "100.25", "strategy": "alpha",
        }  # fmt: skip


def _quote(number: int, moves: int) -> dict[str, Any]:
    bid = 100 + moves % 50 / 100
    return {"type": "quote", "symbol": _symbol(number), "bid": bid, "ask": bid + 0.02, "bid_size": 100, "ask_size": 200}


def _symbol(number: int) -> str:
    return f"SYM{number:04d}"


def _post(server: Server, events: list[dict[str, Any]]) -> None:
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=_TIMEOUT_SECONDS)) as connection:
        for first in range(0, len(events), 1000):
            body = encode_json(events[first : first + 1000])
            connection.request("POST", "/api/ingest", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200 or msgspec.json.decode(text)["rejected"]:
                raise BenchError(f"the server refused the events of the benchmark: {text[:300]!r}")


def _current(server: Server) -> bytes:
    with closing(http.client.HTTPConnection(HOST, server.port, timeout=_TIMEOUT_SECONDS)) as connection:
        connection.request("GET", "/api/metrics/current")
        return connection.getresponse().read()


def _first_snapshot(server: Server, path: str) -> bytes:
    """Returns the first snapshot that a new client of the stream gets."""
    with socket.create_connection((HOST, server.port), _TIMEOUT_SECONDS) as sock, sock.makefile("rb") as stream:
        sock.sendall(_HANDSHAKE.format(path=path).encode())
        while stream.readline() not in (b"\r\n", b""):
            pass
        while True:
            header = stream.read(2)
            if len(header) < 2:
                raise BenchError("the server closed the stream before its first snapshot")
            length = header[1] & 0x7F
            if length >= 126:
                length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
            message = stream.read(length)
            if b'"metrics_update"' in message[:100]:
                return message
