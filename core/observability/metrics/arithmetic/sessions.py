"""Sessions: days that begin at one local time of one zone; UTC days by default.

A session starts and ends by the times of events, never by a clock of its own.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo

from observability.clocks.timestamps import EPOCH, NS_PER_DAY, NS_PER_S, datetime_to_ns

_MIDNIGHT = time()


def utc_day_end_ns(now_ns: int) -> int:
    """Returns the first moment after the UTC day of `now_ns`."""
    return now_ns - now_ns % NS_PER_DAY + NS_PER_DAY


class SessionCalendar:
    """When sessions end: each day at `start` in `zone`. A session in which the clocks change has 23 or 25 hours.

    The two odd boundaries follow RFC 5545 section 3.3.5: a local time that does not occur is read with the offset
    before the gap (02:30 in New York is 03:30 on the day the clocks go forward), one that occurs twice is the first.
    """

    __slots__ = ("_begin_ns", "_end_ns", "start", "zone")

    def __init__(self, zone: tzinfo = UTC, start: time = _MIDNIGHT) -> None:
        self.zone = zone
        self.start = start
        # The newest answer: at a boundary, every symbol asks for the same session.
        self._begin_ns = self._end_ns = 0

    def end_ns(self, now_ns: int) -> int:
        """Returns the first moment after the session of `now_ns`."""
        if not self._begin_ns <= now_ns < self._end_ns:
            day = (EPOCH + timedelta(seconds=now_ns // NS_PER_S)).astimezone(self.zone).date()
            # Two days on either side: a zone that moves across the date line skips a day or has it twice.
            boundaries = [self._boundary_ns(day + timedelta(days=offset)) for offset in (-2, -1, 0, 1, 2)]
            self._begin_ns = max(boundary for boundary in boundaries if boundary <= now_ns)
            self._end_ns = min(boundary for boundary in boundaries if boundary > now_ns)
        return self._end_ns

    def _boundary_ns(self, day: date) -> int:
        # fold=0 is what RFC 5545 says, in the gap and in the fold (PEP 495).
        return datetime_to_ns(datetime.combine(day, self.start, tzinfo=self.zone).astimezone(UTC))


UTC_DAYS = SessionCalendar()


class Session:
    """The current session. It never goes back: a late event belongs to the session that it arrives in."""

    __slots__ = ("calendar", "end_ns")

    def __init__(self, calendar: SessionCalendar = UTC_DAYS) -> None:
        self.calendar = calendar
        self.end_ns: int | None = None
        """The first moment after it; None before the first event. A restart keeps it, even under another calendar."""

    def roll_over(self, now_ns: int) -> bool:
        """Begins the session of `now_ns`, unless it is current or past; returns whether an earlier session has
        ended."""
        if self.end_ns is not None and now_ns < self.end_ns:
            return False
        is_first = self.end_ns is None
        self.end_ns = self.calendar.end_ns(now_ns)
        return not is_first
