"""Question: how small is a compressed tick, and what does it cost to compress it once for all clients?

Takes successive snapshots of 1, 8, 31 and 64 KB in which a share of the symbols change each tick, and measures the size
and time of a contained frame, of a stepped frame at several levels, and the time that each client adds once both exist.
The payloads resemble the market data section; `--url ws://...` records real ones from a running server instead.

    python benchmarks/bench_deflate.py [--ticks 100] [--url ws://127.0.0.1:8000/ws]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise

import orjson
from websockets.sync.client import connect

from observability.memory.counters import Counters
from observability.websocket.deflate import (
    CONTAINED_LEVEL,
    STEPPED_LEVEL,
    DeflateCounters,
    DeflateMemory,
    SharedDeflater,
    contained,
    stepped,
)
from observability.websocket.inflate import inflate

SYMBOLS = {"1 KB": 3, "8 KB": 30, "31 KB": 115, "64 KB": 240}
SHARES = (0.05, 0.3)
LEVELS = (1, 3, 6, 9)
CLIENTS = 1000
REQUEST = b'{"type":"subscribe","id":1,"channels":["market_data"],"symbols":["AAPL"],"mode":"full"}'


class Market:
    """Symbols whose quotes move by cents, and snapshots of them."""

    def __init__(self, symbols: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._symbols: dict[str, dict[str, object]] = {}
        self._mids: dict[str, float] = {}
        while len(self._symbols) < symbols:
            name = "".join(self._rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=self._rng.randint(3, 5)))
            self._mids[name] = self._rng.randint(500, 60_000) / 100
            self._move(name, 0)

    def snapshots(self, ticks: int, share: float) -> Iterator[bytes]:
        for tick in range(1, ticks + 1):
            moving = max(1, round(share * len(self._symbols)))
            for name in self._rng.sample(sorted(self._symbols), moving):
                self._move(name, tick)
            yield orjson.dumps(
                {
                    "type": "metrics_update",
                    "seq": tick,
                    "epoch": "18eadacb927e8b6d",
                    "timestamp": self._timestamp(tick),
                    "mono_ns": 3_654_985_150_327 + tick * 100_000_000 + self._rng.randrange(100_000),
                    "age_ms": {"market_data": self._rng.random() * 10},
                    "market_data": self._symbols,
                }
            )

    def _move(self, name: str, tick: int) -> None:
        rng = self._rng
        mid = self._mids[name] = max(1.0, self._mids[name] + rng.randint(-3, 3) / 100)
        spread = rng.randint(1, 4) / 100
        self._symbols[name] = {
            "last_price": round(mid, 2),
            "bid": round(mid - spread / 2, 2),
            "ask": round(mid + spread / 2, 2),
            "bid_size": 100.0 * rng.randint(1, 20),
            "ask_size": 100.0 * rng.randint(1, 20),
            "volume": 100.0 * (500 + tick * 3 + rng.randint(0, 2)),
            "trades": 100 + tick,
            "vwap": mid + rng.random() / 100,
            "high": round(mid + 0.4, 1),
            "low": round(mid - 0.4, 1),
            "spread_bps": spread / mid * 1e4,
            "locked": 0,
            "crossed": 0,
            "updated": self._timestamp(tick),
            "stale": False,
        }

    @staticmethod
    def _timestamp(tick: int) -> str:
        return f"2025-01-02T15:{tick // 600 % 60:02}:{tick / 10 % 60:06.3f}Z"


def record(url: str, ticks: int) -> list[bytes]:
    """Returns successive snapshots of a running server."""
    with connect(url, compression=None) as client:
        client.recv()
        return [str(client.recv(timeout=10)).encode() for _ in range(ticks)]


def median_us(call: Callable[[], object], repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        start_ns = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start_ns)
    return statistics.median(times) / 1e3


def stepped_at(level: int, payload: bytes, previous: bytes) -> bytes:
    compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, previous)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def report(label: str, payloads: list[bytes]) -> None:
    pairs = list(pairwise(payloads))

    def line(name: str, compress: Callable[[bytes, bytes], bytes]) -> None:
        size = statistics.mean(len(compress(payload, previous)) for previous, payload in pairs)
        cost = statistics.median(
            median_us(lambda now=payload, before=previous: compress(now, before), 3)  # type: ignore[misc]
            for previous, payload in pairs
        )
        print(f"  {name:<22} {size:8.0f} B {cost:8.1f} us")

    print(f"{label}: {statistics.mean(map(len, payloads)):.0f} B")
    line(f"contained (level {CONTAINED_LEVEL})", lambda payload, _: contained(payload))
    line(f"stepped (level {STEPPED_LEVEL})", stepped)
    for level in LEVELS:
        line(f"  stepped at level {level}", lambda payload, previous, level=level: stepped_at(level, payload, previous))  # type: ignore[misc]


def report_per_client(payloads: list[bytes]) -> None:
    """Prints the time that a client adds to the compression, and the time to decompress its messages."""
    deflater = SharedDeflater(DeflateCounters(Counters()))
    memories = [DeflateMemory(takeover=True) for _ in range(CLIENTS)]
    times = []
    for payload in payloads:
        message = deflater.next_message(payload)
        message.contained_frame()
        memories[0].frame_for(message)
        times.append(median_us(lambda now=message: [memory.frame_for(now) for memory in memories[1:]], 1))  # type: ignore[misc]
    print(f"per client and tick, once compressed: {statistics.median(times) / (CLIENTS - 1) * 1e3:.0f} ns")
    for name, message_in in (("ping", b"ping"), ("a subscription", REQUEST)):
        data = contained(message_in)
        print(f"inflate {name}: {median_us(lambda data=data: inflate(data, 65_536), 2001):.1f} us")  # type: ignore[misc]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ticks", type=int, default=100)
    parser.add_argument("--url", help="record snapshots from this server")
    arguments = parser.parse_args()
    if arguments.url:
        payloads = record(arguments.url, arguments.ticks)
        report(arguments.url, payloads)
    else:
        for label, symbols in SYMBOLS.items():
            for share in SHARES:
                payloads = list(Market(symbols, seed=1).snapshots(arguments.ticks, share))
                report(f"{label}, {share:.0%} of {symbols} symbols move", payloads)
    report_per_client(payloads)


if __name__ == "__main__":
    main()
