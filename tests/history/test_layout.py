"""The layout of the history: its diagrams agree with its constants, and a budget has room for everything in it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from observability.history import layout
from observability.history.history import History
from observability.history.layout import TIERS, Budget, Tier

TEXT = layout.__doc__ or ""


def drawn(line: str) -> list[str]:
    """Returns the names of the words at the start of a diagram."""
    assert f"| {line} |" in re.sub(r" +", " ", TEXT), line
    return re.findall(r"[A-Z_]{3,}", line)


def test_the_diagrams_agree_with_the_constants() -> None:
    for prefix, line in (
        ("RING", "CURSOR q | FORGOTTEN q"),
        ("SAVED", "STATE q | START_NS q"),
        ("TABLE", "REVISIONS q | NEWEST_NS q"),
        ("SLOT", "BEGIN q | TS_NS q"),
    ):
        assert [getattr(layout, f"{prefix}_{name}") for name in drawn(line)] == [0, 1]
    assert (layout.RING_HEADER_WORDS, layout.TABLE_HEADER_WORDS) == (2, 2)
    assert layout.SLOT_PAYLOAD == 2


def test_the_sizes_in_the_text_agree_with_the_constants() -> None:
    assert "n + 4 words" in TEXT and "6n + 4 words" in TEXT and layout.SLOT_OVERHEAD_WORDS == 4
    assert Tier(0, 1).payload_words(7) == 7
    assert Tier(1, 1).payload_words(7) == 6 * 7
    assert "SPARE_ROWS later" in TEXT and {tier.spare for tier in TIERS} == {layout.SPARE_ROWS}
    assert "a slot per minute of a day" in TEXT and layout.TABLE_ROWS * layout.TABLE_INTERVAL_NS == 86_400 * 10**9


@given(
    st.dictionaries(st.integers(1, 8), st.integers(1, 3), max_size=3),
    st.dictionaries(st.integers(1, 8), st.integers(1, 3), max_size=2),
)
def test_a_budget_has_room_for_all_its_series_and_tables(series: dict[int, int], tables: dict[int, int]) -> None:
    history = History(Budget(series, tables))
    for fields, count in series.items():
        for n in range(count):
            # The longest symbol, and longer names than any there is.
            names = tuple(f"{i}" * 20 for i in range(fields))
            history.open("market_data", f"{fields}-{n}-".ljust(32, "X"), names)
    for fields, count in tables.items():
        for n in range(count):
            history.open_table("bars", f"{fields}-{n}-".ljust(32, "X"), tuple(f"{i}" * 20 for i in range(fields)))
    assert len(history.memory) == history.size_bytes
