"""A source that does what the test says.

No tests here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from observability.sources.source import Batch


class ScriptedSource:
    """A source whose batches, and whose failures, the test puts in. `calls` is what its runner has asked of it."""

    def __init__(self, name: str = "script:test") -> None:
        self.name = name
        self.calls: list[str] = []
        self.cursors: list[str | None] = []
        """Of each connection."""
        self.refusals: deque[Exception] = deque()
        """What the next attempts to connect raise."""
        self._news: deque[Batch | Exception] = deque()
        self._changed = asyncio.Event()

    def put(self, *news: Batch | Exception) -> None:
        self._news.extend(news)
        self._change()

    async def connect(self, cursor: str | None) -> None:
        self.cursors.append(cursor)
        self._note("connect")
        if self.refusals:
            raise self.refusals.popleft()

    async def read(self) -> Batch:
        while not self._news:
            await self._changed.wait()
        news = self._news.popleft()
        if isinstance(news, Exception):
            raise news
        self._note("read")
        return news

    async def acknowledge(self) -> None:
        self._note("acknowledge")

    async def close(self) -> None:
        self._note("close")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until a condition holds, which is looked at whenever the runner has asked for something."""
        async with asyncio.timeout(20):
            while not condition():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), 0.02)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
