"""Which messages of a JetStream stream are taken: the cursor that is stored with their events.

    2026-11-29T12:56:10.320223477Z 1795956970418492550 1-4711,4713-4720
    when the stream was created    newest message, ns  sequence numbers

A single number would not do. After a lost connection the server sends what is new at once, and what it had sent before
only when the time to acknowledge it is over: a message of a lower number may well be one that was never taken.
"""

from __future__ import annotations

import re
from typing import Final

from observability.errors import SourceError

_CURSOR: Final = re.compile(r"(\S+) ([0-9]{1,19}) ((?:[0-9]{1,19}-[0-9]{1,19})(?:,[0-9]{1,19}-[0-9]{1,19})*|)")


class StreamPosition:
    """The messages that are taken, as ranges of sequence numbers: one range unless some are missing in between."""

    def __init__(self, created: str, cursor: str | None) -> None:
        """`created` is when the stream was created, as the server writes it. A cursor of another creation is that of
        other messages, and void. Raises SourceError for a cursor that is none."""
        self._created = created
        self.newest_ns = 0
        """When the newest message that is taken was stored; 0 if there is none."""
        self._ranges: list[tuple[int, int]] = []
        self.is_void = False
        """Whether there was a cursor, but of a stream that has been created anew since."""
        if cursor is None:
            return
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise SourceError(f"{cursor[:100]!r} is not the position in a stream")
        if match[1] != created:
            self.is_void = True
            return
        self.newest_ns = int(match[2])
        for text in match[3].split(",") if match[3] else ():
            first, _, last = text.partition("-")
            self._ranges.append((int(first), int(last)))

    @property
    def pieces(self) -> int:
        """How many ranges there are."""
        return len(self._ranges)

    def cursor(self) -> str:
        return f"{self._created} {self.newest_ns} {','.join(f'{first}-{last}' for first, last in self._ranges)}"

    def has(self, number: int, time_ns: int) -> bool:
        """Returns whether a message is taken. One that has the number of a taken message, but is newer than all of
        them, comes from a stream that was set back (its server has lost what was not on disk): it and those after it
        are new."""
        # hot: once per message (benchmarks/bench_nats.py)
        ranges = self._ranges
        if not ranges or number > ranges[-1][1]:
            return False
        for first, last in reversed(ranges):
            if number > last:
                return False
            if number >= first:
                if time_ns <= self.newest_ns:
                    return True
                self._cut(number)
                return False
        return False

    def take(self, number: int, time_ns: int, previous: int | None) -> None:
        """Takes a message. `previous` is the number of the one before it if the stream has none in between for us."""
        # hot: once per message (benchmarks/bench_nats.py)
        if time_ns > self.newest_ns:
            self.newest_ns = time_ns
        first = number if previous is None or previous >= number else previous + 1
        ranges = self._ranges
        if ranges and ranges[-1][1] + 1 == first:
            ranges[-1] = (ranges[-1][0], number)
        else:
            self._add(first, number)

    def settle(self, floor: int) -> None:
        """Takes every message up to `floor`, none of which the server will send again."""
        if floor > 0:
            self._add(1, floor)

    def missing_before(self, number: int) -> int:
        """Returns how many numbers below `number` are not taken."""
        return number - 1 - sum(min(last, number - 1) - first + 1 for first, last in self._ranges if first < number)

    def _add(self, first: int, last: int) -> None:
        apart = [one for one in self._ranges if one[1] + 1 < first or last + 1 < one[0]]
        touching = [one for one in self._ranges if one[1] + 1 >= first and last + 1 >= one[0]]
        if touching:
            first, last = min(first, touching[0][0]), max(last, touching[-1][1])
        self._ranges = sorted([*apart, (first, last)])

    def _cut(self, number: int) -> None:
        """Forgets `number` and all above it."""
        self._ranges = [(first, min(last, number - 1)) for first, last in self._ranges if first < number]
