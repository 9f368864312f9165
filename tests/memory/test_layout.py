"""The layout of the shared mapping: regions do not overlap, and the diagrams agree with the constants."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from observability.memory import layout


@given(st.integers(2, 258), st.integers(1, 100_000), st.integers(0, 10**9))
def test_regions_do_not_overlap_and_begin_on_their_own_pages(slots: int, max_symbols: int, history_bytes: int) -> None:
    shared = layout.SharedLayout(slots, max_symbols, history_bytes)
    regions = [
        layout.Region(0, layout.HEADER_WORDS * layout.WORD_BYTES),
        shared.slots_region,
        *(shared.counters_region(slot) for slot in range(slots)),
        shared.frames_region,
        shared.documents_region,
        *(shared.lane_region(lane) for lane in range(len(layout.LANES))),
        *(shared.log_region(log) for log in range(slots + len(layout.FURTHER_LOGS))),
        shared.history_region,
    ]
    for before, after in pairwise(regions):
        assert before.end <= after.offset
        assert after.offset % layout.PAGE_BYTES == 0
    assert shared.size == regions[-1].end


def diagrams() -> list[list[str]]:
    """Returns the fields of each diagram, in order; a field is a name with a kind."""
    lines = re.findall(r"^    \|(.+)\|", layout.__doc__ or "", re.MULTILINE)
    fields = [[field.strip() for field in line.split("|")] for line in lines]
    return [[field for field in line if re.fullmatch(r"[A-Z_]+( \d)? [qB]|[a-z]+ B", field)] for line in fields]


def offsets(prefix: str, names: list[str]) -> list[int]:
    return [getattr(layout, f"{prefix}_{name}") for name in names]


def drawn(*wanted: str) -> list[int]:
    """Returns the offset in words of each field in the diagram that begins with exactly these fields."""
    (line,) = [
        fields for fields in diagrams() if [re.split(r" ", field)[0] for field in fields][: len(wanted)] == list(wanted)
    ]
    starts, at = [], 0
    for field in line:
        starts.append(at)
        count = re.search(r" (\d) q", field)
        at += int(count[1]) if count else 1
    return starts[: len(wanted)]


def check(prefix: str, *names: str) -> None:
    assert drawn(*names) == offsets(prefix, list(names))


def test_the_diagrams_agree_with_the_constants() -> None:
    check("HEADER", "GENERATION", "EVENT_CLOCK_NS")
    # Drawn in two lines.
    first, second = ["PID", "STATE", "STARTED_NS", "WEBSOCKETS", "CONNECTIONS"], ["BEHIND", "BACKLOG"]
    second += ["SENT_SEQ", "SENT_NS", "TAKEN_SEQ"]
    starts = drawn(*first) + [len(first) + start for start in drawn(*second)]
    assert starts == offsets("SLOT", first + second)
    check("RECORD", "BEGIN", "END", "CRC", "META", "LENGTHS")
    check("ENTRY_LOG", "END", "DATA_END")
    check("ENTRY", "BEGIN", "END", "CRC", "NUMBER", "OFFSET", "KEY_LENGTH", "LENGTH")
    check("COUNTERS", "WORDS_USED")
    assert "| LENGTH q | CRC q | data B |" in (layout.__doc__ or "")
    assert (layout.DIRECTORY_LENGTH, layout.DIRECTORY_CRC, layout.DIRECTORY_ENTRY_WORDS) == (0, 1, 2)
    assert (layout.DIRECTORY_END, layout.DIRECTORY_HEADER_WORDS) == (0, 1)


def test_the_sizes_in_the_text_agree_with_the_constants() -> None:
    text = layout.__doc__ or ""
    assert "Header: 2 words" in text and layout.HEADER_WORDS == 2
    assert "Slot of a process: 10 words in a place of 16" in text
    assert (layout.SLOT_USED_WORDS, layout.SLOT_WORDS) == (10, 16)
    assert "Slot: 11 words, then the bytes of its parts" in text
    assert layout.RECORD_LENGTHS - layout.RECORD_META == layout.RECORD_META_WORDS
    assert layout.RECORD_LENGTHS + layout.RECORD_PARTS == layout.RECORD_HEADER_WORDS == 11
    assert "Entry: 7 words" in text and layout.ENTRY_WORDS == 7
