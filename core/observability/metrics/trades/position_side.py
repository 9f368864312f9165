"""The sides of a position in hedge mode: an account may hold a symbol long and short at once.

A fill that names a side opens or reduces that side alone:

    side     buy      sell
    long     opens    reduces
    short    reduces  opens

Fills that name none, or `both`, are of the one position that goes through zero.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, Literal

from observability.events import Fill, PositionSide

HeldSide = Literal["", "long", "short"]
"""The side of a position; empty in one-way mode."""

_ENDS: Final = (":long", ":short")
_ESCAPED: Final = re.compile(r"%(?=(?:25)*3A(?:long|short)$)")


def held_side(side: PositionSide) -> HeldSide:
    """Returns the side of the position that a fill or report of that `position_side` is about."""
    return "" if side == "both" else side


@lru_cache(maxsize=4096)
def place_of(symbol: str, side: HeldSide) -> str:
    """Returns the key of a position within its account: SYMBOL, SYMBOL:long or SYMBOL:short. A symbol that ends like
    the latter itself is escaped as in a URL, so that no two positions share a key."""
    # hot: once per fill (benchmarks/bench_intake.py)
    if side:
        return f"{symbol}:{side}"
    if symbol.endswith(("long", "short")):
        symbol = _ESCAPED.sub("%25", symbol)
        if symbol.endswith(_ENDS):
            symbol = "%3A".join(symbol.rsplit(":", 1))
    return symbol


def is_reducing(fill: Fill) -> bool:
    """Returns whether a fill reduces the side that it names."""
    return fill.position_side == ("long" if fill.side == "sell" else "short")
