"""One series of the history as any process reads it: a row of numbers per tick, in tiers of falling resolution.

Nothing is written here (see `recorded_series.py`), and nothing merged (see `history.py`).
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from observability.history import layout
from observability.history.aggregates import Block, Column, column_of_values
from observability.history.remnant import SavedInterval
from observability.history.ring import Ring, Span


class Series:
    """The rings of one series; a coarse row has six numbers per field (see `layout.py`)."""

    __slots__ = ("fields", "key", "remnants", "rings", "section")

    def __init__(
        self, section: str, key: str, fields: tuple[str, ...], words: memoryview[int], doubles: memoryview[float]
    ) -> None:
        """`words` and `doubles` are the same memory, `layout.series_words` of them or more."""
        self.section = section
        self.key = key
        self.fields = fields
        rings, remnants, start = [], [], 0
        for tier in layout.TIERS:
            stop = start + tier.ring_words(len(fields))
            rings.append(Ring(words[start:stop], doubles[start:stop], tier, len(fields)))
            if tier.interval_ns:
                header = start + layout.RING_HEADER_WORDS
                end = header + tier.remnant_words(len(fields))
                remnants.append(SavedInterval(words[header:end], doubles[header:end]))
            start = stop
        self.rings = tuple(rings)
        self.remnants = tuple(remnants)
        """Of the coarse tiers."""

    @property
    def rows_lost(self) -> int:
        """Rows that this process was too late for."""
        return sum(ring.rows_lost for ring in self.rings)

    def view(self) -> SeriesView:
        """Returns what is there at this moment."""
        return SeriesView(self)


class SeriesView:
    """What a series held at one moment: while it is read, another process may write on."""

    __slots__ = ("_left", "_spans", "series")

    def __init__(self, series: Series) -> None:
        self.series = series
        # A remnant before its ring: it is over only once the ring has its interval, so that one of them is seen.
        self._left = tuple(remnant.copy() for remnant in series.remnants)
        self._spans = tuple(ring.span() for ring in series.rings)

    def span(self, tier: int) -> Span:
        """Returns the rows of a tier, which is without what an earlier process left."""
        return self._spans[tier]

    def began_ns(self, tier: int) -> int | None:
        """Returns the start of the interval of the next coarser tier that an earlier process began."""
        return self.series.remnants[tier].start_ns

    def first_ns(self, tier: int) -> int | None:
        """Returns the time of the oldest row of a tier, what an earlier process left included."""
        first_ns = self._spans[tier].first_ns
        left = self._left[tier - 1] if tier else None
        return left[0] if first_ns is None and left is not None else first_ns

    def copy_block(self, tier: int, start_ns: int, end_ns: int, columns: Sequence[Column]) -> Block:
        """Copies the rows of one tier that begin in start_ns <= t < end_ns, what an earlier process left included."""
        span = self._spans[tier]
        if tier == 0:
            block = span.copy_block(start_ns, end_ns, [column.field for column in columns])
            block.columns = [
                column_of_values(values, column.aggregate)
                for column, values in zip(columns, block.columns, strict=True)
            ]
            return block
        block = span.copy_block(start_ns, end_ns, [column.offset for column in columns])
        left = self._left[tier - 1]
        if left is not None and start_ns <= left[0] < end_ns and (span.last_ns is None or span.last_ns < left[0]):
            block.extend(Block(array("q", [left[0]]), [array("d", [left[1][column.offset]]) for column in columns]))
        return block
