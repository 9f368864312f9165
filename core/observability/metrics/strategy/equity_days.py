"""One number per UTC day: the total P&L at its end, exact.

No returns here (see `daily_returns.py`), and no clock: whoever sees midnight pass closes the day.
"""

from __future__ import annotations

from decimal import Decimal

import msgspec

from observability.metrics.arithmetic.decimals import ZERO
from observability.store.checkpoint import pack, unpack

# Ten years. Beyond, the oldest quarter goes, so that what was derived from the days starts again rarely.
MAX_DAYS = 3_660


class Days(msgspec.Struct):
    """What a checkpoint keeps. Days are numbered from the epoch; those that ended as the one before are left out."""

    first: int | None = None
    """The day of the first fill, None before it."""
    last: int | None = None
    """The last day that has ended, None before the first end."""
    base: Decimal = ZERO
    """Total P&L before `first`."""
    ends: list[tuple[int, Decimal]] = []


class EquityDays:
    """The days of one account; `generation` changes when it forgets its oldest ones."""

    __slots__ = ("_packed", "days", "generation")

    def __init__(self, days: Days | None = None) -> None:
        self.days = Days() if days is None else days
        self.generation = 0
        self._packed: bytes | None = None

    @classmethod
    def unpacked(cls, data: bytes) -> EquityDays:
        """Returns the days of a checkpoint; none of one that has none. Raises CheckpointError."""
        return cls(unpack(data, Days) if data else None)

    @property
    def n(self) -> int:
        """Days that have ended, those without a change included."""
        days = self.days
        return 0 if days.first is None or days.last is None else days.last - days.first + 1

    def begin(self, day: int) -> None:
        """Takes note of a fill on `day`; only the first one counts."""
        if self.days.first is None:
            self.days.first = day
            self._packed = None

    def close(self, day: int, last: int, total: Decimal) -> None:
        """Ends `day` with `total`; it stayed so until the end of `last`."""
        days = self.days
        if days.first is None:
            return
        ends = days.ends
        if total != (ends[-1][1] if ends else days.base):
            ends.append((day, total))
        days.last = last
        if len(ends) > MAX_DAYS:
            forgotten = MAX_DAYS // 4
            days.first, days.base = ends[forgotten - 1][0] + 1, ends[forgotten - 1][1]
            del ends[:forgotten]
            self.generation += 1
        self._packed = None

    def packed(self) -> bytes:
        """Returns the days as a checkpoint keeps them; packed once a day."""
        if self._packed is None:
            self._packed = pack(self.days)
        return self._packed
