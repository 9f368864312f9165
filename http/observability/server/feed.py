"""What a worker takes from the hub, be it in the same process or in another one.

Nothing is sent to clients here (see `worker.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from observability.clocks.clock import Clock
from observability.snapshot.frames import FrameSource
from observability.stream.lanes import Lane


def _be_there() -> None:
    """A worker beside its hub has what the hub has."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Frames, lanes by channel, and the events' time.

    `catch_up` takes over what the hub has by now: a client that comes from another worker may have seen more than this
    one has been woken for.
    """

    frames: FrameSource
    lanes: Mapping[str, Lane]
    event_clock: Clock
    catch_up: Callable[[], None] = _be_there
