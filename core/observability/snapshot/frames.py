"""Frames: the last encoded snapshots, each with its own index, ready to be sent; and the REST documents of the newest.

    Frame.buffer   | 14 bytes headroom | snapshot |
                     picows writes the WebSocket header, of up to 14 bytes, in front of the snapshot, in place

A frame never changes, so a reader that holds one can cut any part out of it, however many ticks ago it was made. Its
bytes are joined, and copied into the buffer, when they are first needed. A worker in a process of its own copies its
frames out of the mapping (see `shared_frames.py`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from observability.clocks.timestamps import format_iso_ms
from observability.snapshot.index import Shape, SnapshotIndex

HEADROOM: Final = 14
FRAMES_KEPT: Final = 50

NO_INDEX: Final = SnapshotIndex(Shape((), ()), (0,))


@dataclass(frozen=True, slots=True)
class Stamp:
    """The tick that a document describes."""

    seq: int = 0
    ts_ns: int = 0

    def to_json(self) -> dict[str, Any]:
        return {"timestamp": format_iso_ms(self.ts_ns), "seq": self.seq}


class Payload:
    """An encoded snapshot in pieces."""

    __slots__ = ("_pieces", "size")

    def __init__(self, pieces: tuple[bytes, ...], size: int) -> None:
        self._pieces = pieces
        self.size = size
        """Its length in bytes."""

    def join(self) -> bytes:
        return b"".join(self._pieces)


class Frame:
    """One encoded snapshot."""

    __slots__ = ("_buffer", "_payload", "epoch", "index", "mono_ns", "seq", "ts_ns")

    def __init__(
        self,
        epoch: str,
        seq: int,
        ts_ns: int,
        mono_ns: int,
        payload: bytes | Payload,
        index: SnapshotIndex = NO_INDEX,
    ) -> None:
        self.epoch = epoch
        """Differs with each hub."""
        self.seq = seq
        self.ts_ns = ts_ns
        self.mono_ns = mono_ns
        """0 for a recorded frame, which was not made by this host's clock."""
        self.index = index
        """Where each part lies in this payload."""
        self._payload = payload
        self._buffer: bytearray | None = None

    @property
    def size(self) -> int:
        """The length of the payload in bytes."""
        payload = self._payload
        return len(payload) if isinstance(payload, bytes) else payload.size

    @property
    def payload(self) -> bytes:
        payload = self._payload
        if not isinstance(payload, bytes):
            payload = self._payload = payload.join()
        return payload

    @property
    def buffer(self) -> bytearray:
        buffer = self._buffer
        if buffer is None:
            buffer = self._buffer = bytearray(HEADROOM)
            buffer += self.payload
        return buffer


class Documents(msgspec.Struct, frozen=True, eq=False):
    """The REST documents of one tick, encoded, by name."""

    epoch: str
    seq: int
    by_name: Mapping[str, bytes | None]
    """None stands for a document that the hub has to be asked for: it is too large for the shared memory, say."""
    old: Collection[str] = ()
    """The names of documents of an earlier tick: the hub has newer ones."""


class PublishedDocument(msgspec.Struct, array_like=True, frozen=True):
    """One REST document, encoded, and the tick that it is of."""

    epoch: str
    seq: int
    body: bytes


class FrameSource(Protocol):
    """A source of frames: the ring of this process, or the mapping shared with the hub."""

    @property
    def epoch(self) -> str:
        """An identifier that differs with each hub."""

    @property
    def latest_seq(self) -> int:
        """`seq` of the newest frame; 0 before the first."""

    @property
    def documents(self) -> Documents:
        """The newest documents, which may be those of another tick than the newest frame."""

    def latest(self) -> Frame | None:
        """Returns the newest frame; None before the first tick."""

    def find(self, seq: int) -> Frame | None:
        """Returns the frame of a tick; None if it does not exist yet or is no longer kept."""


class FrameRing:
    """The last `FRAMES_KEPT` frames of one epoch; one writer."""

    __slots__ = ("_slots", "documents", "epoch", "latest_seq")

    def __init__(self, epoch: str, latest_seq: int = 0) -> None:
        """`latest_seq` is the highest number that an earlier ring may have used."""
        self.epoch = epoch
        self.latest_seq = latest_seq
        self.documents = Documents(epoch, 0, {})
        # Only frames: documents of old ones are asked for by no one, and may be many times as large.
        self._slots: list[Frame | None] = [None] * FRAMES_KEPT

    def publish(
        self,
        payload: bytes | Payload,
        index: SnapshotIndex,
        ts_ns: int,
        mono_ns: int,
        documents: Mapping[str, bytes],
    ) -> Frame:
        """Publishes the next frame, whose `seq` is one higher than the last."""
        # hot: once per tick (benchmarks/bench_tick.py)
        seq = self.latest_seq + 1
        frame = Frame(self.epoch, seq, ts_ns, mono_ns, payload, index)
        self._slots[seq % FRAMES_KEPT] = frame
        self.documents = Documents(self.epoch, seq, documents)
        self.latest_seq = seq
        return frame

    def find(self, seq: int) -> Frame | None:
        """Returns the frame of a tick; None if it does not exist yet or is no longer kept."""
        frame = self._slots[seq % FRAMES_KEPT]
        return frame if frame is not None and frame.seq == seq else None

    def latest(self) -> Frame | None:
        """Returns the newest frame; None before the first tick."""
        return self.find(self.latest_seq) if self.latest_seq else None
