"""Rings of records: what is written is what is copied, and what is overwritten is never believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.memory import layout
from observability.memory.record_ring import RecordRing

SLOT_BYTES = 256


def make_ring(slots: int = 4) -> tuple[RecordRing, memoryview[int]]:
    memory = memoryview(bytearray(layout.record_ring_bytes(slots, SLOT_BYTES)))
    return RecordRing(memory, slots, SLOT_BYTES), memory


@given(st.lists(st.lists(st.binary(max_size=50), max_size=3), min_size=1, max_size=12))
def test_the_last_records_are_copied_as_they_were_written(written: list[list[bytes]]) -> None:
    ring, _ = make_ring(slots=4)
    for sequence, parts in enumerate(written, 1):
        assert ring.write(sequence, (sequence, 2, 3, -4), parts)
    assert ring.cursor == len(written)
    for sequence, parts in list(enumerate(written, 1))[-4:]:
        record = ring.copy(sequence)
        assert record is not None
        assert record.meta == (sequence, 2, 3, -4)
        assert record.parts == (*parts, *[b""] * (3 - len(parts)))


def test_a_record_that_was_overwritten_is_counted_as_lost() -> None:
    ring, _ = make_ring(slots=2)
    for sequence in (1, 2, 3):
        ring.write(sequence, (0, 0, 0, 0), [b"x"])
    assert ring.copy(1) is None
    assert ring.records_lost == 1


def test_a_record_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    ring, _ = make_ring()
    ring.write(1, (0, 0, 0, 0), [b"x" * ring.capacity_bytes])
    assert not ring.write(5, (0, 0, 0, 0), [b"x" * ring.capacity_bytes, b"y"])
    record = ring.copy(1)
    assert ring.cursor == 1 and record is not None and record.parts[0] == b"x" * ring.capacity_bytes


@pytest.mark.parametrize("word", [layout.RECORD_BEGIN, layout.RECORD_END])
def test_a_record_that_is_being_written_is_not_believed(word: int) -> None:
    ring, memory = make_ring()
    ring.write(1, (0, 0, 0, 0), [b"x"])
    slot = layout.RECORD_RING_HEADER_WORDS + SLOT_BYTES // layout.WORD_BYTES
    memory.cast("q")[slot + word] = 5
    assert ring.copy(1) is None


@given(st.integers(layout.RECORD_META, SLOT_BYTES // 8 - 1), st.integers(1, 2**63 - 1))
def test_bytes_of_another_record_are_not_believed_whatever_the_sequence_says(word: int, flipped: int) -> None:
    ring, memory = make_ring()
    ring.write(1, (1, 2, 3, 4), [b"x" * ring.capacity_bytes])
    slot = layout.RECORD_RING_HEADER_WORDS + SLOT_BYTES // layout.WORD_BYTES
    memory.cast("q")[slot + word] ^= flipped
    assert ring.copy(1) is None
