"""What the hub needs from the side that serves clients: one worker in its own process, or all workers of the host."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from observability.memory.counters import Counted
from observability.metrics.arithmetic.histogram import DurationHistogram
from observability.snapshot.frames import Frame

SentListener = Callable[[Frame, int], None]
"""Called once a frame has been sent to every client of a worker, with the nanoseconds since its tick."""


class Serving(Protocol):
    """Figures about all clients."""

    @property
    def counted(self) -> Counted:
        """The counters of all processes."""

    @property
    def websocket_clients(self) -> int: ...

    @property
    def http_connections(self) -> int: ...

    @property
    def http_requests(self) -> int:
        """Requests answered since the start."""

    @property
    def messages_sent(self) -> int:
        """Snapshots handed to the kernel since the start, over all clients."""

    @property
    def frames_skipped(self) -> int:
        """Frames since the start that were not sent to a client because it was too slow, over all clients."""

    @property
    def clients_behind(self) -> int:
        """Clients with unsent bytes."""

    @property
    def lane_backlog(self) -> int:
        """Unsent entries of the lanes, over all clients."""

    @property
    def fanout(self) -> DurationHistogram:
        """Durations from the tick to the last byte handed to the kernel, one per frame and worker."""

    def add_sent_listener(self, listener: SentListener) -> None: ...

    def processes(self) -> dict[str, dict[str, Any]]:
        """Returns status, CPU and memory of each process by its name; empty if there is only one."""

    def not_ready(self) -> list[str]:
        """Names the kinds of processes of which some do not serve."""
