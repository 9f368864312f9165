"""The numbers of frames: no hub of a desk uses one again, even if the NATS servers have lost the frames.

The stream of frames is in memory and says how far the hub before this one has come. The checkpoint, which is in the log
and on disk, says how far it had come at least; since then it cannot have made more frames than there were intervals.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_S
from observability.snapshot.frames import FrameRing
from observability.store.checkpoint import pack, unpack

logger = logging.getLogger(__name__)

# The first frame of a hub comes at once, and one may be made at the moment of the checkpoint.
_SPARE: Final = 2


class _State(msgspec.Struct):
    seq: int
    ts_ns: int
    interval_ns: int


class FrameNumbers:
    """A part of the checkpoint of a hub, from which the next one counts on."""

    name = "frames"

    def __init__(self, frames: FrameRing, interval_seconds: float, now_ns: Callable[[], int]) -> None:
        """`now_ns` is the same clock at every hub."""
        self._frames = frames
        self._interval_ns = round(interval_seconds * NS_PER_S)
        self._now_ns = now_ns
        self._kept: _State | None = None

    def save(self) -> bytes:
        return pack(_State(self._frames.latest_seq, self._now_ns(), self._interval_ns))

    def load(self, data: bytes) -> None:
        self._kept = unpack(data, _State)

    def continue_after(self, published: int) -> None:
        """Lets frames count on from the newest one of earlier hubs, which is `published` (0 without any) unless the
        checkpoint is of a later one. Call it before the first frame."""
        newest, kept = published, self._kept
        # The first checkpoint is made before the first frame.
        if kept is not None and (not published or published < kept.seq):
            newest = kept.seq + max(0, self._now_ns() - kept.ts_ns) // kept.interval_ns + _SPARE
            logger.warning(
                "the NATS servers have lost frames: their newest one is %d, and that of the checkpoint %d; frames "
                "count on from %d, which no edge can have shown",
                published, kept.seq, newest + 2,
            )  # fmt: skip
        if newest:
            # One number stays free, so that no client takes the first frame for the successor of the last hub's last.
            self._frames.latest_seq = max(self._frames.latest_seq, newest + 1)
