"""The load: the generator as a process, in C or in Python, with what it measured; and a client that asks beside it."""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from observability.bench.servers import HOST, child
from observability.errors import BenchError

# Beyond the seconds that it is asked to measure: connecting, the storm's end, and reading what it has counted.
EXTRA_SECONDS: Final = 130.0
# Between an answer and the next request beside a load.
PACE_SECONDS: Final = 0.005
_TIMEOUT_SECONDS: Final = 10.0
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = b"content-length:"


class Window(msgspec.Struct, frozen=True):
    """A stretch of time, what came in it, and what it cost; CPU time per process of the server."""

    seconds: float
    messages: int
    bytes: int
    own_cpu_seconds: float
    cpu_seconds: list[float]


class Latency(msgspec.Struct, frozen=True):
    """Percentiles by nearest rank, in milliseconds."""

    n: int
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class LoadResult(msgspec.Struct, frozen=True):
    """What one run of the load generator measured; fields that its mode does not have keep their defaults."""

    clients: int
    connected: int
    failed: int
    closed: int
    stalled_closed: int
    compressed: int
    window: Window
    latency_ms: Latency | None = None
    connect_seconds: float = 0.0
    missed: int = 0
    tick_gap_ms: float = 0.0
    not_modified: int = 0
    other_answers: int = 0
    snapshot_seconds: float = 0.0
    steady: Window | None = None
    parting: Window | None = None
    parting_gap_ms: float = 0.0
    handshake_ms: Latency | None = None


@dataclass(frozen=True, slots=True)
class LoadGenerator:
    """The program that makes the load, and the cores it runs on."""

    program: Path | None
    """The compiled one; None runs the one in Python."""
    cores: frozenset[int]

    @property
    def name(self) -> str:
        return "C" if self.program is not None else "Python"

    def run(self, arguments: Sequence[str], seconds: float, at_end: Callable[[int], None]) -> LoadResult:
        """Runs it with `arguments`, which measure for `seconds`; calls `at_end` with its pid while its clients are
        still connected."""
        program = [sys.executable, "-m", "observability.bench.python_load"] if self.program is None else [self.program]
        command = [*map(str, program), *arguments]
        with child(command, self.cores, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            line = _read_line(process, seconds + EXTRA_SECONDS)
            at_end(process.pid)
        try:
            return msgspec.json.decode(line, type=LoadResult)
        except msgspec.MsgspecError:
            raise BenchError(f"the load generator failed: {' '.join(arguments)}") from None


def _read_line(process: subprocess.Popen[bytes], timeout_seconds: float) -> bytes:
    """Returns the first line that a process prints, or what it printed before it ended."""
    assert process.stdout is not None
    fd, line = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            if not selector.select(timeout_seconds):
                raise BenchError(f"the load generator has not ended after {timeout_seconds:.0f} s")
            data = os.read(fd, 1 << 16)
            if not data:
                break
            line += data
    return line


class Probe:
    """Asks, as a context, for `path` of the server on a port of this host."""

    def __init__(self, port: int, path: str) -> None:
        self._request = f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n".encode()
        self._port = port
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._fault: Exception | None = None
        # When each request was sent, and how long its answer took.
        self._answers: list[tuple[float, float]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(_TIMEOUT_SECONDS)

    def milliseconds(self, seconds: float) -> list[float]:
        """Returns how long the answers of the last `seconds` took, the shortest first. Raises BenchError."""
        if self._fault is not None:
            raise BenchError(f"a request beside the load was not answered: {self._fault}")
        since = time.monotonic() - seconds
        took = sorted(took * 1e3 for sent, took in self._answers.copy() if sent >= since)
        if not took:
            raise BenchError("no request beside the load was answered")
        return took

    def _run(self) -> None:
        try:
            with socket.create_connection((HOST, self._port), _TIMEOUT_SECONDS) as sock:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                while not self._stopping.wait(PACE_SECONDS):
                    sent = time.monotonic()
                    sock.sendall(self._request)
                    _read_answer(sock)
                    self._answers.append((sent, time.monotonic() - sent))
        except (OSError, ValueError) as error:
            self._fault = error


def _read_answer(sock: socket.socket) -> None:
    received = b""
    while _HEAD_END not in received:
        received += _part(sock)
    head, _, body = received.partition(_HEAD_END)
    if not head.startswith(b"HTTP/1.1 200 "):
        raise ValueError(head[:40].decode("latin-1"))
    left = next(int(line[len(_LENGTH) :]) for line in head.lower().split(b"\r\n") if line.startswith(_LENGTH))
    left -= len(body)
    while left > 0:
        left -= len(_part(sock))


def _part(sock: socket.socket) -> bytes:
    part = sock.recv(1 << 16)
    if not part:
        raise ConnectionError("the server closed the connection")
    return part
