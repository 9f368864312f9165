"""Something done again and again on a loop, for what needs no exact beat (see `tick.py` for what does).

No work is done here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Periodic:
    """Calls `action` at once and then every `seconds` from the end of the last call; a failure is logged once."""

    def __init__(self, seconds: float, action: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self._seconds = seconds
        self._action = action
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False

    def start(self) -> None:
        try:
            self._action()
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                logger.exception("%r failed; later failures are not logged", self._action)
        self._timer = self._loop.call_later(self._seconds, self.start)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
