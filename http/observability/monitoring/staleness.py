"""Detects that clients are looking at an old snapshot because the hub has died or is late."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from observability.clocks.clock import Clock
from observability.clocks.timestamps import NS_PER_MS, NS_PER_S, format_iso_ms
from observability.encoding import encode_json
from observability.memory.mapping import ProcessSlot, ProcessState
from observability.snapshot.frames import FrameSource

# Data is stale once this many ticks are overdue, but never before this time has passed.
TICKS_ALLOWED: Final = 3
MIN_STALE_SECONDS: Final = 1.0


class Staleness:
    """Compares the state of the hub and the age of its newest frame with what is allowed, and reports each change."""

    def __init__(
        self,
        hub: ProcessSlot,
        frames: FrameSource,
        clock: Clock,
        interval_seconds: float,
        report: Callable[[bytes | None], None],
    ) -> None:
        """`report` is called with the message for clients when the data becomes stale, with None when it is fresh
        again."""
        self._hub = hub
        self._frames = frames
        self._clock = clock
        self._allowed_ns = round(max(TICKS_ALLOWED * interval_seconds, MIN_STALE_SECONDS) * NS_PER_S)
        self._report = report
        self.is_stale = False

    def check(self) -> None:
        """Checks once, and reports if the answer differs from that of the last check."""
        reason = self._reason()
        if (reason is not None) != self.is_stale:
            self.is_stale = reason is not None
            self._report(None if reason is None else encode_json(self._message(reason)))

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
