"""Frames: the last encoded snapshots, ready to be sent, in a preallocated ring.

    Frame.buffer   | 14 bytes headroom | snapshot |
                     picows writes the WebSocket header, of up to 14 bytes, in front of the snapshot, in place

A worker in a process of its own copies its frames out of the mapping instead (see `shared_frames.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from observability.snapshot.index import SnapshotIndex

HEADROOM: Final = 14
FRAMES_KEPT: Final = 50


class Frame:
    """One encoded snapshot. The object is reused after `FRAMES_KEPT` ticks: keep `payload`, not the frame."""

    __slots__ = ("buffer", "documents", "index", "mono_ns", "payload", "seq", "ts_ns")

    def __init__(self, index: SnapshotIndex | None = None) -> None:
        self.seq = 0
        self.ts_ns = 0
        self.mono_ns = 0
        self.payload = b""
        self.buffer = bytearray(HEADROOM)
        self.documents: Mapping[str, bytes] = {}
        """REST documents of the same tick, encoded, by name."""
        self.index = SnapshotIndex([]) if index is None else index
        """The positions in the payload; valid for the newest frame only."""


class FrameSource(Protocol):
    """A source of frames: the ring of this process, or the mapping shared with the hub."""

    @property
    def epoch(self) -> str:
        """An identifier that differs with each hub."""

    @property
    def latest_seq(self) -> int:
        """`seq` of the newest frame; 0 before the first."""

    def latest(self) -> Frame | None:
        """Returns the newest frame; None before the first tick."""

    def find(self, seq: int) -> Frame | None:
        """Returns the frame of a tick; None if it does not exist yet or is no longer kept."""


class FrameRing:
    """The last `FRAMES_KEPT` frames of one epoch; one writer. The serializer updates `index`."""

    __slots__ = ("_slots", "epoch", "latest_seq")

    def __init__(self, epoch: str, index: SnapshotIndex | None = None, latest_seq: int = 0) -> None:
        """`latest_seq` is the highest number that an earlier ring may have used."""
        self.epoch = epoch
        self.latest_seq = latest_seq
        self._slots = tuple(Frame(index) for _ in range(FRAMES_KEPT))

    def publish(self, payload: bytes, ts_ns: int, mono_ns: int, documents: Mapping[str, bytes]) -> Frame:
        """Publishes the next frame, whose `seq` is one higher than the last."""
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
        """Returns the frame of a tick; None if it does not exist yet or is no longer kept."""
        frame = self._slots[seq % FRAMES_KEPT]
        return frame if frame.seq == seq else None

    def latest(self) -> Frame | None:
        """Returns the newest frame; None before the first tick."""
        return self.find(self.latest_seq) if self.latest_seq else None
