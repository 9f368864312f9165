"""What the hub knows of those who serve clients: a worker in its own process, or all workers of this host.

Nobody is served here (see `worker.py`, `hub_door.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from observability.memory.counters import Counted
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame

SentListener = Callable[[Frame, int], None]
"""Told of a frame that has gone to everybody, and how long that took in nanoseconds."""


class Serving(Protocol):
    """Figures of all clients."""

    @property
    def counted(self) -> Counted:
        """What all processes have counted."""

    @property
    def websocket_clients(self) -> int: ...

    @property
    def http_connections(self) -> int: ...

    @property
    def http_requests(self) -> int:
        """Answered so far."""

    @property
    def messages_sent(self) -> int:
        """Snapshots handed to the kernel so far."""

    @property
    def frames_skipped(self) -> int: ...

    @property
    def clients_behind(self) -> int:
        """Clients that have not taken everything sent to them."""

    @property
    def lane_backlog(self) -> int:
        """Messages of the lanes that wait for clients."""

    @property
    def fanout(self) -> DurationHistogram:
        """From the tick to the last byte handed to the kernel, per frame and worker."""

    def add_sent_listener(self, listener: SentListener) -> None:
        """Has `listener` told of each frame that has gone to everybody."""

    def processes(self) -> dict[str, dict[str, Any]]:
        """Status, CPU and memory of each process by its name; empty if there is but one."""

    def not_ready(self) -> list[str]:
        """Names the processes that do not serve."""


class Frontend(Serving, Protocol):
    """What stands between the hub and its clients."""

    def send_frame(self, frame: Frame) -> None:
        """Sends a frame to every client, or to those who do."""

    async def start(self) -> None:
        """Lets clients in. Raises OSError if the port cannot be had."""

    async def stop(self) -> None:
        """Lets nobody in any more, and ends what is there within the grace period."""
