"""Both load generators, in C and in Python, against the floor: they see the same, and compute the same."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest

from observability.bench.compiler import Programs, compile_programs
from observability.bench.load import LoadGenerator, LoadResult, Window
from observability.bench.python_load import percentiles
from observability.bench.servers import Server, free_port, running
from observability.bench.steps import handshake_us

CLIENTS = 20
SIZE = 1500
NOT_PINNED: frozenset[int] = frozenset()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    compiled = compile_programs(tmp_path_factory.mktemp("programs"))
    assert compiled.floor is not None, compiled.why
    return compiled


@pytest.fixture(scope="module")
def floor(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("floor")
    snapshot = {"type": "metrics_update", "seq": 10_000_000, "mono_ns": time.monotonic_ns(), "padding": ""}
    snapshot["padding"] = "x" * (SIZE - len(json.dumps(snapshot, separators=(",", ":"))))
    path = folder / "snapshot.json"
    path.write_text(json.dumps(snapshot, separators=(",", ":")))
    port = free_port()
    command = [str(programs.floor), str(port), str(path), "50"]
    with running(command, port, os.environ, NOT_PINNED, folder / "log") as server:
        yield server


@pytest.fixture(params=["C", "Python"])
def generator(request: pytest.FixtureRequest, programs: Programs) -> LoadGenerator:
    return LoadGenerator(programs.load if request.param == "C" else None, NOT_PINNED)


def run(generator: LoadGenerator, server: Server, mode: str, path: str, *options: str) -> LoadResult:
    pid = str(server.pids()[0])
    arguments = [mode, str(server.port), path, "--clients", str(CLIENTS), "--seconds", "0.5", "--warmup", "0.2"]
    return generator.run([*arguments, "--pid", pid, *options], 5.0, [].append)


def test_every_client_gets_every_snapshot(generator: LoadGenerator, floor: Server) -> None:
    result = run(generator, floor, "stream", "/ws/metrics")
    assert (result.connected, result.failed, result.closed, result.missed) == (CLIENTS, 0, 0, 0)
    # The window begins and ends between ticks: all clients have the same number of snapshots.
    assert result.window.messages % CLIENTS == 0
    assert result.window.messages > 0
    assert result.window.bytes == result.window.messages * (SIZE + 4)
    assert result.latency_ms is not None
    assert result.latency_ms.n == result.window.messages
    assert 0 < result.latency_ms.p50 <= result.latency_ms.p99 <= result.latency_ms.max
    assert 0 < sum(result.window.cpu_seconds) < result.window.seconds


def test_stalled_clients_are_counted_apart(generator: LoadGenerator, floor: Server) -> None:
    result = run(generator, floor, "stream", "/ws/metrics", "--stalled", "5")
    assert result.connected == CLIENTS
    assert result.window.messages % (CLIENTS - 5) == 0


def test_requests_are_answered(generator: LoadGenerator, floor: Server) -> None:
    result = run(generator, floor, "requests", "/api/metrics/current")
    assert (result.connected, result.other_answers, result.not_modified) == (CLIENTS, 0, 0)
    assert result.latency_ms is not None
    assert result.latency_ms.n == result.window.messages > 0


def test_a_conditional_request_sends_the_tag_of_the_last_answer(generator: LoadGenerator, floor: Server) -> None:
    result = run(generator, floor, "requests", "/api/metrics/current", "--conditional")
    assert 0 < result.not_modified <= result.window.messages


def test_an_answer_of_another_status_is_counted(generator: LoadGenerator, floor: Server) -> None:
    assert run(generator, floor, "requests", "/nowhere").other_answers > 0


def test_a_refused_handshake_is_a_failure(generator: LoadGenerator, floor: Server) -> None:
    assert run(generator, floor, "stream", "/nowhere").failed == CLIENTS


def test_a_storm_ends_when_every_client_has_a_snapshot(generator: LoadGenerator, floor: Server) -> None:
    result = run(generator, floor, "storm", "/ws/metrics", "--observers", "2")
    assert (result.connected, result.failed) == (CLIENTS + 2, 0)
    assert result.steady is not None
    assert result.steady.messages % (CLIENTS + 2) == 0
    assert result.handshake_ms is not None
    assert result.handshake_ms.n == CLIENTS
    assert 0 < result.connect_seconds <= result.snapshot_seconds


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 1, 1)), (2, (1, 2, 2)), (100, (50, 99, 100)), (1000, (500, 990, 1000))]
)
def test_percentiles_are_those_of_the_nearest_rank(count: int, expected: tuple[int, int, int]) -> None:
    values = [number * 1_000_000 for number in range(count, 0, -1)]
    found = percentiles(values)
    assert found is not None
    assert (found["p50"], found["p99"], found["max"]) == expected


def test_without_values_there_are_no_percentiles() -> None:
    assert percentiles([]) is None


def test_the_cost_of_a_handshake_is_without_that_of_the_snapshots() -> None:
    storm = Window(seconds=1.0, messages=3000, bytes=0, own_cpu_seconds=0.0, cpu_seconds=[0.12, 0.01])
    steady = Window(seconds=1.0, messages=10_000, bytes=0, own_cpu_seconds=0.0, cpu_seconds=[0.1])
    # 130 ms, less 3,000 snapshots of 10 us each, for 1,000 clients.
    assert handshake_us(storm, steady, 1000) == pytest.approx(100.0)
