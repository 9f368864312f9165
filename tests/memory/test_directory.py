"""The directory: every process reads the entries that one process adds, once they are complete."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.errors import CapacityError
from observability.memory import layout
from observability.memory.directory import Directory


def make_memory(size: int = 4096) -> memoryview[int]:
    return memoryview(bytearray(size))


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers(0, 20))
def test_entries_are_read_in_the_order_of_their_addition(entries: list[bytes], before: int) -> None:
    memory = make_memory()
    writer, reader = Directory(memory), Directory(memory)
    for entry in entries[:before]:
        writer.add(entry)
    assert list(reader.read_new()) == entries[:before]
    successor = Directory(memory)
    for entry in entries[before:]:
        successor.add(entry)
    assert list(reader.read_new()) == entries[before:]
    assert list(Directory(memory).read_new()) == entries


def test_an_incomplete_entry_is_read_once_it_is_complete() -> None:
    memory = make_memory()
    writer, reader = Directory(memory), Directory(memory)
    writer.add(b"first")
    at = layout.DIRECTORY_HEADER_WORDS + layout.DIRECTORY_ENTRY_WORDS
    memory[at * layout.WORD_BYTES] ^= 1
    assert list(reader.read_new()) == []
    memory[at * layout.WORD_BYTES] ^= 1
    assert list(reader.read_new()) == [b"first"]


def test_a_full_directory_refuses_an_entry_and_keeps_the_others() -> None:
    memory = make_memory(64)
    directory = Directory(memory)
    directory.add(b"12345678")
    with pytest.raises(CapacityError):
        directory.add(b"1" * 40)
    assert list(directory.read_new()) == [b"12345678"]


def test_reading_writes_nothing() -> None:
    memory = make_memory(64)
    assert list(Directory(memory).read_new()) == []
    assert bytes(memory) == bytes(64)
