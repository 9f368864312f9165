"""Question: do good clients notice hostile ones, and does the server's memory shrink again when those have gone?

100 WebSocket clients read the stream of a real server. One attack after the other runs beside them, each in a process
of its own: 10,000 connections that send nothing, 1,000 that send their head at a byte a second, 1,000 WebSocket clients
that never read, 1,000,000 pipelined requests. Printed for the time before, during and after each attack: latency from
tick to good client, snapshots that good clients missed, and memory of the server.

    python benchmarks/bench_hostile.py [--good 100] [--seconds 10] [--scale 1.0]

It needs some 12,000 file descriptors per process.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event

import psutil
import stream_reader
from running_server import running_server
from stream_reader import open_connection, open_readers, read_ready, selector_of

FILES_WANTED = 20_000
# Connections from one address share 28,000 ports, and a closed one keeps its port for a minute.
SOURCES = ("127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
REQUEST = b"GET /api/metrics/current HTTP/1.1\r\nHost: localhost\r\n\r\n"
# How long an attacker takes to notice that it is to stop.
LOOK_SECONDS = 1.0

Attack = Callable[[int, int, Event, Event], None]


@dataclass
class Window(stream_reader.Window):
    """What the good clients saw in one phase, and what the server used meanwhile."""

    rss_mb: float = 0.0
    cpu_cores: float = 0.0


# -- attacks: each runs in a process of its own, sets `ready` at full strength, and ends when `stop` is set


def idle(port: int, count: int, ready: Event, stop: Event) -> None:
    """Connections that send nothing."""
    held = [connect(port, n) for n in range(count)]
    ready.set()
    stop.wait()
    close_all(held)


def slow_heads(port: int, count: int, ready: Event, stop: Event) -> None:
    """Connections that send a head at a byte a second, and connect again when the server cuts them off."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Padding: " + b"a" * 1000
    held = [connect(port, n) for n in range(count)]
    sent = [0] * count
    ready.set()
    while not stop.wait(LOOK_SECONDS):
        for n, sock in enumerate(held):
            try:
                sock.send(head[sent[n] : sent[n] + 1])
                sent[n] += 1
            except OSError:
                sock.close()
                held[n], sent[n] = connect(port, n), 0
    close_all(held)


def deaf(port: int, count: int, ready: Event, stop: Event) -> None:
    """WebSocket clients that never read."""
    held = [connect(port, n, receive_buffer=4096) for n in range(count)]
    for sock in held:
        sock.sendall(stream_reader.HANDSHAKE)
    ready.set()
    stop.wait()
    close_all(held)


def pipelined(port: int, count: int, ready: Event, stop: Event) -> None:
    """`count` requests over 10 connections, as many at once as the sockets take. The answers are read."""
    ready.set()
    selector = selectors.DefaultSelector()
    batch = REQUEST * 500
    per_connection = count // 10
    # Per connection: bytes still to send, and answers still to come.
    state: dict[socket.socket, list[int]] = {}
    for n in range(10):
        sock = connect(port, n)
        sock.setblocking(False)
        state[sock] = [per_connection * len(REQUEST), per_connection]
        selector.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, sock)
    answered = 0
    while state and not stop.is_set():
        for key, events in selector.select(LOOK_SECONDS):
            peer: socket.socket = key.data
            left = state[peer]
            if events & selectors.EVENT_READ:
                answers = peer.recv(1 << 20).count(b"HTTP/1.1 200")
                answered += answers
                left[1] -= answers
            if events & selectors.EVENT_WRITE:
                offset = -left[0] % len(REQUEST)
                left[0] -= peer.send(batch[offset : offset + left[0]])
                if not left[0]:
                    selector.modify(peer, selectors.EVENT_READ, peer)
            # A status line that two reads divide is not counted, so the last few answers are not waited for.
            if left[1] <= per_connection // 1000 and not left[0]:
                selector.unregister(peer)
                peer.close()
                del state[peer]
    print(f"{'':<14} {answered} of {count} pipelined requests answered", flush=True)
    close_all(list(state))


ATTACKS: dict[str, tuple[Attack, int]] = {
    "idle": (idle, 10_000),
    "idle again": (idle, 10_000),
    "slow heads": (slow_heads, 1_000),
    "deaf sockets": (deaf, 1_000),
    "pipelined": (pipelined, 1_000_000),
}


def connect(port: int, number: int, receive_buffer: int | None = None) -> socket.socket:
    return open_connection(port, receive_buffer, SOURCES[number % len(SOURCES)])


def close_all(socks: list[socket.socket]) -> None:
    for sock in socks:
        sock.close()


# -- the good clients


def watch(selector: selectors.BaseSelector, pid: int, until: Callable[[float], bool]) -> Window:
    """Reads until `until` is true of the seconds passed."""
    window = Window()
    process = psutil.Process(pid)
    started, before = time.monotonic(), process.cpu_times()
    while not until(time.monotonic() - started):
        read_ready(selector, window)
    after = process.cpu_times()
    window.rss_mb = process.memory_info().rss / 1e6
    window.cpu_cores = (after.user + after.system - before.user - before.system) / (time.monotonic() - started)
    return window


def _is_ready(ready: Event, _: float) -> bool:
    return ready.is_set()


def _has_lasted(seconds: float, _: BaseProcess, passed: float) -> bool:
    return passed > seconds


def _is_over(_: float, attacker: BaseProcess, __: float) -> bool:
    return not attacker.is_alive()


def report(name: str, phase: str, window: Window) -> None:
    print(
        f"{name:<14} {phase:<9} {len(window.latencies_ns):>9} {window.missed:>6} {window.percentile_ms(50):>8.2f} "
        f"{window.percentile_ms(99):>8.2f} {window.percentile_ms(100):>8.2f} {window.rss_mb:>8.1f} "
        f"{window.cpu_cores:>6.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--good", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the numbers of hostile peers")
    parser.add_argument("--attacks", nargs="*", choices=list(ATTACKS), default=list(ATTACKS))
    args = parser.parse_args()
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES_WANTED if hard_limit == resource.RLIM_INFINITY else min(FILES_WANTED, hard_limit)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard_limit))

    spawn = multiprocessing.get_context("spawn")
    with running_server("--log-level", "ERROR", WS_MAX_CONNECTIONS="15000") as (pid, port):
        selector = selector_of(open_readers(port, args.good))
        print(f"{args.good} good clients; latency from tick to client in ms, memory in MB, CPU of the server in cores")
        print(
            f"{'beside':<14} {'phase':<9} {'snapshots':>9} {'missed':>6} {'p50':>8} {'p99':>8} {'max':>8} "
            f"{'RSS':>8} {'CPU':>6}"
        )
        watch(selector, pid, lambda seconds: seconds > 1)
        for name in args.attacks:
            attack, count = ATTACKS[name]
            before = watch(selector, pid, lambda seconds: seconds > args.seconds)
            report(name, "before", before)
            ready, stop = spawn.Event(), spawn.Event()
            attacker = spawn.Process(target=attack, args=(port, int(count * args.scale), ready, stop))
            attacker.start()
            report(name, "arriving", watch(selector, pid, partial(_is_ready, ready)))
            until = _is_over if attack is pipelined else _has_lasted
            during = watch(selector, pid, partial(until, args.seconds, attacker))
            report(name, "during", during)
            stop.set()
            report(name, "leaving", watch(selector, pid, partial(_is_over, 0.0, attacker)))
            attacker.join()
            after = watch(selector, pid, lambda seconds: seconds > args.seconds)
            report(name, "after", after)
            print(
                f"{'':<14} p99 during/before {during.percentile_ms(99) / before.percentile_ms(99):.2f}, "
                f"RSS after - before {after.rss_mb - before.rss_mb:+.1f} MB"
            )


if __name__ == "__main__":
    main()
