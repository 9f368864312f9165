"""One series of the history as any process reads it: a row of numbers per tick, and tiers of coarser resolution."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from observability.history import layout
from observability.history.aggregates import Block, Column, column_of_values
from observability.history.open_interval import SavedInterval
from observability.history.ring import Ring, Span


class Series:
    """The rings of one series, one per tier. A row of a coarse tier has six aggregates per field."""

    __slots__ = ("before_reading", "fields", "key", "rings", "saved_intervals", "section")

    def __init__(
        self, section: str, key: str, fields: tuple[str, ...], words: memoryview[int], doubles: memoryview[float]
    ) -> None:
        """`words` and `doubles` are the same memory, `layout.series_words` of them or more."""
        self.section = section
        self.key = key
        self.before_reading: Callable[[], None] | None = None
        """Writes the rows of ticks that have none yet (see `standing.py`), if this process writes the series."""
        self.fields = fields
        rings, saved_intervals, start = [], [], 0
        for tier in layout.TIERS:
            stop = start + tier.ring_words(len(fields))
            rings.append(Ring(words[start:stop], doubles[start:stop], tier, len(fields)))
            if tier.interval_ns:
                header = start + layout.RING_HEADER_WORDS
                end = header + tier.saved_words(len(fields))
                saved_intervals.append(SavedInterval(words[header:end], doubles[header:end]))
            start = stop
        self.rings = tuple(rings)
        self.saved_intervals = tuple(saved_intervals)
        """One per coarse tier."""

    @property
    def rows_lost(self) -> int:
        """Rows that were overwritten before this process copied them."""
        return sum(ring.rows_lost for ring in self.rings)

    def view(self) -> SeriesView:
        """Returns what the series holds now."""
        if self.before_reading is not None:
            self.before_reading()
        return SeriesView(self)


class SeriesView:
    """What a series held at one moment. Rows written since are not in it."""

    __slots__ = ("_saved", "_spans", "series")

    def __init__(self, series: Series) -> None:
        self.series = series
        # Saved intervals before rings: an interval ends only after its ring has it, so a reader finds it in one of the
        # two.
        self._saved = tuple(saved.copy() for saved in series.saved_intervals)
        self._spans = tuple(ring.span() for ring in series.rings)

    def span(self, tier: int) -> Span:
        """Returns the rows in the ring of a tier, without its saved interval."""
        return self._spans[tier]

    def saved_start_ns(self, tier: int) -> int | None:
        """Returns the start of the saved interval of the next coarser tier, open or over; None if there is none."""
        return self.series.saved_intervals[tier].start_ns

    def first_ns(self, tier: int) -> int | None:
        """Returns the time of the oldest row of a tier, its saved interval included."""
        first_ns = self._spans[tier].first_ns
        saved = self._saved[tier - 1] if tier else None
        return saved[0] if first_ns is None and saved is not None else first_ns

    def copy_block(self, tier: int, start_ns: int, end_ns: int, columns: Sequence[Column]) -> Block:
        """Copies the rows of one tier that begin in start_ns <= t < end_ns, its saved interval included."""
        span = self._spans[tier]
        if tier == 0:
            block = span.copy_block(start_ns, end_ns, [column.field for column in columns])
            block.columns = [
                column_of_values(values, column.aggregate)
                for column, values in zip(columns, block.columns, strict=True)
            ]
            return block
        block = span.copy_block(start_ns, end_ns, [column.offset for column in columns])
        saved = self._saved[tier - 1]
        if saved is not None and start_ns <= saved[0] < end_ns and (span.last_ns is None or span.last_ns < saved[0]):
            block.extend(Block(array("q", [saved[0]]), [array("d", [saved[1][column.offset]]) for column in columns]))
        return block
