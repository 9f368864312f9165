"""The sides of a position in hedge mode: which fills reduce one, and its key within an account."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observability.events import Fill
from observability.metrics.trades.position_side import HeldSide, held_side, is_reducing, place_of


@pytest.mark.parametrize(
    ("side", "position_side", "expected"),
    [
        ("buy", "long", False), ("sell", "long", True), ("buy", "short", True), ("sell", "short", False),
        ("buy", "both", False), ("sell", "both", False), ("buy", "", False), ("sell", "", False),
    ],
)  # fmt: skip
def test_a_buy_reduces_the_short_side_alone_and_a_sale_the_long_one(
    side: Any, position_side: Any, expected: bool
) -> None:
    fill = Fill("t", "A", side, Decimal(1), Decimal(1), position_side=position_side)
    assert is_reducing(fill) is expected


def test_both_and_no_side_are_one_position() -> None:
    assert [held_side(each) for each in ("both", "", "long", "short")] == ["", "", "long", "short"]


def test_the_key_of_a_position_is_its_symbol_and_its_side() -> None:
    assert [place_of("BTC", side) for side in ("", "long", "short")] == ["BTC", "BTC:long", "BTC:short"]
    assert [place_of(symbol, "") for symbol in ("along", "A:long", "A%3Along", "A%253Ashort")] == [
        "along", "A%3Along", "A%253Along", "A%25253Ashort"
    ]  # fmt: skip


pieces = st.lists(st.sampled_from(["A", ":", "%", "25", "3A", "long", "short"]), min_size=1, max_size=8).map("".join)


@given(pieces, st.sampled_from(["", "long", "short"]), pieces, st.sampled_from(["", "long", "short"]))
def test_no_two_positions_share_a_key(symbol: str, side: HeldSide, other: str, other_side: HeldSide) -> None:
    assert (place_of(symbol, side) == place_of(other, other_side)) is ((symbol, side) == (other, other_side))
