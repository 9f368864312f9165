"""The share of each turn of the event loop that answering requests may take, all connections together.

One turn of the loop reads every socket that is ready. Without a bound, a thousand connections that each ask for a
document of a millisecond would delay the tick by a second.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from observability.clocks.timestamps import NS_PER_MS

TURN_NS: Final = 2 * NS_PER_MS
# Of small ready answers, of which each takes a few microseconds, one in so many is timed, and counts for all of them:
# timing costs a twelfth of what such an answer does (observability bench --only rest).
TIMED_EVERY: Final = 16


class Turn:
    """Counts the time that was spent since the loop's last turn; connections that come too late wait for the next one,
    in order of arrival."""

    __slots__ = ("_half_ns", "_is_next_due", "_loop", "_max_ns", "_spent_ns", "_waiting", "is_over", "untimed")

    def __init__(self, loop: asyncio.AbstractEventLoop, max_ns: int = TURN_NS) -> None:
        self._loop = loop
        self._max_ns = max_ns
        self._half_ns = max_ns // 2
        self._spent_ns = 0
        self._is_next_due = False
        self._waiting: deque[Callable[[], None]] = deque()
        self.is_over = False
        """Whether no time is left in this turn."""
        self.untimed = 0
        """How many small ready answers may be sent before the next one is timed."""

    def spend(self, ns: int) -> None:
        """Counts time that was spent."""
        # hot: once per request (observability bench --only rest). The loop is asked to report its next turn only once
        # half of the time is spent, by however many turns: asking on each turn would cost every request a callback.
        spent_ns = self._spent_ns = self._spent_ns + ns
        if spent_ns >= self._half_ns:
            if spent_ns >= self._max_ns:
                self.is_over = True
                self.untimed = 0
            if not self._is_next_due:
                self._expect_next()

    def spend_on_small(self, ns: int) -> None:
        """Counts the time of a small ready answer, also for those that are not timed."""
        self.untimed = TIMED_EVERY - 1
        self.spend(ns * TIMED_EVERY)

    def wait(self, proceed: Callable[[], None]) -> None:
        """Calls `proceed` in a later turn of the loop."""
        self._waiting.append(proceed)
        if not self._is_next_due:
            self._expect_next()

    def _expect_next(self) -> None:
        self._is_next_due = True
        self._loop.call_soon(self._begin)

    def _begin(self) -> None:
        self._is_next_due = False
        self._spent_ns = 0
        self.is_over = False
        # Only those that waited already: one that waits again has had its part of this turn.
        for _ in range(len(self._waiting)):
            if self.is_over:
                break
            self._waiting.popleft()()
        if self._waiting and not self._is_next_due:
            self._expect_next()
