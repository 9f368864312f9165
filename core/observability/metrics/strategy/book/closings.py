"""The moments from which daily figures are measured, with the marks and rates of each: the ends of UTC days, the start
of the session, payments in and out. A corrected fill shifts the P&L of each later one exactly.

    moment     marks {AAPL: 187.25}   factors {EUR: 1.08}   as of fill or booking 4711
    shift      cash and quantity at its mark, without the fault less with it, at the factors
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Final, Literal

import msgspec

from observability.metrics.arithmetic.decimals import EXACT, ONE, ROUNDED, ZERO
from observability.metrics.arithmetic.rates import Conversion
from observability.metrics.strategy.book.path_walk import Amendment
from observability.metrics.strategy.position import AverageCostPosition
from observability.store.checkpoint import pack, unpack

MAX_PRICES: Final = 65_536
"""Marks and rates in all moments together: ten symbols for fifteen years, a thousand for two months."""

# Where a sum that has a quotient is rounded, so that what cancels out leaves nothing.
_QUANTUM: Final = Decimal("1e-50")

MomentKind = Literal["day", "flow", "session"]


class Moment(msgspec.Struct, array_like=True, frozen=True):
    """One moment. A symbol without a market has no mark: it is marked to the last fill of each position."""

    kind: MomentKind
    seq: int
    """The newest fill or booking before it."""
    day: int
    marks: dict[str, Decimal | None]
    factors: dict[str, tuple[Decimal | None, Decimal]]


class ClosingsState(msgspec.Struct):
    """All moments in a checkpoint, each packed when it came."""

    horizon_seq: int = 0
    moments: list[tuple[int, int, bytes]] = []
    session: bytes = b""


class Closings:
    """The newest moments, oldest first."""

    def __init__(self) -> None:
        self.horizon_seq = 0
        """Moments after later fills are all there."""
        # Per moment: the number of the newest fill, how many prices it has, and the packed moment.
        self._moments: deque[tuple[int, int, bytes]] = deque()
        self._n_prices = 0
        self._session = b""

    def add(self, moment: Moment) -> None:
        """Adds the moment of now. That of the session replaces the one before."""
        if moment.kind == "session":
            self._session = pack(moment)
            return
        n = 1 + len(moment.marks) + len(moment.factors)
        self._moments.append((moment.seq, n, pack(moment)))
        self._n_prices += n
        while self._n_prices > MAX_PRICES:
            self.horizon_seq, n, _ = self._moments.popleft()
            self._n_prices -= n

    def since(self, seq: int) -> Iterator[Moment]:
        """Yields the days and payments after a fill, oldest first."""
        for newest, _, packed in self._moments:
            if newest >= seq:
                yield unpack(packed, Moment)

    @property
    def session(self) -> Moment | None:
        """The start of the current session; None if it was not seen."""
        return unpack(self._session, Moment) if self._session else None

    def clear(self, seq: int) -> None:
        """Forgets all, as of the newest fill or booking."""
        self._moments.clear()
        self._n_prices, self._session, self.horizon_seq = 0, b"", seq

    def to_state(self) -> bytes:
        """Returns a packed `ClosingsState`."""
        return pack(ClosingsState(self.horizon_seq, list(self._moments), self._session))

    def load_state(self, packed: bytes, seq: int) -> None:
        """Restores the moments; without any, of an earlier version, they begin with the newest fill or booking,
        `seq`. Raises CheckpointError."""
        state = unpack(packed, ClosingsState) if packed else ClosingsState(seq)
        self.clear(state.horizon_seq)
        self._moments.extend(state.moments)
        self._n_prices = sum(n for _, n, _ in state.moments)
        self._session = state.session


def shift_of(amendment: Amendment, moment: Moment, reporting: str) -> Decimal | None:
    """Returns by how much the P&L of a moment is higher without the fault, in the reporting currency; None if a mark or
    a rate that it needs is not known."""
    step = amendment.at(moment.seq)
    if step is None:
        return ZERO
    terms = amendment.terms
    sums = dict(step.lead)
    if step.quantity or step.quantity_before:
        if amendment.symbol not in moment.marks:
            return None
        mark, after, before = moment.marks[amendment.symbol], step.value, step.value_before
        if mark is not None:
            position = AverageCostPosition.under(terms)
            after, before = position.amount(step.quantity, mark), position.amount(step.quantity_before, mark)
        value = EXACT.subtract(after, before)
        sums[terms.currency] = EXACT.add(sums.get(terms.currency, ZERO), value)
    return _converted(sums, moment.factors, reporting)


def _converted(
    sums: Mapping[str, Decimal], factors: Mapping[str, tuple[Decimal | None, Decimal]], reporting: str
) -> Decimal | None:
    total, is_exact = ZERO, True
    for currency, amount in sums.items():
        if currency == reporting:
            total = EXACT.add(total, amount)
            continue
        conversion = Conversion(currency)
        conversion.put(*factors.get(currency, (None, ONE)))
        converted = conversion.convert(amount)
        if converted is None:
            return None
        is_exact &= conversion.denominator is ONE
        total = EXACT.add(total, converted)
    return total if is_exact else total.quantize(_QUANTUM, context=ROUNDED)
