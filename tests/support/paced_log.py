"""A log whose disk is as fast as the test says.

Nothing is on disk here; what is committed is what `commit` has been called for.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from observability.bus import Bus
from observability.errors import StoreError
from observability.events import Fill, Order
from observability.ingest.gate import Verdict


class PacedLog:
    """A DurableLog of the fills and order reports on a bus. `is_prompt` commits every row as it comes."""

    def __init__(self, bus: Bus, *, is_prompt: bool = False) -> None:
        self.last_verdict = Verdict.ACCEPTED
        self.position = 0
        self.committed = 0
        self.has_room = True
        self.lost = 0
        self.cursors: dict[str, str] = {}
        self.fault: str | None = None
        self.unreadable_fills: set[str] = set()
        """Ids of fills of which only the log knows whether they have been taken, while it cannot be read."""
        self.fills: list[str] = []
        self.is_unreadable = False
        """Whether recalling an answer fails."""
        self.recalls = 0
        self.is_in_batch = False
        self._is_prompt = is_prompt
        self._fills: dict[tuple[str, str, str], Fill] = {}
        self._answers: dict[str, tuple[int, tuple[bytes, int, bytes]]] = {}
        self._progress = asyncio.Event()
        bus.subscribe(Fill, self.on_fill)
        bus.subscribe(Order, self.on_order)

    def on_fill(self, event: Fill) -> None:
        if event.trade_id in self.unreadable_fills:
            raise StoreError("made up")
        known = self._fills.setdefault((event.venue, event.symbol, event.trade_id), event)
        if known is event:
            self.last_verdict = Verdict.ACCEPTED
            self.fills.append(event.trade_id)
            self._put()
        else:
            is_same = (known.quantity, known.price) == (event.quantity, event.price)
            self.last_verdict = Verdict.DUPLICATE if is_same else Verdict.CONFLICT

    def on_order(self, event: Order) -> None:
        self._put()

    def commit(self, position: int | None = None) -> None:
        """Brings rows to the disk, up to `position` or all of them."""
        self.committed = self.position if position is None else position
        self._progress.set()
        self._progress = asyncio.Event()

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_seconds):
                while self.committed < position:
                    await self._progress.wait()
        return self.committed >= position

    def begin_batch(self) -> None:
        assert not self.is_in_batch
        self.is_in_batch = True

    def end_batch(self) -> None:
        assert self.is_in_batch
        self.is_in_batch = False

    def remember(self, key: str, fingerprint: bytes, status: int, body: bytes) -> None:
        self._put()
        self._answers[key] = (self.position, (fingerprint, status, body))

    def keep_cursor(self, source: str, cursor: str) -> None:
        assert self.is_in_batch
        self._put()
        self.cursors[source] = cursor

    async def recall(self, key: str) -> tuple[bytes, int, bytes] | None:
        self.recalls += 1
        await asyncio.sleep(0)
        if self.is_unreadable:
            raise StoreError("made up")
        position, answer = self._answers.get(key, (0, None))
        return answer if position <= self.committed else None

    def _put(self) -> None:
        self.position += 1
        if self._is_prompt:
            self.commit()
