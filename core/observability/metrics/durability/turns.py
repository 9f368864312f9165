"""How long work shares the thread with everything else: at once, or in slices of the event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from observability.clocks.slices import Slice
from observability.store.reader import StoreReader

P = ParamSpec("P")
T = TypeVar("T")


class Turns(Protocol):
    """The two things that long work does besides its own."""

    async def offer(self) -> None:
        """Lets the loop run if the work has had its slice."""

    async def ask(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Returns the store's answer. Raises StoreError."""


class AtOnce:
    """Does not share: while nothing else runs, or for what is done in a moment."""

    def __init__(self, reader: StoreReader | None) -> None:
        self._reader = reader

    async def offer(self) -> None:
        return

    async def ask(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        assert self._reader is not None, "only a store is asked"
        return self._reader.run_now(function, *args, **kwargs)


class InSlices:
    """Shares the event loop with the tick, and leaves reading to the reader's thread."""

    def __init__(self, reader: StoreReader | None, lock: asyncio.Lock) -> None:
        self._reader = reader
        self._lock = lock
        self._slice = Slice(lock)

    async def __aenter__(self) -> InSlices:
        await self._slice.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._slice.__aexit__()

    async def offer(self) -> None:
        await self._slice.offer()

    async def ask(
        self, function: Callable[Concatenate[sqlite3.Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        assert self._reader is not None, "only a store is asked"
        # Others work while the answer is read.
        await self._slice.__aexit__()
        try:
            return await self._reader.run(function, *args, **kwargs)
        finally:
            self._slice = Slice(self._lock)
            await self._slice.__aenter__()


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """Returns the result of work that has only `AtOnce` to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("work that is done at once does not wait")
