"""Long work on the event loop, cut into slices, so that the tick between them is not late.

A thread would not help: it holds the interpreter's lock for longer than a slice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from typing import Final, TypeVar

from observability.clocks.timestamps import NS_PER_MS

T = TypeVar("T")

Steps = Generator[None, None, T]
"""Work in short steps: it yields after each of them and returns its result."""

SLICE_NS: Final = NS_PER_MS
"""The longest stretch of work before the loop has its turn."""


class Slice:
    """Use `async with` around the work, and call `offer` within it as often as possible.

    However many users share the lock, each turn of the loop has one slice of one of them, in order of arrival.
    """

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self._is_held = False
        self._end_ns = 0

    async def __aenter__(self) -> Slice:
        # A user that enters again without a turn of the loop in between continues its previous slice.
        if self._end_ns and not self._lock.locked():
            await self._lock.acquire()
            self._is_held = True
        else:
            await self._take()
        return self

    async def __aexit__(self, *_: object) -> None:
        # Not held after a cancellation while waiting for other users.
        if self._is_held:
            self._give()

    async def offer(self) -> None:
        """Lets the loop and other users run first if this slice is used up."""
        if time.monotonic_ns() >= self._end_ns:
            # The lock stays held, else a user that enters in this turn of the loop would get a slice of it too.
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


async def in_slices(steps: Steps[T], lock: asyncio.Lock) -> T:
    """Returns the result of `steps`, with turns of the loop in between; `lock` as in `Slice`."""
    async with Slice(lock) as work:
        while True:
            try:
                next(steps)
            except StopIteration as done:
                result: T = done.value
                return result
            await work.offer()


def at_once(steps: Steps[T]) -> T:
    """Returns the result of `steps`, without a turn of the loop in between."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
