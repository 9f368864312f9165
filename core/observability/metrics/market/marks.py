"""What positions are marked to: the mid, else the last price, now or just before a boundary.

No boundary is computed here (see `sessions.py`) and no position is known (see `position_part.py`).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, HALF, price_or_none

MarkSource = Literal["mid", "last", "fill"]

Mark = tuple[Decimal, MarkSource]


def mark_of(bid: float | None, ask: float | None, last_price: float | None) -> Mark | None:
    """Returns the mid if both sides are quoted, else the last price; exact, of the decimals that arrived."""
    exact_bid, exact_ask = price_or_none(bid), price_or_none(ask)
    if exact_bid is not None and exact_ask is not None:
        return EXACT.multiply(EXACT.add(exact_bid, exact_ask), HALF), "mid"
    last = price_or_none(last_price)
    return None if last is None else (last, "last")


class ClosingTouch(msgspec.Struct, frozen=True):
    """The last prices of a symbol before the end of a session or day: they stood until its first event afterwards."""

    end_ns: int
    next_ns: int
    bid: float | None
    ask: float | None
    last_price: float | None

    def is_of(self, boundary_ns: int) -> bool:
        """Whether the symbol was at these prices when that boundary passed."""
        return self.end_ns <= boundary_ns <= self.next_ns
