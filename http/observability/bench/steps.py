"""The steps of a visit to a running server: each takes one measure, by one or two runs of the load generator."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from observability.bench.contenders import CONDITIONAL, DEFLATE, REST, STREAM, Contender
from observability.bench.load import LoadGenerator, LoadResult, Probe, Window
from observability.bench.python_load import nearest_rank
from observability.bench.results import Case
from observability.bench.servers import Server, cpu_seconds_of, machine_cpu_seconds
from observability.bench.snapshots import STREAM_PATH, Snapshot
from observability.errors import BenchError

OBSERVERS: Final = 10
CURRENT: Final = "/api/metrics/current"
HEALTH: Final = "/health"
# After a load, so that the server has let go of its clients, and the next one does not pay for that.
_PARTING_SECONDS: Final = 0.3
_PARTINGS_PER_SECOND: Final = 5000
_IDLE_SECONDS: Final = 3.0
_IDLE_SAMPLE_SECONDS: Final = 0.15
_IDLE_CPU_SECONDS: Final = 0.03
# A load generator this busy sets the pace instead of the server.
BUSY_SHARE: Final = 0.9


@dataclass(slots=True)
class Visit:
    """A running server, the snapshot it sends, and the load generator."""

    contender: Contender
    server: Server
    snapshot: Snapshot
    load: LoadGenerator
    busy_shares: list[float]
    """What each run of the load generator used of its core."""
    other_cores: list[float]
    """Cores that neither the server nor the load used, for each run: other programs of this machine."""

    @property
    def stream_path(self) -> str:
        return self.snapshot.path if self.contender.is_ours else STREAM_PATH

    def run(
        self, mode: str, path: str, clients: int, seconds: float, warmup: float, *options: str,
        at_end: Callable[[], None] = lambda: None,
    ) -> LoadResult:  # fmt: skip
        """Runs the load generator against the server."""
        arguments = [mode, str(self.server.port), path, "--clients", str(clients), "--seconds", f"{seconds:g}"]
        arguments += ["--warmup", f"{warmup:g}", *options]
        for pid in self.server.pids():
            arguments += ["--pid", str(pid)]
        began = time.monotonic()
        before = self._other_seconds(None)

        def at_the_end(pid: int) -> None:
            self.other_cores.append((self._other_seconds(pid) - before) / (time.monotonic() - began))
            at_end()

        result = self.load.run(arguments, seconds + warmup, at_the_end)
        self.busy_shares.append(result.window.own_cpu_seconds / result.window.seconds)
        time.sleep(_parting(clients))
        self._wait_until_idle()
        return result

    def _wait_until_idle(self) -> None:
        """Returns once the server has little to do, or after a while."""
        until = time.monotonic() + _IDLE_SECONDS
        used = _IDLE_CPU_SECONDS
        while used >= _IDLE_CPU_SECONDS and time.monotonic() < until:
            before = self.server.cpu_seconds()
            time.sleep(_IDLE_SAMPLE_SECONDS)
            used = self.server.cpu_seconds() - before

    def _other_seconds(self, load_pid: int | None) -> float:
        """CPU time of the machine that neither the server nor the benchmark itself has used."""
        load = 0.0 if load_pid is None else cpu_seconds_of(load_pid)
        return machine_cpu_seconds() - self.server.cpu_seconds() - load - time.process_time()


class Step(ABC):
    """One measure, for one case."""

    @property
    def needs(self) -> str:
        """What a server must serve to take it."""
        return STREAM

    @property
    @abstractmethod
    def seconds(self) -> float:
        """About how long it takes."""

    @abstractmethod
    def case(self, snapshot: Snapshot) -> Case: ...

    @abstractmethod
    def take(self, visit: Visit) -> dict[str, float]:
        """Returns the values of the measure's columns."""

    def applies_to(self, contender: Contender, snapshot: Snapshot) -> bool:
        return self.needs in contender.serves


@dataclass(frozen=True, slots=True)
class FanOut(Step):
    """Every client reads every snapshot."""

    clients: int
    window: float
    warmup: float

    @property
    def seconds(self) -> float:
        return _connecting(self.clients) + self.warmup + self.window

    def case(self, snapshot: Snapshot) -> Case:
        return _case(
            "fanout", f"{_shown(self.clients)} clients, {_size(snapshot)}", clients=self.clients, snapshot=snapshot
        )

    def take(self, visit: Visit) -> dict[str, float]:
        result = visit.run("stream", visit.stream_path, self.clients, self.window, self.warmup)
        return _stream_values(result, self.clients)


@dataclass(frozen=True, slots=True)
class Requests(Step):
    """Connections that request one path as fast as they are answered."""

    route: str
    connections: int
    window: float
    warmup: float
    is_conditional: bool = False

    @property
    def needs(self) -> str:
        return CONDITIONAL if self.is_conditional else REST

    @property
    def seconds(self) -> float:
        return self.warmup + self.window + _connecting(self.connections)

    def case(self, snapshot: Snapshot) -> Case:
        size = "" if self.route == HEALTH else f", {_size(snapshot)}"
        name = f"conditional GET {self.route}" if self.is_conditional else f"GET {self.route}"
        return _case("rest", f"{name}{size}, {self.connections} connections", snapshot=snapshot)

    def applies_to(self, contender: Contender, snapshot: Snapshot) -> bool:
        return self.needs in contender.serves and (snapshot.is_full or self.route == HEALTH)

    def take(self, visit: Visit) -> dict[str, float]:
        options = ("--conditional",) if self.is_conditional else ()
        result = visit.run("requests", self.route, self.connections, self.window, self.warmup, *options)
        if result.other_answers or result.failed or result.closed:
            lost = result.failed + result.closed
            raise BenchError(f"{result.other_answers} answers other than 200 and 304, {lost} connections lost")
        window, latency = result.window, result.latency_ms
        if latency is None:
            raise BenchError("no answers")
        cpu_us = sum(window.cpu_seconds) / window.messages * 1e6
        return {
            "cpu_us": cpu_us, "rps": window.messages / window.seconds, "p50_ms": latency.p50, "p99_ms": latency.p99,
            "not_modified": result.not_modified / window.messages,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Beside(Step):
    """Requests at a steady pace, alone and while every client reads every snapshot."""

    clients: int
    window: float
    warmup: float

    @property
    def seconds(self) -> float:
        return _connecting(self.clients) + self.warmup + 2 * self.window

    def case(self, snapshot: Snapshot) -> Case:
        return _case(
            "beside", f"{_shown(self.clients)} clients, {_size(snapshot)}", clients=self.clients, snapshot=snapshot
        )

    def applies_to(self, contender: Contender, snapshot: Snapshot) -> bool:
        return {STREAM, REST} <= contender.serves and snapshot.is_full

    def take(self, visit: Visit) -> dict[str, float]:
        beside: list[float] = []
        with Probe(visit.server.port, CURRENT) as probe:
            time.sleep(self.window)
            alone = probe.milliseconds(self.window)
            visit.run(
                "stream", visit.stream_path, self.clients, self.window, self.warmup,
                at_end=lambda: beside.extend(probe.milliseconds(self.window)),
            )  # fmt: skip
        return {
            "p99_ms": nearest_rank(beside, 0.99), "p50_ms": nearest_rank(beside, 0.5), "max_ms": beside[-1],
            "alone_ms": nearest_rank(alone, 0.99),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Memory(Step):
    """Memory without clients and with them."""

    clients: int
    window: float

    @property
    def seconds(self) -> float:
        return _connecting(self.clients) + self.window + 1.0

    def case(self, snapshot: Snapshot) -> Case:
        return _case("memory", f"{_shown(self.clients)} clients, {snapshot.symbols} symbols", clients=self.clients)

    def take(self, visit: Visit) -> dict[str, float]:
        # A first client makes the server allocate what it needs only once.
        visit.run("stream", visit.stream_path, 1, 0.3, 0.3)
        base = visit.server.memory_bytes()
        with_clients: list[int] = []
        visit.run(
            "stream", visit.stream_path, self.clients, self.window, 0.5,
            at_end=lambda: with_clients.append(visit.server.memory_bytes()),
        )  # fmt: skip
        return {"base_mb": base / 1e6, "client_kb": (with_clients[0] - base) / self.clients / 1e3}


@dataclass(frozen=True, slots=True)
class SlowReaders(Step):
    """The same clients alone, and beside others that never read."""

    clients: int
    stalled: int
    window: float
    warmup: float

    @property
    def seconds(self) -> float:
        return 2 * (_connecting(self.clients) + self.warmup + self.window)

    def case(self, snapshot: Snapshot) -> Case:
        label = f"{_shown(self.clients)} clients, {_shown(self.stalled)} of them stalled, {_size(snapshot)}"
        return _case("slow", label, clients=self.clients, snapshot=snapshot)

    def take(self, visit: Visit) -> dict[str, float]:
        reading = self.clients - self.stalled
        alone = visit.run("stream", visit.stream_path, reading, self.window, self.warmup)
        before = visit.server.memory_bytes()
        after: list[int] = []
        beside = visit.run(
            "stream", visit.stream_path, self.clients, self.window, self.warmup, "--stalled", str(self.stalled),
            at_end=lambda: after.append(visit.server.memory_bytes()),
        )  # fmt: skip
        values = {
            "missed": float(beside.missed),
            "rate": beside.window.messages / reading / beside.window.seconds,
            "grown_mb": (after[0] - before) / 1e6,
            "cut_off": float(beside.stalled_closed),
        }
        if alone.latency_ms is not None:
            values["alone_ms"] = alone.latency_ms.p99
        # Without a value no reader got a single snapshot.
        if beside.latency_ms is not None:
            values["beside_ms"] = beside.latency_ms.p99
        return values


@dataclass(frozen=True, slots=True)
class Workers(Step):
    """Fan-out, with what each process uses."""

    clients: int
    window: float
    warmup: float

    @property
    def seconds(self) -> float:
        return _connecting(self.clients) + self.warmup + self.window

    def case(self, snapshot: Snapshot) -> Case:
        return _case(
            "workers", f"{_shown(self.clients)} clients, {_size(snapshot)}", clients=self.clients, snapshot=snapshot
        )

    def take(self, visit: Visit) -> dict[str, float]:
        names = visit.server.names()
        memory: list[int] = []
        result = visit.run(
            "stream", visit.stream_path, self.clients, self.window, self.warmup,
            at_end=lambda: memory.append(visit.server.memory_bytes()),
        )  # fmt: skip
        values = _stream_values(result, self.clients)
        percent = [seconds / result.window.seconds * 100 for seconds in result.window.cpu_seconds]
        values["hub_percent"] = next(
            (used for name, used in zip(names, percent, strict=True) if "hub" in name), percent[0]
        )
        workers = [used for name, used in zip(names, percent, strict=True) if "worker" in name]
        if workers:
            values["worker_percent"] = max(workers)
        values["memory_mb"] = memory[0] / 1e6
        return values


@dataclass(frozen=True, slots=True)
class Storm(Step):
    """All clients connect at once, and later leave at once, while a few others watch the ticks."""

    clients: int
    window: float

    @property
    def seconds(self) -> float:
        return self.clients / 2000 + 1.0 + self.window + 2 * _parting(self.clients)

    def case(self, snapshot: Snapshot) -> Case:
        return _case(
            "storm", f"{_shown(self.clients)} clients, {_size(snapshot)}", clients=self.clients, snapshot=snapshot
        )

    def take(self, visit: Visit) -> dict[str, float]:
        options = ("--observers", str(OBSERVERS))
        result = visit.run("storm", visit.stream_path, self.clients, self.window, 0.5, *options)
        assert result.steady is not None
        assert result.parting is not None
        left = result.connected - OBSERVERS - result.closed
        return {
            "cpu_us": handshake_us(result.window, result.steady, self.clients - result.failed),
            "connected_s": result.connect_seconds,
            "snapshot_s": result.snapshot_seconds,
            "gap_ms": result.tick_gap_ms,
            "failed": float(result.failed + result.closed),
            "parting_us": sum(result.parting.cpu_seconds) / max(left, 1) * 1e6,
            "parting_gap_ms": result.parting_gap_ms,
        }


@dataclass(frozen=True, slots=True)
class Compression(Step):
    """The same clients without permessage-deflate, then with it."""

    clients: int
    window: float
    warmup: float

    @property
    def needs(self) -> str:
        return DEFLATE

    @property
    def seconds(self) -> float:
        return 2 * (_connecting(self.clients) + self.warmup + self.window)

    def case(self, snapshot: Snapshot) -> Case:
        label = f"{_shown(self.clients)} clients, {_size(snapshot)}"
        return _case("compression", label, clients=self.clients, snapshot=snapshot)

    def take(self, visit: Visit) -> dict[str, float]:
        plain = visit.run("stream", visit.stream_path, self.clients, self.window, self.warmup)
        deflated = visit.run("stream", visit.stream_path, self.clients, self.window, self.warmup, "--deflate")
        if deflated.compressed < self.clients:
            raise BenchError(f"{self.clients - deflated.compressed} of {self.clients} clients got no compression")
        values = {}
        for name, result in (("plain", plain), ("deflate", deflated)):
            window = result.window
            if not window.messages:
                raise BenchError("no snapshots")
            values[f"{name}_us"] = sum(window.cpu_seconds) / window.messages * 1e6
            values[f"{name}_bytes"] = window.bytes / window.messages
        if deflated.latency_ms is not None:
            values["p99_ms"] = deflated.latency_ms.p99
        return values


def handshake_us(storm: Window, steady: Window, clients: int) -> float:
    """Returns the CPU time per handshake: that of the storm, less what its snapshots cost at the rate after it."""
    per_message = sum(steady.cpu_seconds) / steady.messages if steady.messages else 0.0
    spent = sum(storm.cpu_seconds) - storm.messages * per_message
    return max(0.0, spent) / max(clients, 1) * 1e6


def _stream_values(result: LoadResult, clients: int) -> dict[str, float]:
    window, latency = result.window, result.latency_ms
    if result.connected < clients:
        raise BenchError(f"{clients - result.connected} of {clients} clients could not connect")
    if latency is None:
        raise BenchError("no snapshots")
    return {
        "cpu_us": sum(window.cpu_seconds) / window.messages * 1e6,
        "p50_ms": latency.p50,
        "p99_ms": latency.p99,
        "rate": window.messages / clients / window.seconds,
    }


def _case(measure: str, label: str, *, clients: int | None = None, snapshot: Snapshot | None = None) -> Case:
    command = f"observability bench --only {measure}"
    if clients is not None:
        command += f" --clients {clients}"
    if snapshot is not None:
        command += f" --bytes {snapshot.wanted}"
    return Case(measure, label, command)


def _connecting(clients: int) -> float:
    """About how long clients take to connect and to leave."""
    return clients / 4000 + _parting(clients)


def _parting(clients: int) -> float:
    return _PARTING_SECONDS + clients / _PARTINGS_PER_SECOND


def _shown(count: int) -> str:
    return f"{count:,}"


def _size(snapshot: Snapshot) -> str:
    return f"{snapshot.wanted / 1000:g} KB"
