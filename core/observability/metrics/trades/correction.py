"""Corrections of a fill, and what the fill counts with after all of them.

    fill 10 @ 100 --> correct: price 101 --> 10 @ 101     a correction replaces the values that it names
                  --> bust               --> nothing      final, whatever else comes before or after it

As in FIX 4.4: after a Trade Cancel (ExecType H) there is no execution left that a Trade Correct (G) could refer to, and
of several Trade Corrects each refers to the one before it (ExecRefID). They are in the order of their `ts`, and of
equal times in that of their arrival, so that it does not matter in which order or how often they are delivered.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final, Literal, Protocol

import msgspec

from observability.metrics.arithmetic.decimals import to_float

Status = Literal["busted", "corrected"]
BUSTED: Final = "busted"


class Terms(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a correction may change."""

    quantity: Decimal
    price: Decimal
    commission: Decimal
    commission_asset: str = ""
    """Which is not changed."""

    def to_json(self) -> dict[str, float]:
        return {name: to_float(getattr(self, name)) for name in ("quantity", "price", "commission")}


class Named(Protocol):
    """A fill as far as a correction names it."""

    symbol: str
    order_id: str
    side: str
    venue: str


class FillReference(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a correction names of the fill that it is about; what is empty or None is not named."""

    trade_id: str
    symbol: str
    order_id: str = ""
    side: str | None = None
    venue: str = ""

    def matches(self, fill: Named) -> bool:
        """Returns whether a fill of that id is meant."""
        return (
            fill.symbol == self.symbol
            and self.order_id in ("", fill.order_id)
            and self.side in (None, fill.side)
            and self.venue in ("", fill.venue)
        )


class Change(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One bust or correction; `seq` is that of its booking. A value of None stays as it is."""

    seq: int
    ts_ns: int
    is_bust: bool = False
    quantity: Decimal | None = None
    price: Decimal | None = None
    commission: Decimal | None = None
    new_id: str = ""
    """The id that the fill has from now on; empty if it keeps the one it has."""

    def apply(self, terms: Terms) -> Terms:
        return Terms(
            terms.quantity if self.quantity is None else self.quantity,
            terms.price if self.price is None else self.price,
            terms.commission if self.commission is None else self.commission,
            terms.commission_asset,
        )


class Corrected(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A fill that was corrected: as it was delivered first, and its corrections in the order in which they count."""

    original: Terms
    changes: tuple[Change, ...]

    def with_change(self, change: Change) -> Corrected:
        """Returns the same with a further change."""
        return Corrected(self.original, tuple(sorted((*self.changes, change), key=lambda each: (each.ts_ns, each.seq))))

    def only(self, is_applied: Callable[[int], bool]) -> Corrected | None:
        """Returns the same without the changes whose numbers `is_applied` does not accept; None if none are left."""
        changes = tuple(change for change in self.changes if is_applied(change.seq))
        return Corrected(self.original, changes) if changes else None

    @property
    def is_busted(self) -> bool:
        return any(change.is_bust for change in self.changes)

    @property
    def terms(self) -> Terms:
        """What the fill counts with; of a busted one, what it would count with."""
        terms = self.original
        for change in self.changes:
            terms = change.apply(terms)
        return terms

    @property
    def counted(self) -> Terms | None:
        """What the fill counts with; None if it is busted."""
        return None if self.is_busted else self.terms

    @property
    def status(self) -> Status:
        return "busted" if self.is_busted else "corrected"

    @property
    def newest_seq(self) -> int:
        """The number of the booking that came last."""
        return max(change.seq for change in self.changes)

    @property
    def new_id(self) -> str:
        """The id that the newest correction gave it; empty if none did."""
        return next((change.new_id for change in reversed(self.changes) if change.new_id), "")

    def to_json(self) -> dict[str, Any]:
        """Returns what a corrected trade shows besides its own fields."""
        return {"status": self.status, "corrected_by": self.newest_seq, "original": self.original.to_json()}
