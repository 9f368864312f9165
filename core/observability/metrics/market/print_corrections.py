"""What was told of prints of the market after they had come: that they are busted, or were of another price or size.

    print 7: 100 @ 58.5                     bust: it counts no more, which is final
    correct 7: price 85.5  --> 100 @ 85.5   a correction replaces the values that it names, the latest by `ts` counts

The print stays among the remembered ones (`print_ids.py`) as it was delivered, so that a further delivery is known;
what it counts with stands here beside it. A print that is remembered no more can no longer be corrected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from observability.events import Print, Side
from observability.metrics.market.print_ids import PrintIds
from observability.metrics.market.time_order import happened_ns

MAX_CORRECTED: Final = 10_000
"""How many corrected prints are remembered, and as many corrections that wait for their print."""

UNKNOWN: Final = "no print of that id, symbol and venue is remembered"
BUSTED: Final = "the print is busted, which is final"
NOT_ALL_KEPT: Final = (
    "not all prints of its minute are remembered: the prices of the bar, and what follows from them, stay as they were"
)
AMBIGUOUS: Final = "prints of several venues have that id: name the venue"


class KeptPrint(NamedTuple):
    """A remembered print that counts: when it happened, when it arrived, and what it counts with."""

    ts_ns: int
    arrived_ns: int
    price: float
    size: float
    side: Side | None
    venue: str


def newest_of(prints: Sequence[KeptPrint]) -> KeptPrint | None:
    """Returns the print that happened last, and of several the one that arrived last; `prints` are in the order of
    their arrival."""
    return max(reversed(prints), key=lambda each: each.ts_ns, default=None)


class PrintChange(msgspec.Struct, array_like=True, frozen=True):
    """A bust or a correction of a print; a value of None stays as it is."""

    symbol: str
    trade_id: str
    venue: str = ""
    ts_ns: int = 0
    is_bust: bool = False
    price: float | None = None
    size: float | None = None
    seq: int = 0
    """The number of its booking."""


class Counted(NamedTuple):
    """What a print counts with."""

    price: float
    size: float


_Key = tuple[str, str, str, float, float]
"""Symbol, venue, id, and price and size as they were delivered."""


class CorrectedPrint(msgspec.Struct, array_like=True):
    """A print and its changes, in the order in which they count."""

    event: Print
    changes: list[PrintChange] = []

    @property
    def counted(self) -> Counted | None:
        """What the print counts with; None if it is busted."""
        price, size = self.event.price, self.event.size
        for change in self.changes:
            if change.is_bust:
                return None
            price = price if change.price is None else change.price
            size = size if change.size is None else change.size
        return Counted(price, size)


class PrintCorrectionsState(msgspec.Struct):
    """The corrections in a checkpoint."""

    corrected: list[CorrectedPrint] = []
    waiting: list[PrintChange] = []


class PrintCorrections:
    """The corrections of the prints that are remembered, and those that wait for their print."""

    def __init__(self, prints: PrintIds) -> None:
        self._prints = prints
        self._corrected: dict[_Key, CorrectedPrint] = {}
        self.waiting: dict[str, list[PrintChange]] = {}
        """By trade id."""
        self.n_waiting = 0
        """How many changes wait for their print."""

    def find(self, change: PrintChange) -> Print | str:
        """Returns the print that a change is about, or why it is not known."""
        found = [
            event for event in self._prints.of_id(change.symbol, change.trade_id) if change.venue in ("", event.venue)
        ]
        if not found:
            return UNKNOWN
        if len({event.venue for event in found}) > 1:
            return AMBIGUOUS
        # Some venues number trades anew each day.
        return max(found, key=lambda event: event.ts_init)

    def counted(self, event: Print) -> Counted | None:
        """Returns what a print counts with; None if it is busted."""
        corrected = self._corrected.get(_key_of(event)) if self._corrected else None
        return Counted(event.price, event.size) if corrected is None else corrected.counted

    def add(self, event: Print, change: PrintChange) -> None:
        """Adds a change of a print."""
        key = _key_of(event)
        corrected = self._corrected.pop(key, None) or CorrectedPrint(event)
        corrected.changes = sorted([*corrected.changes, change], key=lambda each: (each.ts_ns, each.seq))
        self._corrected[key] = corrected
        if len(self._corrected) > MAX_CORRECTED:
            del self._corrected[next(iter(self._corrected))]

    def wait(self, change: PrintChange) -> PrintChange | None:
        """Keeps a change until its print comes; returns one that is given up for it, the oldest of too many."""
        self.waiting.setdefault(change.trade_id, []).append(change)
        self.n_waiting += 1
        if self.n_waiting <= MAX_CORRECTED:
            return None
        oldest = next(iter(self.waiting))
        given_up = self.waiting[oldest].pop(0)
        self.n_waiting -= 1
        if not self.waiting[oldest]:
            del self.waiting[oldest]
        return given_up

    def take_waiting(self, event: Print) -> list[PrintChange]:
        """Returns the changes that have waited for a print, and keeps them no longer."""
        trade_id = str(event.trade_id)
        taken = [
            change
            for change in self.waiting.get(trade_id, ())
            if change.symbol == event.symbol and change.venue in ("", event.venue)
        ]
        for change in taken:
            self.waiting[trade_id].remove(change)
        self.n_waiting -= len(taken)
        if taken and not self.waiting[trade_id]:
            del self.waiting[trade_id]
        return taken

    def kept(self, symbol: str) -> Iterator[KeptPrint]:
        """Yields the remembered prints of a symbol that count, in the order of their arrival."""
        for event in self._prints.of_symbol(symbol):
            counted = self.counted(event)
            if counted is not None:
                yield KeptPrint(happened_ns(event), event.ts_init, *counted, event.aggressor_side, event.venue)

    def to_state(self) -> PrintCorrectionsState:
        return PrintCorrectionsState(
            list(self._corrected.values()), [change for changes in self.waiting.values() for change in changes]
        )

    def load_state(self, state: PrintCorrectionsState) -> None:
        self._corrected = {_key_of(corrected.event): corrected for corrected in state.corrected}
        for change in state.waiting:
            self.wait(change)


def _key_of(event: Print) -> _Key:
    return event.symbol, event.venue, str(event.trade_id), event.price, event.size
