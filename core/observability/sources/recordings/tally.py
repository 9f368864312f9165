"""What one recording delivered, what was left out, and what could not be read.

No sums over several recordings here; see `replay.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path

from observability.events import EVENT_TYPES, TYPE_NAMES, Event

logger = logging.getLogger(__name__)

# The first bad line is logged, then one in so many: a broken file must not become a broken log.
BAD_LINES_PER_LOG_LINE = 1000


class Tally:
    """Counts of one recording, over all laps."""

    __slots__ = ("bad_lines", "events", "path", "skipped")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.events: dict[type[Event], int] = dict.fromkeys(EVENT_TYPES, 0)
        self.skipped: dict[str, int] = {}
        """Well-formed lines that carry nothing for us, by what they are."""
        self.bad_lines = 0

    def skip(self, what: str) -> None:
        """Counts one well-formed line that becomes no event."""
        self.skipped[what] = self.skipped.get(what, 0) + 1

    def bad_line(self, number: int, why: object) -> None:
        """Counts one line that cannot be read; logs the first and then one in `BAD_LINES_PER_LOG_LINE`."""
        if self.bad_lines % BAD_LINES_PER_LOG_LINE == 0:
            logger.warning("%s:%d: line left out: %s (%d before it)", self.path, number, why, self.bad_lines)
        self.bad_lines += 1

    def events_by_name(self) -> dict[str, int]:
        """Returns the events delivered by their name on the wire; types never seen are left out."""
        return {TYPE_NAMES[kind]: count for kind, count in self.events.items() if count}
