"""Slots of one row each: one process writes them, any number copy them, and torn copies are discarded.

`layout.py` draws a slot. Which row is in which slot is up to the ring or the table.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from struct import pack

from observability.history import layout
from observability.history.aggregates import Block


@dataclass(frozen=True, slots=True)
class Row:
    """A copy of one slot: one value per field or, in the ring of a coarse tier, six aggregates per field."""

    sequence: int
    ts_ns: int
    payload: array[float]


class RowSlots:
    """Slots over preallocated words. Each row has a CRC where the machine does not order stores."""

    __slots__ = ("_doubles", "_has_crc", "_step", "_words")

    def __init__(
        self,
        words: memoryview[int],
        doubles: memoryview[float],
        payload_words: int,
        *,
        has_crc: bool = not layout.STORES_ARE_ORDERED,
    ) -> None:
        """`words` and `doubles` are the same memory."""
        self._words = words
        self._doubles = doubles
        self._step = layout.SLOT_OVERHEAD_WORDS + payload_words
        self._has_crc = has_crc

    def write(self, slot: int, sequence: int, ts_ns: int, payload: array[float]) -> None:
        # hot: once per series per tick (benchmarks/bench_tick.py)
        words = self._words
        begin = slot * self._step
        end = begin + self._step - 1
        words[begin] = sequence
        words[begin + layout.SLOT_TS_NS] = ts_ns
        self._doubles[begin + layout.SLOT_PAYLOAD : end - 1] = payload
        if self._has_crc:
            words[end - 1] = _crc(sequence, ts_ns, payload)
        words[end] = sequence

    def write_block(
        self, first_slot: int, first_sequence: int, times: array[int], columns: Sequence[Sequence[float]]
    ) -> None:
        """Writes rows, given as a column of values per field, into neighbouring slots, where no reader looks. A single
        value is that of every row."""
        count = len(times)
        if self._has_crc:
            for n, ts_ns in enumerate(times):
                row = array("d", [column[n if len(column) > 1 else 0] for column in columns])
                self.write(first_slot + n, first_sequence + n, ts_ns, row)
            return
        # The rows are put together in memory of their own, whose columns are written at a fifth of the cost. Packing a
        # struct takes a third of the time that an array takes of a list.
        step = self._step
        payload = [column[0] for column in columns]
        rows = array("d", (0.0, 0.0, *payload, 0.0, 0.0)) * count
        for offset, column in enumerate(columns, layout.SLOT_PAYLOAD):
            if len(column) > 1:
                rows[offset::step] = array("d", pack(f"{count}d", *column))
        sequences = _sequences(first_sequence, count)
        rows[layout.SLOT_BEGIN :: step] = rows[step - 1 :: step] = sequences
        rows[layout.SLOT_TS_NS :: step] = array("d", times.tobytes())
        start = first_slot * step
        self._doubles[start : start + count * step] = rows

    def copy(self, slot: int, sequence: int) -> Row | None:
        """Copies a row; None if the slot holds another row or is being written."""
        words = self._words
        begin = slot * self._step
        end = begin + self._step - 1
        if words[end] == sequence:
            ts_ns = words[begin + layout.SLOT_TS_NS]
            payload = array("d", self._doubles[begin + layout.SLOT_PAYLOAD : end - 1])
            wanted_crc = words[end - 1]
            if words[begin] == sequence and not (self._has_crc and _crc(sequence, ts_ns, payload) != wanted_crc):
                return Row(sequence, ts_ns, payload)
        return None

    def sequence(self, slot: int) -> int:
        """Returns the sequence of the row in a slot; 0 if the slot is empty."""
        return self._words[(slot + 1) * self._step - 1]

    def ts_ns(self, slot: int) -> int:
        """Returns the time of the row in a slot, which may be torn."""
        return self._words[slot * self._step + layout.SLOT_TS_NS]

    def copy_block(self, first_slot: int, sequences: range, offsets: Sequence[int]) -> Block:
        """Copies neighbouring rows as columns, one per offset into the payload, at a tenth of the cost of `copy`. Torn
        rows are left out."""
        if self._has_crc:
            return self._copy_rows(first_slot, sequences, offsets)
        words, doubles, step = self._words, self._doubles, self._step
        start = first_slot * step
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
        return Block(
            array("q", [times[n] for n in kept]), [array("d", [column[n] for n in kept]) for column in columns]
        )

    def _copy_rows(self, first_slot: int, sequences: range, offsets: Sequence[int]) -> Block:
        block = Block.empty(len(offsets))
        for slot, sequence in enumerate(sequences, first_slot):
            row = self.copy(slot, sequence)
            if row is not None:
                block.times.append(row.ts_ns)
                for column, offset in zip(block.columns, offsets, strict=True):
                    column.append(row.payload[offset])
        return block


# The series of a history that began together have the same sequences.
@lru_cache(maxsize=16)
def _sequences(first: int, count: int) -> array[float]:
    """Returns the words of `count` sequences, which are integers, as an array of doubles has them."""
    return array("d", pack(f"{count}q", *range(first, first + count)))


def _crc(sequence: int, ts_ns: int, payload: array[float]) -> int:
    return zlib.crc32(payload.tobytes(), zlib.crc32(array("q", (sequence, ts_ns)).tobytes()))
