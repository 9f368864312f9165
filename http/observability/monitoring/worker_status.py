"""The host's health as a worker's process reports it, from the slots and from what the hub publishes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from observability.http11.refusals import Unavailable
from observability.memory.mapping import ProcessSlot
from observability.monitoring.staleness import Staleness
from observability.snapshot.frames import FrameSource, Stamp

HUB_STATE: Final = "hub_state"
"""Names the document in which the hub publishes its `HubState`."""


@dataclass(frozen=True, slots=True)
class HubState:
    """What the hub knows of itself and workers cannot see."""

    not_ready: list[str]
    uptime_seconds: int | None
    stored: Stamp = field(default_factory=Stamp)
    """The newest tick of which everything can be queried."""


_decode_hub_state = msgspec.json.Decoder(HubState).decode


class WorkerStatus:
    """Answers `/health` for the whole host, whether or not the hub is alive."""

    def __init__(self, frames: FrameSource, staleness: Staleness, workers: Sequence[ProcessSlot]) -> None:
        self._frames = frames
        self._staleness = staleness
        self._workers = tuple(workers)

    def not_ready(self) -> list[str]:
        missing = self._hub_state().not_ready
        return ["hub", *missing] if self._staleness.is_stale else missing

    def live(self) -> dict[str, Any]:
        return {
            "alive": True,
            "websocket_connections": sum(slot.websockets for slot in self._workers),
            "uptime_seconds": self._hub_state().uptime_seconds,
        }

    def stored(self) -> Stamp:
        return self._hub_state().stored

    def _hub_state(self) -> HubState:
        return _decode_hub_state(hub_document(self._frames, HUB_STATE))


def hub_document(frames: FrameSource, name: str) -> bytes:
    """Returns a document that the hub published. Raises Unavailable if it was too large to be shared."""
    document = frames.documents.by_name[name]
    if document is None:
        raise Unavailable(f"the hub's document {name} does not fit into the shared memory")
    return document
