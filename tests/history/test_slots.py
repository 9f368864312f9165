"""Slots of rows: where the machine does not order stores, a copy whose CRC is wrong is torn."""

from __future__ import annotations

from array import array

import pytest

from observability.history import layout
from observability.history.slots import Row, RowSlots
from observability.memory.layout import WORD_BYTES

STEP = layout.SLOT_OVERHEAD_WORDS + 2


def make_slots(*, has_crc: bool) -> tuple[RowSlots, memoryview[int]]:
    memory = memoryview(bytearray(3 * STEP * WORD_BYTES))
    words = memory.cast("q")
    slots = RowSlots(words, memory.cast("d"), 2, has_crc=has_crc)
    for n in range(3):
        slots.write(n, n + 1, 10 * n, array("d", (float(n), -float(n))))
    return slots, words


@pytest.mark.parametrize("has_crc", [True, False])
def test_a_written_row_is_copied_with_or_without_a_crc(has_crc: bool) -> None:
    slots, _ = make_slots(has_crc=has_crc)
    assert slots.copy(1, 2) == Row(2, 10, array("d", (1.0, -1.0)))
    block = slots.copy_block(0, range(1, 4), [1])
    assert (block.times.tolist(), block.columns[0].tolist()) == ([0, 10, 20], [0.0, -1.0, -2.0])


@pytest.mark.parametrize("word", [layout.SLOT_TS_NS, layout.SLOT_PAYLOAD, layout.SLOT_PAYLOAD + 1, STEP - 2])
def test_a_word_stored_out_of_order_makes_the_copy_torn(word: int) -> None:
    slots, words = make_slots(has_crc=True)
    words[STEP + word] += 1
    assert slots.copy(1, 2) is None
    assert slots.copy_block(0, range(1, 4), [0]).times.tolist() == [0, 20]


def test_the_crc_covers_the_sequence() -> None:
    slots, words = make_slots(has_crc=True)
    words[STEP] = words[STEP + STEP - 1] = 5
    assert slots.copy(1, 5) is None


def test_a_crc_is_written_only_where_stores_are_not_ordered() -> None:
    _, words = make_slots(has_crc=False)
    assert words[STEP - 2] == 0
    _, words = make_slots(has_crc=True)
    assert words[STEP - 2] != 0
