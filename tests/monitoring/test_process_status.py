"""A process of the host as `GET /api/system/components` shows it."""

from __future__ import annotations

from typing import Any

import pytest

from fake_clock import FakeClock
from observability.memory.mapping import ProcessState, SharedMapping
from observability.monitoring.process_status import ProcessStatus

LABELS = {"role": "worker", "slot": "1"}


class Worker:
    """The slot of a worker, whose CPU time a test sets."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.slot = SharedMapping(3, 1).workers[0]
        self.slot.occupy(17, self.clock.mono_ns())
        self.status = ProcessStatus(self.slot, self.clock)
        self._cpu = self.slot.counters().float_counter("process_cpu_seconds_total", "", **LABELS)

    def measure(self, cpu_seconds: float) -> dict[str, Any]:
        """Returns the status after another second in which the process used that much CPU time."""
        self.clock.advance(1)
        self._cpu.add(cpu_seconds)
        self.status.measure()
        return self.status.to_json()


def test_cpu_is_the_share_of_the_time_between_two_measurements() -> None:
    worker = Worker()
    assert worker.measure(5.0)["cpu_percent"] is None
    assert worker.measure(0.25)["cpu_percent"] == 25.0


def test_a_process_that_replaced_another_has_no_cpu_share_yet() -> None:
    worker = Worker()
    worker.measure(5.0)
    worker.slot.pid = 18
    assert worker.measure(0.25)["cpu_percent"] is None
    assert worker.measure(0.5)["cpu_percent"] == 50.0


@pytest.mark.parametrize(
    ("state", "status"),
    [(ProcessState.STARTING, "starting"), (ProcessState.SERVING, "ok"), (ProcessState.DRAINING, "draining")],
)
def test_the_status_says_what_the_process_does(state: ProcessState, status: str) -> None:
    worker = Worker()
    worker.slot.state = state
    assert worker.measure(0.0)["status"] == status
