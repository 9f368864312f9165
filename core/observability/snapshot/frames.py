"""The last frames: encoded snapshots ready to be sent, in a preallocated ring.

No encoding here (see `snapshot.py`) and no sockets.

    Frame.buffer   | 14 bytes headroom | snapshot |
                     the WebSocket header is written in front of the payload, in place (picows needs up to 14 bytes)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from observability.snapshot.index import SnapshotIndex

HEADROOM: Final = 14
FRAMES_KEPT: Final = 50


class Frame:
    """One encoded snapshot. The slot is used again after `FRAMES_KEPT` ticks: keep `payload`, not the frame."""

    __slots__ = ("buffer", "documents", "index", "mono_ns", "payload", "seq", "ts_ns")

    def __init__(self, index: SnapshotIndex | None = None) -> None:
        self.seq = 0
        self.ts_ns = 0
        self.mono_ns = 0
        self.payload = b""
        self.buffer = bytearray(HEADROOM)
        self.documents: Mapping[str, bytes] = {}
        """REST documents encoded on the same tick, by name."""
        self.index = SnapshotIndex([]) if index is None else index
        """Where everything stands in the payload; right for the newest frame only."""


class FrameSource(Protocol):
    """Where frames come from: the ring of the same process, or the mapping shared with the hub's."""

    @property
    def epoch(self) -> str:
        """Changes with each hub."""

    @property
    def latest_seq(self) -> int:
        """Of the newest frame, 0 before the first."""

    def latest(self) -> Frame | None:
        """The newest frame, None before the first tick."""

    def find(self, seq: int) -> Frame | None:
        """The frame of a tick, None if it is not (or no longer) there."""


class FrameRing:
    """The last `FRAMES_KEPT` frames of one epoch; one writer. `index` is kept up to date by whoever encodes."""

    __slots__ = ("_slots", "epoch", "latest_seq")

    def __init__(self, epoch: str, index: SnapshotIndex | None = None, latest_seq: int = 0) -> None:
        """`latest_seq` is what frames of an earlier ring may have shown already."""
        self.epoch = epoch
        self.latest_seq = latest_seq
        self._slots = tuple(Frame(index) for _ in range(FRAMES_KEPT))

    def publish(self, payload: bytes, ts_ns: int, mono_ns: int, documents: Mapping[str, bytes]) -> Frame:
        """Puts the next frame into its slot; its `seq` is the last one's plus 1."""
        # hot: once per tick (benchmarks/bench_tick.py)
        seq = self.latest_seq + 1
        frame = self._slots[seq % FRAMES_KEPT]
        frame.seq = seq
        frame.ts_ns = ts_ns
        frame.mono_ns = mono_ns
        frame.payload = payload
        frame.buffer[HEADROOM:] = payload
        frame.documents = documents
        self.latest_seq = seq
        return frame

    def find(self, seq: int) -> Frame | None:
        """The frame of a tick, None if it is not (or no longer) there."""
        frame = self._slots[seq % FRAMES_KEPT]
        return frame if frame.seq == seq else None

    def latest(self) -> Frame | None:
        """The newest frame, None before the first tick."""
        return self.find(self.latest_seq) if self.latest_seq else None
