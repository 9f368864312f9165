"""Sessions: UTC days, as the events' own times tell them.

No clock here; whoever asks brings the time.
"""

from __future__ import annotations

from observability.core.events import Event
from observability.core.timestamps import NS_PER_S

NS_PER_DAY = 86_400 * NS_PER_S


def session_end_ns(now_ns: int) -> int:
    """Returns the first moment after the session that `now_ns` belongs to."""
    return now_ns - now_ns % NS_PER_DAY + NS_PER_DAY


def event_time_ns(event: Event) -> int:
    """Returns `ts` (ts_event), or `ts_init` of an event whose `ts` is absent or was never read."""
    return event.ts if isinstance(event.ts, int) else event.ts_init


class Session:
    """The current session. It never goes back: a late event belongs to the session it arrives in."""

    __slots__ = ("_end_ns",)

    def __init__(self) -> None:
        self._end_ns: int | None = None

    def has_turned(self, now_ns: int) -> bool:
        """Moves on to the session of `now_ns`; returns whether that ended another one."""
        if self._end_ns is not None and now_ns < self._end_ns:
            return False
        is_first = self._end_ns is None
        self._end_ns = session_end_ns(now_ns)
        return not is_first
