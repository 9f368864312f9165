"""The entry log: every entry once and in order, for readers and for a replacement writer."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from observability.memory import layout
from observability.memory.entry_log import EntryLog, LoggedEntry

ENTRIES = 8
DATA_BYTES = 128

entry = st.tuples(st.none() | st.text(max_size=5), st.binary(max_size=60))


def make_memory() -> memoryview[int]:
    return memoryview(bytearray(layout.entry_log_bytes(ENTRIES, DATA_BYTES)))


def make_log(memory: memoryview[int] | None = None) -> EntryLog:
    return EntryLog(make_memory() if memory is None else memory, ENTRIES, DATA_BYTES)


@given(st.lists(entry, max_size=40))
def test_copies_equal_the_entries_and_the_newest_is_always_there(
    appended: list[tuple[str | None, bytes]],
) -> None:
    log = make_log()
    for number, (key, content) in enumerate(appended, 1):
        assert log.append(number, key, content)
        assert log.copy(number - 1) == (number, key, content)
    for position in range(log.start, log.end):
        copied = log.copy(position)
        assert copied is None or copied == (position + 1, *appended[position])


@given(st.lists(st.integers(20, 60), max_size=40))
def test_newest_first_yields_every_entry_not_yet_overwritten(lengths: list[int]) -> None:
    log = make_log()
    for number, length in enumerate(lengths, 1):
        log.append(number, None, bytes([number]) * length)
    there = [log.copy(position) for position in range(log.end - 1, log.start - 1, -1)]
    log.entries_lost = 0
    assert list(log.newest_first()) == there[: there.index(None) if None in there else None]
    assert log.entries_lost == 0


def test_an_entry_overwritten_during_the_iteration_counts_as_lost() -> None:
    log = make_log()
    for number in range(1, ENTRIES + 1):
        log.append(number, None, b"")
    entries = log.newest_first()
    assert next(entries) == (ENTRIES, None, b"")
    log.append(ENTRIES + 1, None, b"")
    assert [number for number, _, _ in entries] == list(range(ENTRIES - 1, 1, -1))
    assert log.entries_lost == 1


def test_an_entry_with_overwritten_data_counts_as_lost() -> None:
    log = make_log()
    for seq in (1, 2, 3):
        log.append(seq, None, bytes([seq]) * 60)
    assert log.copy(0) is None
    assert log.entries_lost == 1
    assert log.copy(1) is not None


def test_a_replacement_writer_continues_after_the_newest_entry() -> None:
    memory = make_memory()
    make_log(memory).append(7, "A", b"1")
    log = make_log(memory)
    assert log.newest_number == 7
    log.append(9, "B", b"2")
    entries: list[LoggedEntry | None] = [make_log(memory).copy(position) for position in range(log.end)]
    assert entries == [(7, "A", b"1"), (9, "B", b"2")]


def test_the_place_of_an_unfinished_entry_is_reused() -> None:
    memory = make_memory()
    log = make_log(memory)
    log.append(1, "A", b"1")
    words = memory[: layout.ENTRY_LOG_HEADER_WORDS * 8].cast("q")
    log.append(2, "A", b"2")
    words[layout.ENTRY_LOG_END] = 1  # as if the writer had died before it wrote this word
    successor = make_log(memory)
    assert successor.newest_number == 1
    successor.append(2, "A", b"2 again")
    assert successor.copy(1) == (2, "A", b"2 again")


def test_an_entry_larger_than_the_log_is_refused() -> None:
    log = make_log()
    assert not log.append(1, None, b"x" * (DATA_BYTES + 1))
    assert log.end == 0
