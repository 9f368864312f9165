"""Turns of the loop for work that takes longer than the tick may be late: it is done in slices, one a turn.

No work is done here. A thread would not do: it would hold the interpreter's lock for longer than a slice.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from observability.core.timestamps import NS_PER_MS

SLICE_NS: Final = NS_PER_MS


class Turn:
    """`async with` around such work, and `offer` within it as often as possible. However many share the lock, each turn
    of the loop has one slice of one of them, in the order in which they came.
    """

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._is_held = False
        self._end_ns = 0

    async def __aenter__(self) -> Turn:
        await self._take()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not held if it was cancelled while the loop and others had their turn.
        if self._is_held:
            self._give()

    async def offer(self) -> None:
        """Lets the loop and others go first if this slice is used up."""
        if time.monotonic_ns() >= self._end_ns:
            self._give()
            await asyncio.sleep(0)
            await self._take()

    async def _take(self) -> None:
        await self._lock.acquire()
        self._is_held = True
        self._end_ns = time.monotonic_ns() + SLICE_NS

    def _give(self) -> None:
        self._is_held = False
        self._lock.release()
