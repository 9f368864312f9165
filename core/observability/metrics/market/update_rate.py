"""How often a symbol was updated: quotes and prints per second over the last whole seconds.

Nothing is counted per event here; the collector does that.
"""

from __future__ import annotations

from collections import deque
from typing import Final

RATE_SECONDS: Final = 5


class UpdateRate:
    """The counts of the last RATE_SECONDS seconds, fewer in the beginning."""

    __slots__ = ("seconds", "value")

    def __init__(self) -> None:
        self.seconds: deque[int] = deque(maxlen=RATE_SECONDS)
        self.value: float | None = None
        """Updates per second; None before the first whole second."""

    def turn(self, updates: int, seconds: int) -> None:
        """Ends a second that had `updates`, and with it those up to `seconds` in which nothing came."""
        self.seconds.append(updates)
        self.seconds.extend([0] * min(seconds - 1, RATE_SECONDS))
        self.value = sum(self.seconds) / len(self.seconds)

    def load(self, seconds: list[int]) -> None:
        """Takes over the counts of an earlier process."""
        self.seconds.extend(seconds)
        self.value = sum(seconds) / len(seconds) if seconds else None
