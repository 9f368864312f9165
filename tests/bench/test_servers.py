"""Processes of the benchmark: pinned, measured, and ended with everything that they started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from observability.bench.servers import Cores, child, free_port, running
from observability.errors import BenchError
from server_process import TIMEOUT_SECONDS

NOT_PINNED: frozenset[int] = frozenset()
# Listens on its first argument, and starts a child that would outlive it.
SERVER = """
import socket, subprocess, sys, time
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
time.sleep(600)
"""


def command(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_a_server_ends_with_the_processes_that_it_started(tmp_path: Path) -> None:
    port = free_port()
    with running(command(SERVER, port), port, os.environ, NOT_PINNED, tmp_path / "log") as server:
        processes = server.processes()
        assert len(processes) == 2
        assert server.memory_bytes() > 1_000_000
    _, alive = psutil.wait_procs(processes, timeout=TIMEOUT_SECONDS)
    assert alive == []


def test_a_server_ends_when_the_block_is_left_by_an_exception(tmp_path: Path) -> None:
    port = free_port()
    processes = []

    def interrupted() -> None:
        with running(command(SERVER, port), port, os.environ, NOT_PINNED, tmp_path / "log") as server:
            processes.extend(server.processes())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert psutil.wait_procs(processes, timeout=TIMEOUT_SECONDS)[1] == []


def test_a_server_that_does_not_start_is_quoted(tmp_path: Path) -> None:
    port = free_port()
    failing = command("import sys; sys.exit('no such engine')")
    with (
        pytest.raises(BenchError, match="ended with 1 at its start: no such engine"),
        running(failing, port, os.environ, NOT_PINNED, tmp_path / "log"),
    ):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_process_ends_with_a_parent_that_is_killed() -> None:
    code = (
        "import sys, time\n"
        "from observability.bench.servers import child\n"
        "with child([sys.executable, '-c', 'import time; time.sleep(600)'], frozenset()) as process:\n"
        "    print(process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with child(command(code), NOT_PINNED, environment=environment, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        orphan = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        assert psutil.wait_procs([orphan], timeout=TIMEOUT_SECONDS)[1] == []


@pytest.fixture
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM is handled as `observability bench` does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    handler = signal.signal(signal.SIGTERM, interrupt)
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.mark.usefixtures("sigterm_interrupts")
def test_a_signal_during_the_start_of_a_process_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(psutil.Process(self.pid))
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), child(command("import time; time.sleep(600)"), NOT_PINNED):
        raise AssertionError("the signal is lost")
    assert len(started) == 1
    assert not started[0].is_running()


@pytest.mark.usefixtures("sigterm_interrupts")
def test_a_signal_in_a_hook_of_fork_is_not_lost() -> None:
    # Python ignores exceptions in such hooks, of which `logging` has one.
    is_next = True

    def hook() -> None:
        nonlocal is_next
        if is_next:
            is_next = False
            signal.raise_signal(signal.SIGTERM)

    os.register_at_fork(after_in_parent=hook)
    with pytest.raises(KeyboardInterrupt), child(command("import time; time.sleep(600)"), NOT_PINNED):
        raise AssertionError("the signal is lost")


@pytest.mark.usefixtures("sigterm_interrupts")
def test_a_signal_during_the_end_of_a_process_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    killpg = os.killpg

    def interrupted(group: int, number: int) -> None:
        signal.raise_signal(signal.SIGTERM)
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", interrupted)
    with pytest.raises(KeyboardInterrupt), child(command("import time; time.sleep(600)"), NOT_PINNED) as process:
        started.append(psutil.Process(process.pid))
    assert not started[0].is_running()


def test_the_server_and_the_load_have_different_cores() -> None:
    cores = Cores.choose()
    assert not cores.server & cores.load


def test_a_server_of_several_processes_shares_the_load_s_core_only_if_it_must(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    cores = Cores(frozenset({3}), frozenset({2}))
    assert cores.for_processes(1) == {3}
    assert cores.for_processes(3) == {0, 1, 3}
    assert cores.for_processes(4) == {0, 1, 2, 3}
