"""The supervisor: a process that ends is replaced, not too often, and none outlives a stop (see `supervised.py`)."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_SECONDS = 20


class Host:
    """A supervisor in a process of its own, and what it and its children print."""

    def __init__(self, behaviour: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", str(ROOT / "tests/support/supervised.py"), behaviour],
            env={**os.environ, "PYTHONPATH": str(ROOT / "core")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []

    def wait_for(self, pattern: str, times: int = 1) -> list[str]:
        """Reads until `times` lines match `pattern`; returns them."""
        assert self.process.stdout is not None
        found = [line for line in self.said if re.search(pattern, line)]
        while len(found) < times:
            line = self.process.stdout.readline().rstrip("\n")
            assert line, f"{pattern!r} was not said in {self.said}"
            self.said.append(line)
            if re.search(pattern, line):
                found.append(line)
        return found

    def finish(self) -> tuple[int, str]:
        """Returns the exit code and the log."""
        out, log = self.process.communicate(timeout=TIMEOUT_SECONDS)
        self.said += out.splitlines()
        return self.process.returncode, log

    def pid_of(self, name: str) -> int:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (pid,) = [pid for pid in children if Path(f"/proc/{pid}/comm").read_text() == f"obs-{name}\n"]
        return int(pid)


@contextmanager
def running(behaviour: str) -> Iterator[Host]:
    host = Host(behaviour)
    # What is never said must end the wait for it.
    timer = threading.Timer(TIMEOUT_SECONDS, host.process.kill)
    timer.start()
    try:
        yield host
    finally:
        timer.cancel()
        if host.process.poll() is None:
            host.process.kill()
            host.finish()


def test_the_hub_is_stopped_after_the_last_worker() -> None:
    with running("serve") as host:
        host.wait_for("all serve")
        host.process.send_signal(signal.SIGTERM)
        code, _ = host.finish()
    assert code == 0
    assert [line for line in host.said if line.startswith("stop")][-1] == "stop hub"
    assert len([line for line in host.said if line.startswith("stop")]) == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_a_worker_that_ends_is_replaced_in_its_slot(number: int) -> None:
    with running("serve") as host:
        host.wait_for("all serve")
        before = host.pid_of("worker-1")
        os.kill(before, number)
        host.wait_for("start worker-1", times=2)
        assert host.pid_of("worker-1") != before


def test_the_next_hub_has_the_next_generation() -> None:
    with running("serve") as host:
        host.wait_for("all serve")
        os.kill(host.pid_of("hub"), signal.SIGKILL)
        host.wait_for("start hub of hub 2")


def test_a_worker_that_keeps_dying_restarts_after_growing_pauses() -> None:
    with running("dying-workers") as host:
        starts = [float(line.split()[-1]) for line in host.wait_for("start worker", times=10)]
    # Of ten starts of two workers, one worker has at least five: two at once, then after 0.1, 0.2 and 0.4 s.
    assert starts[-1] - starts[0] >= 0.1 + 0.2 + 0.4


def test_a_process_that_cannot_start_ends_the_host_with_its_code() -> None:
    with running("failing-hub") as host:
        code, _ = host.finish()
    assert code == 1


def test_a_process_that_does_not_end_in_time_is_killed() -> None:
    with running("staying") as host:
        host.wait_for("all serve")
        host.process.send_signal(signal.SIGTERM)
        code, log = host.finish()
    assert code == 0
    assert log.count("did not end in time and is killed") == 2


def test_workers_are_replaced_one_by_one_through_the_spare_slot() -> None:
    with running("serve") as host:
        host.wait_for("all serve")
        host.process.send_signal(signal.SIGHUP)
        host.wait_for("stop worker", times=2)
        order = [line.split(" of ")[0] for line in host.said if "worker" in line]
    assert order[-4:] == ["start worker-3", "stop worker-1", "start worker-1", "stop worker-2"]


def test_the_other_workers_are_replaced_when_one_dies_before_its_successor_serves() -> None:
    with running("slow-workers") as host:
        host.wait_for("all serve")
        host.process.send_signal(signal.SIGHUP)
        host.wait_for("starting worker-3")
        os.kill(host.pid_of("worker-1"), signal.SIGKILL)
        host.wait_for("stop worker-2")


def test_every_signal_that_asks_for_log_files_reaches_the_supervisor_and_ends_nothing() -> None:
    with running("serve") as host:
        host.wait_for("all serve")
        for times in (1, 2):
            host.process.send_signal(signal.SIGUSR1)
            host.wait_for("logs reopened", times=times)
        host.process.send_signal(signal.SIGTERM)
        code, log = host.finish()
    assert (code, "is started again" in log) == (0, False)
