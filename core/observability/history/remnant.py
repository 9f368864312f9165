"""What an earlier process had made of an interval that was not over, and that no finer tier holds.

No offsets here (see `layout.py`).
"""

from __future__ import annotations

from array import array
from enum import IntEnum

from observability.history import layout


class State(IntEnum):
    NONE = 0
    OPEN = 1
    OVER = 2


class SavedInterval:
    """One interval of one coarse ring: written before the first frame, and over when the ring has it."""

    __slots__ = ("_doubles", "_words")

    def __init__(self, words: memoryview[int], doubles: memoryview[float]) -> None:
        self._words = words
        self._doubles = doubles

    @property
    def start_ns(self) -> int | None:
        """When the interval began that an earlier process had begun; None without one."""
        return self._words[layout.REMNANT_START_NS] if self._words[layout.REMNANT_STATE] else None

    @property
    def is_open(self) -> bool:
        return self._words[layout.REMNANT_STATE] == State.OPEN

    def copy(self) -> tuple[int, array[float]] | None:
        """Returns start and aggregates while the interval is not over."""
        if not self.is_open:
            return None
        return self._words[layout.REMNANT_START_NS], array("d", self._doubles[layout.REMNANT_HEADER_WORDS :])

    def leave(self, start_ns: int, aggregates: array[float]) -> None:
        """Takes over an interval; while nobody reads."""
        self._words[layout.REMNANT_START_NS] = start_ns
        self._doubles[layout.REMNANT_HEADER_WORDS :] = aggregates
        self._words[layout.REMNANT_STATE] = State.OPEN

    def end(self) -> None:
        """Notes that the interval is over: the ring has it."""
        self._words[layout.REMNANT_STATE] = State.OVER

    def clear(self) -> None:
        """Notes that there is none."""
        self._words[layout.REMNANT_STATE] = State.NONE
