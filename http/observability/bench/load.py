"""The load generator as a process, in C or in Python, and what it measured."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from observability.bench.servers import child
from observability.errors import BenchError

# Beyond the seconds that it is asked to measure: connecting, the storm's end, and reading what it has counted.
EXTRA_SECONDS: Final = 130.0


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
