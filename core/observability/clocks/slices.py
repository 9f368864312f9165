"""Turns of the loop for work that takes longer than the tick may be late: it is done in slices, one a turn.

No work is done here. A thread would not do: it would hold the interpreter's lock for longer than a slice.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from observability.clocks.timestamps import NS_PER_MS

SLICE_NS: Final = NS_PER_MS


class Slice:
    """`async with` around such work, and `offer` within it as often as possible. However many share the lock, each turn
    of the loop has one slice of one of them, in the order in which they came.
    """

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._is_held = False
        self._end_ns = 0

    async def __aenter__(self) -> Slice:
        # Who comes again without a turn of the loop in between is still in the slice of before.
        if self._end_ns and not self._lock.locked():
            await self._lock.acquire()
            self._is_held = True
        else:
            await self._take()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not held if it was cancelled while others had their turn.
        if self._is_held:
            self._give()

    async def offer(self) -> None:
        """Lets the loop and others go first if this slice is used up."""
        if time.monotonic_ns() >= self._end_ns:
            # The lock is held meanwhile, or whoever comes in this very turn of the loop would have a slice of it too.
            await asyncio.sleep(0)
            self._give()
            await self._take()

    async def _take(self) -> None:
        await self._lock.acquire()
        self._is_held = True
        self._end_ns = time.monotonic_ns() + SLICE_NS

    def _give(self) -> None:
        self._is_held = False
        self._lock.release()
