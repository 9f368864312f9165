"""Question: how many fills are acknowledged per second over HTTP and over WebSocket, by the size of a batch?

Starts the real server without a source. POST uses CONNECTIONS connections with one unanswered request each; WebSocket
uses one connection with WINDOW unanswered messages. FLOOR decodes and applies the same fills in this process, without a
server. With `--data-dir` an acknowledged fill is on disk.

    python benchmarks/bench_ingest.py [--seconds 5] [--data-dir DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import selectors
import socket
import time
import urllib.request
from collections.abc import Iterator
from itertools import count

from running_server import running_server
from websockets.sync.client import connect

from observability.bus import Bus
from observability.clocks.clock import EventClock, HostClock
from observability.config.config import Config
from observability.errors import EventError
from observability.ingest.decoder import EventDecoder
from observability.metrics.assembly import make_collectors, make_history

BATCH_SIZES = (1, 100, 1000)
CONNECTIONS = 16
WINDOW = 32
RECEIVE_BYTES = 1 << 16
CONTENT_LENGTH = re.compile(rb"Content-Length: (\d+)")
ACCEPTED = re.compile(rb'"accepted":(\d+)')

_numbers = count()


def batches(size: int) -> Iterator[bytes]:
    """Yields JSON arrays of fills, each with a new id."""
    while True:
        fills = [
            {
                "type": "fill",
                "trade_id": f"t{n}",
                "order_id": f"o{n}",
                "symbol": f"SYM{n % 20}",
                "side": ("buy", "sell")[n % 2],
                "quantity": "100",
                "price": "585.25",
                "commission": "0.1",
                "strategy": "alpha",
            }
            for n in (next(_numbers) for _ in range(size))
        ]
        yield json.dumps(fills, separators=(",", ":")).encode()


class Poster:
    """One connection that sends its next request when the previous one has been answered."""

    def __init__(self, port: int, source: Iterator[bytes]) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.accepted = 0
        self._source = source
        self._received = b""

    def send(self) -> None:
        body = next(self._source)
        head = b"POST /api/ingest HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.sock.sendall(head + body)

    def receive(self) -> bool:
        """Returns whether an answer is complete."""
        self._received += self.sock.recv(RECEIVE_BYTES)
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end or len(body) < int(CONTENT_LENGTH.search(head)[1]):  # type: ignore[index]
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"refused: {self._received!r}")
        self.accepted += int(ACCEPTED.search(body)[1])  # type: ignore[index]
        self._received = b""
        return True


def over_post(port: int, size: int, seconds: float) -> float:
    source = batches(size)
    posters = [Poster(port, source) for _ in range(CONNECTIONS)]
    selector = selectors.EpollSelector()
    for poster in posters:
        selector.register(poster.sock, selectors.EVENT_READ, poster)
    started = time.monotonic()
    for poster in posters:
        poster.send()
    waiting = CONNECTIONS
    while waiting:
        for key, _ in selector.select(1):
            if key.data.receive():
                if time.monotonic() < started + seconds:
                    key.data.send()
                else:
                    waiting -= 1
    elapsed = time.monotonic() - started
    for poster in posters:
        poster.sock.close()
    return sum(poster.accepted for poster in posters) / elapsed


def over_websocket(port: int, size: int, seconds: float) -> float:
    source = batches(size)
    accepted = 0
    with connect(f"ws://127.0.0.1:{port}/ws/ingest", compression=None) as connection:
        connection.recv()
        started = time.monotonic()
        for _ in range(WINDOW):
            connection.send(next(source), text=True)
        waiting = WINDOW
        while waiting:
            ack = json.loads(connection.recv())
            if ack["type"] != "ack":
                raise SystemExit(f"not acknowledged: {ack}")
            accepted += ack["accepted"]
            if time.monotonic() < started + seconds:
                connection.send(next(source), text=True)
            else:
                waiting -= 1
        elapsed = time.monotonic() - started
    return accepted / elapsed


def floor(size: int, seconds: float) -> float:
    bus, clock, decoder = Bus(), EventClock(HostClock()), EventDecoder()
    collectors = make_collectors(Config(max_symbols=64), bus, clock, make_history(64))
    for collector in (collectors.market, collectors.strategy, collectors.execution):
        asyncio.run(collector.start())
    source = batches(size)
    spent_ns = fills = 0
    while spent_ns < seconds * 1e9:
        batch = next(source)
        started_ns = time.perf_counter_ns()
        now_ns = clock.time_ns()
        for index, element in enumerate(decoder.split(batch, is_lines=False)):
            event = decoder.decode_element(element, index, now_ns)
            assert not isinstance(event, EventError)
            bus.publish(event, "bench")
        spent_ns += time.perf_counter_ns() - started_ns
        fills += size
    return fills / spent_ns * 1e9


def performance(port: int) -> dict[str, float]:
    document: dict[str, float] = json.load(urllib.request.urlopen(f"http://127.0.0.1:{port}/api/system/performance"))
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--data-dir")
    args = parser.parse_args()
    arguments = () if args.data_dir is None else ("--data-dir", args.data_dir)

    print(f"{'fills in a batch':>16} {'POST /s':>10} {'WebSocket /s':>14} {'FLOOR /s':>10} {'ticks missed':>14}")
    for size in BATCH_SIZES:
        with running_server(*arguments, is_demo=False) as (_, port):
            post, stream = over_post(port, size, args.seconds), over_websocket(port, size, args.seconds)
            missed = performance(port)["ticks_missed"]
        print(f"{size:>16} {post:>10.0f} {stream:>14.0f} {floor(size, args.seconds):>10.0f} {missed:>14.0f}")


if __name__ == "__main__":
    main()
