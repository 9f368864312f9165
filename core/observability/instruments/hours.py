"""When the market of an instrument is open: the sessions of its exchange's calendar.

    instrument  calendar = "XNYS"
    edges       open 14:30 | close 21:00 | open 14:30 | close 18:00 (early) | ...        in nanoseconds
    session     from one opening to the next, so that it lasts over a weekend, a holiday or a lunch break

The calendars are those of `exchange_calendars`, the extra `calendars`; `24/7` needs nothing. A process of its own reads
them, for a year around the time of the events: the package brings pandas, which would stop a tick for a second and stay
in memory. Until the answer has come, no session begins or ends.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from bisect import bisect_right
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

import msgspec

from observability.clocks.timestamps import NS_PER_DAY, NS_PER_HOUR

logger = logging.getLogger(__name__)

ALWAYS_OPEN: Final = "24/7"
PACKAGE: Final = "exchange_calendars"
NOT_INSTALLED: Final = (
    "calendars need the extra: pip install 'observability[calendars]'; until then the symbol has the sessions of all "
    "others (SESSION_START), and nothing is known of the hours of its market"
)
MAX_CALENDARS: Final = 64
"""How many calendars are read; there are about fifty."""

# Read around the time of an event, and read anew when so little is left.
_BACK_NS: Final = 40 * NS_PER_DAY
_AHEAD_NS: Final = 400 * NS_PER_DAY
_LEFT_NS: Final = 40 * NS_PER_DAY
# Read again after a fault: the machine may have been too busy, and the package may be a newer one by then.
_RETRY_NS: Final = NS_PER_HOUR
_TIMEOUT_SECONDS: Final = 120


class Schedule(msgspec.Struct):
    """What the process answers."""

    opens: list[int] = []
    """When each session begins."""
    edges: list[int] = []
    """When the market opens, closes, opens, ..., with the breaks within sessions."""
    fault: str | None = None


class MarketHours:
    """The hours of one calendar. Shared by all symbols that have it."""

    __slots__ = ("_asked_ns", "_edges", "_is_always", "_is_reading", "_logged", "_opens", "_span", "fault", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.fault: str | None = None
        """Why nothing is known; None while it is read for the first time. It is read again an hour later."""
        self._is_always = name == ALWAYS_OPEN
        self._opens: Sequence[int] = ()
        self._edges: Sequence[int] = ()
        self._span = (0, 0)
        self._is_reading = False
        # When it was read last, by the events' time; without a fault it is not read again on that day.
        self._asked_ns = -NS_PER_DAY
        # The fault of the last reading.
        self._logged: str | None = None

    def is_open(self, now_ns: int) -> bool | None:
        """Returns whether the market is open; None while that is not known."""
        if self._is_always:
            return True
        return bool(bisect_right(self._edges, now_ns) % 2) if self._knows(now_ns) else None

    def opened_ns(self, now_ns: int) -> int:
        """Returns when the market has opened last, after a break too; 0 if that is not known or it is always open."""
        if self._is_always or not self._knows(now_ns):
            return 0
        number = bisect_right(self._edges, now_ns)
        number -= 2 - number % 2
        # A market that closes and opens at once has not been closed.
        while number >= 2 and self._edges[number - 1] == self._edges[number]:
            number -= 2
        return self._edges[number] if number >= 0 else 0

    def next_edge_ns(self, now_ns: int) -> int | None:
        """Returns when the market opens or closes next; None if that is not known, or never."""
        if self._is_always or not self._knows(now_ns):
            return None
        number = bisect_right(self._edges, now_ns)
        return self._edges[number]

    def session_end_ns(self, now_ns: int) -> int | None:
        """Returns when the next session begins; None while that is not known."""
        if self._is_always:
            return now_ns - now_ns % NS_PER_DAY + NS_PER_DAY
        return self._opens[bisect_right(self._opens, now_ns)] if self._knows(now_ns) else None

    def session_start_ns(self, end_ns: int) -> int:
        """Returns when the session that ends at `end_ns` has begun."""
        if self._is_always:
            return end_ns - NS_PER_DAY
        return max((opened for opened in self._opens if opened < end_ns), default=0)

    def take(self, schedule: Schedule) -> None:
        """Takes what has been read."""
        self._is_reading = False
        if schedule.fault != self._logged and schedule.fault is not None:
            logger.error("the calendar %s cannot be used: %s", self.name, schedule.fault)
        self._logged = schedule.fault
        start_ns, end_ns = self._span
        # What was read before is still right.
        self.fault = None if start_ns <= self._asked_ns < end_ns else schedule.fault
        if schedule.fault is not None:
            return
        self._opens, self._edges = tuple(schedule.opens), tuple(schedule.edges)
        # From the first opening until the last one, of which more is known than the calendar's days.
        self._span = schedule.opens[0], schedule.opens[-1]

    def _knows(self, now_ns: int) -> bool:
        start_ns, end_ns = self._span
        if now_ns + _LEFT_NS >= end_ns or now_ns < start_ns:
            pause_ns = NS_PER_DAY if self._logged is None else _RETRY_NS
            if abs(now_ns - self._asked_ns) >= pause_ns:
                self._read(now_ns)
        return start_ns <= now_ns < end_ns

    def _read(self, now_ns: int) -> None:
        if not self._is_reading:
            self._is_reading, self._asked_ns = True, now_ns
            threading.Thread(target=self._ask, args=(now_ns,), name=f"calendar {self.name}", daemon=True).start()

    def _ask(self, now_ns: int) -> None:
        arguments = (self.name, str(now_ns - _BACK_NS), str(now_ns + _AHEAD_NS))
        command = (sys.executable, "-B", "-m", "observability.instruments.schedule", *arguments)
        try:
            done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_SECONDS, check=False)
            schedule = msgspec.json.decode(done.stdout, type=Schedule)
            if not schedule.opens and schedule.fault is None:
                schedule.fault = "it has no session at that time"
        except (OSError, ValueError, subprocess.TimeoutExpired, msgspec.DecodeError) as error:
            # A ValueError is that of a name which is no argument of a process.
            schedule = Schedule(fault=f"it cannot be read: {error}")
        self.take(schedule)


class Calendars:
    """The calendars that instruments name."""

    def __init__(self) -> None:
        self._hours: dict[str, MarketHours] = {}
        self._is_installed: bool | None = None

    def hours(self, name: str) -> MarketHours | None:
        """Returns the hours of a calendar, whatever is known of them; None for no calendar, and without the extra or
        room."""
        if not name or self._lack(name) is not None:
            return None
        found = self._hours.get(name)
        if found is None:
            found = self._hours[name] = MarketHours(name)
        return found

    def fault(self, name: str) -> str | None:
        """Returns why a calendar cannot be used, as far as that is known; None if it can, or for no calendar."""
        found = self._hours.get(name)
        return self._lack(name) if found is None else self._lack(name) or found.fault

    def _lack(self, name: str) -> str | None:
        """Returns what is missing for a calendar to be read."""
        if name in ("", ALWAYS_OPEN):
            return None
        if self._is_installed is None:
            self._is_installed = find_spec(PACKAGE) is not None
        if not self._is_installed:
            return NOT_INSTALLED
        if name not in self._hours and len(self._hours) >= MAX_CALENDARS:
            return f"no room: {MAX_CALENDARS} calendars are in use"
        return None
