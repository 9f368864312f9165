"""Whether what clients see is still what is: the hub may be gone, or late, while its last frame stays.

Nobody is started again here (see the supervisor).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S, format_iso_ms
from observability.encoding import encode_json
from observability.memory.mapping import ProcessSlot, ProcessState
from observability.snapshot.frames import FrameSource

# Beats that may be missed, and the least time that must have passed, before data is called stale.
BEATS_ALLOWED: Final = 3
LEAST_SECONDS: Final = 1.0


class Staleness:
    """Looks at the hub's slot and at the age of its newest frame, and tells of a change for the worse, once."""

    def __init__(
        self,
        hub: ProcessSlot,
        frames: FrameSource,
        clock: Clock,
        interval_seconds: float,
        tell: Callable[[bytes | None], None],
    ) -> None:
        """`tell` is given the message for the clients when data becomes stale, None when it no longer is."""
        self._hub = hub
        self._frames = frames
        self._clock = clock
        self._allowed_ns = round(max(BEATS_ALLOWED * interval_seconds, LEAST_SECONDS) * NS_PER_S)
        self._tell = tell
        self.is_stale = False

    def check(self) -> None:
        """Compares with the last call."""
        reason = self._reason()
        if (reason is not None) != self.is_stale:
            self.is_stale = reason is not None
            self._tell(None if reason is None else encode_json(self._message(reason)))

    def _reason(self) -> str | None:
        if self._hub.state != ProcessState.SERVING:
            return "the hub is being started again"
        return None if self._age_ns() <= self._allowed_ns else "the hub is late"

    def _age_ns(self) -> int:
        frame = self._frames.latest()
        return 0 if frame is None else self._clock.mono_ns() - frame.mono_ns

    def _message(self, reason: str) -> dict[str, Any]:
        return {
            "type": "stale",
            "epoch": self._frames.epoch,
            "seq": self._frames.latest_seq,
            "age_ms": self._age_ns() / NS_PER_MS,
            "reason": reason,
            "timestamp": format_iso_ms(self._clock.time_ns()),
        }
