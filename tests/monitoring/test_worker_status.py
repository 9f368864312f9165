"""What a worker says of its host's health, out of the slots and of what the hub has published."""

from __future__ import annotations

from fake_clock import FakeClock
from observability.encoding import encode_json
from observability.memory.mapping import ProcessState, SharedMapping
from observability.monitoring.staleness import Staleness
from observability.monitoring.worker_status import HUB_STATE, HubState, WorkerStatus
from observability.snapshot.frames import NO_INDEX, FrameRing


class Host:
    """A hub that has published its state once, and the status of one of its workers."""

    def __init__(self, state: HubState) -> None:
        clock, frames = FakeClock(), FrameRing("e")
        self.mapping = SharedMapping(3, 1)
        self.mapping.hub.state = ProcessState.SERVING
        self.staleness = Staleness(self.mapping.hub, frames, clock, 0.1, lambda _message: None)
        self.status = WorkerStatus(frames, self.staleness, self.mapping.workers)
        frames.publish(b"{}", NO_INDEX, clock.time_ns(), clock.mono_ns(), {HUB_STATE: encode_json(state)})


def test_a_worker_reports_what_the_hub_says_is_not_ready() -> None:
    assert Host(HubState(["market_data"], 3)).status.not_ready() == ["market_data"]


def test_a_worker_whose_hub_has_died_adds_the_hub() -> None:
    host = Host(HubState(["market_data"], 3))
    host.mapping.hub.clear()
    host.staleness.check()
    assert host.status.not_ready() == ["hub", "market_data"]


def test_a_worker_counts_the_clients_of_all_workers() -> None:
    host = Host(HubState([], None))
    for worker in host.mapping.workers:
        worker.websockets = 2
    assert host.status.live() == {"alive": True, "websocket_connections": 4, "uptime_seconds": None}
