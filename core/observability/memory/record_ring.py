"""A ring of slots for variable-length records: one process writes, any number copy, and none waits for another."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from observability.memory import layout

Meta = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class CopiedRecord:
    """A copy of one record."""

    sequence: int
    meta: tuple[int, ...]
    parts: tuple[bytes, ...]


class RecordRing:
    """Keeps the last `slots` records. A lapped reader gets None, which is counted as a loss and is not an error."""

    __slots__ = ("_bytes", "_slot_bytes", "_slots", "_words", "records_lost")

    def __init__(self, memory: memoryview[int], slots: int, slot_bytes: int) -> None:
        """`memory` is at least `layout.record_ring_bytes` bytes."""
        size = layout.record_ring_bytes(slots, slot_bytes)
        self._bytes = memory[:size]
        self._words: memoryview[int] = self._bytes.cast("q")
        self._slots = slots
        self._slot_bytes = slot_bytes
        self.records_lost = 0

    @property
    def cursor(self) -> int:
        """The sequence of the newest complete record; 0 if there is none."""
        return self._words[layout.RECORD_CURSOR]

    @property
    def capacity_bytes(self) -> int:
        """The room for the parts of one record together."""
        return self._slot_bytes - layout.RECORD_HEADER_WORDS * layout.WORD_BYTES

    def write(self, sequence: int, meta: Meta, parts: Sequence[bytes]) -> bool:
        """Publishes one record; returns False, and writes nothing, if it does not fit into a slot."""
        # hot: once per tick (benchmarks/bench_tick.py)
        lengths = [len(part) for part in parts]
        if sum(lengths) > self.capacity_bytes:
            return False
        words, memory = self._words, self._bytes
        slot = self._slot(sequence)
        words[slot + layout.RECORD_BEGIN] = sequence
        for i, value in enumerate(meta, slot + layout.RECORD_META):
            words[i] = value
        lengths += [0] * (layout.RECORD_PARTS - len(lengths))
        for i, value in enumerate(lengths, slot + layout.RECORD_LENGTHS):
            words[i] = value
        start = (slot + layout.RECORD_HEADER_WORDS) * layout.WORD_BYTES
        crc = self._header_crc(slot, sequence)
        for part in parts:
            end = start + len(part)
            memory[start:end] = part
            crc = zlib.crc32(part, crc)
            start = end
        words[slot + layout.RECORD_CRC] = crc
        words[slot + layout.RECORD_END] = sequence
        words[layout.RECORD_CURSOR] = sequence
        return True

    def copy(self, sequence: int) -> CopiedRecord | None:
        """Copies the record, or returns None if it was overwritten before or during the copy."""
        # hot: once per tick and worker (observability bench --only workers)
        words, memory = self._words, self._bytes
        slot = self._slot(sequence)
        if words[slot + layout.RECORD_END] == sequence:
            meta = words[slot + layout.RECORD_META : slot + layout.RECORD_LENGTHS].tolist()
            lengths = words[slot + layout.RECORD_LENGTHS : slot + layout.RECORD_HEADER_WORDS].tolist()
            wanted_crc = words[slot + layout.RECORD_CRC]
            # Lengths that are being overwritten can have any value.
            if min(lengths) >= 0 and sum(lengths) <= self.capacity_bytes:
                crc = self._header_crc(slot, sequence)
                start = (slot + layout.RECORD_HEADER_WORDS) * layout.WORD_BYTES
                parts = []
                for length in lengths:
                    part = bytes(memory[start : start + length])
                    crc = zlib.crc32(part, crc)
                    parts.append(part)
                    start += length
                if words[slot + layout.RECORD_BEGIN] == sequence and crc == wanted_crc:
                    return CopiedRecord(sequence, tuple(meta), tuple(parts))
        self.records_lost += 1
        return None

    def _slot(self, sequence: int) -> int:
        """Returns the first word of a record's slot."""
        return layout.RECORD_RING_HEADER_WORDS + sequence % self._slots * self._slot_bytes // layout.WORD_BYTES

    def _header_crc(self, slot: int, sequence: int) -> int:
        start = (slot + layout.RECORD_META) * layout.WORD_BYTES
        end = (slot + layout.RECORD_HEADER_WORDS) * layout.WORD_BYTES
        return zlib.crc32(bytes(self._bytes[start:end]), sequence & 0xFFFF_FFFF)
