"""The load generator in Python, for machines without a C compiler: the same command line and result as `load.c`.

It is slower than the servers that it measures: latencies and requests per second are its own, CPU times hold.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import selectors
import socket
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import msgspec
import psutil  # type: ignore[import-untyped]

HOST: Final = "127.0.0.1"
CONNECT_SECONDS: Final = 60.0
STORM_SECONDS: Final = 60.0
PARTING_SECONDS: Final = 0.3
PARTINGS_PER_SECOND: Final = 10_000
QUIET_SECONDS: Final = 0.015
GRACE_SECONDS: Final = 0.25
OPENING: Final = 64
STALLED_RECEIVE_BUFFER: Final = 4096
RECEIVE_BYTES: Final = 1 << 18
STAMP_BYTES: Final = 256
MAX_CLIENTS: Final = 100_000

_HAS_CPU_CLOCKS = sys.platform.startswith("linux")
_SEQ = re.compile(rb'"seq": ?(\d+)')
_MONO_NS = re.compile(rb'"mono_ns": ?(\d+)')
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ETAG = re.compile(rb"\r\netag: *([^\r]+)", re.IGNORECASE)


class Client:
    """One connection, and what has come of the current head or frame."""

    def __init__(self, load: Load, number: int) -> None:
        self.is_observer = number < load.observers
        self.is_stalled = load.observers <= number < load.observers + load.stalled
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setblocking(False)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if self.is_stalled:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_RECEIVE_BUFFER)
        self.buffer = bytearray()
        self.step: Callable[[Client], None] = load.on_connected
        self.since_ns = time.monotonic_ns()
        self.last_seq = 0
        self.messages = 0
        self.etag = b""


class Load:
    """All clients, the loop over them, and what they have seen in the current window."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.mode: str = given.mode
        self.path: str = given.path
        self.port: int = given.port
        self.count: int = given.clients
        self.stalled: int = given.stalled
        self.observers: int = max(given.observers, 1 if given.deflate else 0)
        self.wants_deflate: bool = given.deflate
        self.is_conditional: bool = given.conditional
        self.processes = [psutil.Process(pid) for pid in given.pid]
        self.selector = selectors.DefaultSelector()
        self.selector.register(sys.stdin, selectors.EVENT_READ)
        self.opened = self.opening = self.connected = self.failed = self.closed = 0
        self.stalled_closed = self.compressed = self.with_message = 0
        self.is_over = False
        self.stalled_clients: list[Client] = []
        self.ticks: list[int] = []
        self.handshakes: list[int] = []
        self.last_message_ns = 0
        self.clear()

    def clear(self) -> None:
        self.is_measuring = False
        self.messages = self.bytes = self.missed = self.not_modified = self.other_answers = 0
        self.latencies: list[int] = []
        self.arrivals: list[int] = []
        # The tick before the window begins the first gap in it.
        self.ticks = self.ticks[-1:]

    # -- connections

    def open_client(self) -> None:
        client = Client(self, self.opened)
        self.opened += 1
        self.opening += 1
        client.sock.connect_ex((HOST, self.port))
        self.selector.register(client.sock, selectors.EVENT_WRITE, client)

    def lose(self, client: Client) -> None:
        self.selector.unregister(client.sock)
        client.sock.close()
        if client.step in (self.on_connected, self.on_upgrade):
            self.failed += 1
            self.opening -= 1
        elif client.is_stalled:
            self.stalled_closed += 1
        else:
            self.closed += 1

    def on_connected(self, client: Client) -> None:
        if client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.lose(client)
            return
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.modify(client.sock, selectors.EVENT_READ, client)
        if self.mode == "requests":
            self.opening -= 1
            self.connected += 1
            client.step = self.on_answer
            self.send_request(client)
            return
        deflate = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
        extensions = deflate if self.wants_deflate and not client.is_observer else ""
        client.step = self.on_upgrade
        client.sock.send(
            f"GET {self.path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n".encode()
        )

    def on_upgrade(self, client: Client) -> None:
        if not self.receive(client):
            return
        head, found, rest = client.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self.lose(client)
            return
        self.compressed += b"permessage-deflate" in head
        self.opening -= 1
        self.connected += 1
        if self.mode == "storm" and not client.is_observer:
            self.handshakes.append(time.monotonic_ns() - client.since_ns)
        client.buffer = bytearray(rest)
        client.step = self.on_frames
        if client.is_stalled:
            # Nothing is read any more, not even the end of the connection.
            self.selector.unregister(client.sock)
            self.stalled_clients.append(client)
        else:
            self.split(client)

    def receive(self, client: Client) -> bool:
        try:
            data = client.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            self.lose(client)
            return False
        client.buffer += data
        return True

    # -- WebSocket

    def on_frames(self, client: Client) -> None:
        if self.receive(client):
            self.split(client)

    def split(self, client: Client) -> None:
        """Takes every frame that has come whole."""
        buffer, start = client.buffer, 0
        while len(buffer) - start >= 2:
            length, payload = buffer[start + 1] & 0x7F, start + 2
            if length >= 126:
                extra = 2 if length == 126 else 8
                if len(buffer) < payload + extra:
                    break
                length = int.from_bytes(buffer[payload : payload + extra], "big")
                payload += extra
            end = payload + length
            if len(buffer) < end:
                break
            opcode = buffer[start] & 0x0F
            if opcode == 8:
                self.lose(client)
                return
            if opcode == 9:
                client.sock.send(bytes((0x8A, 0x80 | length, 0, 0, 0, 0)) + buffer[payload:end])
            elif opcode in (1, 2):
                head = bytes(buffer[payload : min(end, payload + STAMP_BYTES)])
                self.on_message(client, head, end - start, bool(buffer[start] & 0x40))
            start = end
        del buffer[:start]

    def on_message(self, client: Client, head: bytes, wire_bytes: int, is_compressed: bool) -> None:
        now = time.monotonic_ns()
        counts = self.is_measuring and (self.mode == "storm" or not client.is_observer)
        if is_compressed:
            if counts:
                self.arrivals.append(now)
        else:
            seq_, mono = _SEQ.search(head), _MONO_NS.search(head)
            if seq_ is None or mono is None:
                return
            seq, tick_ns = int(seq_[1]), int(mono[1])
            if not self.ticks or tick_ns > self.ticks[-1]:
                self.ticks.append(tick_ns)
            if self.is_measuring and (self.mode == "storm") == client.is_observer:
                self.latencies.append(now - tick_ns)
                self.missed += seq - client.last_seq - 1 if client.last_seq else 0
            client.last_seq = seq
        self.last_message_ns = now
        client.messages += 1
        self.with_message += client.messages == 1
        if counts:
            self.messages += 1
            self.bytes += wire_bytes

    # -- requests

    def send_request(self, client: Client) -> None:
        tag = b"If-None-Match: " + client.etag + b"\r\n" if self.is_conditional and client.etag else b""
        client.since_ns = time.monotonic_ns()
        client.sock.send(f"GET {self.path} HTTP/1.1\r\nHost: {HOST}:{self.port}\r\n".encode() + tag + b"\r\n")

    def on_answer(self, client: Client) -> None:
        if not self.receive(client):
            return
        buffer = client.buffer
        end = buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head, status = bytes(buffer[:end]), int(buffer[9:12])
        length = _CONTENT_LENGTH.search(head)
        if length is None and status != 304:
            self.lose(client)
            return
        if len(buffer) < end + 4 + (int(length[1]) if length is not None and status != 304 else 0):
            return
        buffer.clear()
        tag = _ETAG.search(head)
        client.etag = tag[1] if tag is not None else b""
        if self.is_measuring:
            self.messages += 1
            self.latencies.append(time.monotonic_ns() - client.since_ns)
            self.not_modified += status == 304
        self.other_answers += status not in (200, 304)
        if not self.is_over:
            self.send_request(client)

    # -- the loop

    def run_once(self, timeout: float) -> None:
        for key, _ in self.selector.select(timeout):
            client: Client | None = key.data
            if client is not None:
                client.step(client)
            elif not os.read(sys.stdin.fileno(), 1):
                sys.exit(0)  # the benchmark has ended, so no process reads the result

    def run_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.run_once(0.005)

    def run_until_quiet(self) -> None:
        """Returns in the quiet after a tick."""
        began, seen = time.monotonic(), self.last_message_ns
        while time.monotonic() - began < GRACE_SECONDS and (
            self.last_message_ns == seen or time.monotonic_ns() - self.last_message_ns < QUIET_SECONDS * 1e9
        ):
            self.run_once(0.001)

    def open_up_to(self, count: int) -> None:
        deadline = time.monotonic() + CONNECT_SECONDS
        while (self.opened < count or self.opening) and time.monotonic() < deadline:
            while self.opened < count and self.opening < OPENING:
                self.open_client()
            self.run_once(0.005)

    def measure(self, run: Callable[[], None]) -> dict[str, Any]:
        if self.mode != "requests":
            self.run_until_quiet()
        self.clear()
        self.is_measuring = True
        before, cpu = time.monotonic(), self.cpu_seconds()
        own = time.process_time()
        run()
        if self.mode != "requests":
            self.run_until_quiet()
        self.is_measuring = False
        return {
            "seconds": time.monotonic() - before,
            "messages": self.messages,
            "bytes": self.bytes,
            "own_cpu_seconds": time.process_time() - own,
            "cpu_seconds": [now - then for now, then in zip(self.cpu_seconds(), cpu, strict=True)],
        }

    def cpu_seconds(self) -> list[float]:
        return [_cpu_seconds(process) for process in self.processes]

    def tick_gap_ms(self) -> float:
        return max((later - sooner for sooner, later in zip(self.ticks, self.ticks[1:], strict=False)), default=0) / 1e6

    def dated_latencies(self) -> list[int]:
        """With those of compressed messages, whose tick is the last one before they arrived."""
        dated = list(self.latencies)
        for arrival in self.arrivals:
            position = bisect_right(self.ticks, arrival)
            if position:
                dated.append(arrival - self.ticks[position - 1])
        return dated

    def counts(self) -> dict[str, Any]:
        return {
            "clients": self.count, "connected": self.connected, "failed": self.failed, "closed": self.closed,
            "stalled_closed": self.stalled_closed, "compressed": self.compressed,
        }  # fmt: skip


def run_stream(load: Load, seconds: float, warmup: float) -> dict[str, Any]:
    began = time.monotonic()
    load.open_up_to(load.count + load.observers)
    connect_seconds = time.monotonic() - began
    load.run_for(warmup)
    load.closed = 0
    window = load.measure(lambda: load.run_for(seconds))
    return load.counts() | {
        "connect_seconds": connect_seconds, "missed": load.missed, "tick_gap_ms": load.tick_gap_ms(), "window": window,
        "latency_ms": percentiles(load.dated_latencies()),
    }  # fmt: skip


def run_requests(load: Load, seconds: float, warmup: float) -> dict[str, Any]:
    load.open_up_to(load.count)
    load.run_for(warmup)
    window = load.measure(lambda: load.run_for(seconds))
    load.is_over = True
    return load.counts() | {
        "not_modified": load.not_modified, "other_answers": load.other_answers, "window": window,
        "latency_ms": percentiles(load.latencies),
    }  # fmt: skip


def run_storm(load: Load, seconds: float, warmup: float) -> dict[str, Any]:
    load.open_up_to(load.observers)
    load.run_for(warmup)
    everyone = load.count + load.observers
    times: list[float] = []

    def storm() -> None:
        began = time.monotonic()
        while (passed := time.monotonic() - began) < STORM_SECONDS:
            if load.with_message + load.failed + load.closed >= everyone:
                break
            for _ in range(min(256, everyone - load.opened)):
                load.open_client()
            load.run_once(0 if load.opened < everyone else 0.005)
            if not times and load.opened == everyone and not load.opening:
                times.append(time.monotonic() - began)
        times.extend([passed] * (2 - len(times)))

    window = load.measure(storm)
    seen = load.counts() | {
        "connect_seconds": times[0], "snapshot_seconds": times[1], "missed": load.missed,
        "tick_gap_ms": load.tick_gap_ms(), "window": window, "latency_ms": percentiles(load.latencies),
        "handshake_ms": percentiles(load.handshakes),
    }  # fmt: skip
    steady = load.measure(lambda: load.run_for(seconds))

    def part() -> None:
        for key in tuple(load.selector.get_map().values()):
            client: Client | None = key.data
            if client is not None and not client.is_observer:
                load.selector.unregister(client.sock)
                client.sock.close()
        load.run_for(PARTING_SECONDS + load.count / PARTINGS_PER_SECOND)

    parting = load.measure(part)
    return seen | {"steady": steady, "parting": parting, "parting_gap_ms": load.tick_gap_ms()}


def percentiles(values_ns: Sequence[int]) -> dict[str, float] | None:
    """Percentiles by nearest rank, in milliseconds; None without a value."""
    ordered = sorted(values_ns)
    if not ordered:
        return None
    shares = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "max": 1.0}
    return {"n": len(ordered)} | {name: nearest_rank(ordered, share) / 1e6 for name, share in shares.items()}


def nearest_rank(ordered: Sequence[float], share: float) -> float:
    """Returns the percentile of a sorted list."""
    return ordered[max(1, math.ceil(share * len(ordered) - 1e-6)) - 1]


def _cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess, OSError):
        if _HAS_CPU_CLOCKS:
            # The clock that clock_getcpuclockid(3) returns: it counts nanoseconds.
            return time.clock_gettime((~process.pid << 3) | 2)
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="load", allow_abbrev=False)
    parser.add_argument("mode", choices=["stream", "requests", "storm"])
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("--clients", type=int, default=100, choices=range(1, MAX_CLIENTS + 1), metavar="N")
    parser.add_argument("--observers", type=int, default=0)
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--deflate", action="store_true")
    parser.add_argument("--conditional", action="store_true")
    parser.add_argument("--pid", type=int, action="append", default=[])
    return parser


def main() -> None:
    given = _parser().parse_args()
    load = Load(given)
    run = {"stream": run_stream, "requests": run_requests, "storm": run_storm}[load.mode]
    sys.stdout.buffer.write(msgspec.json.encode(run(load, given.seconds, given.warmup)) + b"\n")
    sys.stdout.flush()
    while True:
        load.run_once(0.1)


if __name__ == "__main__":
    main()
