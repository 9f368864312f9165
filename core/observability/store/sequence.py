"""The one sequence that numbers everything durable: fills, reports, alerts.

Nothing is numbered here; whoever makes a durable record draws its number.
"""

from __future__ import annotations


class EventSequence:
    """Rising numbers; gaps mean nothing. A restart goes on behind what the process before it may have shown."""

    __slots__ = ("newest",)

    def __init__(self, newest: int = 0) -> None:
        self.newest = newest
        """The number drawn last; 0 before the first."""

    def draw(self) -> int:
        """Returns the next number."""
        self.newest += 1
        return self.newest

    def skip_to(self, newest: int) -> None:
        """Goes on behind `newest`, if it is not there yet."""
        self.newest = max(self.newest, newest)
