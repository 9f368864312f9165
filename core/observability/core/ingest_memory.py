"""The log of a server without a store: everything is as durable as it gets at once.

Nothing is written and no key is kept here: what was answered is in the gate's own memory (see `ingest_answers.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from observability.core.events import Fill
from observability.core.ingest import Verdict


class MemoryLog:
    """A DurableLog. `judge` tells what becomes of a fill; `on_fill` is to be subscribed behind the collectors."""

    position = 0
    has_room = True
    fault: str | None = None

    def __init__(self, judge: Callable[[Fill], Verdict]) -> None:
        self.last_verdict = Verdict.ACCEPTED
        self._judge = judge

    def on_fill(self, event: Fill) -> None:
        self.last_verdict = self._judge(event)

    async def durable(self, position: int, timeout_seconds: float) -> bool:
        return True

    def remember(self, key: str, fingerprint: bytes, status: int, body: bytes) -> None: ...

    async def recall(self, key: str) -> tuple[bytes, int, bytes] | None:
        return None
