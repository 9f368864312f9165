"""Servers under measurement: processes that are started, pinned to cores, measured, and always ended."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]

from observability.errors import BenchError

HOST: Final = "127.0.0.1"
START_SECONDS: Final = 30.0
END_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.02
# The end of a server's log that an error quotes.
_QUOTED_CHARACTERS: Final = 300
# The signals that end a run.
_HELD: Final = (signal.SIGINT, signal.SIGTERM)

# <linux/prctl.h>
_PR_SET_PDEATHSIG: Final = 1


@dataclass(frozen=True, slots=True)
class Cores:
    """Which cores run the server, and which the load; empty where the system cannot pin processes, or has one core."""

    server: frozenset[int]
    load: frozenset[int]

    @classmethod
    def choose(cls) -> Cores:
        """The last core for the server, and another one for the load: not its hyper-thread, if there is a choice."""
        if sys.platform != "linux":
            return cls(frozenset(), frozenset())
        available = sorted(os.sched_getaffinity(0))
        if len(available) < 2:
            return cls(frozenset(), frozenset())
        server = available.pop()
        siblings = _siblings(server)
        load = next((core for core in reversed(available) if core not in siblings), available[-1])
        return cls(frozenset({server}), frozenset({load}))

    def for_processes(self, count: int) -> frozenset[int]:
        """Cores for a server of `count` processes: its own, or if it has several, all that are not the load's.

        Where those are fewer than the processes, all cores: then the server shares a core with the load.
        """
        if count == 1 or not self.server:
            return self.server
        available = frozenset(os.sched_getaffinity(0)) | self.server | self.load
        rest = available - self.load
        return rest if len(rest) >= count else available

    def __str__(self) -> str:
        if not self.server:
            return "processes are not pinned to cores"
        return f"server on core {_listed(self.server)}, load on core {_listed(self.load)}"


class Server:
    """A running server: its port, its processes, their memory."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process = psutil.Process(process.pid)
        self.port = port

    def processes(self) -> list[psutil.Process]:
        return [self._process, *self._process.children(recursive=True)]

    def pids(self) -> list[int]:
        return [process.pid for process in self.processes()]

    def names(self) -> list[str]:
        """The name of each process, in the order of `pids`."""
        return [process.name() for process in self.processes()]

    def memory_bytes(self) -> int:
        """Resident memory; of several processes the sum of their shares (PSS), so that shared pages count once."""
        processes = self.processes()
        if len(processes) == 1:
            return int(self._process.memory_info().rss)
        return sum(int(process.memory_full_info().pss) for process in processes)

    def cpu_seconds(self) -> float:
        return sum(map(cpu_seconds_of, self.pids()))


@contextmanager
def running(
    command: Sequence[str], port: int, environment: Mapping[str, str], cores: frozenset[int], log: Path
) -> Iterator[Server]:
    """Runs a server, from the time its port is open; ends its processes however the block is left."""
    with (
        log.open("wb") as output,
        child(command, cores, environment=environment, stdout=output.fileno()) as process,
    ):
        _wait_until_open(process, port, log)
        yield Server(process, port)


@contextmanager
def child(
    command: Sequence[str],
    cores: frozenset[int],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """Runs a process on `cores`, in a group of its own, out of reach of the terminal's Ctrl-C; kills it, and those that
    it has started, however the block is left. They keep nothing that would have to be saved."""
    process = None
    try:
        # What a signal handler raises during the fork is lost in the hooks of `logging`; what it raises afterwards,
        # before the process is known here, leaves that process without an owner.
        with _signals_held():
            process = _spawn(command, cores, environment, stdin, stdout)
        yield process
    finally:
        if process is not None:
            with _signals_held():
                _end(process)


def _spawn(
    command: Sequence[str], cores: frozenset[int], environment: Mapping[str, str] | None, stdin: int, stdout: int
) -> subprocess.Popen[bytes]:
    parent = os.getpid()

    def prepare() -> None:
        if sys.platform == "linux":
            # Even if this process is killed, no process of the benchmark stays behind.
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)  # it has been killed already
            if cores:
                os.sched_setaffinity(0, cores)

    return subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.STDOUT if stdout != subprocess.PIPE else None,
        env=None if environment is None else dict(environment),
        start_new_session=True,
        preexec_fn=prepare,
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(END_SECONDS)
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(OSError):
                stream.close()


@contextmanager
def _signals_held() -> Iterator[None]:
    """Keeps a SIGINT or SIGTERM that comes within the block, and delivers it after the block."""
    held: list[int] = []
    handlers = [(number, signal.signal(number, lambda number, _: held.append(number))) for number in _HELD]
    try:
        yield
    finally:
        for number, handler in handlers:
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def cpu_seconds_of(pid: int) -> float:
    """CPU time of a process; 0 once it has ended."""
    with suppress(psutil.NoSuchProcess):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)
    return 0.0


def machine_cpu_seconds() -> float:
    """CPU time of all processes of the machine."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


def free_port() -> int:
    """Returns a port that no process listens on."""
    with socket.create_server((HOST, 0)) as sock:
        return int(sock.getsockname()[1])


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), 1).close()
            return
        except OSError:
            if process.poll() is not None:
                said = log.read_text("utf-8", "replace").strip()[-_QUOTED_CHARACTERS:]
                raise BenchError(f"it ended with {process.returncode} at its start: {said}") from None
            if time.monotonic() > deadline:
                raise BenchError(f"its port was not open after {START_SECONDS:.0f} s") from None
            time.sleep(_POLL_SECONDS)


def _siblings(core: int) -> set[int]:
    """The hyper-threads of a core, with itself."""
    siblings = {core}
    with suppress(OSError, ValueError):
        text = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list").read_text()
        for part in text.strip().split(","):
            first, _, last = part.partition("-")
            siblings.update(range(int(first), int(last or first) + 1))
    return siblings


def _listed(cores: frozenset[int]) -> str:
    return ", ".join(map(str, sorted(cores)))
