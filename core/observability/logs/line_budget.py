"""A bound on how often something may be logged."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from observability.clocks.timestamps import NS_PER_MINUTE

LINES_PER_MINUTE: Final = 10


class LineBudget:
    """Allows `LINES_PER_MINUTE` lines a minute, and counts what was not logged."""

    __slots__ = ("_lines", "_minute", "_mono_ns", "_unlogged")

    def __init__(self, mono_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._mono_ns = mono_ns
        self._minute = -1
        self._lines = 0
        self._unlogged = 0

    def take(self) -> int | None:
        """Returns how many lines were left out since the last one; None if this one must be left out too."""
        minute = self._mono_ns() // NS_PER_MINUTE
        if minute != self._minute:
            self._minute, self._lines = minute, 0
        if self._lines >= LINES_PER_MINUTE:
            self._unlogged += 1
            return None
        self._lines += 1
        unlogged, self._unlogged = self._unlogged, 0
        return unlogged
