"""The record ring: a copy equals the record, and an overwritten or torn record is never returned."""

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


@given(st.lists(st.lists(st.binary(max_size=50), max_size=4), min_size=1, max_size=12))
def test_a_copy_of_a_recent_record_equals_what_was_written(written: list[list[bytes]]) -> None:
    ring, _ = make_ring(slots=4)
    for sequence, parts in enumerate(written, 1):
        assert ring.write(sequence, (sequence, 2, 3, -4), parts)
    assert ring.cursor == len(written)
    for sequence, parts in list(enumerate(written, 1))[-4:]:
        record = ring.copy(sequence)
        assert record is not None
        assert record.meta == (sequence, 2, 3, -4)
        assert record.parts == (*parts, *[b""] * (4 - len(parts)))


def test_an_overwritten_record_counts_as_lost() -> None:
    ring, _ = make_ring(slots=2)
    for sequence in (1, 2, 3):
        ring.write(sequence, (0, 0, 0, 0), [b"x"])
    assert ring.copy(1) is None
    assert ring.records_lost == 1


def test_a_record_that_does_not_fit_changes_nothing() -> None:
    ring, _ = make_ring()
    ring.write(1, (0, 0, 0, 0), [b"x" * ring.capacity_bytes])
    assert not ring.write(5, (0, 0, 0, 0), [b"x" * ring.capacity_bytes, b"y"])
    record = ring.copy(1)
    assert ring.cursor == 1 and record is not None and record.parts[0] == b"x" * ring.capacity_bytes


@pytest.mark.parametrize("word", [layout.RECORD_BEGIN, layout.RECORD_END])
def test_a_record_that_is_being_written_is_not_returned(word: int) -> None:
    ring, memory = make_ring()
    ring.write(1, (0, 0, 0, 0), [b"x"])
    slot = layout.RECORD_RING_HEADER_WORDS + SLOT_BYTES // layout.WORD_BYTES
    memory.cast("q")[slot + word] = 5
    assert ring.copy(1) is None


@given(st.integers(layout.RECORD_META, SLOT_BYTES // 8 - 1), st.integers(1, 2**63 - 1))
def test_changed_bytes_are_detected_whatever_the_sequence_words_say(word: int, flipped: int) -> None:
    ring, memory = make_ring()
    ring.write(1, (1, 2, 3, 4), [b"x" * ring.capacity_bytes])
    slot = layout.RECORD_RING_HEADER_WORDS + SLOT_BYTES // layout.WORD_BYTES
    memory.cast("q")[slot + word] ^= flipped
    assert ring.copy(1) is None
