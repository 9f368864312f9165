"""Silencing alerts, durably."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from observability.notify.notifier import Notifier
from observability.notify.silences import Silence


class Silenced(msgspec.Struct, frozen=True):
    """A silence right after it was added or ended."""

    silence: Silence
    is_on_disk: bool
    """False if it holds but could not be written in time."""


class Silencer(Protocol):
    """Adds and ends silences: in the hub's process, or by a call to it."""

    async def add_silence(self, silence: Silence) -> Silenced | None:
        """Adds a silence and waits until it is on disk; returns None if there are too many."""

    async def end_silence(self, silence_id: str) -> Silenced | None:
        """Ends a silence now; returns None if there is none of that id that has not ended."""


class HubSilencer:
    """Silences the hub's notifier."""

    def __init__(self, notifier: Notifier, is_written: Callable[[], Awaitable[bool]]) -> None:
        """`is_written` waits until everything so far is on disk; it returns False if that takes too long."""
        self._notifier = notifier
        self._is_written = is_written

    async def add_silence(self, silence: Silence) -> Silenced | None:
        return Silenced(silence, await self._is_written()) if self._notifier.add_silence(silence) else None

    async def end_silence(self, silence_id: str) -> Silenced | None:
        ended = self._notifier.end_silence(silence_id)
        return None if ended is None else Silenced(ended, await self._is_written())
