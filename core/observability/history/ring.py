"""One ring of rows: the newest row replaces the oldest; one writer and any number of readers."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence

from observability.history import layout
from observability.history.aggregates import Block
from observability.history.layout import Tier
from observability.history.slots import Row, RowSlots


class Ring:
    """Fixed-size rows over preallocated words.

    Rows that were overwritten before this reader copied them are counted in `rows_lost`; that is not an error.
    """

    __slots__ = ("_slots", "_tier", "_words", "rows_lost")

    def __init__(
        self,
        words: memoryview[int],
        doubles: memoryview[float],
        tier: Tier,
        fields: int,
        *,
        has_crc: bool = not layout.STORES_ARE_ORDERED,
    ) -> None:
        self._words = words
        self._tier = tier
        start = layout.RING_HEADER_WORDS + tier.saved_words(fields)
        self._slots = RowSlots(words[start:], doubles[start:], tier.payload_words(fields), has_crc=has_crc)
        self.rows_lost = 0

    @property
    def cursor(self) -> int:
        """Sequence of the newest complete row; 0 if there is none."""
        return self._words[layout.RING_CURSOR]

    @property
    def oldest_slot(self) -> int:
        """Sequence of the oldest row whose slot has not been reused."""
        return self.cursor - self._tier.slots + 1

    def clear(self) -> None:
        """Removes every row. There must be no readers yet."""
        self._words[layout.RING_CURSOR] = self._words[layout.RING_FORGOTTEN] = 0

    def write_row(self, ts_ns: int, payload: array[float]) -> None:
        """Appends one row."""
        # hot: once per series per tick (benchmarks/bench_tick.py)
        words = self._words
        sequence = words[layout.RING_CURSOR] + 1
        self._slots.write((sequence - 1) % self._tier.slots, sequence, ts_ns, payload)
        words[layout.RING_CURSOR] = sequence

    def write_rows(self, times: array[int], columns: Sequence[Sequence[float]]) -> None:
        """Appends a row for each time, from a column of values per field; a single value is that of every row. No other
        process may read the memory."""
        words, slots, count = self._words, self._tier.slots, len(times)
        sequence = words[layout.RING_CURSOR] + 1
        first_slot = (sequence - 1) % slots
        if first_slot + count <= slots:
            self._slots.write_block(first_slot, sequence, times, columns)
        else:
            written = 0
            while written < count:
                first_slot = (sequence + written - 1) % slots
                fitting = slice(written, written + slots - first_slot)
                pieces = [column[fitting] if len(column) > 1 else column for column in columns]
                self._slots.write_block(first_slot, sequence + written, times[fitting], pieces)
                written += slots - first_slot
        words[layout.RING_CURSOR] = sequence + count - 1

    def copy_row(self, sequence: int) -> Row | None:
        """Copies a row; None if it was overwritten before it was copied."""
        row = self._slots.copy((sequence - 1) % self._tier.slots, sequence)
        if row is None:
            self.rows_lost += 1
        return row

    def copy_block(self, sequences: range, offsets: Sequence[int]) -> Block:
        """Copies rows as columns, one per offset into the payload."""
        block = Block.empty(len(offsets))
        while sequences:
            # Rows that wrap around the end of the memory are copied in two pieces.
            first_slot = (sequences.start - 1) % self._tier.slots
            until_end = self._tier.slots - first_slot
            wanted, sequences = sequences[:until_end], sequences[until_end:]
            copied = self._slots.copy_block(first_slot, wanted, offsets)
            self.rows_lost += len(wanted) - len(copied.times)
            block.extend(copied)
        return block

    def copy_rows(self, start_ns: int, end_ns: int) -> Iterator[Row]:
        """Copies the rows with start_ns <= ts_ns < end_ns, oldest first."""
        span = self.span()
        for sequence in span.between(start_ns, end_ns):
            row = self.copy_row(sequence)
            if row is not None:
                yield row

    def forget(self) -> None:
        """Forgets all rows written so far. Readers that are copying them are unaffected."""
        self._words[layout.RING_FORGOTTEN] = self.cursor

    def drop_from(self, ts_ns: int) -> None:
        """Removes the rows at `ts_ns` and later. There must be no readers yet, since their slots are reused at once."""
        words = self._words
        while self.span().sequences and self.ts_ns(self.cursor) >= ts_ns:
            words[layout.RING_CURSOR] -= 1

    def span(self) -> Span:
        """Returns the rows that the ring holds now."""
        cursor, forgotten = self.cursor, self._words[layout.RING_FORGOTTEN]
        oldest = max(forgotten, cursor - self._tier.rows) + 1
        return Span(self, range(oldest, cursor + 1), is_lapped=oldest > forgotten + 1)

    def ts_ns(self, sequence: int) -> int:
        """Returns the time of a row that the ring holds; it may be torn."""
        return self._slots.ts_ns((sequence - 1) % self._tier.slots)


class Span:
    """The rows that a ring held at one moment, in the order of their times, which never decrease."""

    __slots__ = ("is_lapped", "ring", "sequences")

    def __init__(self, ring: Ring, sequences: range, *, is_lapped: bool) -> None:
        self.ring = ring
        self.sequences = sequences
        self.is_lapped = is_lapped
        """Whether the ring has replaced older rows."""

    @property
    def first_ns(self) -> int | None:
        """Time of the oldest row; None if there is none."""
        return self.ring.ts_ns(self.sequences[0]) if self.sequences else None

    @property
    def last_ns(self) -> int | None:
        """Time of the newest row; None if there is none."""
        return self.ring.ts_ns(self.sequences[-1]) if self.sequences else None

    def between(self, start_ns: int, end_ns: int) -> range:
        """Returns the sequences of the rows with start_ns <= ts_ns < end_ns. Rows whose slots have been reused since
        count as lost if they might be among them."""
        ring = self.ring
        sequences = self.sequences[max(0, ring.oldest_slot - self.sequences.start) :]
        if len(sequences) < len(self.sequences) and not (sequences and ring.ts_ns(sequences[0]) <= start_ns):
            ring.rows_lost += len(self.sequences) - len(sequences)
        first = bisect_left(sequences, start_ns, key=ring.ts_ns)
        last = bisect_left(sequences, end_ns, lo=first, key=ring.ts_ns)
        return sequences[first:last]

    def copy_block(self, start_ns: int, end_ns: int, offsets: Sequence[int]) -> Block:
        """Copies the rows with start_ns <= ts_ns < end_ns as columns, one per offset into the payload."""
        return self.ring.copy_block(self.between(start_ns, end_ns), offsets)
