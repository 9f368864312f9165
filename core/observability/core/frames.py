"""The last frames: encoded snapshots ready to be sent, in a preallocated ring.

No encoding here (see `snapshot.py`) and no sockets.

    Frame.buffer   | 14 bytes headroom | snapshot |
                     the WebSocket header is written in front of the payload, in place (picows needs up to 14 bytes)
"""

from __future__ import annotations

from typing import Final

HEADROOM: Final = 14
FRAMES_KEPT: Final = 50


class Frame:
    """One encoded snapshot. The slot is used again after `FRAMES_KEPT` ticks: keep `payload`, not the frame."""

    __slots__ = ("buffer", "documents", "mono_ns", "payload", "seq", "ts_ns")

    def __init__(self) -> None:
        self.seq = 0
        self.ts_ns = 0
        self.mono_ns = 0
        self.payload = b""
        self.buffer = bytearray(HEADROOM)
        self.documents: dict[str, bytes] = {}
        """REST documents encoded on the same tick, by name."""


class FrameRing:
    """The last `FRAMES_KEPT` frames of one epoch; one writer."""

    __slots__ = ("_slots", "epoch", "latest_seq")

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.latest_seq = 0
        self._slots = tuple(Frame() for _ in range(FRAMES_KEPT))

    def publish(self, payload: bytes, ts_ns: int, mono_ns: int, documents: dict[str, bytes]) -> Frame:
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
        return self._slots[self.latest_seq % FRAMES_KEPT] if self.latest_seq else None
