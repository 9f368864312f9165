"""One ring: rows of fixed size over preallocated words, sequence-checked, one writer and any number of readers.

No offsets here (see `layout.py`) and no tiers (see `rings.py`).
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from observability.core import layout
from observability.core.aggregates import Block
from observability.core.layout import Tier


@dataclass(frozen=True, slots=True)
class Row:
    """A copy of one slot: `payload` is a value per field (fine tier), or six numbers per field (coarse tiers)."""

    sequence: int
    ts_ns: int
    payload: array[float]


class Ring:
    """Fixed-size rows over preallocated words: one writer, any number of readers.

    The newest row replaces the oldest. What a reader wanted and was overwritten is counted in `rows_lost`; it is no
    error.
    """

    __slots__ = ("_doubles", "_slot_words", "_words", "rows", "rows_lost")

    def __init__(self, words: memoryview[int], doubles: memoryview[float], tier: Tier, fields: int) -> None:
        self._words = words
        self._doubles = doubles
        self._slot_words = tier.slot_words(fields)
        self.rows = tier.rows
        self.rows_lost = 0

    @property
    def cursor(self) -> int:
        """Sequence of the newest whole row; 0 when there is none."""
        return self._words[layout.RING_CURSOR]

    @property
    def oldest(self) -> int:
        """Sequence of the oldest row still kept; `cursor + 1` when there is none."""
        return max(1, self.cursor - self.rows + 1)

    def write_row(self, ts_ns: int, payload: array[float]) -> None:
        """Publishes one row."""
        # hot: once per series per tick (benchmarks/bench_tick.py)
        words = self._words
        sequence = words[layout.RING_CURSOR] + 1
        slot = layout.RING_HEADER_WORDS + (sequence - 1) % self.rows * self._slot_words
        end = slot + self._slot_words - 1
        words[slot] = sequence
        words[slot + layout.SLOT_TS_NS] = ts_ns
        self._doubles[slot + layout.SLOT_PAYLOAD : end] = payload
        words[end] = sequence
        words[layout.RING_CURSOR] = sequence

    def copy_row(self, sequence: int) -> Row | None:
        """Copies the row, or None if it was overwritten before or while it was copied."""
        words = self._words
        slot = layout.RING_HEADER_WORDS + (sequence - 1) % self.rows * self._slot_words
        end = slot + self._slot_words - 1
        if words[end] == sequence:
            ts_ns = words[slot + layout.SLOT_TS_NS]
            payload = array("d", self._doubles[slot + layout.SLOT_PAYLOAD : end])
            if words[slot] == sequence:
                return Row(sequence, ts_ns, payload)
        self.rows_lost += 1
        return None

    def copy_rows(self, start_ns: int, end_ns: int) -> Iterator[Row]:
        """Copies the rows with start_ns <= ts_ns < end_ns, oldest first. Times in a ring never go back."""
        first, last = self.oldest, self.cursor
        sequences = range(first, last + 1)
        for sequence in sequences[bisect_left(sequences, start_ns, key=self._ts_ns) :]:
            row = self.copy_row(sequence)
            if row is not None:
                if row.ts_ns >= end_ns:
                    return
                yield row

    def copy_block(self, start_ns: int, end_ns: int, offsets: Sequence[int]) -> Block:
        """Copies the same rows as columns, one per offset into the payload, at a tenth of the cost."""
        block = Block.empty(len(offsets))
        sequences = range(self.oldest, self.cursor + 1)
        first = bisect_left(sequences, start_ns, key=self._ts_ns)
        last = bisect_left(sequences, end_ns, lo=first, key=self._ts_ns)
        wanted = sequences[first:last]
        while wanted:
            # The end of the memory cuts what is wanted in two.
            whole = self.rows - (wanted.start - 1) % self.rows
            block.extend(self._copy_slots(wanted[:whole], offsets))
            wanted = wanted[whole:]
        return block

    def _copy_slots(self, sequences: range, offsets: Sequence[int]) -> Block:
        words, doubles, step = self._words, self._doubles, self._slot_words
        start = layout.RING_HEADER_WORDS + (sequences.start - 1) % self.rows * step
        stop = start + len(sequences) * step
        ends = array("q", words[start + step - 1 : stop : step].tobytes())
        times = array("q", words[start + layout.SLOT_TS_NS : stop : step].tobytes())
        columns = [
            array("d", doubles[start + layout.SLOT_PAYLOAD + offset : stop : step].tobytes()) for offset in offsets
        ]
        begins = array("q", words[start + layout.SLOT_BEGIN : stop : step].tobytes())
        expected = array("q", sequences)
        if ends == expected == begins:
            return Block(times, columns)
        kept = [n for n, sequence in enumerate(expected) if ends[n] == sequence == begins[n]]
        self.rows_lost += len(expected) - len(kept)
        return Block(
            array("q", [times[n] for n in kept]), [array("d", [column[n] for n in kept]) for column in columns]
        )

    def drop_from(self, ts_ns: int) -> None:
        """Forgets the rows of this time and later. For the start only: a reader would take it for a lost row."""
        words = self._words
        while words[layout.RING_CURSOR] and self._ts_ns(words[layout.RING_CURSOR]) >= ts_ns:
            words[layout.RING_CURSOR] -= 1

    def first_ns(self) -> int | None:
        """Returns the time of the oldest row; None when there is none."""
        return self._ts_ns(self.oldest) if self.cursor else None

    def last_ns(self) -> int | None:
        """Returns the time of the newest row; None when there is none."""
        return self._ts_ns(self.cursor) if self.cursor else None

    @property
    def is_lapped(self) -> bool:
        """Whether rows have been replaced."""
        return self.cursor > self.rows

    def _ts_ns(self, sequence: int) -> int:
        slot = layout.RING_HEADER_WORDS + (sequence - 1) % self.rows * self._slot_words
        return self._words[slot + layout.SLOT_TS_NS]
