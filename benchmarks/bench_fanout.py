"""Question: does every reading client get every snapshot, and does memory stay flat, while some clients never read?

Starts the real server with its simulator, connects CLIENTS WebSocket clients out of which STALLED never read a byte,
and watches for SECONDS: sequence numbers missed by the readers, beats the server missed, latency from tick to client,
memory of the process, and socket memory of the kernel.

    python benchmarks/bench_fanout.py [--clients 1000] [--stalled 20] [--seconds 60]
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import selectors
import socket
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from serving import running_server

SEQ = re.compile(rb'"seq":(\d+)')
MONO_NS = re.compile(rb'"mono_ns":(\d+)')
RECEIVE_BYTES = 1 << 16
SAMPLE_SECONDS = 5.0


@dataclass
class Reader:
    """One client that reads: which sequence numbers it saw, and what it missed."""

    sock: socket.socket
    buffer: bytearray = field(default_factory=bytearray)
    last_seq: int | None = None
    received: int = 0
    missed: int = 0

    def feed(self, data: bytes, latencies_ns: list[int]) -> None:
        """Takes received bytes apart into frames (unmasked, unfragmented, as servers send them)."""
        now_ns = time.monotonic_ns()
        buffer = self.buffer
        buffer += data
        while len(buffer) >= 2:
            length, start = buffer[1], 2
            if length == 126:
                length, start = int.from_bytes(buffer[2:4], "big"), 4
            elif length == 127:
                length, start = int.from_bytes(buffer[2:10], "big"), 10
            if len(buffer) < start + length:
                return
            if buffer[0] & 0x0F == 1:
                self._on_text(bytes(buffer[start : start + 200]), now_ns, latencies_ns)
            elif buffer[0] & 0x0F == 9:
                self.sock.send(b"\x8a\x80\x00\x00\x00\x00")  # an empty, masked pong
            del buffer[: start + length]

    def _on_text(self, head: bytes, now_ns: int, latencies_ns: list[int]) -> None:
        if b'"metrics_update"' not in head:
            return
        seq = int(SEQ.search(head)[1])  # type: ignore[index]
        if self.last_seq is not None:
            self.missed += seq - self.last_seq - 1
            latencies_ns.append(now_ns - int(MONO_NS.search(head)[1]))  # type: ignore[index]
        self.last_seq = seq
        self.received += 1


def connect(port: int, receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    sock.sendall(
        f"GET /ws/metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    return sock


def read_handshake(reader: Reader, latencies_ns: list[int]) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += reader.sock.recv(RECEIVE_BYTES)
    head, _, rest = received.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 101"):
        raise SystemExit(f"handshake refused: {head[:200]!r}")
    reader.feed(rest, latencies_ns)


def counter(port: int, name: str) -> float:
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(rf"{name}(_total)?[ {{]", line))


def kernel_tcp_pages() -> int:
    """Pages of socket memory of all TCP sockets of this host."""
    match = re.search(r"TCP:.* mem (\d+)", Path("/proc/net/sockstat").read_text())
    return int(match[1]) if match else 0


def watch(readers: list[Reader], pid: int, seconds: float, latencies_ns: list[int]) -> list[tuple[float, int]]:
    """Reads for `seconds`; returns RSS in MB and kernel pages, sampled every `SAMPLE_SECONDS`."""
    selector = selectors.EpollSelector()
    for reader in readers:
        reader.sock.setblocking(False)
        selector.register(reader.sock, selectors.EVENT_READ, reader)
    process = psutil.Process(pid)
    samples: list[tuple[float, int]] = []
    start = next_sample = time.monotonic()
    while (now := time.monotonic()) < start + seconds:
        if now >= next_sample:
            samples.append((process.memory_info().rss / 1e6, kernel_tcp_pages()))
            next_sample += SAMPLE_SECONDS
        for key, _ in selector.select(0.05):
            data = key.data.sock.recv(RECEIVE_BYTES)
            if not data:
                raise SystemExit("the server closed the connection of a client that reads")
            key.data.feed(data, latencies_ns)
    return samples


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--stalled", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60.0)
    args = parser.parse_args()

    latencies_ns: list[int] = []
    with running_server() as (pid, port):
        stalled = [connect(port, receive_buffer=4096) for _ in range(args.stalled)]
        readers = [Reader(connect(port)) for _ in range(args.clients - args.stalled)]
        for reader in readers:
            read_handshake(reader, latencies_ns)
        missed_ticks = counter(port, "tick_missed")
        cpu = psutil.Process(pid).cpu_times()
        # Connecting takes seconds during which nobody reads: what was missed until here is not counted.
        watch(readers, pid, 1.0, latencies_ns)
        latencies_ns.clear()
        for reader in readers:
            reader.missed = reader.received = 0
        samples = watch(readers, pid, args.seconds, latencies_ns)
        cpu_after = psutil.Process(pid).cpu_times()
        missed_ticks = counter(port, "tick_missed") - missed_ticks
        skipped = counter(port, "websocket_frames_skipped")
        for sock in stalled:
            sock.close()

    received = sum(reader.received for reader in readers)
    latencies_ns.sort()
    cpu_s = cpu_after.user + cpu_after.system - cpu.user - cpu.system
    print(f"clients                    {len(readers)} reading, {len(stalled)} stalled, {args.seconds:.0f} s")
    print(f"snapshots received         {received} ({received / max(len(readers), 1):.1f} per client)")
    print(f"snapshots missed           {sum(reader.missed for reader in readers)}")
    print(f"snapshots skipped (all)    {skipped:.0f}")
    print(f"ticks missed               {missed_ticks:.0f}")
    for percent in (50, 99, 99.9):
        index = min(len(latencies_ns) - 1, int(len(latencies_ns) * percent / 100))
        print(f"tick to client p{percent:<10} {latencies_ns[index] / 1e6:.2f} ms")
    print(
        f"server CPU                 {cpu_s / args.seconds:.3f} cores, "
        f"{cpu_s / max(received, 1) * 1e6:.1f} us per client and tick"
    )
    print("RSS MB                     " + " ".join(f"{rss:.1f}" for rss, _ in samples))
    print("kernel TCP pages           " + " ".join(str(pages) for _, pages in samples))


if __name__ == "__main__":
    main()
