"""A directory: what one process has named, every process reads, once it is whole."""

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
def test_entries_come_in_the_order_in_which_they_were_added(entries: list[bytes], before: int) -> None:
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


def test_an_entry_that_is_not_whole_yet_is_read_later() -> None:
    memory = make_memory()
    writer, reader = Directory(memory), Directory(memory)
    writer.add(b"first")
    at = layout.DIRECTORY_HEADER_WORDS + layout.DIRECTORY_ENTRY_WORDS
    memory[at * layout.WORD_BYTES] ^= 1
    assert list(reader.read_new()) == []
    memory[at * layout.WORD_BYTES] ^= 1
    assert list(reader.read_new()) == [b"first"]


def test_a_full_directory_refuses_and_keeps_what_it_has() -> None:
    memory = make_memory(64)
    directory = Directory(memory)
    directory.add(b"12345678")
    with pytest.raises(CapacityError):
        directory.add(b"1" * 40)
    assert list(directory.read_new()) == [b"12345678"]


def test_who_only_looks_writes_nothing() -> None:
    memory = make_memory(64)
    assert list(Directory(memory).read_new()) == []
    assert bytes(memory) == bytes(64)
